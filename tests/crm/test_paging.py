from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx2
import pytest

from crm_mcp.crm import CrmClient
from crm_mcp.crm.contacts import ContactFilter
from crm_mcp.crm.paging import MAX_CALLS, Page

pytestmark = pytest.mark.anyio

Connect = Callable[..., CrmClient]
Row = dict[str, Any]

ACME, GLOBEX = (str(UUID(int=number)) for number in (1, 2))


def row(number: int, **fields: Any) -> Row:
    return {"id": str(number), "companyId": ACME if number % 2 else GLOBEX, **fields}


@dataclass
class Crm:
    """A list of contacts behind a paging that may do less than it was asked for."""

    rows: list[Row]
    knows_page: bool = True
    knows_page_size: bool = True
    knows_filter: bool = True
    tells_total: bool = True
    echoes: bool = True
    cap: int = 100
    queries: list[dict[str, str]] = field(default_factory=list)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        query = dict(request.url.params)
        self.queries.append(query)
        wanted = query.get("companyId") if self.knows_filter else None
        rows = [row for row in self.rows if wanted in (None, row["companyId"])]
        page = int(query["page"]) if self.knows_page else 1
        size = min(int(query["pageSize"]), self.cap) if self.knows_page_size else self.cap
        answer: Row = {"contacts": rows[(page - 1) * size : page * size]}
        if self.tells_total:
            answer["total"] = len(rows)
        if self.echoes:
            answer |= {"page": page, "pageSize": size}
        return httpx2.Response(200, json=answer)

    @property
    def pages_asked(self) -> list[str]:
        return [query["page"] for query in self.queries]


def summary(page: Page[Any]) -> tuple[list[str], bool, int | None, list[str]]:
    return [record.id for record in page.records], page.has_more, page.total, page.notes


def ids(*numbers: int) -> list[str]:
    return [str(number) for number in numbers]


ROWS = [row(number) for number in range(10)]
OF_ACME = ContactFilter(company_id=ACME)


async def test_a_crm_that_honours_all_is_asked_once(connect: Connect) -> None:
    crm = Crm(ROWS)
    page = await connect(crm).contacts.search(OF_ACME, page=2, limit=2)
    assert summary(page) == (ids(5, 7), True, 5, [])
    assert crm.pages_asked == ["2"]


async def test_the_last_page_has_no_more(connect: Connect) -> None:
    crm = Crm(ROWS)
    page = await connect(crm).contacts.search(page=3, limit=4)
    assert summary(page) == (ids(8, 9), False, 10, [])
    assert crm.pages_asked == ["3"]


async def test_a_page_beyond_the_end_is_empty(connect: Connect) -> None:
    page = await connect(Crm(ROWS)).contacts.search(page=9, limit=4)
    assert summary(page) == ([], False, 10, [])


async def test_an_empty_list_is_a_page(connect: Connect) -> None:
    assert summary(await connect(Crm([])).contacts.search()) == ([], False, 0, [])


async def test_a_limit_above_the_greatest_page_size_takes_several_calls(connect: Connect) -> None:
    crm = Crm([row(number) for number in range(500)])
    page = await connect(crm).contacts.search(page=2, limit=150)
    assert summary(page) == (ids(*range(150, 300)), True, 500, [])
    assert crm.pages_asked == ["2", "3"]
    assert {query["pageSize"] for query in crm.queries} == {"100"}


async def test_a_crm_that_ignores_page_has_no_second_page(connect: Connect) -> None:
    crm = Crm(ROWS, knows_page=False, tells_total=False, echoes=False)
    first = await connect(crm).contacts.search(limit=4)
    second = await connect(crm).contacts.search(page=2, limit=4)
    assert summary(first) == (ids(0, 1, 2, 3), False, 4, [])
    assert summary(second) == ([], False, 4, [])


@pytest.mark.parametrize("echoes", [True, False])
@pytest.mark.parametrize("tells_total", [True, False])
async def test_a_crm_with_a_cap_of_its_own_is_walked_from_the_start(
    connect: Connect, echoes: bool, tells_total: bool
) -> None:
    crm = Crm(ROWS, knows_page_size=False, cap=3, echoes=echoes, tells_total=tells_total)
    page = await connect(crm).contacts.search(page=2, limit=4)
    assert summary(page) == (ids(4, 5, 6, 7), True, 10 if tells_total else None, [])


