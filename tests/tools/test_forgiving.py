"""What is forgiven in arguments because it can only mean one thing, and what is not."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]
Refusal = Callable[..., Awaitable[str]]
Find = Callable[..., dict[str, Any]]

ACME = {"company": "Acme Inc."}


@pytest.mark.parametrize(
    ("tool", "odd", "plain"),
    [
        ("search_companies", {"role": "Customers"}, {"role": "customer"}),
        ("search_companies", {"status": " INACTIVE "}, {"status": "inactive"}),
        ("search_companies", {"status": "Archived"}, {"status": "inactive"}),
        ("search_companies", {"status": "archive"}, {"status": "inactive"}),
        ("list_changes", {"outcome": "done"}, {"outcome": "applied"}),
        ("get_company", {"company": ["Acme Inc."]}, ACME),
        ("search_companies", {"role": None, "query": " ", "limit": "3"}, {"limit": 3}),
        ("list_activities", {"type": "E-Mails", **ACME}, {"type": "email", **ACME}),
        ("summarize_pipeline", {"by": "Companies"}, {"by": "company"}),
        ("summarize_pipeline", {"by": "stages", "idle_days": "60"}, {"by": "stage", "idle_days": 60}),
        ("list_tasks", {"done": "true"}, {"done": True}),
        ("list_tasks", {"done": "No", "limit": 2.0}, {"done": False, "limit": 2}),
        ("list_activities", {"since": "2020-01-01T00:00:00-05:00"}, {"since": "2020-01-01"}),
        ("list_activities", {"until": " 2020-01-01 00:00"}, {"until": "2020-01-01"}),
        ("get_company", {"id": "Acme Inc."}, ACME),
        ("get_company", {"company_id": "Acme Inc."}, ACME),
        ("get_company", {"company": "Acme Inc.", "detail": "Full"}, {**ACME, "detail": "full"}),
        ("get_lead", {"lead_id": "Acme annual licence"}, {"lead": "Acme annual licence"}),
        ("get_contact", {"record_id": "Anna Müller"}, {"contact": "Anna Müller"}),
        ("list_tasks", {"id": "Acme annual licence"}, {"lead": "Acme annual licence"}),
    ],
)
async def test_what_is_unmistakable_is_read_as_it_is_meant(
    call: Call, tool: str, odd: dict[str, Any], plain: dict[str, Any]
) -> None:
    assert await call(tool, **odd) == await call(tool, **plain)


@pytest.mark.parametrize(
    ("tool", "arguments", "body"),
    [
        ("update_company", {"id": "Acme", "clear": "Phone"}, {"phone": None}),
        ("update_company", {"company_id": "Acme", "clear": '["phone"]'}, {"phone": None}),
        (
            "update_lead",
            {"id": "Acme", "value": "1200.50", "probability": "40"},
            {"value": 1200.5, "probabilityPct": 40},
        ),
        (
            "update_lead",
            {"lead": "Acme", "expected_close_date": "2031-01-31T09:00:00Z"},
            {"expectedCloseDate": "2031-01-31"},
        ),
        ("update_contact", {"id": "Anna Müller", "phone": 4930}, {"phone": "4930"}),
        ("update_lead", {"lead": "Acme", "currency": "€"}, {"currency": "EUR"}),
        ("add_to_marketing_list", {"id": "1" * 8 + "-1111-4111-8111-" + "1" * 12, "companies": "Acme"}, None),
        (
            "log_activity",
            {"type": "Calls", "subject": "Hi", "lead": "Acme", "duration_minutes": "15"},
            {"type": "call", "subject": "Hi", "durationMinutes": 15},
        ),
        (
            "log_activity",
            {"type": "task", "subject": "Hi", "lead": "Acme", "due_at": "2031-01-31"},
            {"type": "task", "subject": "Hi", "dueAt": "2031-01-31T00:00:00Z"},
        ),
    ],
)
async def test_a_write_is_sent_as_it_is_meant(
    call: Call, wire: Any, find: Find, tool: str, arguments: dict[str, Any], body: dict[str, Any] | None
) -> None:
    await call(tool, **arguments)
    [write] = wire.writes
    acme = find("companies", name="Acme Inc.")["id"]
    assert write.body == (body or {"listId": arguments["id"], "companyIds": [acme]})


@pytest.mark.parametrize(
    ("said", "body"),
    [
        ({"value": "€45.000,50"}, {"value": 45000.5, "currency": "EUR"}),
        ({"value": "45,000.50 USD"}, {"value": 45000.5, "currency": "USD"}),
        ({"value": "$ 1,234,567", "currency": "cad"}, {"value": 1234567, "currency": "CAD"}),
        ({"value": "1.234.567"}, {"value": 1234567}),
        ({"value": "45'000"}, {"value": 45000}),
        ({"value": "45\u202f000,5"}, {"value": 45000.5}),
        ({"value": "45,50"}, {"value": 45.5}),
        ({"value": "0.125"}, {"value": 0.125}),
        ({"value": "1234.567"}, {"value": 1234.567}),
        ({"value": 45.125}, {"value": 45.125}),
    ],
)
async def test_money_is_read_as_people_write_it(
    call: Call, wire: Any, said: dict[str, Any], body: dict[str, Any]
) -> None:
    await call("update_lead", lead="Acme", **said)
    [write] = wire.writes
    assert write.body == body


@pytest.mark.parametrize("amount", ["45,000", "45.000", "€45,000", "1,234,56", "12 34", "1,00,000", "45,"])
async def test_an_amount_that_may_be_another_is_refused(refusal: Refusal, wire: Any, amount: str) -> None:
    assert await refusal("create_lead", title="Deal", value=amount) == (
        f"`value`: write '{amount}' as a plain number, such as 45000 or 45000.50. Nothing was done."
    )
    assert wire.sent == []


@pytest.mark.parametrize(
    ("said", "either"),
    [
        ({"value": "$500"}, "$"),
        ({"value": "€500", "currency": "USD"}, "EUR or USD"),
        ({"value": "$500", "currency": "EUR"}, "$ or EUR"),
    ],
)
async def test_a_currency_that_may_be_another_is_refused(
    refusal: Refusal, wire: Any, said: dict[str, Any], either: str
) -> None:
    assert await refusal("create_lead", title="Deal", **said) == (
        f"Say as `currency` which one is meant: {either}. Nothing was done."
    )
    assert wire.sent == []


async def test_a_limit_above_the_most_is_the_most_and_said(call: Call) -> None:
    text, facts = await call("search_contacts", limit="500")
    assert facts["shown"] == 50
    assert facts["notes"] == ["`limit` is at most 50; 500 was asked for."]
    assert text.endswith("Note: `limit` is at most 50; 500 was asked for.")


ROLES = "Input should be 'prospect', 'customer', 'vendor' or 'both'"


@pytest.mark.parametrize(
    ("tool", "arguments", "problem"),
    [
        (
            "search_companies",
            {"role": "costumer"},
            f"`role`: {ROLES} (did you mean 'customer'?). Nothing was done.",
        ),
        ("search_companies", {"role": "friend"}, f"`role`: {ROLES}. Nothing was done."),
        (
            "log_activity",
            {"type": "meting", "subject": "x", "lead": "Acme"},
            "`type`: Input should be 'call', 'email', 'meeting', 'note' or 'task' (did you mean "
            "'meeting'?). Nothing was done.",
        ),
        (
            "search_leads",
            {"limit": 0},
            "`limit`: Input should be greater than or equal to 1. Nothing was done.",
        ),
        ("search_leads", {"limit": "many"}, None),
        ("list_tasks", {"done": "perhaps"}, None),
        ("list_activities", {"since": "2030-01-01 or 2030-02-01"}, None),
        ("list_activities", {"since": "31.01.2030"}, None),
        ("list_activities", {"since": "tomorrow"}, None),
        ("move_lead_stage", {"lead": "Acme", "stage": "Won", "leads": ["x"] * 26}, None),
        ("search_leads", {"id": "Acme"}, None),
        ("log_activity", {"type": "call", "subject": "x", "id": "Acme"}, None),
        ("link_contact_to_company", {"id": "Acme", "title": "CFO"}, None),
        ("get_company", {"company": "Acme", "company_id": "Beta"}, None),
        ("update_lead", {"id": "Acme", "lead": "Acme", "value": 1}, None),
    ],
)
async def test_what_could_mean_several_things_is_an_error_and_does_nothing(
    refusal: Refusal, wire: Any, tool: str, arguments: dict[str, Any], problem: str | None
) -> None:
    said = await refusal(tool, **arguments)
    assert said.endswith("Nothing was done.")
    assert problem in (None, said)
    assert wire.sent == []


async def test_a_stage_that_is_misspelt_is_answered_with_the_closest_and_all(
    refusal: Refusal, wire: Any
) -> None:
    assert await refusal("move_lead_stage", lead="Acme", stage="Qualifed") == (
        'No stage "Qualifed". Did you mean "Qualified"? '
        "Stages: New, Qualified, Proposal, Negotiation, Won, Lost. Nothing was sent to the CRM."
    )
    assert wire.writes == []


async def test_an_error_is_not_longer_than_an_answer_may_be(refusal: Refusal) -> None:
    said = await refusal("reorder_pipeline_stages", stages=[[number] for number in range(1_000)])
    assert len(said.encode()) <= 8_000
    assert said.endswith("… (cut)")


async def test_a_time_that_is_left_out_is_said(call: Call) -> None:
    text, _ = await call("list_activities", since="2020-01-01T23:30:00-05:00", limit=1)
    assert "Note: `since` is a day: the time of 2020-01-01T23:30:00-05:00 was left out." in text.splitlines()


async def test_a_probability_may_have_its_sign(call: Call, wire: Any) -> None:
    for said in ("60%", " 60 % ", "60", 60):
        await call("update_lead", lead="Acme annual licence", probability=said)
    assert [write.body for write in wire.writes] == [{"probabilityPct": 60.0}]
