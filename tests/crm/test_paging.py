from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import httpx2
import pytest

from crm_mcp.crm import CrmClient
from crm_mcp.crm.contacts import Contact, ContactFilter
from crm_mcp.crm.paging import MAX_CALLS, MAX_PAGE_SIZE, MAX_PAGES, Page, Walk, selected

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
    last_page: int = 10**9
    queries: list[dict[str, str]] = field(default_factory=list)

    def __call__(self, request: httpx2.Request) -> httpx2.Response:
        query = dict(request.url.params)
        self.queries.append(query)
        wanted = query.get("companyId") if self.knows_filter else None
        rows = [row for row in self.rows if wanted in (None, row["companyId"])]
        page = min(int(query["page"]), self.last_page) if self.knows_page else 1
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


BEYOND = "what follows cannot be reached like this; narrow the search."
ONLY_100 = "The CRM shows only 100 of its 300 rows; narrow the search."
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


async def test_a_limit_beyond_the_usual_number_of_requests_loses_no_rows(connect: Connect) -> None:
    client = connect(Crm([row(number) for number in range(5000)], tells_total=False))
    first = await client.contacts.search(limit=3000)
    second = await client.contacts.search(page=2, limit=3000)
    assert summary(first) == (ids(*range(3000)), True, None, [])
    assert summary(second) == (ids(*range(3000, 5000)), False, 5000, [])


async def test_a_crm_that_ignores_page_is_asked_for_a_large_one(connect: Connect) -> None:
    crm = Crm(ROWS, knows_page=False, tells_total=False, echoes=False)
    first = await connect(crm).contacts.search(limit=4)
    last = await connect(crm).contacts.search(page=3, limit=4)
    assert summary(first) == (ids(0, 1, 2, 3), True, None, [])
    assert summary(last) == (ids(8, 9), False, 10, [])


async def test_a_crm_that_ignores_page_and_tells_of_more_than_it_shows(connect: Connect) -> None:
    crm = Crm([row(number) for number in range(300)], knows_page=False, echoes=False)
    client = connect(crm)
    assert summary(await client.contacts.search(page=3, limit=40)) == (
        ids(*range(80, 100)),
        False,
        300,
        [ONLY_100],
    )
    assert summary(await client.contacts.search(page=4, limit=40)) == ([], False, 300, [ONLY_100])


async def test_the_count_of_a_page_is_not_taken_for_the_total(connect: Connect) -> None:
    def crm(request: httpx2.Request) -> httpx2.Response:
        page, size = (int(request.url.params[name]) for name in ("page", "pageSize"))
        rows = ROWS[(page - 1) * size : page * size]
        return httpx2.Response(
            200, json={"contacts": rows, "total": len(rows), "page": page, "pageSize": size}
        )

    client = connect(crm)
    assert summary(await client.contacts.search(limit=4)) == (ids(0, 1, 2, 3), True, None, [])
    assert summary(await client.contacts.search(page=2, limit=4)) == (ids(4, 5, 6, 7), True, 10, [])
    assert summary(await client.contacts.search(page=3, limit=4)) == (ids(8, 9), False, 10, [])
    assert summary(await client.contacts.search(limit=10)) == (ids(*range(10)), False, 10, [])


async def test_a_full_first_page_that_is_all_is_asked_beyond_once(connect: Connect) -> None:
    crm = Crm(ROWS)
    assert summary(await connect(crm).contacts.search(limit=10)) == (ids(*range(10)), False, 10, [])
    assert crm.pages_asked == ["1", "2"]


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


async def test_an_ignored_filter_over_many_rows_ends_where_the_walk_does(connect: Connect) -> None:
    crm = Crm([row(number) for number in range(10_000)], knows_filter=False)
    first = await connect(crm).contacts.search(OF_ACME, limit=600)
    last = await connect(crm).contacts.search(OF_ACME, page=2, limit=600)
    notes = [
        "The CRM did not apply the filter `companyId`: 1000 rows that do not match were left out.",
        f"Stopped after 20 requests to the CRM and 2000 rows: {BEYOND}",
    ]
    assert (len(first.records), first.has_more, first.total) == (600, True, None)
    assert (len(last.records), last.has_more, last.total, last.notes) == (400, False, None, notes)
    assert not {record.id for record in first.records} & {record.id for record in last.records}