async def test_a_cap_that_is_not_admitted_is_met_by_the_total(connect: Connect) -> None:
    def crm(request: httpx2.Request) -> httpx2.Response:
        page = int(request.url.params["page"])
        rows = ROWS[(page - 1) * 3 : page * 3]
        return httpx2.Response(200, json={"contacts": rows, "total": 10, "page": page, "pageSize": 5})

    assert summary(await connect(crm).contacts.search(limit=5)) == (ids(0, 1, 2, 3, 4), True, 10, [])


async def test_without_totals_the_next_page_tells_whether_there_is_more(connect: Connect) -> None:
    crm = Crm(ROWS, tells_total=False)
    middle = await connect(crm).contacts.search(page=2, limit=3)
    assert (summary(middle), crm.pages_asked) == ((ids(3, 4, 5), True, None, []), ["2", "3"])
    whole = await connect(crm).contacts.search(limit=20)
    assert summary(whole) == (ids(*range(10)), False, 10, [])


async def test_a_bare_array_of_everything_is_paged_here(connect: Connect) -> None:
    def crm(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json=ROWS)

    assert summary(await connect(crm).contacts.search(page=2, limit=4)) == (ids(4, 5, 6, 7), True, None, [])
    assert summary(await connect(crm).contacts.search(page=3, limit=4)) == (ids(8, 9), False, 10, [])


async def test_rows_of_an_ignored_filter_are_left_out_and_told(connect: Connect) -> None:
    crm = Crm(ROWS, knows_filter=False)
    page = await connect(crm).contacts.search(OF_ACME, page=2, limit=2)
    left_out = "The CRM did not apply the filter `companyId`: 5 rows that do not match were left out."
    assert summary(page) == (ids(5, 7), True, 5, [left_out])
    whole = await connect(crm).contacts.search(OF_ACME, limit=20)
    assert summary(whole) == (ids(1, 3, 5, 7, 9), False, 5, [left_out])


async def test_a_row_whose_field_is_null_does_not_pass_an_ignored_filter(connect: Connect) -> None:
    crm = Crm([row(1), row(3, companyId=None)], knows_filter=False)
    page = await connect(crm).contacts.search(OF_ACME)
    left_out = "The CRM did not apply the filter `companyId`: 1 rows that do not match were left out."
    assert summary(page) == (ids(1), False, 1, [left_out])


async def test_a_filter_that_the_rows_do_not_show_is_told_to_be_unverified(connect: Connect) -> None:
    def crm(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"contacts": [{"id": "1"}, {"id": "2"}]})

    page = await connect(crm).contacts.search(OF_ACME)
    unverified = "The filter `companyId` could not be verified: the CRM's rows do not show it."
    assert summary(page) == (ids(1, 2), False, 2, [unverified])


async def test_endless_new_rows_are_walked_within_a_bound(connect: Connect) -> None:
    asked = []

    def crm(request: httpx2.Request) -> httpx2.Response:
        asked.append(request)
        return httpx2.Response(200, json=[row(2 * len(asked))])

    page = await connect(crm).contacts.search(OF_ACME)
    assert page.records == []
    assert (page.has_more, page.total, len(asked)) == (True, None, MAX_CALLS)
    assert page.notes == [
        "The CRM did not apply the filter `companyId`: 20 rows that do not match were left out.",
        "Stopped after 20 requests to the CRM; there may be more.",
    ]


async def test_a_deep_page_of_a_crm_that_cannot_skip_stays_within_the_bound(connect: Connect) -> None:
    crm = Crm([row(number) for number in range(1000)], knows_page_size=False, cap=10, echoes=False)
    page = await connect(crm).contacts.search(page=9, limit=25)
    assert summary(page) == (
        [],
        True,
        1000,
        ["Stopped after 20 requests to the CRM; there may be more."],
    )
    assert len(crm.queries) == 1 + MAX_CALLS
