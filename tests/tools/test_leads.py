import re
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from mcp import Client

from .crms import REFUSED, adding, hiding, refusing
from .expected import CONTACT, LEAD, day, facts, line, moment, prose, short

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]
Refusal = Callable[..., Awaitable[str]]
Find = Callable[..., dict[str, Any]]

# What get_lead shows of a lead, besides the names that it knows.
WHOLE = (
    f"{LEAD} contact_id owner_user_id probability_pct source description lost_reason created_at updated_at"
)


@pytest.fixture
def licence(find: Find) -> dict[str, Any]:
    """A lead of Acme Inc. in the stage Qualified."""
    return find("leads", title="Acme annual licence")


@pytest.fixture
def stages(sandbox: Any) -> dict[str, str]:
    return {row["name"]: row["id"] for row in sandbox.all("SELECT id, name FROM stages")}


@pytest.fixture
def anna(find: Find, licence: dict[str, Any]) -> dict[str, Any]:
    """The contact of the licence, as a row shows it."""
    return facts(
        find("contacts", id=licence["contact_id"]),
        CONTACT,
        name="Anna Müller",
        company_id=licence["company_id"],
        company="Acme Inc.",
    )


def contact_line(contact: dict[str, Any]) -> str:
    fields = ("name", "job_title", "company", "email", "phone")
    return line(*(contact[field] for field in fields), short(contact["id"]))


async def test_create_lead_answers_with_its_row_and_get_lead_shows_all_of_it(
    call: Call, find: Find, licence: dict[str, Any], anna: dict[str, Any], stages: dict[str, str]
) -> None:
    given = {
        "title": "Rocket parts",
        "value": 1234.5,
        "expected_close_date": "2031-02-28",
        "source": "trade fair",
        "description": "Twelve rockets.",
    }

    created = await call(
        "create_lead",
        **given,
        company="Acme Inc",
        contact=anna["email"],
        stage="proposal",
        currency="usd",
        probability=40,
        owner=licence["owner_user_id"],
    )

    lead = find("leads", title="Rocket parts")
    written = {
        "company_id": licence["company_id"],
        "contact_id": licence["contact_id"],
        "owner_user_id": licence["owner_user_id"],
        "stage_id": stages["Proposal"],
        "currency": "USD",
        "probability_pct": 40,
    }
    assert lead | given | written == lead
    row = f"Rocket parts · Acme Inc. · Proposal · USD 1,234.50 · close 2031-02-28 · {short(lead['id'])}"
    names = {"stage": "Proposal", "company": "Acme Inc."}
    assert created == (f"Lead created.\n- {row}", {"lead": facts(lead, LEAD, **names)})
    assert await call("get_lead", lead="rocket parts") == (
        f"""\
- {row}
owner_user_id: {short(lead["owner_user_id"])}
probability_pct: 40
source: trade fair
contact: 1
- {contact_line(anna)}
{prose("description: Twelve rockets.", "timeline, newest first: none")}""",
        {"lead": facts(lead, WHOLE, **names), "contact": anna, "timeline": []},
    )


async def test_create_lead_without_stage_starts_in_the_first(call: Call, find: Find) -> None:
    text, found = await call("create_lead", title="Rocket parts")
    lead = find("leads", title="Rocket parts")
    assert lead["probability_pct"] == 10
    assert text == f"Lead created.\n- Rocket parts · New · {short(lead['id'])}"
    assert found == {"lead": facts(lead, LEAD, stage="New")}


async def test_create_lead_in_a_stage_that_is_not_there_is_not_sent(refusal: Call, wire: Any) -> None:
    assert await refusal("create_lead", title="Rocket parts", stage="Closing") == (
        'No stage "Closing". Stages: New, Qualified, Proposal, Negotiation, Won, Lost. '
        "Nothing was sent to the CRM."
    )
    assert wire.writes == []


