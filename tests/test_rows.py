import json
from typing import Any

import httpx2
import pytest

from crm_mcp.crm import CrmClient
from crm_mcp.crm.activities import Activity
from crm_mcp.crm.companies import Company, NewCompany
from crm_mcp.crm.contacts import Contact
from crm_mcp.crm.leads import Lead
from crm_mcp.crm.pipeline import PipelineStage
from crm_mcp.lines import ActivityRow, CompanyRow, ContactRow, LeadRow
from crm_mcp.rows import FEW, Rows, is_open
from crm_mcp.tenant import Tenant

pytestmark = pytest.mark.anyio

A = "aaaaaaaa-0000-4000-8000-00000000000a"
NOBODY = "dddddddd-0000-4000-8000-00000000000d"


@pytest.fixture
def rows(crm: CrmClient) -> Rows:
    return Tenant(crm).rows


@pytest.fixture
def acme(find: Any) -> str:
    company_id: str = find("companies", name="Acme Inc.")["id"]
    return company_id


@pytest.fixture
def licence(find: Any) -> str:
    lead_id: str = find("leads", title="Acme annual licence")["id"]
    return lead_id


def paths(wire: Any) -> list[str]:
    return sorted(request.path.removeprefix("/api/crm") for request in wire.sent)


async def test_what_a_record_names_by_id_is_called_by_name(
    rows: Rows, sandbox: Any, acme: str, licence: str
) -> None:
    stage = sandbox.one("SELECT id FROM stages WHERE name = 'Won'")["id"]
    assert await rows.contacts([Contact(id=A, first_name="Ann", company_id=acme)]) == [
        ContactRow(id=A, name="Ann", company_id=acme, company="Acme Inc.")
    ]
    assert await rows.leads([Lead(id=A, title="Deal", company_id=acme, stage_id=stage)]) == [
        LeadRow(id=A, title="Deal", company_id=acme, company="Acme Inc.", stage_id=stage, stage="Won")
    ]
    assert await rows.activities([Activity(id=A, lead_id=licence)]) == [
        ActivityRow(id=A, lead_id=licence, lead="Acme annual licence")
    ]


async def test_a_name_is_looked_up_once(rows: Rows, acme: str, wire: Any) -> None:
    contacts = [Contact(id=A, company_id=acme), Contact(id=NOBODY, company_id=acme)]
    for _ in range(2):
        await rows.contacts(contacts)
    assert paths(wire) == [f"/companies/{acme}"]


async def test_what_passed_by_needs_no_lookup(rows: Rows, wire: Any) -> None:
    assert await rows.companies([Company(id=A, name="Apex")]) == [CompanyRow(id=A, name="Apex")]
    [row] = await rows.contacts([Contact(id=NOBODY, company_id=A)])
    assert row.company == "Apex"
    assert wire.sent == []


async def test_many_names_come_by_the_page(rows: Rows, sandbox: Any, wire: Any) -> None:
    companies = sandbox.all("SELECT id, name FROM companies LIMIT ?", FEW + 1)
    contacts = [Contact(id=A, company_id=company["id"]) for company in companies]
    named = await rows.contacts(contacts)
    assert [row.company for row in named] == [company["name"] for company in companies]
    assert paths(wire) == ["/companies"]


async def test_in_a_large_crm_all_of_a_page_are_named(crm: CrmClient, rows: Rows) -> None:
    created = [await crm.companies.create(NewCompany(name=f"Vexa {number}")) for number in range(150)]
    companies = [company for company in created if company]
    oldest = companies[:50]
    named = await rows.leads([Lead(id=A, title="Deal", company_id=company.id) for company in oldest])
    assert [row.company for row in named] == [company.name for company in oldest]


async def test_what_nobody_can_name_keeps_its_id(rows: Rows, wire: Any) -> None:
    [row] = await rows.activities([Activity(id=A, lead_id=NOBODY, company_id=NOBODY)])
    assert row == ActivityRow(id=A, lead_id=NOBODY, company_id=NOBODY)


async def test_a_crm_that_fails_costs_names_alone(rows: Rows, wire: Any, licence: str) -> None:
    wire.inner = httpx2.MockTransport(lambda _request: httpx2.Response(500))
    lead = Lead(id=A, title="Deal", company_id=NOBODY, stage_id=NOBODY)
    assert await rows.leads([lead]) == [LeadRow(id=A, title="Deal", company_id=NOBODY, stage_id=NOBODY)]
    assert await rows.open_leads([lead]) == [lead]
    many = [Activity(id=A, lead_id=f"{number:08d}-0000-4000-8000-000000000000") for number in range(9)]
    assert [row.lead for row in await rows.activities(many)] == [None] * 9


@pytest.mark.parametrize(
    ("facts", "open_"),
    [
        ({"stage_id": A}, True),
        ({"stage_id": NOBODY}, False),
        ({"stage_id": A, "closed_at": "2030-01-01T00:00:00Z"}, False),
        ({"stage_id": "unknown"}, True),
        ({}, True),
    ],
)
def test_a_lead_is_open_by_its_own_word_and_its_stage(facts: dict[str, Any], open_: bool) -> None:
    stages = [
        PipelineStage(id=A, name="New", kind="open"),
        PipelineStage(id=NOBODY, name="Gone", kind="lost"),
    ]
    assert is_open(Lead.model_validate({"id": A, "title": "Deal", **facts}), stages) is open_


async def test_half_a_character_in_one_record_does_not_cost_the_list(crm: CrmClient, wire: Any) -> None:
    companies = [{"id": A, "name": "Acme \ud83d"}, {"id": NOBODY, "name": "Beta \U0001f680"}]
    body = json.dumps({"companies": companies, "total": 2})
    wire.inner = httpx2.MockTransport(lambda _request: httpx2.Response(200, text=body))
    found = await crm.companies.search()
    assert [company.name for company in found.records] == ["Acme ?", "Beta \U0001f680"]
