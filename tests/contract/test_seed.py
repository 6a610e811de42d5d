"""The 34 curl lines of the CRM's own reference page, sent to the embedded CRM over a real socket."""

import json
import re
import socket
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import httpx2
import pytest
import uvicorn

from crm_mcp.sandbox.app import OPERATIONS, PREFIX, create_app
from crm_mcp.sandbox.demo_data import seed
from crm_mcp.sandbox.store import Store

CURL = re.compile(
    r'curl -X (?P<method>[A-Z]+) "https://example\.com(?P<path>[^"?]*)\?entityId=[^"]*"'
    r"(?: \\ -H \"Content-Type: application/json\" \\ -d '(?P<body>.*?)')?"
)
PLACEHOLDER = re.compile(r"/[0-9a-f]{8}-[0-9a-f-]{27}(?=/|$)")


class Curl(NamedTuple):
    method: str
    path: str
    body: dict[str, Any] | None

    @property
    def template(self) -> str:
        """The path with `{}` in place of each id."""
        return PLACEHOLDER.sub("/{}", self.path)


CURLS = [
    Curl(match["method"], match["path"], json.loads(match["body"]) if match["body"] else None)
    for match in CURL.finditer(Path(__file__).with_name("crm-http-api.txt").read_text(encoding="utf-8"))
]


@pytest.fixture
def store() -> Iterator[Store]:
    store = Store.open(None)
    seed(store)
    yield store
    store.close()


@pytest.fixture
def base_url(store: Store) -> Iterator[str]:
    """A server on a free loopback port, whose socket listens before anybody connects."""
    server = uvicorn.Server(uvicorn.Config(create_app(store), log_level="warning", lifespan="off", ws="none"))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        server.should_exit = True
        thread.join(timeout=10)
    assert not thread.is_alive()


@pytest.fixture
def ids(store: Store) -> dict[str, str]:
    """An existing id for each place where the page has a placeholder."""
    lead = store.all("SELECT * FROM leads ORDER BY row")[0]
    membership = store.all("SELECT * FROM memberships WHERE contact_id = ?", lead["contact_id"])[0]
    return {
        "companies": membership["company_id"],
        "contacts": membership["contact_id"],
        "company-memberships": membership["id"],
        "leads": lead["id"],
        "connectionId": store.all("SELECT id FROM connections WHERE status = 'active'")[0]["id"],
        "another company": store.all("SELECT id FROM companies ORDER BY row DESC")[0]["id"],
    }


def test_the_page_has_34_operations_and_the_app_has_the_same() -> None:
    assert len(CURLS) == 34
    routes = {(method, PREFIX + re.sub(r"{\w+}", "{}", path)) for method, path, _ in OPERATIONS}
    assert {(curl.method, curl.template) for curl in CURLS} == routes


@pytest.mark.parametrize("curl", CURLS, ids=lambda curl: f"{curl.method} {curl.template}")
def test_each_curl_line_succeeds(store: Store, base_url: str, ids: dict[str, str], curl: Curl) -> None:
    credentials = store.credentials
    with httpx2.Client(
        base_url=base_url,
        headers={"Authorization": f"Bearer {credentials.api_key}"},
        params={"entityId": credentials.entity_id},
        trust_env=False,
    ) as http:
        stages = [stage["id"] for stage in http.get(f"{PREFIX}/pipeline-stages").json()["stages"]]
        spare = http.post(f"{PREFIX}/pipeline-stages", json={"name": "Without leads"}).json()["id"]
        known = {**ids, "pipeline-stages": spare}
        path = re.sub(r"([a-z-]+)" + PLACEHOLDER.pattern, lambda m: f"{m[1]}/{known[m[1]]}", curl.path)
        answer = http.request(curl.method, path, json=filled(curl, ids, [*stages, spare]))
    assert answer.is_success, answer.text


def filled(curl: Curl, ids: dict[str, str], stages: list[str]) -> dict[str, Any] | None:
    """The body of the line, with existing ids for those of the page."""
    if curl.body is None:
        return None
    if curl.path.endswith("/stage"):
        # The page requires nothing here, yet a move has to say where to: either of two fields does.
        return {"stageId": stages[1]}
    existing = {
        "leadId": ids["leads"],
        "connectionId": ids["connectionId"],
        "companyId": ids["another company"],
        "stageIds": stages[::-1],
    }
    return {field: existing.get(field, value) for field, value in curl.body.items()}
