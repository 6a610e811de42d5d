"""Searches for what is spelt otherwise in the CRM: with other accents, or nearly so."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest
from mcp import Client

from crm_mcp.crm import CrmClient
from crm_mcp.crm.companies import NewCompany
from crm_mcp.crm.leads import NewLead

from .conftest import Answer

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Answer]]
Find = Callable[..., dict[str, Any]]

MANY = 120
NOT_LOOKED_FOR = "Names with other accents were not looked for."


@pytest.fixture
async def many(crm: CrmClient) -> None:
    """More companies than one request brings; those that were there are none of the first."""
    for number in range(MANY):
        await crm.companies.create(NewCompany(name=f"Aa Vexa {number}"))


def names(facts: dict[str, Any]) -> list[str]:
    rows = facts.get("companies") or facts.get("contacts") or facts.get("leads") or []
    return sorted(row.get("name") or row["title"] for row in rows)


def shown(facts: dict[str, Any]) -> tuple[list[str], int | None, list[str]]:
    return names(facts), facts.get("total"), facts.get("notes", [])


@pytest.mark.parametrize(
    ("tool", "query", "found"),
    [
        ("search_companies", "Muller", "Müller Präzisionstechnik GmbH"),
        ("search_companies", "Ácmé Ind", "Acme Industries GmbH"),
        ("search_contacts", "Luc Lefevre", "Luc Lefèvre"),
        ("search_contacts", "Yukí Costá", "Yuki Costa"),
        ("search_leads", "Muller maintenance", "Müller maintenance renewal"),
        ("search_leads", "Álpenblick framework", "Alpenblick framework contract"),
    ],
)
async def test_a_search_does_not_mind_accents(call: Call, tool: str, query: str, found: str) -> None:
    assert shown((await call(tool, query=query)).facts) == ([found], 1, [])


@pytest.mark.parametrize("query", ["zurn", "Zürn", "ZÚRN"])
async def test_all_spellings_stand_in_one_list_that_pages_and_counts(
    call: Call, crm: CrmClient, query: str
) -> None:
    expected = ["Zurn Logistics AG", "Zürn & Söhne KG", "Zürn GmbH"]
    for name in expected:
        await crm.companies.create(NewCompany(name=name))
    assert shown((await call("search_companies", query=query)).facts) == (expected, 3, [])
    pages = [(await call("search_companies", query=query, limit=2, page=page)).facts for page in (1, 2)]
    assert sorted(name for page in pages for name in names(page)) == expected
    assert [(page["shown"], page["total"], page.get("next_page")) for page in pages] == [
        (2, 3, 2),
        (1, 3, None),
    ]
    hits = (await call("search_crm", query=query)).facts
    assert (sorted(hit["name"] for hit in hits["hits"]), hits["total"]) == (expected, 3)


async def test_another_spelling_has_to_pass_the_other_filters(call: Call, crm: CrmClient) -> None:
    for name, role in [("Zurn AG", "vendor"), ("Zürn GmbH", "customer")]:
        await crm.companies.create(NewCompany(name=name, role=role))
    found = (await call("search_companies", query="zurn", role="vendor")).facts
    assert shown(found) == (["Zurn AG"], 1, [])
    found = (await call("search_leads", query="Muller maintenance", stage="open")).facts
    assert shown(found) == (["Müller maintenance renewal"], 1, [])
    assert shown((await call("search_leads", query="Muller", owner="unassigned")).facts)[0] == []


@pytest.mark.usefixtures("many")
async def test_in_a_large_crm_what_is_typed_with_accents_is_found_without(call: Call, crm: CrmClient) -> None:
    for name in ("Zurn AG", "Zürn GmbH"):
        await crm.companies.create(NewCompany(name=name))
    for number in range(MANY):
        await crm.companies.create(NewCompany(name=f"Ab Vexa {number}"))
    found = (await call("search_companies", query="Zürn")).facts
    assert shown(found) == (["Zurn AG", "Zürn GmbH"], 2, [NOT_LOOKED_FOR])


@pytest.mark.usefixtures("many")
async def test_in_a_large_crm_a_search_says_that_it_did_not_look_for_other_accents(call: Call) -> None:
    for tool in ("search_companies", "search_crm"):
        text, facts = await call(tool, query="acme")
        assert facts["notes"][0] == NOT_LOOKED_FOR
        assert f"Note: {NOT_LOOKED_FOR}" in text
    # No search finds this, so that all companies are read for it.
    close = 'Nothing has "Mullr Prazision" in it; shown is what comes close.'
    found = (await call("search_companies", query="Mullr Prazision")).facts
    assert shown(found) == (["Müller Präzisionstechnik GmbH"], 1, [close])
    assert shown((await call("search_companies", query="Muller")).facts) == (
        ["Müller Präzisionstechnik GmbH"],
        1,
        [],
    )


@pytest.mark.usefixtures("many")
@pytest.mark.parametrize(("query", "notes"), [("acme", [NOT_LOOKED_FOR]), ("2030", []), ("山田", [])])
async def test_what_has_no_accents_needs_no_such_note(
    call: Call, crm: CrmClient, query: str, notes: list[str]
) -> None:
    await crm.companies.create(NewCompany(name=f"{query} KG"))
    assert (await call("search_companies", query=query)).facts.get("notes", []) == notes


@pytest.mark.usefixtures("many")
async def test_a_long_list_is_the_crms_own_on_every_page(call: Call) -> None:
    pages = [
        (await call("search_companies", query="vexa", limit=50, page=page)).facts for page in (1, 2, 3, 4)
    ]
    assert [(page["shown"], page["total"], page.get("next_page")) for page in pages] == [
        (50, MANY, 2),
        (50, MANY, 3),
        (20, MANY, None),
        (0, MANY, None),
    ]
    assert len({row["id"] for page in pages for row in page["companies"]}) == MANY
    assert [page["notes"] for page in pages[:3]] == [[NOT_LOOKED_FOR]] * 3
    # After all were read there is no other spelling to be looked for.
    await call("get_company", company="Mullr Prazision", detail="brief")
    assert "notes" not in (await call("search_companies", query="vexa")).facts


# What comes close


@pytest.mark.parametrize(
    ("tool", "query", "found"),
    [
        ("search_companies", "Quynt Medica", "Quint Medica Oy"),
        ("search_contacts", "Luc Lefevrre", "Luc Lefèvre"),
        ("search_leads", "Alpenblik framework", "Alpenblick framework contract"),
    ],
)
async def test_a_search_finds_what_is_spelt_nearly_so_and_says_so(
    call: Call, tool: str, query: str, found: str
) -> None:
    text, facts = await call(tool, query=query)
    note = f'Nothing has "{query}" in it; shown is what comes close.'
    hints = ["`company` lists those of a company."] if tool == "search_leads" else []
    assert shown(facts) == ([found], 1, [note, *hints])
    assert f"Note: {note}" in text


async def test_what_comes_close_passes_the_other_filters_too(call: Call) -> None:
    for role, count in [("vendor", 1), ("customer", 0)]:
        _, facts = await call("search_companies", query="Quynt Medica", role=role)
        assert (len(facts["companies"]), facts["shown"], facts["total"]) == (count, count, count)


async def test_what_comes_close_pages_and_counts(call: Call, crm: CrmClient) -> None:
    expected = [f"Brauerei Lindenhof {number:02}" for number in range(12)]
    for name in expected:
        await crm.companies.create(NewCompany(name=name))
    pages = [
        (await call("search_companies", query="Brauerei Lindnhof", limit=5, page=page)).facts
        for page in (1, 2, 3)
    ]
    assert sorted(name for page in pages for name in names(page)) == expected
    assert [(page["shown"], page["total"], page.get("next_page")) for page in pages] == [
        (5, 12, 2),
        (5, 12, 3),
        (2, 12, None),
    ]
    hits = (await call("search_crm", query="Brauerei Lindnhof")).facts
    assert (len(hits["hits"]), hits["total"]) == (10, 12)


async def test_what_could_not_be_compared_is_said(call: Call, wire: Any) -> None:
    def endless(request: httpx2.Request) -> httpx2.Response:
        page = int(request.url.params.get("page", 1))
        ids = [f"{page:04}{n:04}-0000-4000-8000-000000000000" for n in range(100)]
        rows = [] if "q" in request.url.params else [{"id": one, "name": "A"} for one in ids]
        total = 1_000_000 if rows else 0
        return httpx2.Response(200, json={"companies": rows, "page": page, "pageSize": 100, "total": total})

    wire.inner = httpx2.MockTransport(endless)
    found = (await call("search_companies", query="Brauerei")).facts
    assert shown(found) == ([], 0, ["Not all of these could be compared with it: companies."])


async def test_a_search_that_works_is_not_failed_by_the_other_look(client: Client, wire: Any) -> None:
    crm = wire.inner

    async def failing(request: httpx2.Request) -> httpx2.Response:
        if "q" in request.url.params:
            return await crm.handle_async_request(request)  # type: ignore[no-any-return]
        return httpx2.Response(500, json={"error": "Broken."})

    wire.inner = httpx2.MockTransport(failing)
    result = await client.call_tool("search_companies", {"query": "acme"})
    facts = result.structured_content
    assert facts is not None
    assert (names(facts), facts["notes"]) == (["Acme Inc.", "Acme Industries GmbH"], [NOT_LOOKED_FOR])


# A CRM that does not search


@pytest.fixture
def unsearching(wire: Any) -> list[httpx2.Request]:
    """The CRM ignores `q`, and sends all rows; here are its requests."""
    crm, requests = wire.inner, []

    async def ignoring(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        bare = httpx2.Request(
            request.method,
            request.url.copy_remove_param("q"),
            headers=request.headers,
            content=request.content,
        )
        return await crm.handle_async_request(bare)  # type: ignore[no-any-return]

    wire.inner = httpx2.MockTransport(ignoring)
    return requests


@pytest.mark.usefixtures("unsearching")
@pytest.mark.parametrize(
    ("tool", "query", "found"),
    [
        ("search_companies", "acme inc", ["Acme Inc."]),
        ("search_contacts", "Luc Lefevre", ["Luc Lefèvre"]),
        ("search_leads", "Alpenblick framework", ["Alpenblick framework contract"]),
    ],
)
async def test_where_the_crm_does_not_search_every_word_is_asked_for_all_the_same(
    call: Call, tool: str, query: str, found: list[str]
) -> None:
    for _ in range(2):
        assert shown((await call(tool, query=query)).facts) == (found, len(found), [])
    hits = (await call("search_crm", query=query)).facts["hits"]
    assert hits[0]["name"] == found[0]


async def test_where_the_crm_does_not_search_pages_and_filters_hold(
    call: Call, crm: CrmClient, unsearching: list[httpx2.Request]
) -> None:
    expected = [f"Zeta Vexa {number:02}" for number in range(7)]
    for number, name in enumerate([*expected, "Zeta Muxa", "Beta Vexa"]):
        await crm.companies.create(NewCompany(name=name, role="vendor" if number < 6 else "customer"))
    pages = [
        (await call("search_companies", query="vexa zeta", role="vendor", limit=4, page=page)).facts
        for page in (1, 2)
    ]
    assert sorted(name for page in pages for name in names(page)) == expected[:6]
    assert [(page["shown"], page["total"], page.get("next_page")) for page in pages] == [
        (4, 6, 2),
        (2, 6, None),
    ]
    # It is known by now, and not asked for again; nor are all read again for another query.
    await call("search_companies", query="vexa zeta")
    del unsearching[:]
    assert names((await call("search_companies", query="beta vexa")).facts) == ["Beta Vexa"]
    assert unsearching == []


@pytest.mark.usefixtures("unsearching")
@pytest.mark.parametrize("stage", ["", "open"])
async def test_where_the_crm_does_not_search_long_lists_page_and_count(
    call: Call, crm: CrmClient, find: Find, stage: str
) -> None:
    won = find("stages", name="Won")["id"]
    for number in range(130):
        await crm.leads.create(NewLead(title=f"Zeta Vexa {number:03}"))
    for title in ("Zeta Vexa won", "Beta Vexa"):
        lead = await crm.leads.create(NewLead(title=title))
        assert lead is not None
        await crm.leads.move(lead.id, won)
    count = 130 if stage else 131
    arguments = {"query": "vexa zeta", "limit": 50, **({"stage": stage} if stage else {})}
    pages = [(await call("search_leads", page=page, **arguments)).facts for page in (1, 2, 3)]
    assert len({row["id"] for page in pages for row in page["leads"]}) == count
    assert {page["total"] for page in pages} == {count}
    assert [page.get("next_page") for page in pages] == [2, 3, None]
    assert [page.get("notes") for page in pages] == [None] * 3


async def test_rows_that_show_but_part_of_the_query_are_said_to_be_unverified(call: Call, wire: Any) -> None:
    """The CRM may have looked at what it does not show."""

    def looking_at_more(request: httpx2.Request) -> httpx2.Response:
        rows = [{"id": "1" * 8 + "-0000-4000-8000-000000000000", "firstName": "Anna", "lastName": "Roth"}]
        found = rows if request.url.params.get("q") in (None, "anna acme") else []
        return httpx2.Response(200, json={"contacts": found, "page": 1, "pageSize": 100, "total": len(found)})

    wire.inner = httpx2.MockTransport(looking_at_more)
    facts = (await call("search_contacts", query="anna acme")).facts
    note = "The filter `q` could not be verified: the CRM's rows do not show it."
    assert shown(facts) == (["Anna Roth"], 1, [note])


async def test_a_search_of_all_kinds_that_finds_nothing_shows_what_shares_a_word(call: Call) -> None:
    facts = (await call("search_crm", query="lefevre acme")).facts
    assert facts["notes"] == ['Nothing has "lefevre acme" in it; shown is what shares a word with it.']
    assert {"Acme Inc.", "Luc Lefèvre", "Acme annual licence"} <= {hit["name"] for hit in facts["hits"]}
    assert (await call("search_crm", query="xqwzt kjhgv")).facts["hits"] == []
