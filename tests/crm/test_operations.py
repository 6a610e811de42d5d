import json
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx2
import pytest

from crm_mcp.crm import CrmClient, openapi
from crm_mcp.crm.activities import ActivityFilter, NewActivity, NewLeadActivity, TaskFilter
from crm_mcp.crm.companies import Company, CompanyChanges, CompanyFilter, NewCompany
from crm_mcp.crm.contacts import Contact, ContactChanges, ContactFilter, MembershipChanges, NewMembership
from crm_mcp.crm.errors import NotFoundError
from crm_mcp.crm.leads import Lead, LeadChanges, LeadFilter, NewLead
from crm_mcp.crm.outreach import ListAddition, OutboundEmail
from crm_mcp.crm.pipeline import NewStage, StageChanges

pytestmark = pytest.mark.anyio

Connect = Callable[..., CrmClient]

ENTITY_ID = "6f1d9b52-4a0e-4c1b-9d27-2f6c0d4f8a11"
A = "aaaaaaaa-0000-4000-8000-000000000001"
B = "bbbbbbbb-0000-4000-8000-000000000002"

# Whatever is asked for, it is in here.
ANSWER = {"id": A, "name": "Acme", "title": "Deal", "data": []}


@dataclass(frozen=True)
class Sent:
    """A call of the client, and what it should put on the wire."""

    operation: str
    call: Callable[[CrmClient], Awaitable[Any]]
    method: str
    path: str
    query: dict[str, str]
    body: dict[str, Any] | None


def sent(
    operation: str,
    call: Callable[[CrmClient], Awaitable[Any]],
    line: str,
    *,
    query: dict[str, str] | None = None,
    body: dict[str, Any] | None = None,
) -> Sent:
    method, path = line.split(" ")
    return Sent(operation, call, method, path, query or {}, body)


FIRST_PAGE = {"page": "1", "pageSize": "25"}
EMAIL = {"leadId": A, "connectionId": B, "channel": "gmail", "subject": "Hi", "htmlBody": "<p>Hi</p>"}
CALLED = {"type": "call", "subject": "Called"}

