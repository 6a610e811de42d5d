"""What the end-to-end tests share: a CRM at the other end of a real socket."""

from collections.abc import Iterator

import pytest

from .programs import Program


@pytest.fixture(scope="module")
def real_crm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The embedded CRM as an HTTP server of its own; its address and key as settings."""
    with Program("sandbox", "--port", "0", "--memory", home=tmp_path_factory.mktemp("crm")) as crm:
        printed = dict(crm.stdout.next().strip().split("=", 1) for _ in range(2))
        yield {**printed, "CRM_BASE_URL": crm.url().removesuffix("/api/crm")}
