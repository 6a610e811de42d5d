from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]
Find = Callable[..., dict[str, Any]]


def minute(timestamp: str) -> str:
    return f"{timestamp[:10]} {timestamp[11:16]} UTC"


@pytest.fixture
def licence(find: Find) -> dict[str, Any]:
    """A lead of Acme Inc. in the stage Qualified."""
    return find("leads", title="Acme annual licence")


@pytest.fixture
def stages(sandbox: Any) -> dict[str, str]:
    return {row["name"]: row["id"] for row in sandbox.all("SELECT id, name FROM stages")}


async def test_create_lead_answers_with_the_record_that_get_lead_shows(
    call: Call, licence: dict[str, Any], stages: dict[str, str]
) -> None:
    given = {
        "title": "Rocket parts",
        "value": 1234.5,
        "expected_close_date": "2031-02-28",
        "source": "trade fair",
        "description": "Twelve rockets.",
    }

    text, facts = await call(
        "create_lead",
        **given,
        company=licence["company_id"],
        contact=licence["contact_id"],
        stage="proposal",
        currency="usd",
        probability=40,
        owner=licence["owner_user_id"],
    )

    lead = facts["lead"]
    assert facts == {
        "lead": {
            **given,
            "id": lead["id"],
            "company_id": licence["company_id"],
            "contact_id": licence["contact_id"],
            "owner_user_id": licence["owner_user_id"],
            "stage_id": stages["Proposal"],
            "stage": "Proposal",
            "currency": "USD",
            "probability_pct": 40.0,
            "created_at": lead["created_at"],
            "updated_at": lead["created_at"],
        }
    }
    shown = f"""\
Rocket parts · Proposal · USD 1,234.50 · close expected 2031-02-28 · {lead["id"]}
company_id: {licence["company_id"]}
contact_id: {licence["contact_id"]}
owner_user_id: {licence["owner_user_id"]}
probability_pct: 40
expected_close_date: 2031-02-28
source: trade fair
description: Twelve rockets.
created_at: {minute(lead["created_at"])}
updated_at: {minute(lead["created_at"])}"""
    assert text == f"Lead created.\n{shown}"
    assert await call("get_lead", lead=lead["id"]) == (shown, {**facts, "timeline": []})


async def test_create_lead_without_stage_starts_in_the_first(call: Call) -> None:
    _, facts = await call("create_lead", title="Rocket parts")
    assert (facts["lead"]["stage"], facts["lead"]["probability_pct"]) == ("New", 10.0)


async def test_create_lead_in_a_stage_that_is_not_there_is_not_sent(refusal: Call, wire: Any) -> None:
    assert await refusal("create_lead", title="Rocket parts", stage="Closing") == (
        'No stage "Closing". Stages: New, Qualified, Proposal, Negotiation, Won, Lost.'
    )
    assert wire.writes == []


async def test_search_leads_shows_a_line_each(call: Call, licence: dict[str, Any]) -> None:
    text, facts = await call("search_leads", query="annual licence", company=licence["company_id"])
    assert text == (
        "Leads: 1\n"
        f"Acme annual licence · Qualified · USD 48,000 · close expected {licence['expected_close_date']}"
        f" · {licence['id']}"
    )
    [lead] = facts.pop("leads")
    assert facts == {"shown": 1, "total": 1}
    assert (lead["id"], lead["stage"], lead["value"]) == (licence["id"], "Qualified", 48_000.0)


@pytest.mark.parametrize("column", ["company", "contact"])
async def test_search_leads_of_a_company_or_contact(
    call: Call, sandbox: Any, licence: dict[str, Any], column: str
) -> None:
    wanted = licence[f"{column}_id"]
    _, facts = await call("search_leads", **{column: wanted})
    rows = sandbox.all(f"SELECT id FROM leads WHERE {column}_id = ?", wanted)  # noqa: S608
    assert {lead["id"] for lead in facts["leads"]} == {row["id"] for row in rows}


async def test_search_leads_of_a_stage(call: Call, sandbox: Any, stages: dict[str, str]) -> None:
    text, facts = await call("search_leads", stage="won", limit=100)
    rows = sandbox.all("SELECT * FROM leads WHERE stage_id = ? ORDER BY updated_at DESC, id", stages["Won"])
    assert [lead["id"] for lead in facts["leads"]] == [row["id"] for row in rows]
    assert text.splitlines() == [
        f"Leads: {len(rows)}",
        *(
            f"{row['title']} · Won · {row['currency']} {row['value']:,.0f} · closed {row['closed_at'][:10]}"
            f" · {row['id']}"
            for row in rows
        ),
    ]