async def test_search_leads_shows_a_line_each(call: Call, licence: dict[str, Any]) -> None:
    assert await call("search_leads", query="annual licence", company="acme-inc.example") == (
        f"""\
Leads: 1
- Acme annual licence · Acme Inc. · Qualified · USD 48,000 · close {day(licence["expected_close_date"])}\
 · last activity {day(licence["last_activity_at"])} · {short(licence["id"])}""",
        {"shown": 1, "total": 1, "leads": [facts(licence, LEAD, stage="Qualified", company="Acme Inc.")]},
    )


@pytest.mark.parametrize(
    ("column", "said"), [("company", "Acme Inc"), ("contact", "anna.muller@acme-inc.example")]
)
async def test_search_leads_of_a_company_or_contact(
    call: Call, sandbox: Any, licence: dict[str, Any], column: str, said: str
) -> None:
    _, found = await call("search_leads", **{column: said})
    rows = sandbox.all(f"SELECT id FROM leads WHERE {column}_id = ?", licence[f"{column}_id"])  # noqa: S608
    assert {lead["id"] for lead in found["leads"]} == {row["id"] for row in rows}


async def test_search_leads_of_a_stage(call: Call, sandbox: Any, stages: dict[str, str]) -> None:
    rows = sandbox.all(
        "SELECT leads.*, companies.name AS company FROM leads JOIN companies ON companies.id = company_id"
        " WHERE stage_id = ? ORDER BY leads.updated_at DESC, leads.id",
        stages["Won"],
    )
    lines = [
        f"- {row['title']} · {row['company']} · Won · {row['currency']} {row['value']:,.0f}"
        f" · closed {day(row['closed_at'])} · last activity {day(row['last_activity_at'])}"
        f" · {short(row['id'])}"
        for row in rows
    ]
    assert await call("search_leads", stage="won", limit=50) == (
        "\n".join([f"Leads: {len(rows)}", *lines]),
        {
            "shown": len(rows),
            "total": len(rows),
            "leads": [facts(row, f"{LEAD} company", stage="Won") for row in rows],
        },
    )


async def test_search_leads_of_a_kind_that_several_stages_have_finds_all_of_them(
    call: Call, sandbox: Any, licence: dict[str, Any]
) -> None:
    sandbox.execute("UPDATE leads SET closed_at = updated_at WHERE id = ?", licence["id"])
    rows = sandbox.all(
        "SELECT leads.id FROM leads JOIN stages ON stages.id = stage_id WHERE kind = 'open'"
        " AND leads.id != ? ORDER BY leads.updated_at DESC, leads.id",
        licence["id"],
    )
    _, found = await call("search_leads", stage="Open", limit=20, page=2)
    assert [lead["id"] for lead in found["leads"]] == [row["id"] for row in rows[20:40]]
    assert found["total"] == len(rows) > 40
    of_acme = await call("search_leads", stage="open", company="Acme Inc.")
    assert of_acme.text == "Leads: 0\nNote: Looked among those of Acme Inc."


async def test_a_lead_is_moved_to_one_stage_and_not_to_a_kind(refusal: Refusal, wire: Any) -> None:
    problem = await refusal("move_lead_stage", lead="Acme", stage="open")
    head, *candidates, _ = problem.splitlines()
    assert head == '"open" fits more than one stage. Say the id of the one that is meant:'
    assert [line.split(" · ")[0] for line in candidates] == [
        "- New",
        "- Qualified",
        "- Proposal",
        "- Negotiation",
    ]
    assert wire.writes == []


@pytest.mark.parametrize(
    ("owner", "condition"),
    [
        ("me", "owner_user_id = (SELECT user_id FROM api_keys)"),
        ("unassigned", "owner_user_id IS NULL"),
        ("{}", "owner_user_id = '{}'"),
    ],
)
async def test_search_leads_of_an_owner_pages_and_counts_over_all(
    call: Call, sandbox: Any, licence: dict[str, Any], owner: str, condition: str
) -> None:
    sandbox.execute("UPDATE leads SET owner_user_id = NULL WHERE title LIKE 'Acme%'")
    said, where = (text.format(licence["owner_user_id"]) for text in (owner, condition))
    rows = sandbox.all(f"SELECT id FROM leads WHERE {where} ORDER BY updated_at DESC, id")  # noqa: S608
    size = len(rows) - 1

    first = await call("search_leads", owner=said, limit=size)
    second = await call("search_leads", owner=said, limit=size, page=2)

    assert [lead["id"] for page in (first, second) for lead in page.facts["leads"]] == [
        row["id"] for row in rows
    ]
    assert [page.text.splitlines()[0] for page in (first, second)] == [
        f"Leads: {size} of {len(rows)}; page=2 shows the next",
        f"Leads: 1 of {len(rows)}",
    ]
    assert [page.facts.get("next_page") for page in (first, second)] == [2, None]