async def test_rows_that_are_left_out_make_the_steps_large(connect: Connect) -> None:
    crm = Crm([row(number) for number in range(10_000)], knows_filter=False)
    page = await connect(crm).contacts.search(OF_ACME, page=3, limit=25)
    assert [record.id for record in page.records] == ids(*range(101, 151, 2))
    assert [query["pageSize"] for query in crm.queries] == ["25", "100", "100"]


async def test_a_page_that_takes_several_requests_tells_how_far_it_is(connect: Connect) -> None:
    told: list[tuple[int, int | None]] = []

    async def tell(read: int, total: int | None) -> None:
        told.append((read, total))

    honouring = connect(Crm([row(number) for number in range(1000)]))
    await honouring.contacts.search(OF_ACME, limit=25, told=tell)
    assert told == []
    ignoring = connect(Crm([row(number) for number in range(1000)], knows_filter=False))
    await ignoring.contacts.search(OF_ACME, limit=125, told=tell)
    assert told == [(100, 1000), (200, 1000)]


async def test_a_short_page_before_the_end_was_not_skipped_to(connect: Connect) -> None:
    def crm(request: httpx2.Request) -> httpx2.Response:
        page, size = (int(request.url.params[name]) for name in ("page", "pageSize"))
        rows = ROWS[(page - 1) * 3 : page * 3]
        return httpx2.Response(200, json={"contacts": rows, "total": 10, "page": page, "pageSize": size})

    assert summary(await connect(crm).contacts.search(page=2, limit=5)) == (ids(5, 6, 7, 8, 9), False, 10, [])


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
    assert (page.has_more, page.total, len(asked)) == (False, None, 1 + MAX_CALLS)
    assert page.notes == [
        "The CRM did not apply the filter `companyId`: 20 rows that do not match were left out.",
        f"Stopped after 20 requests to the CRM and 20 rows: {BEYOND}",
    ]


@pytest.mark.parametrize("tells_total", [True, False])
async def test_a_crm_that_does_not_say_which_page_it_sends_may_show_that_it_skips(
    connect: Connect, tells_total: bool
) -> None:
    crm = Crm([row(number) for number in range(7_510)], echoes=False, tells_total=tells_total)
    deep = await connect(crm).contacts.search(page=81, limit=25)
    assert summary(deep) == (ids(*range(2_000, 2_025)), True, 7_510 if tells_total else None, [])
    assert deep.at_least == (2_025 if tells_total else 2_050)
    assert sorted(crm.pages_asked) == ["1", "80", "81", *["82"] * (not tells_total)]
    last = await connect(crm).contacts.search(page=301, limit=25)
    assert summary(last) == (ids(*range(7_500, 7_510)), False, 7_510, [])


@pytest.mark.parametrize(
    ("quirk", "shown"),
    [
        ({"last_page": 30}, ids(*range(1_500, 1_550))),
        ({"knows_page": False}, []),
        ({"knows_page_size": False, "cap": 60}, []),
    ],
)
async def test_a_crm_that_shows_not_to_skip_is_walked_from_the_start(
    connect: Connect, quirk: dict[str, Any], shown: list[str]
) -> None:
    crm = Crm([row(number) for number in range(10_000)], echoes=False, tells_total=False, **quirk)
    page = await connect(crm).contacts.search(page=31, limit=50)
    assert [record.id for record in page.records] == shown
    assert sorted(crm.pages_asked[:3], key=int) == ["1", "30", "31"]
    assert crm.pages_asked[3:5] == ["1", "2"]


async def test_an_ignored_filter_is_seen_on_the_pages_before_too(connect: Connect) -> None:
    rows = [row(number) for number in range(500)] + [row(number) for number in range(501, 1_500, 2)]
    crm = Crm(rows, knows_filter=False, echoes=False, tells_total=False)
    page = await connect(crm).contacts.search(OF_ACME, page=13, limit=50)
    assert [record.id for record in page.records] == ids(*range(1_201, 1_300, 2))


