"""Tools for companies."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crm_mcp.crm.companies import CompanyChanges, CompanyFilter, NewCompany, Role, Status
from crm_mcp.rendering import DASHBOARD_URI, CompanyList, CompanyResult, company_uri, counts
from crm_mcp.tools.bodies import filled, not_kept
from crm_mcp.tools.catalogue import Effect, Toolset, tool
from crm_mcp.tools.parameters import CompanyRef, Crm, Limit, Owner, OwnerFilter, PageNumber

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
    """Find companies; without arguments, list all. Shows the ids that other tools take."""
    wanted = CompanyFilter(role=role, status=status, owner_user_id=owner or None, q=query or None)
    found = await crm.companies.search(wanted, page=page, limit=limit)
    return CompanyList(companies=found.records, **counts(found))


@tool(effect=Effect.READ, toolset=Toolset.READ, title="Get a company")
async def get_company(crm: Crm, company: CompanyRef) -> CompanyResult:
    """All fields of a company. For its people use search_contacts(company), for its deals
    search_leads(company)."""
    return CompanyResult(company=await crm.companies.get(company))


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
) -> CompanyResult:
    """Create a company. Search for it first: duplicates are not stopped."""
    company = filled(
        NewCompany,
        name=name,
        role=role,
        website=website,
        industry=industry,
        email=email,
        phone=phone,
        notes=notes,
        owner=owner,
    )
    created = await crm.companies.create(company)
    result = CompanyResult(company=created, notes=not_kept(company, created))
    return result.after("Company created.", company_uri(created), DASHBOARD_URI)


@tool(effect=Effect.UPDATE, toolset=Toolset.SALES, title="Update a company")
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
) -> CompanyResult:
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
        owner=owner,
    )
    updated = await crm.companies.update(company, changes)
    result = CompanyResult(company=updated, notes=not_kept(changes, updated))
    return result.after("Company updated.", company_uri(company), DASHBOARD_URI)