async def test_search_leads_without_activity_finds_open_ones_the_idlest_first(
    call: Call, sandbox: Any
) -> None:
    before = datetime.now(UTC) - timedelta(days=20)
    [never] = sandbox.all("SELECT id FROM leads WHERE title = 'Acme annual licence'")
    sandbox.execute(
        "UPDATE leads SET last_activity_at = NULL, created_at = '2020-01-01T00:00:00.000Z' WHERE id = ?",
        never["id"],
    )
    rows = sandbox.all(
        "SELECT leads.id FROM leads JOIN stages ON stages.id = stage_id WHERE kind = 'open'"
        " AND coalesce(last_activity_at, leads.created_at) < ?"
        " ORDER BY coalesce(last_activity_at, leads.created_at), leads.updated_at DESC, leads.id",
        before.isoformat(),
    )
    _, found = await call("search_leads", idle_days=20, limit=50)
    assert [lead["id"] for lead in found["leads"]] == [row["id"] for row in rows]
    assert (found["shown"], found["total"]) == (len(rows), len(rows))
    assert never["id"] in {row["id"] for row in rows}


@pytest.mark.parametrize(
    ("hidden", "arguments"),
    [
        ("ownerUserId", {"owner": "unassigned"}),
        ("lastActivityAt", {"idle_days": 1}),
        ("stageId", {"stage": "open"}),
    ],
)
async def test_leads_that_do_not_show_what_was_asked_for_are_left_out_and_told(
    call: Call, sandbox: Any, wire: Any, hidden: str, arguments: dict[str, Any]
) -> None:
    wire.inner = hiding("createdAt", hiding(hidden, wire.inner))
    [count] = sandbox.all(
        "SELECT count(*) AS leads FROM leads JOIN stages ON stages.id = stage_id"
        + " WHERE kind = 'open'" * ("owner" not in arguments)
    )
    text, found = await call("search_leads", **arguments)
    note = f"{count['leads']} rows do not show what was asked for, and were left out."
    assert (text, found) == (
        f"Leads: 0\nNote: {note}",
        {"shown": 0, "leads": [], "notes": [note]},
    )


async def test_no_closed_lead_is_idle_and_that_is_said(call: Call) -> None:
    _, found = await call("search_leads", stage="won", idle_days=10)
    note = "With `idle_days` only open leads are listed, and no stage that was asked for is open."
    assert (found["leads"], found["notes"]) == ([], [note])


async def test_a_lead_called_today_is_not_idle_where_the_crm_does_not_show_its_activity(
    call: Call, sandbox: Any, wire: Any, licence: dict[str, Any]
) -> None:
    sandbox.execute(
        "UPDATE leads SET created_at = '2025-01-01T00:00:00.000Z', updated_at = '2031-01-01T00:00:00.000Z'"
        " WHERE id = ?",
        licence["id"],
    )
    sandbox.execute("UPDATE leads SET created_at = ? WHERE id <> ?", sandbox.now(), licence["id"])
    await call("log_activity", type="call", subject="Today", lead=licence["id"])
    wire.inner = hiding("lastActivityAt", wire.inner)
    _, found = await call("search_leads", idle_days=30)
    assert (found["leads"], found["notes"]) == (
        [],
        # The others are too young to be idle.
        ["1 rows do not show what was asked for, and were left out."],
    )
    _, summary = await call("summarize_pipeline", idle_days=30)
    assert (summary["stale"], summary["stale_total"], summary["notes"]) == (
        [],
        0,
        ["1 leads do not show their last activity, and may be stale or not."],
    )