CALLS = [
    sent(
        "add_to_marketing_list",
        lambda crm: crm.outreach.add_to_marketing_list(ListAddition(list_id=A, company_ids=[B])),
        "POST /prospecting/add-to-marketing-list",
        body={"listId": A, "companyIds": [B]},
    ),
    sent("get_dashboard", lambda crm: crm.pipeline.dashboard(), "GET /dashboard"),
    sent(
        "list_companies",
        lambda crm: crm.companies.search(
            CompanyFilter(role="customer", status="active", owner_user_id="me", q="Acme & Söhne", limit=9),
            limit=10,
        ),
        "GET /companies",
        query={
            "role": "customer",
            "status": "active",
            "ownerUserId": "me",
            "q": "Acme & Söhne",
            "limit": "9",
            "page": "1",
            "pageSize": "10",
        },
    ),
    sent(
        "create_company",
        lambda crm: crm.companies.create(NewCompany(name="Acme", role="prospect")),
        "POST /companies",
        body={"name": "Acme", "role": "prospect"},
    ),
    sent("get_company", lambda crm: crm.companies.get(A), f"GET /companies/{A}"),
    sent(
        "update_company",
        lambda crm: crm.companies.update(A, CompanyChanges(status="inactive", owner_user_id=None)),
        f"PATCH /companies/{A}",
        body={"status": "inactive", "ownerUserId": None},
    ),
    sent("list_company_contacts", lambda crm: crm.companies.contacts(A), f"GET /companies/{A}/contacts"),
    sent(
        "list_contacts",
        lambda crm: crm.contacts.search(ContactFilter(company_id=A, q="anna")),
        "GET /contacts",
        query={"companyId": A, "q": "anna", **FIRST_PAGE},
    ),
    sent(
        "create_contact",
        lambda crm: crm.contacts.create(ContactChanges(first_name="Anna", job_title="CTO")),
        "POST /contacts",
        body={"firstName": "Anna", "jobTitle": "CTO"},
    ),
    sent("get_contact", lambda crm: crm.contacts.get(A), f"GET /contacts/{A}"),
    sent(
        "update_contact",
        lambda crm: crm.contacts.update(A, ContactChanges(phone=None)),
        f"PATCH /contacts/{A}",
        body={"phone": None},
    ),
    sent("delete_contact", lambda crm: crm.contacts.delete(A), f"DELETE /contacts/{A}"),
    sent(
        "list_company_memberships",
        lambda crm: crm.contacts.memberships(A),
        f"GET /contacts/{A}/company-memberships",
    ),
    sent(
        "create_company_membership",
        lambda crm: crm.contacts.link(A, NewMembership(company_id=B, is_primary=True)),
        f"POST /contacts/{A}/company-memberships",
        body={"companyId": B, "isPrimary": True},
    ),
    sent(
        "update_company_membership",
        lambda crm: crm.contacts.update_membership(A, B, MembershipChanges(title="CTO")),
        f"PATCH /contacts/{A}/company-memberships/{B}",
        body={"title": "CTO"},
    ),
    sent(
        "delete_company_membership",
        lambda crm: crm.contacts.unlink(A, B),
        f"DELETE /contacts/{A}/company-memberships/{B}",
    ),
    sent("list_pipeline_stages", lambda crm: crm.pipeline.stages(), "GET /pipeline-stages"),
    sent(
        "create_pipeline_stage",
        lambda crm: crm.pipeline.create(NewStage(name="Trial", kind="open", default_probability_pct=40)),
        "POST /pipeline-stages",
        body={"name": "Trial", "kind": "open", "defaultProbabilityPct": 40.0},
    ),
    sent(
        "reorder_pipeline_stages",
        lambda crm: crm.pipeline.reorder([B, A]),
        "POST /pipeline-stages/reorder",
        body={"stageIds": [B, A]},
    ),
    sent(
        "update_pipeline_stage",
        lambda crm: crm.pipeline.update(A, StageChanges(color_key="teal")),
        f"PATCH /pipeline-stages/{A}",
        body={"colorKey": "teal"},
    ),
    sent(
        "delete_pipeline_stage",
        lambda crm: crm.pipeline.delete(A, reassign_to_stage_id=B),
        f"DELETE /pipeline-stages/{A}",
        body={"reassignToStageId": B},
    ),
    sent(
        "list_leads",
        lambda crm: crm.leads.search(
            LeadFilter(company_id=A, contact_id=B, stage_id=A, stage="Won", q="fleet")
        ),
        "GET /leads",
        query={"companyId": A, "contactId": B, "stageId": A, "stage": "Won", "q": "fleet", **FIRST_PAGE},
    ),
    sent(
        "create_lead",
        lambda crm: crm.leads.create(
            NewLead.model_validate({"title": "Deal", "value": 12.5, "expected_close_date": "2025-06-30"})
        ),
        "POST /leads",
        body={"title": "Deal", "value": 12.5, "expectedCloseDate": "2025-06-30"},
    ),
    sent("get_lead", lambda crm: crm.leads.get(A), f"GET /leads/{A}"),
    sent(
        "update_lead",
        lambda crm: crm.leads.update(A, LeadChanges(probability_pct=80, source=None)),
        f"PATCH /leads/{A}",
        body={"probabilityPct": 80.0, "source": None},
    ),
    sent("delete_lead", lambda crm: crm.leads.delete(A), f"DELETE /leads/{A}"),
    sent("get_lead_timeline", lambda crm: crm.leads.timeline(A), f"GET /leads/{A}/timeline"),
    sent(
        "move_lead_stage",
        lambda crm: crm.leads.move(A, B, lost_reason="Price"),
        f"PATCH /leads/{A}/stage",
        body={"stageId": B, "lostReason": "Price"},
    ),
    sent(
        "log_lead_activity",
        lambda crm: crm.activities.log_on_lead(A, NewLeadActivity(type="call", subject="Called")),
        f"POST /leads/{A}/activities",
        body=CALLED,
    ),
    sent(
        "list_activities",
        lambda crm: crm.activities.search(ActivityFilter(lead_id=A, company_id=B)),
        "GET /activities",
        query={"leadId": A, "companyId": B, **FIRST_PAGE},
    ),
    sent(
        "log_activity",
        lambda crm: crm.activities.log(
            NewActivity.model_validate(
                {**CALLED, "company_id": B, "occurred_at": "2025-03-01T12:00:00+02:00", "duration_minutes": 5}
            )
        ),
        "POST /activities",
        body={**CALLED, "companyId": B, "occurredAt": "2025-03-01T10:00:00Z", "durationMinutes": 5},
    ),
    sent(
        "list_tasks",
        lambda crm: crm.activities.tasks(TaskFilter(lead_id=A)),
        "GET /tasks",
        query={"leadId": A, **FIRST_PAGE},
    ),
    sent(
        "send_outbound_email",
        lambda crm: crm.outreach.send_email(OutboundEmail.model_validate(EMAIL)),
        "POST /outbound-email",
        body=EMAIL,
    ),
    sent(
        "list_outbound_email_connections",
        lambda crm: crm.outreach.connections(),
        "GET /outbound-email-connections",
    ),
]


