"""What a list says of a page that it does not have."""

from collections.abc import Awaitable, Callable
from math import ceil
from typing import Any

import httpx2
import pytest

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]


@pytest.mark.parametrize(
    ("tool", "arguments", "pages"),
    [
        ("search_companies", {}, None),
        ("search_companies", {"query": "Xqwzt"}, 1),
        ("search_contacts", {}, None),
        ("search_contacts", {"company": "Acme Inc."}, 1),
        ("search_leads", {}, None),
        ("search_leads", {"owner": "me"}, None),
        ("list_activities", {}, None),
        ("list_activities", {"type": "call"}, None),
        ("list_tasks", {}, None),
    ],
)
async def test_a_page_past_the_end_is_told_which_is_the_last(
    call: Call, tool: str, arguments: dict[str, Any], pages: int | None
) -> None:
    total = (await call(tool, **arguments)).facts["total"]
    last = ceil(total / 7) or 1
    assert pages in (None, last)
    note = (
        f"Nothing was found on page {last + 1}: there are {total} rows, and page={last} is the last"
        " with limit=7."
    )
    text, found = await call(tool, **arguments, limit=7, page=last + 1)
    assert (found["shown"], found["notes"]) == (0, [note])
    assert text.endswith(f"Note: {note}")
    if total:
        assert "notes" not in (await call(tool, **arguments, limit=7, page=last)).facts


async def test_a_page_past_an_end_that_nobody_tells_is_told_too(call: Call, wire: Any) -> None:
    def three(request: httpx2.Request) -> httpx2.Response:
        page, size = (int(request.url.params.get(name, 25)) for name in ("page", "pageSize"))
        rows = [{"id": str(row), "name": "Row"} for row in range(3)][(page - 1) * size : page * size]
        return httpx2.Response(200, json={"companies": rows, "page": page, "pageSize": size})

    wire.inner = httpx2.MockTransport(three)
    _, found = await call("search_companies", limit=2, page=5)
    assert found["notes"] == ["Nothing was found on page 5: page=1 is where to begin."]