async def test_a_list_that_is_selected_here_tells_how_far_it_is(client: Client, sandbox: Any) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told.append((done, total, message))

    [row] = sandbox.all("SELECT count(*) AS leads FROM leads")
    await client.call_tool("search_leads", {"idle_days": 30}, progress_callback=progress)
    assert told == [(row["leads"], row["leads"], f"{row['leads']} leads read")]


async def test_get_lead_shows_its_contact_and_its_timeline_newest_first(
    call: Call, sandbox: Any, licence: dict[str, Any], anna: dict[str, Any]
) -> None:
    await call("log_activity", type="note", subject="Older", lead=licence["id"], occurred_at="2030-01-01")
    await call(
        "log_activity",
        type="call",
        subject="Newer",
        body="Two\nlines.",
        lead=licence["id"],
        occurred_at="2030-01-02T10:30:00+02:00",
    )
    timeline = "id, type, subject, body, occurred_at"
    entries = sandbox.all(
        f"SELECT {timeline} FROM activities WHERE lead_id = ?"  # noqa: S608
        f" UNION SELECT {timeline.replace('type', repr('stage_change'))} FROM stage_changes WHERE lead_id = ?"
        " ORDER BY occurred_at DESC",
        *[licence["id"]] * 2,
    )
    assert [entry["subject"] for entry in entries][:2] == ["Newer", "Older"]
    assert entries[-1]["subject"] == "Stage: New → Qualified"
    said = [
        line(
            f"- {moment(entry['occurred_at'])}",
            entry["type"],
            entry["subject"],
            (entry["body"] or "").replace("\n", " "),
        )
        for entry in entries
    ]

    text, found = await call("get_lead", lead="Acme annual licence")

    lead = {**licence, "last_activity_at": "2030-01-02T08:30:00.000Z"}
    assert (
        text
        == f"""\
- Acme annual licence · Acme Inc. · Qualified · USD 48,000 · close {day(licence["expected_close_date"])}\
 · last activity 2030-01-02 · {short(licence["id"])}
owner_user_id: {short(licence["owner_user_id"])}
probability_pct: 25
source: {licence["source"]}
contact: 1
- {contact_line(anna)}
{prose(f"timeline, newest first: {len(entries)}", *said)}"""
    )
    assert found == {
        "lead": facts(lead, WHOLE, stage="Qualified", company="Acme Inc."),
        "contact": anna,
        "timeline": [facts(entry, timeline.replace(",", "")) for entry in entries],
    }


async def test_a_long_timeline_is_cut_and_says_where_all_of_it_is(
    call: Call, licence: dict[str, Any]
) -> None:
    for number in range(20):
        await call("log_activity", type="note", subject=f"Note {number}", lead=licence["id"])
    text, found = await call("get_lead", lead=licence["id"])
    assert [entry["subject"] for entry in found["timeline"]] == [
        f"Note {19 - number}" for number in range(15)
    ]
    note = f"25 timeline entries, 15 shown; crm://leads/{licence['id']}/timeline has all."
    assert found["notes"] == [note]
    assert text.count(f"\nNote: {note}\n") == 1


async def test_get_lead_in_brief_names_its_contact_and_leaves_the_timeline_out(
    call: Call, licence: dict[str, Any], anna: dict[str, Any]
) -> None:
    normal = await call("get_lead", lead=licence["id"])
    kept, _, _ = normal.text.partition("\nWritten by people: ")
    assert kept.endswith(f"\ncontact: 1\n- {contact_line(anna)}")
    known = {name: value for name, value in normal.facts.items() if name != "timeline"}
    assert await call("get_lead", lead=licence["id"], detail="brief") == (kept, known)


