"""Contacts and their company memberships on the CRM's wire: rows 8 to 16 of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from crm_mcp.crm.contract import (
    ASSUMED,
    DOCUMENTED,
    Body,
    Done,
    Entity,
    Many,
    One,
    Operation,
    PagedFilter,
    Timestamp,
    Uuid,
    WireModel,
    Written,
    equals,
    mentions,
)
from crm_mcp.crm.paging import Page, Told, Walk, gather_page

if TYPE_CHECKING:
    from crm_mcp.crm.client import CrmClient


class ContactFields(WireModel):
    """What can be read from and written to a contact."""

    first_name: Annotated[str | None, ASSUMED] = None
    last_name: Annotated[str | None, ASSUMED] = None
    email: Annotated[str | None, ASSUMED] = None
    phone: Annotated[str | None, ASSUMED] = None
    job_title: Annotated[str | None, ASSUMED] = None
    company_id: Annotated[Uuid | None, ASSUMED] = None
    notes: Annotated[str | None, ASSUMED] = None


class Contact(ContactFields, Entity):
    """A person; `company_id` is the primary of the companies that the memberships name."""

    created_at: Annotated[Timestamp | None, ASSUMED] = None
    updated_at: Annotated[Timestamp | None, ASSUMED] = None

    @property
    def label(self) -> str:
        """First and last name, or what else tells the person from others."""
        full = " ".join(part for part in (self.first_name, self.last_name) if part)
        return full or str(self.wire.get("name") or self.wire.get("displayName") or self.email or self.id)


class ContactChanges(ContactFields, Body):
    """The fields of a contact to set; None clears one. Nothing is required, for a new contact either."""


class ContactFilter(PagedFilter):
    """One UUID filter is documented, its name is not; a company's contacts have an endpoint of their own."""

    company_id: Annotated[Uuid | None, ASSUMED, equals("companyId", "company.id")] = None
    q: Annotated[str | None, ASSUMED, mentions()] = None


class MembershipFields(WireModel):
    """What can be read from and written to a membership."""

    title: Annotated[str | None, ASSUMED] = None
    is_primary: Annotated[bool | None, ASSUMED] = None


class Membership(MembershipFields, Entity):
    """A contact's place in a company."""

    company_id: Annotated[Uuid | None, ASSUMED] = None
    company_name: Annotated[str | None, ASSUMED] = None


class MembershipChanges(MembershipFields, Body):
    """The fields of a membership to set."""


class NewMembership(MembershipChanges):
    """A membership to be created."""

    company_id: Annotated[Uuid, DOCUMENTED]


LIST_CONTACTS = Operation(
    "list_contacts",
    "List contacts",
    "GET",
    "/contacts",
    answer=Many(Contact, "contacts"),
    evidence=ASSUMED,
    filter=ContactFilter,
    error_responses=1,
)
CREATE_CONTACT = Operation(
    "create_contact",
    "Create a contact",
    "POST",
    "/contacts",
    answer=Written(Contact, "contact"),
    evidence=ASSUMED,
    body=ContactChanges,
    error_responses=1,
)
GET_CONTACT = Operation(
    "get_contact",
    "Get a contact",
    "GET",
    "/contacts/{contact_id}",
    answer=One(Contact, "contact"),
    evidence=ASSUMED,
    error_responses=2,
)
UPDATE_CONTACT = Operation(
    "update_contact",
    "Update a contact",
    "PATCH",
    "/contacts/{contact_id}",
    answer=Written(Contact, "contact"),
    evidence=ASSUMED,
    body=ContactChanges,
    error_responses=1,
)
DELETE_CONTACT = Operation(
    "delete_contact", "Delete a contact", "DELETE", "/contacts/{contact_id}", answer=Done(), evidence=ASSUMED
)
LIST_MEMBERSHIPS = Operation(
    "list_company_memberships",
    "List a contact's company memberships",
    "GET",
    "/contacts/{contact_id}/company-memberships",
    answer=Many(Membership, "memberships"),
    evidence=ASSUMED,
    error_responses=1,
)
CREATE_MEMBERSHIP = Operation(
    "create_company_membership",
    "Link a contact to a company",
    "POST",
    "/contacts/{contact_id}/company-memberships",
    answer=Written(Membership, "membership"),
    evidence=ASSUMED,
    body=NewMembership,
)
UPDATE_MEMBERSHIP = Operation(
    "update_company_membership",
    "Update a contact's company membership",
    "PATCH",
    "/contacts/{contact_id}/company-memberships/{membership_id}",
    answer=Written(Membership, "membership"),
    evidence=ASSUMED,
    body=MembershipChanges,
    error_responses=1,
)
DELETE_MEMBERSHIP = Operation(
    "delete_company_membership",
    "Unlink a contact from a company",
    "DELETE",
    "/contacts/{contact_id}/company-memberships/{membership_id}",
    answer=Done(),
    evidence=ASSUMED,
    error_responses=1,
)


class Contacts:
    """`crm.contacts`."""

    def __init__(self, client: CrmClient) -> None:
        self._client = client

    async def search(
        self,
        wanted: ContactFilter | None = None,
        *,
        page: int = 1,
        limit: int = 25,
        told: Told | None = None,
    ) -> Page[Contact]:
        wanted = wanted or ContactFilter()
        fetch = self._client.pages(LIST_CONTACTS, wanted)
        return await gather_page(fetch, wanted, page=page, limit=limit, told=told)

    def walk(self, wanted: ContactFilter | None = None) -> Walk[Contact]:
        wanted = wanted or ContactFilter()
        return Walk(self._client.pages(LIST_CONTACTS, wanted), wanted)

    async def get(self, contact_id: str) -> Contact:
        return await self._client.call(GET_CONTACT, contact_id=contact_id)

    async def create(self, contact: ContactChanges) -> Contact | None:
        """The new contact, or None where the CRM's answer does not show it."""
        return await self._client.call(CREATE_CONTACT, body=contact)

    async def update(self, contact_id: str, changes: ContactChanges) -> Contact | None:
        """The contact as it is now, or None if it cannot be read now: the update is done."""
        return await self._client.change(UPDATE_CONTACT, GET_CONTACT, body=changes, contact_id=contact_id)

    async def delete(self, contact_id: str) -> None:
        await self._client.call(DELETE_CONTACT, contact_id=contact_id)

    async def memberships(self, contact_id: str) -> list[Membership]:
        return (await self._client.call(LIST_MEMBERSHIPS, contact_id=contact_id)).records

    async def link(self, contact_id: str, membership: NewMembership) -> Membership | None:
        """The new membership, or None where the CRM's answer does not show it."""
        return await self._client.call(CREATE_MEMBERSHIP, body=membership, contact_id=contact_id)

    async def update_membership(
        self, contact_id: str, membership_id: str, changes: MembershipChanges
    ) -> Membership | None:
        """The membership as it is now, or None where the CRM's answer does not show it."""
        return await self._client.call(
            UPDATE_MEMBERSHIP, body=changes, contact_id=contact_id, membership_id=membership_id
        )

    async def unlink(self, contact_id: str, membership_id: str) -> None:
        await self._client.call(DELETE_MEMBERSHIP, contact_id=contact_id, membership_id=membership_id)
