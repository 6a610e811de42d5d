"""Tools for contacts and their places in companies."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from crm_mcp.crm import CrmClient
from crm_mcp.crm.contacts import (
    Contact,
    ContactChanges,
    ContactFilter,
    Membership,
    MembershipChanges,
    NewMembership,
)
from crm_mcp.crm.contract import mentions
from crm_mcp.crm.errors import InvalidInputError, NotFoundError
from crm_mcp.rendering import (
    DASHBOARD_URI,
    ContactList,
    ContactResult,
    MembershipResult,
    RemovalResult,
    company_uri,
    contact_uri,
    counts,
    lead_uri,
)
from crm_mcp.tools.bodies import filled, not_kept
from crm_mcp.tools.catalogue import Effect, Toolset, tool
from crm_mcp.tools.parameters import CompanyRef, ContactRef, Crm, Limit, OptionalCompanyRef, PageNumber

Clear = Annotated[
    tuple[Literal["first_name", "last_name", "email", "phone", "job_title", "company", "notes"], ...],
    Field(description="Fields to empty."),
]


@tool(effect=Effect.READ, toolset=Toolset.READ, title="Search contacts")
async def search_contacts(
    crm: Crm,
    query: Annotated[str, Field(description="Part of the name or e-mail.")] = "",
    company: OptionalCompanyRef = None,
    limit: Limit = 25,
    page: PageNumber = 1,
) -> ContactList:
    """Find people; with `company`, only its people. Shows the ids that other tools take."""
    if company:
        return _page_of(await crm.companies.contacts(company), query, page, limit)
    found = await crm.contacts.search(ContactFilter(q=query or None), page=page, limit=limit)
    return ContactList(contacts=found.records, **counts(found))


def _page_of(contacts: list[Contact], query: str, page: int, limit: int) -> ContactList:
    """The endpoint of a company's contacts knows neither pages nor a search."""
    matching = [contact for contact in contacts if mentions().passes(contact.wire, query) or not query]
    shown = matching[(page - 1) * limit : page * limit]
    more = page * limit < len(matching)
    return ContactList(
        contacts=shown, shown=len(shown), total=len(matching), next_page=page + 1 if more else None
    )


@tool(effect=Effect.READ, toolset=Toolset.READ, title="Get a contact")
async def get_contact(crm: Crm, contact: ContactRef) -> ContactResult:
    """All fields of a contact, and the companies it belongs to."""
    return ContactResult(
        contact=await crm.contacts.get(contact), memberships=await crm.contacts.memberships(contact)
    )


@tool(effect=Effect.CREATE, toolset=Toolset.SALES, title="Create a contact")
async def create_contact(
    crm: Crm,
    first_name: str = "",
    last_name: str = "",
    email: str = "",
    phone: str = "",
    job_title: str = "",
    company: OptionalCompanyRef = None,
    notes: str = "",
) -> ContactResult:
    """Create a person; needs a name or an e-mail. Search first: duplicates are not stopped."""
    if not (first_name or last_name or email):
        raise InvalidInputError("A contact needs a name or an e-mail address. Nothing was created.")
    contact = filled(
        ContactChanges,
        first_name=first_name,
        last_name=last_name,
        email=email,
        phone=phone,
        job_title=job_title,
        company=company,
        notes=notes,
    )
    created = await crm.contacts.create(contact)
    result = ContactResult(contact=created, notes=not_kept(contact, created))
    return result.after("Contact created.", *_homes(created, company), DASHBOARD_URI)


@tool(effect=Effect.UPDATE, toolset=Toolset.SALES, title="Update a contact")
async def update_contact(
    crm: Crm,
    contact: ContactRef,
    first_name: str = "",
    last_name: str = "",
    email: str = "",
    phone: str = "",
    job_title: str = "",
    company: OptionalCompanyRef = None,
    notes: Annotated[str, Field(description="Replaces the old notes.")] = "",
    clear: Clear = (),
) -> ContactResult:
    """Change a contact's fields; what is not given stays. `company` sets the primary company; for a further
    one use link_contact_to_company."""
    changes = filled(
        ContactChanges,
        clear=clear,
        first_name=first_name,
        last_name=last_name,
        email=email,
        phone=phone,
        job_title=job_title,
        company=company,
        notes=notes,
    )
    updated = await crm.contacts.update(contact, changes)
    result = ContactResult(contact=updated, notes=not_kept(changes, updated))
    return result.after("Contact updated.", *_homes(contact, company))


@tool(effect=Effect.UPDATE, toolset=Toolset.SALES, title="Link a contact to a company")
async def link_contact_to_company(
    crm: Crm,
    contact: ContactRef,
    company: CompanyRef,
    title: Annotated[str, Field(description="Role there, e.g. `CFO`.")] = "",
    is_primary: bool | None = None,
) -> MembershipResult:
    """Make a contact a member of a company, or change the membership it has there."""
    existing = await _membership(crm, contact, company)
    sent: MembershipChanges
    if existing is None:
        sent = new = filled(NewMembership, company=company, title=title, is_primary=is_primary)
        membership = await crm.contacts.link(contact, new)
    else:
        sent = filled(MembershipChanges, title=title, is_primary=is_primary)
        membership = await crm.contacts.update_membership(contact, existing.id, sent)
    membership = membership or await _membership(crm, contact, company)
    result = MembershipResult(membership=membership, notes=not_kept(sent, membership))
    done = "Contact linked." if existing is None else "Membership updated."
    return result.after(done, contact_uri(contact), company_uri(company))


@tool(effect=Effect.DELETE, toolset=Toolset.DELETE, title="Unlink a contact from a company")
async def unlink_contact_from_company(crm: Crm, contact: ContactRef, company: CompanyRef) -> RemovalResult:
    """End a contact's membership in a company. Both records stay."""
    membership = await _membership(crm, contact, company)
    if membership is None:
        raise NotFoundError("The contact is not a member of that company. Nothing was unlinked.")
    await crm.contacts.unlink(contact, membership.id)
    result = RemovalResult(removed="membership", id=membership.id)
    return result.after("Contact unlinked from the company.", contact_uri(contact), company_uri(company))


@tool(effect=Effect.DELETE, toolset=Toolset.DELETE, title="Delete a contact")
async def delete_contact(crm: Crm, contact: ContactRef) -> RemovalResult:
    """Delete a contact for good. Only on the person's explicit wish."""
    await crm.contacts.delete(contact)
    return RemovalResult(removed="contact", id=contact).after(
        f"Contact {contact} deleted.", contact_uri(contact), lead_uri(None), DASHBOARD_URI
    )


def _homes(contact: Contact | str | None, company: str | None) -> list[str]:
    return [contact_uri(contact), *([company_uri(company)] if company else [])]


async def _membership(crm: CrmClient, contact_id: str, company_id: str) -> Membership | None:
    memberships = await crm.contacts.memberships(contact_id)
    return next((one for one in memberships if one.company_id == company_id), None)