async def test_get_lead_in_full_brings_fields_that_nobody_documented(
    call: Call, wire: Any, licence: dict[str, Any]
) -> None:
    wire.inner = adding(f"/{licence['id']}", {"dealSize": "L"}, wire.inner)
    normal = await call("get_lead", lead=licence["id"])
    opening, contact, timeline = re.split(r"(?=contact: 1\n)|(?=timeline, newest first)", normal.text)
    times = "".join(f"{name}: {moment(licence[name])}\n" for name in ("created_at", "updated_at"))
    assert await call("get_lead", lead=licence["id"], detail="full") == (
        f"{opening}{times}{contact}dealSize: L\n{timeline}",
        {**normal.facts, "other": {"dealSize": "L"}},
    )


@pytest.mark.parametrize(("part", "path"), [("contact", "/contacts/{}"), ("timeline", "/timeline")])
async def test_a_part_that_fails_costs_only_itself(
    call: Call, wire: Any, licence: dict[str, Any], part: str, path: str
) -> None:
    whole = await call("get_lead", lead=licence["id"])
    wire.inner = refusing(path.format(licence["contact_id"]), wire.inner)
    text, found = await call("get_lead", lead=licence["id"])
    note = f"{part} {REFUSED}"
    assert found == {**{name: value for name, value in whole.facts.items() if name != part}, "notes": [note]}
    assert f"\nNote: {note}\n" in f"{text}\n"


async def test_update_lead_keeps_omitted_fields_and_empties_cleared_ones(
    call: Call, find: Find, licence: dict[str, Any]
) -> None:
    text, found = await call(
        "update_lead",
        lead="acme licence",
        value=0,
        clear=["source", "contact", "expected_close_date"],
    )

    after = find("leads", id=licence["id"])
    assert after == {
        **licence,
        "value": 0,
        "source": None,
        "contact_id": None,
        "expected_close_date": None,
        "updated_at": after["updated_at"],
    }
    assert after["updated_at"] > licence["updated_at"]
    names = {"stage": "Qualified", "company": "Acme Inc."}
    assert text == (
        "Lead updated.\n- Acme annual licence · Acme Inc. · Qualified · USD 0"
        f" · last activity {day(licence['last_activity_at'])} · {short(licence['id'])}"
    )
    assert found == {"lead": facts(after, LEAD, **names)}
    assert (await call("get_lead", lead=licence["id"])).facts["lead"] == facts(after, WHOLE, **names)


@pytest.mark.parametrize(
    "said", ["Négociation", "NEGOCIATION", " négociation ", "negotiation", "id", "short"]
)
async def test_move_lead_takes_a_name_a_system_key_or_an_id(
    call: Call, find: Find, licence: dict[str, Any], stages: dict[str, str], said: str
) -> None:
    target = stages["Negotiation"]
    await call("update_pipeline_stage", stage=target, name="Négociation")
    changes = (await call("get_lead", lead=licence["id"])).facts["timeline"]

    text, found = await call(
        "move_lead_stage",
        lead="Acme annual licence",
        stage={"id": target, "short": short(target)}.get(said, said),
    )

    after = find("leads", id=licence["id"])
    assert after == {
        **licence,
        "stage_id": target,
        "probability_pct": 75,
        "updated_at": after["updated_at"],
    }
    assert text == (
        "Moved to Négociation.\n"
        f"- Acme annual licence · Acme Inc. · Négociation · USD 48,000"
        f" · close {day(licence['expected_close_date'])}"
        f" · last activity {day(licence['last_activity_at'])} · {short(licence['id'])}"
    )
    assert found == {"lead": facts(after, LEAD, stage="Négociation", company="Acme Inc.")}
    _, read = await call("get_lead", lead=licence["id"])
    assert read["lead"] == facts(after, WHOLE, stage="Négociation", company="Acme Inc.")
    [moved] = [entry for entry in read["timeline"] if entry not in changes]
    assert moved["subject"] == "Stage: Qualified → Négociation"