async def test_a_deep_page_of_a_crm_that_cannot_skip_stays_within_the_bound(connect: Connect) -> None:
    crm = Crm([row(number) for number in range(1000)], knows_page_size=False, cap=10, echoes=False)
    page = await connect(crm).contacts.search(page=9, limit=25)
    assert summary(page) == (
        [],
        False,
        1000,
        [f"Stopped after 20 requests to the CRM and 200 rows: {BEYOND}"],
    )
    assert page.at_least == 200
    # Two to see whether it skips.
    assert len(crm.queries) == 1 + 2 + MAX_CALLS


def even(contact: Contact) -> bool:
    return int(contact.id) % 2 == 0


async def nobody(_read: int, _total: int | None) -> None:
    """Nobody waits for these."""


async def few_of(client: CrmClient, wanted: ContactFilter, **place: int) -> Page[Contact]:
    return await selected(client.contacts.walk(wanted), even, told=nobody, **place)


async def test_rows_that_the_crm_cannot_select_are_selected_here(connect: Connect) -> None:
    client = connect(Crm([row(number) for number in range(250)]))
    page = await few_of(client, ContactFilter(), page=2, limit=100)
    assert summary(page) == (ids(*range(200, 250, 2)), False, 125, [])


async def test_a_selection_among_too_many_rows_says_so(connect: Connect) -> None:
    client = connect(Crm([row(number) for number in range(3000)], cap=10))
    page = await few_of(client, ContactFilter(), page=10, limit=100)
    bound = f"Stopped after {MAX_PAGES} requests to the CRM and 2000 rows: {BEYOND}"
    assert summary(page) == (ids(*range(1800, 2000, 2)), False, None, [bound])


async def test_a_selection_holds_no_more_rows_than_it_may_show(connect: Connect) -> None:
    held: list[int] = []

    def latest_first(rows: list[Contact]) -> list[Contact]:
        held.append(len(rows))
        return sorted(rows, key=lambda row: int(row.id), reverse=True)

    walk = connect(Crm([row(number) for number in range(3000)])).contacts.walk()
    page = await selected(walk, even, page=2, limit=10, told=nobody, arranged=latest_first)
    assert summary(page) == (ids(*range(2978, 2958, -2)), True, 1500, [])
    assert max(held) <= 2 * 10 + MAX_PAGE_SIZE


async def test_a_selection_from_a_list_that_is_not_shown_whole_says_so(connect: Connect) -> None:
    crm = Crm([row(number) for number in range(300)], knows_page=False, echoes=False)
    page = await few_of(connect(crm), ContactFilter(), page=1, limit=2)
    assert summary(page) == (ids(0, 2), True, None, [ONLY_100])


async def test_a_selection_under_an_ignored_filter_tells_of_all_that_was_left_out(connect: Connect) -> None:
    crm = Crm([row(number) for number in range(250)], knows_filter=False)
    page = await few_of(connect(crm), OF_ACME, page=1, limit=2)
    left_out = "The CRM did not apply the filter `companyId`: 125 rows that do not match were left out."
    assert summary(page) == ([], False, 0, [left_out])


async def walked(walk: Walk[Contact], **how: int) -> list[str]:
    return [row.id async for rows in walk.pages(**how) for row in rows]


async def test_pages_that_are_there_may_be_asked_for_at_once(connect: Connect) -> None:
    crm = Crm([row(number) for number in range(1_050)])
    walk = connect(crm).contacts.walk()
    assert await walked(walk, at_once=4) == ids(*range(1_050))
    assert (walk.complete, len(crm.queries)) == (True, 11)


@pytest.mark.parametrize("quirk", [{"cap": 10}, {"knows_page": False}, {"tells_total": False}])
async def test_asking_at_once_costs_and_brings_the_same_in_any_crm(
    connect: Connect, quirk: dict[str, Any]
) -> None:
    told = []
    for at_once in (1, 4):
        crm = Crm([row(number) for number in range(250)], **quirk)
        walk = connect(crm).contacts.walk()
        told.append((await walked(walk, calls=20, at_once=at_once), walk.notes(), len(crm.queries)))
    one_by_one, at_once = told
    assert at_once[:2] == one_by_one[:2]
    # A CRM that shows one page only is asked for some more in vain.
    assert one_by_one[2] <= at_once[2] <= one_by_one[2] + 3
