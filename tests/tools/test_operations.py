"""Every operation of the CRM is reached by a tool, with the request that the contract asks for."""

from dataclasses import dataclass, field
from typing import Any

import httpx2
import pytest
from mcp import Client

from crm_mcp.crm.openapi import operations

pytestmark = pytest.mark.anyio

A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"
M = "cccccccc-0000-4000-8000-000000000003"
NEW, WON = "dddddddd-0000-4000-8000-000000000004", "eeeeeeee-0000-4000-8000-000000000005"

LISTS = {
    "/pipeline-stages": {"stages": [{"id": NEW, "name": "New"}, {"id": WON, "name": "Won"}]},
    "/outbound-email-connections": {
        "connections": [{"id": M, "channel": "outlook", "email": "me@crm.example", "status": "active"}]
    },
    f"/contacts/{A}/company-memberships": {"memberships": [{"id": M, "companyId": B}]},
}
# Whatever else is asked for, it is in here.
ANSWER = {"id": A, "name": "Acme", "title": "Deal", "data": []}


def answer(request: httpx2.Request) -> httpx2.Response:
    path = request.url.path.removeprefix("/api/crm")
    return httpx2.Response(200, json=LISTS.get(path, ANSWER))


@dataclass(frozen=True)
class Reached:
    """A call of a tool, and the request for the sake of which it is made."""

    operation: str
    tool: str
    arguments: dict[str, Any]
    line: str
    query: dict[str, str] = field(default_factory=dict)
    body: dict[str, Any] | None = None


FIRST_PAGE = {"page": "1", "pageSize": "25"}
# What has the query in it is put together here, from the first of the CRM\'s.
WHOLE_PAGE = {"page": "1", "pageSize": "100"}

