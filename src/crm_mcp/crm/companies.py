"""Companies on the CRM's wire: rows 3 to 7 of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from crm_mcp.crm.contacts import Contact
from crm_mcp.crm.contract import (
    ASSUMED,
    DOCUMENTED,
    OBSERVED,
    Body,
    Entity,
    Many,
    One,
    Operation,
    PagedFilter,
    Rows,
    Timestamp,
    Uuid,
    WireModel,
    Written,
    equals,
    mentions,
    owned,
)
from crm_mcp.crm.paging import MAX_CALLS, Page, Told, Walk, gather_page

if TYPE_CHECKING:
    from crm_mcp.crm.client import CrmClient

Role = Literal["prospect", "customer", "vendor", "both"]
Status = Literal["active", "inactive"]


class CompanyFields(WireModel):
    """What can be read from and written to a company."""

    name: Annotated[str | None, ASSUMED] = None
    role: Annotated[str | None, ASSUMED] = None
    status: Annotated[str | None, ASSUMED] = None
    owner_user_id: Annotated[Uuid | None, ASSUMED] = None
    website: Annotated[str | None, ASSUMED] = None
    industry: Annotated[str | None, ASSUMED] = None
    email: Annotated[str | None, ASSUMED] = None
    phone: Annotated[str | None, ASSUMED] = None
    notes: Annotated[str | None, ASSUMED] = None


class Company(CompanyFields, Entity):
    """A company; `role` is its commercial relationship, `status` inactive means archived."""

    created_at: Annotated[Timestamp | None, ASSUMED] = None
    updated_at: Annotated[Timestamp | None, ASSUMED] = None

    @property
    def label(self) -> str:
        """The name, or what else tells the company from others."""
        if self.name:
            return self.name
        return str(self.wire.get("displayName") or self.wire.get("title") or self.email or self.id)


class CompanyChanges(CompanyFields, Body):
    """The fields of a company to set; None clears one."""

    role: Annotated[Role | None, ASSUMED] = None
    status: Annotated[Status | None, ASSUMED] = None


class NewCompany(CompanyChanges):
    """A company to be created."""

    name: Annotated[str, DOCUMENTED]


class CompanyFilter(PagedFilter):
    """Meanings and values are documented, names are not; `limit` is a legacy cap where `page` is absent."""

    role: Annotated[Role | None, OBSERVED, equals("role", also="both")] = None
    status: Annotated[Status | None, OBSERVED, equals("status")] = None
    owner_user_id: Annotated[str | None, OBSERVED, owned("ownerUserId")] = None
    q: Annotated[str | None, OBSERVED, mentions("name")] = None
    page: Annotated[int | None, OBSERVED] = None
    limit: Annotated[int | None, ASSUMED] = None


LIST_COMPANIES = Operation(
    "list_companies",
    "List companies",
    "GET",
    "/companies",
    answer=Many(Company, "companies"),
    evidence=ASSUMED,
    filter=CompanyFilter,
    error_responses=1,
)
CREATE_COMPANY = Operation(
    "create_company",
    "Create a company",
    "POST",
    "/companies",
    answer=Written(Company, "company"),
    evidence=ASSUMED,
    body=NewCompany,
    error_responses=2,
)
GET_COMPANY = Operation(
    "get_company",
    "Get a company",
    "GET",
    "/companies/{company_id}",
    answer=One(Company, "company"),
    evidence=ASSUMED,
    error_responses=2,
)
UPDATE_COMPANY = Operation(
    "update_company",
    "Update a company",
    "PATCH",
    "/companies/{company_id}",
    answer=Written(Company, "company"),
    evidence=ASSUMED,
    body=CompanyChanges,
    error_responses=2,
)
LIST_COMPANY_CONTACTS = Operation(
    "list_company_contacts",
    "List a company's contacts",
    "GET",
    "/companies/{company_id}/contacts",
    answer=Many(Contact, "contacts"),
    evidence=ASSUMED,
    error_responses=2,
)


class Companies:
    """`crm.companies`. The CRM has no DELETE for companies: archiving is `status="inactive"`."""

    def __init__(self, client: CrmClient) -> None:
        self._client = client

    async def search(
        self,
        wanted: CompanyFilter | None = None,
        *,
        page: int = 1,
        limit: int = 25,
        told: Told | None = None,
    ) -> Page[Company]:
        wanted = wanted or CompanyFilter()
        fetch = self._client.pages(LIST_COMPANIES, wanted)
        return await gather_page(fetch, wanted, page=page, limit=limit, told=told)

    def walk(self, wanted: CompanyFilter | None = None) -> Walk[Company]:
        wanted = wanted or CompanyFilter()
        return Walk(self._client.pages(LIST_COMPANIES, wanted), wanted)

    async def get(self, company_id: str) -> Company:
        return await self._client.call(GET_COMPANY, company_id=company_id)

    async def create(self, company: NewCompany) -> Company | None:
        """The new company, or None where the CRM's answer does not show it."""
        return await self._client.call(CREATE_COMPANY, body=company)

    async def update(self, company_id: str, changes: CompanyChanges) -> Company | None:
        """The company as it is now, or None if it cannot be read now: the update is done."""
        return await self._client.change(UPDATE_COMPANY, GET_COMPANY, body=changes, company_id=company_id)

    async def contacts(self, company_id: str) -> Page[Contact]:
        """All contacts that are members of the company; `bounded` where the CRM shows fewer than it tells of.

        Nobody documented pages of this list: only a CRM that sends a part of it is asked for another.
        """
        first = await self._client.call(LIST_COMPANY_CONTACTS, company_id=company_id)
        size = first.page_size or len(first.records)

        async def fetch(page: int, page_size: int) -> Rows[Contact]:
            if page == 1:
                return first
            query = PagedFilter(page=page, page_size=page_size).to_wire()
            return await self._client.call(LIST_COMPANY_CONTACTS, query=query, company_id=company_id)

        people, whole = first.records, len(first.records) >= (first.total or 0)
        if not whole:
            walk = Walk(fetch, PagedFilter(), size)
            people = [one async for page in walk.pages(MAX_CALLS) for one in page]
            whole = walk.complete
        note = f"The CRM shows only {len(people)} of the company's {first.total} contacts."
        return Page(
            people,
            page=1,
            limit=len(people),
            has_more=False,
            total=first.total if first.total and not whole else len(people),
            notes=[] if whole else [note],
            bounded=not whole,
        )