@pytest.mark.parametrize(
    ("arguments", "closed"),
    [
        ({"stage": "won"}, {"probability_pct": 100}),
        ({"stage": "lost", "lost_reason": "Price"}, {"probability_pct": 0, "lost_reason": "Price"}),
        ({"stage": "lost", "lost_reason": ""}, {"probability_pct": 0}),
    ],
)
async def test_move_lead_to_won_or_lost_closes_it(
    call: Call,
    find: Find,
    licence: dict[str, Any],
    stages: dict[str, str],
    arguments: dict[str, str],
    closed: dict[str, Any],
) -> None:
    text, found = await call("move_lead_stage", lead="Acme Inc", **arguments)

    stage = arguments["stage"].capitalize()
    after = find("leads", id=licence["id"])
    at = after["closed_at"]
    assert after == {**licence, **closed, "stage_id": stages[stage], "closed_at": at, "updated_at": at}
    names = {"stage": stage, "company": "Acme Inc."}
    assert text == (
        f"Moved to {stage}.\n- Acme annual licence · Acme Inc. · {stage} · USD 48,000 · closed {day(at)}"
        f" · last activity {day(licence['last_activity_at'])} · {short(licence['id'])}"
    )
    assert found == {"lead": facts(after, LEAD, **names)}
    read = await call("get_lead", lead=licence["id"])
    assert read.facts["lead"] == facts(after, WHOLE, **names)
    assert (f"\nlost_reason: {after['lost_reason']}\n" in read.text) == bool(after["lost_reason"])


async def test_move_lead_quotes_the_crm_when_it_refuses(
    refusal: Call, find: Find, licence: dict[str, Any]
) -> None:
    assert await refusal("move_lead_stage", lead=licence["id"], stage="won", lost_reason="Price") == (
        'The CRM found the input invalid: "lostReason: Won is not a lost stage". Nothing was done.'
    )
    assert find("leads", id=licence["id"]) == licence


async def test_move_lead_to_a_misspelt_stage_suggests_and_lists(
    refusal: Call, wire: Any, licence: dict[str, Any]
) -> None:
    assert await refusal("move_lead_stage", lead=licence["id"], stage="Qualifed") == (
        'No stage "Qualifed". Did you mean "Qualified"? '
        "Stages: New, Qualified, Proposal, Negotiation, Won, Lost. Nothing was sent to the CRM."
    )
    assert wire.writes == []


async def test_delete_lead_deletes_once(call: Call, refusal: Call, licence: dict[str, Any]) -> None:
    text, found = await call("delete_lead", lead="Acme annual licence")
    assert text == "Lead Acme annual licence deleted."
    assert found == {"removed": "lead", "id": licence["id"]}
    gone = f'The CRM has no such record: "There is no lead {licence["id"]}".'
    assert await refusal("get_lead", lead=licence["id"]) == gone
    assert (await call("delete_lead", lead=licence["id"])).text == (
        "Done before, so that nothing was sent again. Lead Acme annual licence deleted."
    )


async def test_a_lead_is_not_deleted_by_its_company(refusal: Refusal, wire: Any) -> None:
    assert (await refusal("delete_lead", lead="Acme Industries")).endswith("Nothing was deleted.")
    assert wire.writes == []


async def test_in_full_nothing_of_a_lead_is_left_out(call: Call, sandbox: Any, find: Find) -> None:
    lead = find("leads", title="Acme annual licence")["id"]
    at = "2026-03-04T00:00:00+00:00"
    sandbox.execute("UPDATE leads SET closed_at = ?, value = NULL WHERE id = ?", at, lead)
    text, facts = await call("get_lead", lead=lead, detail="full")
    assert f"expected_close_date: {day(facts['lead']['expected_close_date'])}" in text.splitlines()
    assert "currency: USD" in text.splitlines()


@pytest.mark.parametrize("tool", ["create_lead", "update_lead"])
async def test_a_fraction_for_a_probability_is_refused(refusal: Refusal, wire: Any, tool: str) -> None:
    said = {"title": "Deal"} if tool == "create_lead" else {"lead": "Acme"}
    assert await refusal(tool, **said, probability=0.6) == (
        "`probability`: say it in per cent: 60 rather than 0.6. Nothing was done."
    )
    assert wire.sent == []
