"""What a list says of a page that it does not have."""

from collections.abc import Awaitable, Callable
from math import ceil
from typing import Any

import anyio
import httpx2
import pytest

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]

OWNER = "11111111-1111-4111-8111-111111111111"


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


async def test_a_page_past_what_can_be_reached_is_not_said_to_be_empty(call: Call, wire: Any) -> None:
    def no_more_than_20_a_page(request: httpx2.Request) -> httpx2.Response:
        page = int(request.url.params.get("page", 1))
        rows = [{"id": str(row), "title": "Row"} for row in range(7_500)][(page - 1) * 20 : page * 20]
        return httpx2.Response(200, json=rows if request.url.path.endswith("leads") else [])

    wire.inner = httpx2.MockTransport(no_more_than_20_a_page)
    bound = (
        "Stopped after 20 requests to the CRM and 400 rows: what follows cannot be reached like this; "
        "narrow the search."
    )
    text, last = await call("search_leads", page=16)
    assert text.splitlines()[0] == "Leads: 25 of at least 400"
    assert (last["at_least"], last["notes"]) == (400, [bound])
    past = "Page 17 is not among what could be read: page=16 is the last of it, with limit=25."
    assert await call("search_leads", page=17) == (
        f"Leads: 0 of at least 400\nNote: {bound}\nNote: {past}",
        {"shown": 0, "at_least": 400, "leads": [], "notes": [bound, past]},
    )


async def test_matches_among_rows_that_were_not_all_seen_are_not_said_to_be_all(
    call: Call, wire: Any
) -> None:
    def no_search(request: httpx2.Request) -> httpx2.Response:
        page, size = (int(request.url.params.get(name, 1)) for name in ("page", "pageSize"))
        names = ["Acme", *["Globex"] * 20_000, "Acme", "Acme"][(page - 1) * size : page * size]
        rows = [{"id": str((page, place)), "title": name} for place, name in enumerate(names)]
        return httpx2.Response(200, json=rows if request.url.path.endswith("leads") else [])

    wire.inner = httpx2.MockTransport(no_search)
    text, found = await call("search_leads", query="Acme")
    assert text.splitlines()[0] == "Leads: 1 of at least 1"
    assert (found["shown"], found["at_least"], "total" in found) == (1, 1, False)


async def test_a_filtered_search_by_us_ends_in_time_and_says_so(
    call: Call, wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow_and_without_search(request: httpx2.Request) -> httpx2.Response:
        page, size = (int(request.url.params.get(name, 1)) for name in ("page", "pageSize"))
        await anyio.sleep(60 if page == 3 and "q" not in request.url.params else 0)
        first = (page - 1) * size
        rows = [
            {"id": str(number), "title": "Other" if number else "Acme", "ownerUserId": OWNER}
            for number in range(first, first + size)
        ]
        return httpx2.Response(200, json=rows if request.url.path.endswith("leads") else [])

    monkeypatch.setattr("crm_mcp.tools.searching.SCAN_SECONDS", 0.5)
    wire.inner = httpx2.MockTransport(slow_and_without_search)
    with anyio.fail_after(20):
        text, found = await call("search_leads", query="Acme", owner=OWNER)
    assert text.splitlines()[0] == "Leads: 1 of at least 1"
    assert found["notes"] == ["Stopped after 0.5 seconds and 200 rows: narrow the search."]