@pytest.mark.parametrize("expected", CALLS, ids=lambda expected: expected.operation)
async def test_each_operation_sends_exactly_what_is_declared(connect: Connect, expected: Sent) -> None:
    requests: list[httpx2.Request] = []

    def crm(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        return httpx2.Response(200, json=ANSWER)

    await expected.call(connect(crm))
    (request,) = requests
    assert (request.method, request.url.path) == (expected.method, f"/api/crm{expected.path}")
    assert dict(request.url.params.multi_items()) == {"entityId": ENTITY_ID, **expected.query}
    assert (json.loads(request.content) if request.content else None) == expected.body


def test_every_operation_is_called_above() -> None:
    assert sorted(call.operation for call in CALLS) == sorted(
        operation.name for operation in openapi.operations()
    )


async def test_optional_fields_are_not_sent_when_not_given(connect: Connect) -> None:
    bodies: list[Any] = []

    def crm(request: httpx2.Request) -> httpx2.Response:
        bodies.append(json.loads(request.content))
        return httpx2.Response(200, json=ANSWER)

    client = connect(crm)
    await client.leads.move(A, B)
    await client.pipeline.delete(A)
    assert bodies == [{"stageId": B}, {}]


updates = pytest.mark.parametrize(
    "update",
    [
        lambda crm: crm.companies.update(A, CompanyChanges(phone=None)),
        lambda crm: crm.contacts.update(A, ContactChanges(phone=None)),
        lambda crm: crm.leads.update(A, LeadChanges(source=None)),
        lambda crm: crm.leads.move(A, B),
    ],
)


@updates
async def test_an_update_without_an_answer_is_read_back(
    connect: Connect, update: Callable[[CrmClient], Awaitable[Any]]
) -> None:
    methods: list[str] = []

    def crm(request: httpx2.Request) -> httpx2.Response:
        methods.append(request.method)
        return httpx2.Response(200, json=ANSWER) if request.method == "GET" else httpx2.Response(204)

    assert (await update(connect(crm))).wire == ANSWER
    assert methods == ["PATCH", "GET"]


@updates
async def test_an_update_that_cannot_be_read_back_is_done(
    connect: Connect, update: Callable[[CrmClient], Awaitable[Any]]
) -> None:
    def crm(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(500 if request.method == "GET" else 204)

    assert await update(connect(crm)) is None


@updates
async def test_an_update_that_fails_is_no_update(
    connect: Connect, update: Callable[[CrmClient], Awaitable[Any]]
) -> None:
    client = connect(lambda _: httpx2.Response(404))
    with pytest.raises(NotFoundError):
        await update(client)


async def test_stages_and_timeline_come_in_their_order(connect: Connect) -> None:
    stages = [{"id": "b", "name": "Won", "sortOrder": 2}, {"id": "a", "name": "New", "sortOrder": 1}]
    entries = [
        {"id": "undated"},
        {"id": "old", "occurredAt": "2024-01-01T00:00:00Z"},
        {"id": "new", "occurredAt": "2025-01-01T00:00:00Z"},
    ]

    def crm(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(200, json={"stages": stages, "timeline": entries})

    client = connect(crm)
    assert [stage.name for stage in await client.pipeline.stages()] == ["New", "Won"]
    assert [entry.id for entry in await client.leads.timeline(A)] == ["new", "old", "undated"]


async def test_a_record_that_calls_its_name_otherwise_can_be_read(connect: Connect) -> None:
    rows = [{"id": A, "displayName": "Acme"}, {"id": B, "name": None}]
    client = connect(lambda _: httpx2.Response(200, json={"companies": rows, "leads": rows}))
    assert [company.label for company in (await client.companies.search()).records] == ["Acme", B]
    assert [lead.label for lead in (await client.leads.search()).records] == ["Acme", B]


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"name": "Acme", "title": "Inc."}, "Acme"),
        ({"name": {"de": "Acme"}, "displayName": "Acme", "title": "Inc."}, "Acme"),
        ({"title": "Acme", "email": "a@acme.test"}, "Acme"),
        ({"name": "", "email": "a@acme.test"}, "a@acme.test"),
        ({}, A),
    ],
)
def test_a_company_is_called_what_there_is(fields: dict[str, Any], label: str) -> None:
    assert Company.from_wire({"id": A, **fields}).label == label


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"title": "Fleet", "name": "Deal 7"}, "Fleet"),
        ({"name": "Fleet", "displayName": "Deal 7"}, "Fleet"),
        ({"title": None, "displayName": "Fleet"}, "Fleet"),
        ({}, A),
    ],
)
def test_a_lead_is_called_what_there_is(fields: dict[str, Any], label: str) -> None:
    assert Lead.from_wire({"id": A, **fields}).label == label


@pytest.mark.parametrize(
    ("fields", "label"),
    [
        ({"firstName": "Anna", "lastName": "Lind", "email": "a@acme.test"}, "Anna Lind"),
        ({"lastName": "Lind"}, "Lind"),
        ({"name": "A. Lind", "email": "a@acme.test"}, "A. Lind"),
        ({"displayName": "A. Lind", "title": "Dr"}, "A. Lind"),
        ({"email": "a@acme.test"}, "a@acme.test"),
        ({}, A),
    ],
)
def test_a_contact_is_called_what_there_is(fields: dict[str, Any], label: str) -> None:
    assert Contact.from_wire({"id": A, **fields}).label == label
