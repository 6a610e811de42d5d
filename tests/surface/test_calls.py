"""Rules over a call of every tool: what reading sends, and what structured content looks like."""

from collections.abc import Callable
from typing import Any

import jsonschema
import pytest
from mcp import Client

from crm_mcp.tools.catalogue import Effect, declarations
from crm_mcp.tools.surface import published

pytestmark = pytest.mark.anyio

Arguments = dict[str, Any]
OUTPUT = {facts["tool"]["name"]: facts["tool"]["outputSchema"] for facts in published()}
READING = [name for name, declaration in declarations().items() if declaration.effect is Effect.READ]
LIST_ID = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
async def arguments(find: Callable[..., dict[str, Any]], client: Client, wire: Any) -> dict[str, Arguments]:
    """Arguments that make each tool do something; a change is there to be taken back."""
    result = await client.call_tool("update_company", {"company": "Acme Inc.", "phone": "1"})
    assert result.structured_content is not None
    [done] = result.structured_content["change_ids"]
    wire.sent.clear()
    licence = find("leads", title="Acme annual licence")
    lead, company, contact = licence["id"], licence["company_id"], licence["contact_id"]
    return {
        "search_crm": {"query": "acme"},
        "summarize_pipeline": {"by": "company", "owner": "me", "idle_days": 1},
        "search_companies": {"query": "acme", "role": "customer", "status": "active", "owner": "me"},
        "get_company": {"company": company},
        "create_company": {"name": "Zeta", "owner": "me"},
        "update_company": {"company": company, "notes": "N", "clear": ["phone"]},
        "search_contacts": {"query": "anna", "company": company},
        "get_contact": {"contact": contact},
        "create_contact": {"first_name": "Ada", "company": company},
        "update_contact": {"contact": contact, "clear": ["phone", "email"]},
        "link_contact_to_company": {"contact": contact, "company": company, "title": "CTO"},
        "unlink_contact_from_company": {"contact": contact, "company": company},
        "delete_contact": {"contact": contact},
        "search_leads": {"query": "acme", "company": company, "contact": contact, "stage": "qualified"},
        "get_lead": {"lead": lead},
        "create_lead": {"title": "Deal", "value": 1},
        "update_lead": {"lead": lead, "value": 2.5, "clear": ["contact"]},
        "move_lead_stage": {"lead": lead, "stage": "Lost", "lost_reason": "Price"},
        "delete_lead": {"lead": lead},
        "list_activities": {"lead": lead, "company": company},
        "list_tasks": {"limit": 50},
        "log_activity": {"type": "task", "subject": "Call", "lead": lead, "due_at": "2031-01-01"},
        "list_email_connections": {},
        "send_outbound_email": {"lead": lead, "subject": "Hi", "body": "Hello"},
        "add_to_marketing_list": {"list_id": LIST_ID, "companies": [company]},
        "list_pipeline_stages": {},
        "get_dashboard": {},
        "create_pipeline_stage": {"name": "Trial"},
        "update_pipeline_stage": {"stage": "Won", "color_key": "teal"},
        "reorder_pipeline_stages": {"stages": ["Lost", "Won", "New", "Qualified", "Proposal", "Negotiation"]},
        "delete_pipeline_stage": {"stage": "New", "move_leads_to": "Won"},
        "list_changes": {},
        "undo_change": {"change": done},
    }


@pytest.fixture
def other_arguments(arguments: dict[str, Arguments]) -> dict[str, list[Arguments]]:
    """Arguments with which a tool answers in another shape."""
    leads = {"leads": ["Acme annual licence", "no such lead"]}
    return {
        **{
            name: [{**arguments[name], "detail": "full"}]
            for name in ("get_company", "get_contact", "get_lead")
        },
        "search_crm": [{"query": "no such record"}],
        "search_leads": [{"owner": "me", "idle_days": 1, "limit": 3}],
        "list_activities": [{"type": "call", "limit": 3}],
        "list_tasks": [{"done": True, "limit": 3}],
        "move_lead_stage": [{"stage": "Won", **leads}],
        "log_activity": [{"type": "note", "subject": "Hi", **leads}],
    }


async def test_every_tool_is_called_below(arguments: dict[str, Arguments]) -> None:
    assert arguments.keys() == declarations().keys() == OUTPUT.keys()


@pytest.mark.parametrize("name", READING)
async def test_a_reading_tool_only_reads(
    client: Client, wire: Any, arguments: dict[str, Arguments], name: str
) -> None:
    result = await client.call_tool(name, arguments[name])
    assert not result.is_error, result.content
    assert {request.method for request in wire.sent} <= {"GET"}


@pytest.mark.parametrize("name", [name for name in OUTPUT if name not in READING])
async def test_a_writing_tool_writes_once(
    client: Client, wire: Any, arguments: dict[str, Arguments], name: str
) -> None:
    result = await client.call_tool(name, arguments[name])
    assert not result.is_error, result.content
    assert len(wire.writes) == 1


@pytest.mark.parametrize("name", OUTPUT)
async def test_structured_content_is_what_the_output_schema_says_and_leaves_out_what_is_unset(
    client: Client,
    arguments: dict[str, Arguments],
    other_arguments: dict[str, list[Arguments]],
    name: str,
) -> None:
    for said in (arguments[name], *other_arguments.get(name, [])):
        result = await client.call_tool(name, said)
        assert not result.is_error, result.content
        jsonschema.validate(result.structured_content, closed(OUTPUT[name]))
        assert not has_null(result.structured_content)


def closed(schema: Any) -> Any:
    """The schema, allowing no property that it does not name."""
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(child) for name, child in schema.items() if name != "properties"}
    if "properties" not in schema:
        return inner
    properties = {name: closed(child) for name, child in schema["properties"].items()}
    return {**inner, "properties": properties, "additionalProperties": False}


def has_null(value: Any) -> bool:
    if isinstance(value, dict):
        return any(map(has_null, value.values()))
    return any(map(has_null, value)) if isinstance(value, list) else value is None
