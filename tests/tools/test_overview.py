"""Answers over everything: the pipeline in numbers, a search of all kinds, records with all of theirs."""

import re
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from datetime import UTC, datetime, timedelta
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client

from crm_mcp.access import CrmAccess
from crm_mcp.crm import CrmClient
from crm_mcp.crm.companies import NewCompany
from crm_mcp.crm.leads import NewLead
from crm_mcp.sandbox.app import create_app
from crm_mcp.sandbox.demo_data import seed
from crm_mcp.sandbox.store import Store
from crm_mcp.server import build_server
from crm_mcp.tools import overview
from crm_mcp.tools.catalogue import DEFAULT_TOOLSETS

from .crms import hiding

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]
Find = Callable[..., dict[str, Any]]
Row = dict[str, Any]
KINDS = ("companies", "contacts", "leads")


def failing(path: str, crm: httpx2.AsyncBaseTransport) -> httpx2.MockTransport:
    """A CRM that fails where the path ends so."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith(path):
            return httpx2.Response(500, json={"error": "Broken."})
        return await crm.handle_async_request(request)

    return httpx2.MockTransport(answer)


def failed(part: str) -> str:
    return f'{part} could not be fetched: The CRM failed with status 500: "Broken". Try again later.'


# The pipeline in numbers


def open_leads(store: Store) -> list[Row]:
    return store.all(
        "SELECT l.*, s.name AS stage, c.name AS company FROM leads l JOIN stages s ON s.id = l.stage_id"
        " LEFT JOIN companies c ON c.id = l.company_id WHERE s.kind = 'open'"
    )


def sums(leads: Iterable[Row]) -> dict[str, Any]:
    """What a group of the summary is to say of these leads."""
    leads = list(leads)
    currencies = sorted({lead["currency"] for lead in leads})
    values = []
    for currency in currencies:
        of_currency = [lead for lead in leads if lead["currency"] == currency]
        value = sum(lead["value"] for lead in of_currency)
        weighted = sum(lead["value"] * lead["probability_pct"] / 100 for lead in of_currency)
        values.append({"currency": currency, "value": value, "weighted": round(weighted, 2)})
    return {"leads": len(leads), "values": values}


def grouped(leads: Iterable[Row], by: str) -> dict[str, dict[str, Any]]:
    groups: defaultdict[str, list[Row]] = defaultdict(list)
    for lead in leads:
        groups[lead[by] or "unassigned"].append(lead)
    return {name: sums(rows) for name, rows in groups.items()}


def told(facts: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {group["name"]: {"leads": group["leads"], "values": group["values"]} for group in facts["groups"]}


@pytest.mark.parametrize(("by", "column"), [("stage", "stage"), ("owner", "owner_user_id")])
async def test_the_sums_are_those_of_all_open_leads(call: Call, sandbox: Store, by: str, column: str) -> None:
    leads = open_leads(sandbox)
    _, facts = await call("summarize_pipeline", by=by)
    assert told(facts) == grouped(leads, column)
    assert facts["total"] == {"name": "total", **sums(leads)}
    assert (facts["counted"], facts["complete"], facts["by"]) == (len(leads), True, by)


async def test_owners_have_short_ids_in_text_and_whole_ones_in_facts(call: Call) -> None:
    text, facts = await call("summarize_pipeline", by="owner")
    owners = [group["name"] for group in facts["groups"] if group["name"] != "unassigned"]
    assert owners
    for owner in owners:
        assert owner not in text
        assert f"\n- {owner[:8]} · " in text


async def test_companies_of_one_name_are_told_apart_by_their_ids(call: Call, crm: CrmClient) -> None:
    ids = []
    for number in range(2):
        twin = await crm.companies.create(NewCompany(name="Twin Works", email=f"{number}@{number}.example"))
        assert twin
        await crm.leads.create(NewLead(title="Deal", company_id=twin.id, value=9_000_000.0))
        ids.append(twin.id)
    text, facts = await call("summarize_pipeline", by="company")
    twins = [group for group in facts["groups"] if group["name"] == "Twin Works"]
    assert sorted(group["id"] for group in twins) == sorted(ids)
    assert all(any(line.endswith(f" · {one[:8]}") for line in text.splitlines()) for one in ids)


async def test_an_owner_whose_short_id_was_shown_is_found_by_it(call: Call, sandbox: Store) -> None:
    owner = "abcdef12-0000-4000-8000-000000000001"
    lead = min(open_leads(sandbox), key=lambda lead: lead["created_at"])
    for number in range(100):
        await call("create_lead", title=f"Newer {number}")
    sandbox.execute("UPDATE leads SET owner_user_id = ? WHERE id = ?", owner, lead["id"])
    assert "- abcdef12 · 1 lead" in (await call("summarize_pipeline", by="owner")).text
    assert (await call("search_leads", owner="abcdef12")).facts["total"] == 1


async def test_the_largest_companies_are_shown_and_how_many_there_are(call: Call, sandbox: Store) -> None:
    expected = grouped(open_leads(sandbox), "company")
    text, facts = await call("summarize_pipeline", by="company")
    assert len(facts["groups"]) == 15
    assert told(facts).items() <= expected.items()
    assert facts["notes"] == [f"The 15 largest of {len(expected)} groups are shown, by their value in EUR."]

    def in_euros(group: dict[str, Any]) -> float:
        return sum(one["value"] for one in group["values"] if one["currency"] == "EUR")

    euros = [in_euros(group) for group in facts["groups"]]
    every = map(in_euros, expected.values())
    assert euros == sorted(every, reverse=True)[:15]
    assert f"Note: {facts['notes'][0]}" in text


async def test_only_my_leads_or_those_of_a_company_are_counted_where_asked(
    call: Call, sandbox: Store
) -> None:
    me = sandbox.caller(sandbox.credentials.api_key)
    assert me is not None
    leads = open_leads(sandbox)
    each = [
        ({"owner": "me"}, [lead for lead in leads if lead["owner_user_id"] == me.user_id]),
        ({"owner": "unassigned"}, [lead for lead in leads if lead["owner_user_id"] is None]),
        ({"company": "Kestrel"}, [lead for lead in leads if lead["company"] == "Kestrel Solar Ltd"]),
    ]
    for _, wanted in each:
        late = {"type": "task", "subject": "Overdue", "due_at": "2020-01-31"}
        await call("log_activity", **late, lead=wanted[0]["id"], repeat=True)
    for arguments, wanted in each:
        _, facts = await call("summarize_pipeline", **arguments)
        assert facts["total"] == {"name": "total", **sums(wanted)}
        ids = {lead["id"] for lead in wanted}
        assert {task["lead_id"] for task in facts["overdue_tasks"]} <= ids
        assert {lead["id"] for lead in facts["stale"]} <= ids
        tasks = sandbox.all(
            "SELECT lead_id FROM activities WHERE type = 'task' AND completed_at IS NULL AND due_at < ?",
            sandbox.now(),
        )
        assert 0 < facts["overdue_total"] == sum(task["lead_id"] in ids for task in tasks) < len(tasks)


async def test_leads_that_nobody_worked_on_come_longest_first(call: Call, sandbox: Store) -> None:
    text, facts = await call("summarize_pipeline", idle_days=20)
    since = (datetime.now(UTC) - timedelta(days=20)).isoformat()
    stale = sorted(
        (lead for lead in open_leads(sandbox) if lead["last_activity_at"] < since),
        key=lambda lead: lead["last_activity_at"],
    )
    assert [lead["id"] for lead in facts["stale"]] == [lead["id"] for lead in stale[:5]]
    assert (facts["stale_total"], facts["idle_days"]) == (len(stale), 20)
    more = "5 shown; search_leads(idle_days=20) lists all"
    assert f"Without activity for 20 days: {len(stale)}, {more}\n" in text
    text, facts = await call("summarize_pipeline", idle_days=20, owner="me")
    more = 'search_leads(idle_days=20, owner="me") lists all'
    assert f"Without activity for 20 days: {facts['stale_total']}, 5 shown; {more}\n" in text
    assert (await call("search_leads", idle_days=20, owner="me")).facts["total"] == facts["stale_total"]


async def test_a_group_is_a_line_with_value_and_forecast(call: Call, sandbox: Store) -> None:
    text, facts = await call("summarize_pipeline")
    first = facts["groups"][0]
    money = " · ".join(
        f"{value['currency']} {value['value']:,.0f} (weighted {value['weighted']:,.0f})"
        for value in first["values"]
    )
    assert text.splitlines()[:2] == [
        f"Open leads by stage, {facts['counted']} counted",
        f"- New · {first['leads']} leads · {money}",
    ]
    assert [group["name"] for group in facts["groups"]] == ["New", "Qualified", "Proposal", "Negotiation"]


async def test_a_lead_without_a_probability_has_its_stages_and_one_without_a_currency_its_own_sum(
    call: Call, crm: CrmClient, sandbox: Store
) -> None:
    home = await crm.companies.create(NewCompany(name="Zzorn"))
    assert home
    for value in (100.0, 300.0):
        await crm.leads.create(NewLead(title=f"Deal {value}", company_id=home.id, value=value))
    sandbox.execute("UPDATE stages SET default_probability_pct = 20 WHERE name = 'New'")
    where = "company_id = ? AND value = 300"
    sandbox.execute("UPDATE leads SET probability_pct = NULL WHERE company_id = ?", home.id)
    sandbox.execute(f"UPDATE leads SET currency = NULL WHERE {where}", home.id)  # noqa: S608
    sandbox.execute("UPDATE leads SET currency = 'EUR' WHERE company_id = ? AND value = 100", home.id)
    _, facts = await call("summarize_pipeline", company="Zzorn")
    assert facts["total"]["values"] == [
        {"currency": "?", "value": 300, "weighted": 60},
        {"currency": "EUR", "value": 100, "weighted": 20},
    ]


async def test_what_a_summary_took_the_company_for_is_said(call: Call) -> None:
    _, facts = await call("summarize_pipeline", company="Kestrell Solr")
    assert facts["notes"] == ['No company is called "Kestrell Solr"; taken for Kestrel Solar Ltd.']


async def test_leads_that_do_not_show_their_owner_are_said_to_be_left_out(call: Call, wire: Any) -> None:
    wire.inner = hiding("ownerUserId", wire.inner)
    text, facts = await call("summarize_pipeline", owner="unassigned")
    assert facts["counted"] == 0
    assert re.search(r"Note: \d+ leads do not show their owner, and were left out\.", text)


@pytest.fixture
def large() -> Iterable[Store]:
    """10,000 leads."""
    store = Store.open(None)
    seed(store, companies=6_667)
    yield store
    store.close()


@pytest.fixture
async def large_client(large: Store) -> AsyncIterator[Client]:
    key = large.credentials

    def open_crm() -> CrmClient:
        return CrmClient(
            "http://localhost", key.api_key, key.entity_id, transport=httpx2.ASGITransport(create_app(large))
        )

    server = build_server(CrmAccess(open_crm), DEFAULT_TOOLSETS, read_only=True, sandbox=True)
    async with Client(server) as client:
        yield client


async def test_ten_thousand_leads_are_summed_in_one_call_that_tells_how_far_it_is(
    large: Store, large_client: Client
) -> None:
    told_progress: list[tuple[float, float | None, str | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told_progress.append((done, total, message))

    with anyio.fail_after(60):
        result = await large_client.call_tool("summarize_pipeline", {}, progress_callback=progress)
    facts = result.structured_content
    assert facts is not None
    leads = open_leads(large)
    assert (told(facts), facts["counted"], facts["complete"]) == (grouped(leads, "stage"), len(leads), True)
    [block] = result.content
    assert block.type == "text"
    assert len(block.text) < 6_000
    assert told_progress[0] == (100, 10_001, "100 leads read")
    assert [done for done, _, _ in told_progress] == sorted({done for done, _, _ in told_progress})
    tasks = large.all("SELECT due_at, completed_at FROM activities WHERE type = 'task'")
    assert told_progress[-1] == (12_944, 12_944, f"{len(tasks)} tasks read")
    overdue = [task for task in tasks if not task["completed_at"] and task["due_at"] < large.now()]
    assert (facts["overdue_total"], facts.get("notes")) == (len(overdue), None)
    # The longest overdue first.
    first = sorted(datetime.fromisoformat(task["due_at"]) for task in overdue)[:5]
    assert [datetime.fromisoformat(task["due_at"]) for task in facts["overdue_tasks"]] == first


async def test_the_pages_of_a_summary_are_asked_for_several_at_once(
    call: Call, crm: CrmClient, wire: Any
) -> None:
    for number in range(500):
        await crm.leads.create(NewLead(title=f"Vexa {number}"))
    server, now, most = wire.inner, 0, 0

    async def far(request: httpx2.Request) -> httpx2.Response:
        nonlocal now, most
        is_page = request.url.path.endswith("/leads")
        now += is_page
        most = max(most, now)
        await anyio.sleep(0.01)
        now -= is_page
        return await server.handle_async_request(request)

    wire.inner = httpx2.MockTransport(far)
    await call("summarize_pipeline", by="owner")
    assert most == 4


async def test_leads_of_an_owner_are_looked_for_among_ten_thousand(
    large: Store, large_client: Client
) -> None:
    told_progress: list[str | None] = []

    async def progress(_done: float, _total: float | None, message: str | None) -> None:
        told_progress.append(message)

    result = await large_client.call_tool(
        "search_leads", {"owner": "unassigned", "limit": 5}, progress_callback=progress
    )
    facts = result.structured_content
    assert facts is not None
    unassigned = large.number("SELECT count(*) FROM leads WHERE owner_user_id IS NULL")
    assert (facts["shown"], facts["total"], facts.get("notes")) == (5, unassigned, None)
    assert told_progress[-1] == "10001 leads read"


@pytest.mark.parametrize("kind", ["companies", "contacts", "leads"])
async def test_a_search_that_the_crm_ignores_tells_how_far_it_is(
    client: Client, wire: Any, kind: str
) -> None:
    def ignoring(request: httpx2.Request) -> httpx2.Response:
        page = int(request.url.params["page"])
        rows = [
            {
                "id": f"{page:04}{n:04}-0000-4000-8000-000000000000",
                "name": "A",
                "title": "A",
                "email": "a@b.c",
            }
            for n in range(100)
        ]
        return httpx2.Response(200, json={kind: rows, "page": page, "pageSize": 100, "total": 10_000})

    told: list[str | None] = []

    async def progress(_done: float, _total: float | None, message: str | None) -> None:
        told.append(message)

    wire.inner = httpx2.MockTransport(ignoring)
    await client.call_tool(f"search_{kind}", {"query": "x"}, progress_callback=progress)
    assert f"2000 {kind} read" in told


async def test_a_lead_in_an_unknown_stage_is_counted_too(call: Call, sandbox: Store, wire: Any) -> None:
    crm = wire.inner

    async def without_first_stage(request: httpx2.Request) -> httpx2.Response:
        response = await crm.handle_async_request(request)
        if request.url.path.endswith("/pipeline-stages"):
            await response.aread()
            return httpx2.Response(200, json={"stages": response.json()["stages"][1:]})
        return response

    wire.inner = httpx2.MockTransport(without_first_stage)
    _, facts = await call("summarize_pipeline")
    expected = grouped(open_leads(sandbox), "stage")
    new = sandbox.one("SELECT id FROM stages WHERE name = 'New'")
    assert new is not None
    expected[new["id"]] = expected.pop("New")
    assert told(facts) == expected


# A search of all kinds


async def test_a_search_finds_all_kinds_the_best_first(call: Call, find: Find) -> None:
    acme = find("companies", name="Acme Inc.")
    text, facts = await call("search_crm", query="Acme")
    assert facts["hits"][0] == {
        "kind": "company",
        "id": acme["id"],
        "name": "Acme Inc.",
        "detail": "https://www.acme-inc.example",
    }
    assert {hit["kind"] for hit in facts["hits"]} == {"company", "contact", "lead"}
    assert f"company · Acme Inc. · https://www.acme-inc.example · {acme['id'][:8]}" in text
    licence = find("leads", title="Acme annual licence")["id"]
    assert f"lead · Acme annual licence · Acme Inc., Qualified, USD 48,000 · {licence[:8]}" in text


async def test_an_exact_name_is_first_whatever_its_kind(call: Call, find: Find) -> None:
    for query, kind in [
        ("Anna Müller", "contact"),
        ("Acme annual licence", "lead"),
        ("Acme Industries", "company"),
    ]:
        _, facts = await call("search_crm", query=query)
        assert (facts["hits"][0]["kind"], facts["hits"][0]["name"].startswith(query)) == (kind, True)


async def test_a_search_costs_two_calls_of_each_kind_and_the_names(call: Call, wire: Any) -> None:
    await call("search_crm", query="Acme")
    # What has other accents is looked for on the first page of all, which is kept.
    assert sorted(request.path.removeprefix("/api/crm/") for request in wire.sent) == [
        *("companies", "companies"),
        *("contacts", "contacts"),
        *("leads", "leads"),
        "pipeline-stages",
    ]


async def test_a_search_tells_how_much_there_is(call: Call) -> None:
    text, facts = await call("search_crm", query="example")
    counts = {kind: (await call(f"search_{kind}", query="example"))[1]["total"] for kind in KINDS}
    assert (len(facts["hits"]), facts["total"]) == (10, sum(counts.values()))
    more = "There are more; search_companies, search_contacts and search_leads list all."
    assert facts["notes"] == [more]
    assert text.startswith(f"Found: 10 of {facts['total']}\n")
    assert text.endswith(f"Note: {more}")


async def test_a_search_tells_how_much_there_is_at_least_where_the_crm_does_not_tell(
    call: Call, crm: CrmClient, wire: Any
) -> None:
    for number in range(210):
        await crm.companies.create(NewCompany(name=f"Vexa {number}"))
    wire.inner = hiding("total", wire.inner)
    text, facts = await call("search_crm", query="Vexa")
    assert (len(facts["hits"]), facts.get("total"), facts["at_least"]) == (10, None, 101)
    assert text.startswith("Found: 10 of at least 101\n")


async def test_of_a_search_no_kind_crowds_out_another(call: Call, crm: CrmClient) -> None:
    for number in range(12):
        await crm.companies.create(NewCompany(name=f"Vexa Partner {number:02}"))
    await crm.leads.create(NewLead(title="Vexa"))
    await call("create_contact", first_name="Vexa", last_name="Smith")
    _, facts = await call("search_crm", query="Vexa")
    assert [hit["name"] for hit in facts["hits"] if hit["kind"] != "company"] == ["Vexa", "Vexa Smith"]
    assert facts["hits"][0]["name"] == "Vexa"
    assert (len(facts["hits"]), facts["total"]) == (10, 14)


async def test_an_exact_name_is_found_among_many_that_have_it_in_them(
    call: Call, crm: CrmClient, sandbox: Store
) -> None:
    await crm.companies.create(NewCompany(name="Vexa"))
    for number in range(30):
        await crm.companies.create(NewCompany(name=f"Vexa Partner {number:02}"))
        await call("create_contact", first_name="Vexa", last_name=f"Smith {number:02}", allow_duplicate=True)
    sandbox.execute("UPDATE companies SET updated_at = '2020-01-01T00:00:00.000Z' WHERE name = 'Vexa'")
    _, facts = await call("search_crm", query="Vexa")
    assert facts["hits"][0]["name"] == "Vexa"
    assert Counter(hit["kind"] for hit in facts["hits"]) == {"company": 6, "contact": 4}


async def test_a_search_that_finds_nothing_says_so(call: Call) -> None:
    assert await call("search_crm", query="xqwzt") == ("Nothing found.", {"hits": [], "total": 0})


async def test_a_search_for_what_is_not_there_ends_soon_and_says_what_it_did_not_see(
    call: Call, wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def slow(request: httpx2.Request) -> httpx2.Response:
        await anyio.sleep(0.02)
        kind, page = request.url.path.rpartition("/")[2], int(request.url.params.get("page", 1))
        ids = [f"{page:04}{n:04}-0000-4000-8000-000000000000" for n in range(100)]
        rows = [] if "q" in request.url.params else [{"id": one, "name": "A", "title": "A"} for one in ids]
        total = 10_000 if rows else 0
        return httpx2.Response(200, json={kind: rows, "page": page, "pageSize": 100, "total": total})

    wire.inner = httpx2.MockTransport(slow)
    monkeypatch.setattr(overview, "CLOSE_SECONDS", 0.3)
    _, facts = await call("search_crm", query="Xyzzyfoo Bar")
    note = "Not all of these could be compared with it: companies, contacts, leads."
    assert facts == {"hits": [], "total": 0, "notes": [note]}
    # All kinds were looked at; one after another there had been time for one of them only.
    assert {request.path.rpartition("/")[2] for request in wire.sent if "q" not in request.query} == set(
        KINDS
    )
    assert len(wire.sent) < 100


async def test_a_kind_that_cannot_be_searched_is_named(call: Call, wire: Any) -> None:
    wire.inner = failing("/contacts", wire.inner)
    _, facts = await call("search_crm", query="Acme Industries")
    assert facts["notes"] == [failed("contacts")]
    assert ("total" in facts, facts["at_least"]) == (False, len(facts["hits"]))
    assert {hit["kind"] for hit in facts["hits"]} == {"company"}


# Records with what belongs to them


@pytest.mark.parametrize(
    ("tool", "arguments", "path", "part"),
    [
        ("get_company", {"company": "Acme Inc."}, "/contacts", "contacts"),
        ("get_company", {"company": "Acme Inc."}, "/leads", "open leads"),
        ("get_company", {"company": "Acme Inc."}, "/activities", "activities"),
        ("get_contact", {"contact": "Luc Lefèvre"}, "/company-memberships", "memberships"),
        ("get_contact", {"contact": "Luc Lefèvre"}, "/leads", "leads"),
        ("get_lead", {"lead": "Quint annual licence"}, "/timeline", "timeline"),
    ],
)
async def test_a_part_that_fails_is_named_and_costs_nothing_else(
    call: Call, wire: Any, tool: str, arguments: dict[str, Any], path: str, part: str
) -> None:
    _, whole = await call(tool, **arguments)
    wire.inner = failing(path, wire.inner)
    _, rest = await call(tool, **arguments)
    # What there is more of the company's activities is told besides.
    assert failed(part) in rest.pop("notes")
    whole.pop("notes", None)
    assert rest == {name: value for name, value in whole.items() if name != part.replace(" ", "_")}


async def test_a_contact_that_cannot_be_fetched_does_not_cost_the_lead(
    call: Call, wire: Any, find: Find
) -> None:
    lead = find("leads", title="Quint annual licence")
    wire.inner = failing(f"/contacts/{lead['contact_id']}", wire.inner)
    _, facts = await call("get_lead", lead=lead["id"])
    assert (facts["lead"]["company"], facts["notes"]) == ("Quint Medica Oy", [failed("contact")])


async def test_stages_that_cannot_be_fetched_cost_a_name(call: Call, wire: Any, find: Find) -> None:
    lead = find("leads", title="Quint annual licence")
    wire.inner = failing("/pipeline-stages", wire.inner)
    text, facts = await call("get_lead", lead=lead["id"])
    assert text.startswith(
        f"- Quint annual licence · Quint Medica Oy · stage {lead['stage_id'][:8]} · EUR 100,500 · "
    )
    assert "notes" not in facts


async def test_a_close_match_that_was_read_is_said(call: Call) -> None:
    text, facts = await call("get_company", company="Quynt Medica")
    assert facts["notes"] == ['No company is called "Quynt Medica"; taken for Quint Medica Oy.']
    assert 'Note: No company is called "Quynt Medica"; taken for Quint Medica Oy.' in text


async def test_fields_that_nobody_documented_come_where_asked_for(call: Call, wire: Any) -> None:
    crm = wire.inner

    async def richer(request: httpx2.Request) -> httpx2.Response:
        response = await crm.handle_async_request(request)
        body = await response.aread()
        if request.url.path.endswith(("/contacts", "/leads", "/activities", "/companies")):
            return httpx2.Response(200, content=body)
        return httpx2.Response(200, json={**httpx2.Response(200, content=body).json(), "tier": "gold"})

    wire.inner = httpx2.MockTransport(richer)
    _, normal = await call("get_company", company="Acme Inc.")
    text, full = await call("get_company", company="Acme Inc.", detail="full")
    assert full == {**normal, "other": {"tier": "gold"}}
    assert "\ntier: gold\n" in text


async def test_a_company_with_very_much_is_told_in_part(call: Call, crm: CrmClient, sandbox: Store) -> None:
    created = await crm.companies.create(NewCompany(name="Giant"))
    assert created is not None
    sandbox.execute("UPDATE leads SET company_id = ?, closed_at = NULL", created.id)
    _, facts = await call("get_company", company="Giant")
    assert len(facts["open_leads"]) == 10
    count = len(open_leads(sandbox))
    assert facts["notes"] == [f'{count} open leads, 10 shown; search_leads(company, stage="open") lists all.']


async def test_a_summary_and_an_empty_list_say_which_company_was_taken(call: Call) -> None:
    text, facts = await call("summarize_pipeline", company="acme")
    assert text.splitlines()[0] == "Open leads of Acme Inc. by stage, 1 counted"
    assert (facts["company"], facts["company_name"]) == ("acme", "Acme Inc.")
    await call("create_company", name="Newcomer GmbH")
    for tool in ("search_leads", "search_contacts", "list_activities"):
        text, _ = await call(tool, company="newcomer")
        assert text.splitlines()[1] == "Note: Looked among those of Newcomer GmbH."
