"""What a model is told of arguments that a tool cannot take; nothing of such a call reaches the CRM."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]

A = "aaaaaaaa-0000-4000-8000-000000000001"
PIPELINE = "New, Qualified, Proposal, Negotiation, Won, Lost"


@pytest.mark.parametrize(
    ("tool", "arguments", "problem"),
    [
        (
            "search_companies",
            {"qurey": "acme"},
            "There is no argument `qurey`. Did you mean `query`? "
            "Arguments: query, role, status, owner, limit, page.",
        ),
        (
            "search_leads",
            {"stages": "won"},
            "There is no argument `stages`. Did you mean `stage`? "
            "Arguments: query, company, contact, stage, owner, idle_days, limit, page.",
        ),
        (
            "get_contact",
            {"contactt": A},
            "There is no argument `contactt`. Did you mean `contact`? Arguments: contact, detail.",
        ),
        (
            "delete_lead",
            {"lead": A, "xyz": 1},
            "There is no argument `xyz`. Arguments: lead.",
        ),
        ("get_dashboard", {"period": "2030"}, "There is no argument `period`. Arguments: none."),
        (
            "get_lead",
            {"x" * 100: None},
            f"There is no argument `{'x' * 60}`. Arguments: lead, detail.",
        ),
        ("create_company", {"name": "  "}, "Required and not given: `name`."),
        ("create_company", {}, "Required and not given: `name`."),
        (
            "send_outbound_email",
            {"lead": A, "subject": "", "body": None},
            "Required and not given: `subject`, `body`.",
        ),
        ("get_lead", {"lead": {"title": "Acme licence"}}, "`lead`: Input should be a valid string."),
        (
            "add_to_marketing_list",
            {"list_id": A, "companies": [A, 5]},
            "`companies.1`: Input should be a valid string.",
        ),
        (
            "move_lead_stage",
            {"stage": "won", "leads": [A] * 26},
            "`leads`: give at most 25 items, not 26.",
        ),
        (
            "add_to_marketing_list",
            {"list_id": A, "companies": []},
            "`companies`: give at least 1 item, not 0.",
        ),
        (
            "create_company",
            {"name": "Acme", "role": "partner"},
            "`role`: Input should be 'prospect', 'customer', 'vendor' or 'both'.",
        ),
        (
            "update_company",
            {"company": A, "clear": ["name"]},
            "`clear.0`: Input should be 'role', 'website', 'industry', 'email', 'phone', 'notes' or 'owner'.",
        ),
        ("search_leads", {"limit": 0}, "`limit`: Input should be greater than or equal to 1."),
        ("search_leads", {"idle_days": -1}, "`idle_days`: Input should be greater than or equal to 0."),
        (
            "search_leads",
            {"page": "next"},
            "`page`: Input should be a valid integer, unable to parse string as an integer.",
        ),
        (
            "update_lead",
            {"lead": A, "value": -1, "probability": 101},
            "`value`: Input should be greater than or equal to 0; "
            "`probability`: Input should be less than or equal to 100.",
        ),
        (
            "create_lead",
            {"title": "Deal", "expected_close_date": "soon"},
            "`expected_close_date`: say a date as YYYY-MM-DD, with a time as YYYY-MM-DDTHH:MM.",
        ),
        ("create_company", {"name": {"first": "Acme"}}, "`name`: Input should be a valid string."),
        (
            "reorder_pipeline_stages",
            {"stages": {"first": "New"}},
            "`stages.0`: Input should be a valid string.",
        ),
    ],
)
async def test_an_argument_that_does_not_fit_is_told_in_one_line_and_nothing_is_sent(
    refusal: Call, wire: Any, tool: str, arguments: dict[str, Any], problem: str
) -> None:
    assert await refusal(tool, **arguments) == f"{problem} Nothing was done."
    assert wire.sent == []


async def test_numbers_may_come_as_text(call: Call, wire: Any) -> None:
    await call("search_leads", limit="7", page="2")
    await call("create_lead", title="Deal", value="1200.50", probability="20")
    assert (wire.sent[0].query["page"], wire.sent[0].query["pageSize"]) == ("2", "7")
    assert wire.writes[0].body == {"title": "Deal", "value": 1200.5, "probabilityPct": 20.0}


async def test_lists_may_come_as_json_text(call: Call, wire: Any) -> None:
    stages = '["Lost", "Won", "Negotiation", "Proposal", "Qualified", "New"]'
    _, facts = await call("reorder_pipeline_stages", stages=stages)
    assert [stage["name"] for stage in facts["stages"]] == PIPELINE.split(", ")[::-1]


async def test_ids_may_have_spaces_around_and_capital_letters(call: Call, find: Any) -> None:
    acme = find("companies", name="Acme Inc.")["id"]
    _, facts = await call("get_company", company=f" {acme.upper()}\n")
    assert facts["company"]["id"] == acme


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        *((tool, "query") for tool in ("search_companies", "search_contacts", "search_leads", "search_crm")),
        *((f"get_{kind}", kind) for kind in ("company", "contact", "lead")),
        ("move_lead_stage", "lead"),
    ],
)
async def test_nothing_has_so_long_a_name(refusal: Call, wire: Any, tool: str, arguments: str) -> None:
    said = "a@" + "x." * 4_999
    given = {arguments: said} | ({"stage": "Qualified"} if tool == "move_lead_stage" else {})
    problem = "is too long to look for: 10000 characters, where a name has 200 at most. Nothing was done."
    assert await refusal(tool, **given) == f'"{said[:40]}…" {problem}'
    assert not [sent for sent in wire.sent if len(str(sent.query)) > 1_000]