async def test_get_lead_shows_its_timeline_newest_first(call: Call, licence: dict[str, Any]) -> None:
    await call("log_activity", type="note", subject="Older", lead=licence["id"], occurred_at="2030-01-01")
    await call(
        "log_activity",
        type="call",
        subject="Newer",
        body="Two\nlines.",
        lead=licence["id"],
        occurred_at="2030-01-02T10:30:00+02:00",
    )

    text, facts = await call("get_lead", lead=licence["id"])

    timeline = text.partition("\ntimeline, newest first:\n")[2].splitlines()
    assert timeline[:2] == [
        "2030-01-02 08:30 UTC · call · Newer · Two lines.",
        "2030-01-01 00:00 UTC · note · Older",
    ]
    assert timeline[-1].endswith(" · stage_change · Stage: New → Qualified")
    moments = [entry["occurred_at"] for entry in facts["timeline"]]
    assert moments == sorted(moments, reverse=True)
    assert len(timeline) == len(moments)


async def test_update_lead_keeps_omitted_fields_and_empties_cleared_ones(
    call: Call, licence: dict[str, Any]
) -> None:
    _, before = await call("get_lead", lead=licence["id"])

    text, facts = await call(
        "update_lead", lead=licence["id"], value=0, clear=["source", "contact", "expected_close_date"]
    )

    expected = {**before["lead"], "value": 0.0, "updated_at": facts["lead"]["updated_at"]}
    del expected["source"], expected["contact_id"], expected["expected_close_date"]
    assert facts == {"lead": expected}
    assert text.splitlines()[:2] == [
        "Lead updated.",
        f"Acme annual licence · Qualified · USD 0 · {licence['id']}",
    ]
    assert (await call("get_lead", lead=licence["id"])).facts["lead"] == expected


@pytest.mark.parametrize("said", ["Négociation", "NEGOCIATION", " négociation ", "negotiation", "id"])
async def test_move_lead_takes_a_name_a_system_key_or_an_id(
    call: Call, licence: dict[str, Any], stages: dict[str, str], said: str
) -> None:
    target = stages["Negotiation"]
    await call("update_pipeline_stage", stage=target, name="Négociation")
    _, before = await call("get_lead", lead=licence["id"])

    text, facts = await call("move_lead_stage", lead=licence["id"], stage=target if said == "id" else said)

    lead = {
        **before["lead"],
        "stage_id": target,
        "stage": "Négociation",
        "probability_pct": 75.0,
        "updated_at": facts["lead"]["updated_at"],
    }
    assert facts == {"lead": lead}
    assert text.splitlines()[0] == "Lead moved to Négociation."
    _, after = await call("get_lead", lead=licence["id"])
    assert after["lead"] == lead
    moved = after["timeline"][len(after["timeline"]) - len(before["timeline"]) - 1 :]
    assert "Stage: Qualified → Négociation" in [entry["subject"] for entry in moved]


@pytest.mark.parametrize(
    ("arguments", "closed"),
    [
        ({"stage": "won"}, {"probability_pct": 100.0}),
        ({"stage": "lost", "lost_reason": "Price"}, {"probability_pct": 0.0, "lost_reason": "Price"}),
        ({"stage": "lost", "lost_reason": ""}, {"probability_pct": 0.0}),
    ],
)
async def test_move_lead_to_won_or_lost_closes_it(
    call: Call,
    licence: dict[str, Any],
    stages: dict[str, str],
    arguments: dict[str, str],
    closed: dict[str, Any],
) -> None:
    _, before = await call("get_lead", lead=licence["id"])

    text, facts = await call("move_lead_stage", lead=licence["id"], **arguments)

    stage = arguments["stage"].capitalize()
    at = facts["lead"]["closed_at"]
    assert facts["lead"] == {
        **before["lead"],
        **closed,
        "stage": stage,
        "stage_id": stages[stage],
        "closed_at": at,
        "updated_at": at,
    }
    assert text.splitlines()[:2] == [
        f"Lead moved to {stage}.",
        f"Acme annual licence · {stage} · USD 48,000 · closed {at[:10]} · {licence['id']}",
    ]
    assert (await call("get_lead", lead=licence["id"])).facts["lead"] == facts["lead"]


async def test_move_lead_quotes_the_crm_when_it_refuses(
    refusal: Call, find: Find, licence: dict[str, Any]
) -> None:
    assert await refusal("move_lead_stage", lead=licence["id"], stage="won", lost_reason="Price") == (
        'The CRM found the input invalid: "lostReason: Won is not a lost stage.".'
    )
    assert find("leads", id=licence["id"]) == licence


async def test_move_lead_to_a_misspelt_stage_suggests_and_lists(
    refusal: Call, wire: Any, licence: dict[str, Any]
) -> None:
    assert await refusal("move_lead_stage", lead=licence["id"], stage="Qualifed") == (
        'No stage "Qualifed". Did you mean "Qualified"? '
        "Stages: New, Qualified, Proposal, Negotiation, Won, Lost."
    )
    assert wire.writes == []


async def test_delete_lead_deletes_once(call: Call, refusal: Call, licence: dict[str, Any]) -> None:
    text, facts = await call("delete_lead", lead=licence["id"])
    assert text == f"Lead {licence['id']} deleted."
    assert facts == {"removed": "lead", "id": licence["id"]}
    gone = f'The CRM has no such record: "There is no lead {licence["id"]}.".'
    assert await refusal("get_lead", lead=licence["id"]) == gone
    assert await refusal("delete_lead", lead=licence["id"]) == gone
