"""A write that succeeded is told as done, whatever becomes of the reads that follow it."""

from typing import Any

import httpx2
import pytest
from mcp import Client

from crm_mcp.tools.catalogue import Effect, declarations

pytestmark = pytest.mark.anyio

WRITES: dict[str, dict[str, Any]] = {
    "create_company": {"name": "Zeta"},
    "update_company": {"company": "Acme Inc.", "phone": "1"},
    "create_contact": {"first_name": "Ada", "company": "Acme Inc."},
    "update_contact": {"contact": "Luc at Acme Inc.", "phone": "1"},
    "link_contact_to_company": {"contact": "Luc at Acme Inc.", "company": "Kestrel", "title": "CTO"},
    "create_lead": {"title": "Deal", "company": "Acme Inc."},
    "update_lead": {"lead": "Acme annual licence", "value": 2.5},
    "move_lead_stage": {"lead": "Acme annual licence", "stage": "lost"},
    "log_activity": {"type": "call", "subject": "Hi", "lead": "Acme annual licence"},
    "send_outbound_email": {"lead": "Acme annual licence", "subject": "Hi", "body": "Hello"},
    "add_to_marketing_list": {
        "list_id": "11111111-1111-4111-8111-111111111111",
        "companies": ["Acme Inc."],
    },
    "unlink_contact_from_company": {"contact": "Luc Lefèvre", "company": "Acme Inc."},
    "delete_contact": {"contact": "Luc Lefèvre"},
    "delete_lead": {"lead": "Acme annual licence"},
    "create_pipeline_stage": {"name": "Trial"},
    "update_pipeline_stage": {"stage": "Won", "color_key": "teal"},
    "reorder_pipeline_stages": {"stages": ["Lost", "Won", "New", "Qualified", "Proposal", "Negotiation"]},
    "delete_pipeline_stage": {"stage": "New", "move_leads_to": "Won"},
}


def test_every_writing_tool_is_called_below() -> None:
    writing = {name for name, declared in declarations().items() if declared.effect is not Effect.READ}
    # What undo_change writes is one of these.
    assert WRITES.keys() == writing - {"undo_change"}


class Exhausted(httpx2.AsyncBaseTransport):
    """A CRM that fails from its first successful write on, and says nothing of what it wrote if told so."""

    def __init__(self, crm: httpx2.AsyncBaseTransport, *, taciturn: bool) -> None:
        self._crm = crm
        self._taciturn = taciturn
        self._written = False

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if self._written:
            return httpx2.Response(500, json={"error": "Exhausted"})
        response = await self._crm.handle_async_request(request)
        self._written = request.method != "GET" and response.is_success
        return httpx2.Response(204) if self._written and self._taciturn else response


@pytest.mark.parametrize("taciturn", [False, True], ids=["answers", "says-nothing"])
@pytest.mark.parametrize("tool", WRITES)
async def test_a_write_is_done_although_what_follows_fails(
    client: Client, wire: Any, tool: str, taciturn: bool
) -> None:
    wire.inner = Exhausted(wire.inner, taciturn=taciturn)
    result = await client.call_tool(tool, WRITES[tool])
    assert not result.is_error, result.content
    assert len(wire.writes) == 1
