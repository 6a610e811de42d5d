"""Tools for companies."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crm_mcp.crm.activities import ActivityFilter
from crm_mcp.crm.companies import Company, CompanyChanges, CompanyFilter, NewCompany, Role, Status
from crm_mcp.crm.leads import LeadFilter
from crm_mcp.crm.paging import MAX_CALLS, selected
from crm_mcp.lines import ActivityRow, CompanyRow, ContactRow, LeadRow
from crm_mcp.results import DASHBOARD_URI, CompanyList, CompanyResult, CompanyWritten, company_uri
from crm_mcp.rows import is_open
from crm_mcp.tenant import Tenant
from crm_mcp.tools.activities import newest_activities
from crm_mcp.tools.asking import MaybeOwner, MeantCompany
from crm_mcp.tools.bodies import filled, not_kept
from crm_mcp.tools.catalogue import Effect, Toolset, tool
from crm_mcp.tools.parameters import (
    AllowDuplicate,
    CompanyRef,
    Crm,
    Detail,
    Limit,
    Owner,
    OwnerFilter,
    PageNumber,
    Repeat,
)
from crm_mcp.tools.parts import at_once, page_of
from crm_mcp.tools.searching import Search, searched

MAX_CONTACTS = 10
MAX_LEADS = 10
MAX_ACTIVITIES = 5

Website = Annotated[str, Field(description="E.g. `acme.com`.")]
Clear = Annotated[
    tuple[Literal["role", "website", "industry", "email", "phone", "notes", "owner"], ...],
    Field(description="Fields to empty."),
]


@tool(effect=Effect.READ, toolset=Toolset.READ, title="Search companies")
async def search_companies(
    crm: Crm,
    query: Annotated[str, Field(description="Part of the name.")] = "",
    role: Role | None = None,
    status: Annotated[Status | None, Field(description="`inactive`: archived.")] = None,
    owner: OwnerFilter = "",
    limit: Limit = 25,
    page: PageNumber = 1,
) -> CompanyList:
    """Find companies; without arguments, list all."""
    owner_id = await crm.refs.owner(owner) if owner else None
    wanted = CompanyFilter(role=role, status=status, owner_user_id=owner_id, q=query or None)
    search: Search[Company] = Search(crm, "companies", wanted, query)
    found = await searched(search, page=page, limit=limit)
    return CompanyList(companies=await crm.rows.companies(found.records), **page_of(found))


@tool(effect=Effect.READ, toolset=Toolset.READ, title="Get a company")
async def get_company(crm: Crm, company: CompanyRef, detail: Detail = "normal") -> CompanyResult:
    """A company with its contacts, open leads and latest activities: all of "what do we have going with
    Acme"."""
    meant = await crm.refs.company(company)
    notes = [meant.note] if meant.note else []
    found = await crm.client.companies.get(meant.id)
    if detail == "brief":
        return CompanyResult(company=found, notes=notes)
    parts = await at_once(
        notes,
        contacts=_contacts(crm, meant.id, notes),
        open_leads=_open_leads(crm, meant.id, notes),
        activities=_activities(crm, meant.id, notes),
    )
    # Leads and activities may have the same to say of the filter by company.
    notes = list(dict.fromkeys(notes))
    return CompanyResult(
        company=found, notes=notes, other=found.unknown if detail == "full" else None, **parts
    )


async def _contacts(crm: Tenant, company_id: str, notes: list[str]) -> list[ContactRow]:
    people = await crm.client.companies.contacts(company_id)
    notes += people.notes
    if len(people.records) > MAX_CONTACTS:
        notes.append(f"{people.total} contacts, {MAX_CONTACTS} shown; search_contacts(company) lists all.")
    return await crm.rows.contacts(people.records[:MAX_CONTACTS])


async def _open_leads(crm: Tenant, company_id: str, notes: list[str]) -> list[LeadRow]:
    stages = await crm.rows.known_stages()
    found = await selected(
        crm.client.leads.walk(LeadFilter(company_id=company_id)),
        lambda lead: is_open(lead, stages),
        page=1,
        limit=MAX_LEADS,
        told=crm.reading("leads"),
        calls=MAX_CALLS,
    )
    notes += found.notes
    if found.has_more:
        count = f"{found.total} open leads" if found.total is not None else "More open leads"
        notes.append(f'{count}, {MAX_LEADS} shown; search_leads(company, stage="open") lists all.')
    return await crm.rows.leads(found.records)


async def _activities(crm: Tenant, company_id: str, notes: list[str]) -> list[ActivityRow]:
    wanted = ActivityFilter(company_id=company_id)
    found = await newest_activities(crm, wanted, page=1, limit=MAX_ACTIVITIES, calls=MAX_CALLS)
    notes += found.notes
    if found.has_more:
        count = f"{found.total} activities" if found.total is not None else "More activities"
        notes.append(f"{count}, {MAX_ACTIVITIES} shown; list_activities(company) lists all.")
    return await crm.rows.activities(found.records)


@tool(effect=Effect.CREATE, toolset=Toolset.SALES, title="Create a company")
async def create_company(
    crm: Crm,
    name: str,
    role: Role | None = None,
    website: Website = "",
    industry: str = "",
    email: str = "",
    phone: str = "",
    notes: str = "",
    owner: Owner = "",
    allow_duplicate: AllowDuplicate = False,
    repeat: Repeat = False,
    *,
    owned_by: MaybeOwner,
) -> CompanyWritten:
    """Create a company. One of the same name or domain that is there already stops it."""
    company = filled(
        NewCompany,
        name=name,
        role=role,
        website=website,
        industry=industry,
        email=email,
        phone=phone,
        notes=notes,
        owner=owned_by,
    )
    created = await crm.client.companies.create(company)
    result = CompanyWritten(company=await _row(crm, created), notes=not_kept(company, created))
    return result.after("Company created.", company_uri(created), DASHBOARD_URI)


@tool(
    effect=Effect.UPDATE,
    toolset=Toolset.SALES,
    title="Update a company",
    check=lambda company, **fields: filled(CompanyChanges, **fields),
)
async def update_company(
    crm: Crm,
    company: CompanyRef,
    name: str = "",
    role: Role | None = None,
    status: Annotated[Status | None, Field(description="`inactive` archives it.")] = None,
    website: Website = "",
    industry: str = "",
    email: str = "",
    phone: str = "",
    notes: Annotated[str, Field(description="Replaces the old notes.")] = "",
    owner: Owner = "",
    clear: Clear = (),
    *,
    owned_by: MaybeOwner,
    meant: MeantCompany,
) -> CompanyWritten:
    """Change a company's fields; what is not given stays."""
    changes = filled(
        CompanyChanges,
        clear=clear,
        name=name,
        role=role,
        status=status,
        website=website,
        industry=industry,
        email=email,
        phone=phone,
        notes=notes,
        owner=owned_by,
    )
    updated = await crm.client.companies.update(meant.id, changes)
    result = CompanyWritten(company=await _row(crm, updated), notes=not_kept(changes, updated))
    return result.after("Company updated.", company_uri(updated), DASHBOARD_URI)


async def _row(crm: Tenant, company: Company | None) -> CompanyRow | None:
    return (await crm.rows.companies([company]))[0] if company else None