CALLS = [
    Reached(
        "add_to_marketing_list",
        "add_to_marketing_list",
        {"list_id": A, "companies": [B]},
        "POST /prospecting/add-to-marketing-list",
        body={"listId": A, "companyIds": [B]},
    ),
    Reached("get_dashboard", "get_dashboard", {}, "GET /dashboard"),
    Reached(
        "list_companies",
        "search_companies",
        {"query": "Söhne & Co", "role": "vendor", "status": "active", "owner": "me", "limit": 9, "page": 1},
        "GET /companies",
        query={
            "q": "Söhne & Co",
            "role": "vendor",
            "status": "active",
            "ownerUserId": "me",
            **WHOLE_PAGE,
        },
    ),
    Reached(
        "create_company",
        "create_company",
        {
            "name": "Acme",
            "role": "both",
            "website": "acme.example",
            "industry": "Steel",
            "email": "i@acme.example",
            "phone": "1",
            "notes": "N",
            "owner": "me",
        },
        "POST /companies",
        body={
            "name": "Acme",
            "role": "both",
            "website": "acme.example",
            "industry": "Steel",
            "email": "i@acme.example",
            "phone": "1",
            "notes": "N",
            "ownerUserId": "me",
        },
    ),
    Reached("get_company", "get_company", {"company": A}, f"GET /companies/{A}"),
    Reached(
        "update_company",
        "update_company",
        {"company": A, "status": "inactive", "clear": ["owner", "phone"]},
        f"PATCH /companies/{A}",
        body={"status": "inactive", "ownerUserId": None, "phone": None},
    ),
    Reached("list_company_contacts", "search_contacts", {"company": A}, f"GET /companies/{A}/contacts"),
    Reached(
        "list_contacts",
        "search_contacts",
        {"query": "anna"},
        "GET /contacts",
        query={"q": "anna", **WHOLE_PAGE},
    ),
    Reached(
        "create_contact",
        "create_contact",
        {
            "first_name": "Anna",
            "last_name": "Berg",
            "email": "a@acme.example",
            "phone": "1",
            "job_title": "CTO",
            "company": B,
            "notes": "N",
        },
        "POST /contacts",
        body={
            "firstName": "Anna",
            "lastName": "Berg",
            "email": "a@acme.example",
            "phone": "1",
            "jobTitle": "CTO",
            "companyId": B,
            "notes": "N",
        },
    ),
    Reached("get_contact", "get_contact", {"contact": A}, f"GET /contacts/{A}"),
    Reached(
        "update_contact",
        "update_contact",
        {"contact": A, "job_title": "CTO", "clear": ["company"]},
        f"PATCH /contacts/{A}",
        body={"jobTitle": "CTO", "companyId": None},
    ),
    Reached("delete_contact", "delete_contact", {"contact": A}, f"DELETE /contacts/{A}"),
    Reached(
        "list_company_memberships", "get_contact", {"contact": A}, f"GET /contacts/{A}/company-memberships"
    ),
    Reached(
        "create_company_membership",
        "link_contact_to_company",
        {"contact": A, "company": A, "title": "CTO", "is_primary": True},
        f"POST /contacts/{A}/company-memberships",
        body={"companyId": A, "title": "CTO", "isPrimary": True},
    ),
    Reached(
        "update_company_membership",
        "link_contact_to_company",
        {"contact": A, "company": B, "title": "CTO"},
        f"PATCH /contacts/{A}/company-memberships/{M}",
        body={"title": "CTO"},
    ),
    Reached(
        "delete_company_membership",
        "unlink_contact_from_company",
        {"contact": A, "company": B},
        f"DELETE /contacts/{A}/company-memberships/{M}",
    ),
    Reached("list_pipeline_stages", "list_pipeline_stages", {}, "GET /pipeline-stages"),
    Reached(
        "create_pipeline_stage",
        "create_pipeline_stage",
        {"name": "Trial", "kind": "open", "default_probability": 5, "color_key": "teal"},
        "POST /pipeline-stages",
        body={"name": "Trial", "kind": "open", "defaultProbabilityPct": 5.0, "colorKey": "teal"},
    ),
    Reached(
        "reorder_pipeline_stages",
        "reorder_pipeline_stages",
        {"stages": ["Won", "New"]},
        "POST /pipeline-stages/reorder",
        body={"stageIds": [WON, NEW]},
    ),
    Reached(
        "update_pipeline_stage",
        "update_pipeline_stage",
        {"stage": "won", "name": "Closed"},
        f"PATCH /pipeline-stages/{WON}",
        body={"name": "Closed"},
    ),
    Reached(
        "delete_pipeline_stage",
        "delete_pipeline_stage",
        {"stage": "Won", "move_leads_to": "New"},
        f"DELETE /pipeline-stages/{WON}",
        body={"reassignToStageId": NEW},
    ),
    Reached(
        "list_leads",
        "search_leads",
        {"query": "deal", "company": A, "contact": B, "stage": "won"},
        "GET /leads",
        query={"q": "deal", "companyId": A, "contactId": B, "stageId": WON, **WHOLE_PAGE},
    ),
    Reached(
        "create_lead",
        "create_lead",
        {
            "title": "Deal",
            "company": A,
            "contact": B,
            "stage": "new",
            "value": 9.5,
            "currency": "eur",
            "probability": 50,
            "expected_close_date": "2031-02-28",
            "source": "fair",
            "description": "D",
            "owner": "me",
        },
        "POST /leads",
        body={
            "title": "Deal",
            "companyId": A,
            "contactId": B,
            "stageId": NEW,
            "value": 9.5,
            "currency": "EUR",
            "probabilityPct": 50.0,
            "expectedCloseDate": "2031-02-28",
            "source": "fair",
            "description": "D",
            "ownerUserId": "me",
        },
    ),
    Reached("get_lead", "get_lead", {"lead": A}, f"GET /leads/{A}"),
    Reached(
        "update_lead",
        "update_lead",
        {"lead": A, "value": 0, "clear": ["probability", "expected_close_date"]},
        f"PATCH /leads/{A}",
        body={"value": 0.0, "probabilityPct": None, "expectedCloseDate": None},
    ),
    Reached("delete_lead", "delete_lead", {"lead": A}, f"DELETE /leads/{A}"),
    Reached("get_lead_timeline", "get_lead", {"lead": A}, f"GET /leads/{A}/timeline"),
    Reached(
        "move_lead_stage",
        "move_lead_stage",
        {"lead": A, "stage": "won", "lost_reason": "Price"},
        f"PATCH /leads/{A}/stage",
        body={"stageId": WON, "lostReason": "Price"},
    ),
    Reached(
        "log_lead_activity",
        "log_activity",
        {"type": "task", "subject": "Call", "lead": A, "contact": B, "due_at": "2031-02-28T12:00:00+02:00"},
        f"POST /leads/{A}/activities",
        body={"type": "task", "subject": "Call", "contactId": B, "dueAt": "2031-02-28T10:00:00Z"},
    ),
    Reached(
        "list_activities",
        "list_activities",
        {"lead": A, "company": B, "limit": 10},
        "GET /activities",
        query={"leadId": A, "companyId": B, "page": "1", "pageSize": "100"},
    ),
    Reached(
        "log_activity",
        "log_activity",
        {"type": "call", "subject": "Hi", "company": A, "body": "B", "duration_minutes": 0},
        "POST /activities",
        body={"type": "call", "subject": "Hi", "companyId": A, "body": "B", "durationMinutes": 0},
    ),
    Reached(
        "list_tasks",
        "list_tasks",
        {"lead": A, "limit": 5},
        "GET /tasks",
        query={"leadId": A, "page": "1", "pageSize": "100"},
    ),
    Reached(
        "send_outbound_email",
        "send_outbound_email",
        {"lead": A, "subject": "Hi", "body": "Hello"},
        "POST /outbound-email",
        body={
            "leadId": A,
            "connectionId": M,
            "channel": "outlook",
            "subject": "Hi",
            "htmlBody": "<p>Hello</p>",
        },
    ),
    Reached(
        "list_outbound_email_connections", "list_email_connections", {}, "GET /outbound-email-connections"
    ),
]


@pytest.mark.parametrize("reached", CALLS, ids=lambda reached: reached.operation)
async def test_each_operation_is_reached_by_a_tool(
    client: Client, sandbox: Any, wire: Any, reached: Reached
) -> None:
    def nobody_can_look_afterwards(request: httpx2.Request) -> httpx2.Response:
        is_afterwards = request.method == "GET" and wire.writes
        return httpx2.Response(403) if is_afterwards else answer(request)

    wire.inner = httpx2.MockTransport(nobody_can_look_afterwards)

    result = await client.call_tool(reached.tool, reached.arguments)

    assert not result.is_error, result.content
    method, path = reached.line.split(" ")
    requests = wire.sent if method == "GET" else wire.writes
    # A search that finds nothing goes on to look for what comes close.
    decisive = next(
        sent
        for sent in requests
        if (sent.method, sent.path) == (method, f"/api/crm{path}")
        # A search looks over the first page of all too.
        if ("q" in sent.query) == ("q" in reached.query)
    )
    assert decisive.query == {"entityId": sandbox.credentials.entity_id, **reached.query}
    assert decisive.body == reached.body
    assert wire.writes == ([] if method == "GET" else [decisive])


def test_the_calls_above_reach_every_operation() -> None:
    assert sorted(reached.operation for reached in CALLS) == sorted(
        operation.name for operation in operations()
    )
    assert len(CALLS) == 34
