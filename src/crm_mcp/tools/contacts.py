"""Tools for contacts and their places in companies."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Literal

from pydantic import Field

from crm_mcp.candidates import Meant
from crm_mcp.crm.contacts import (
    Contact,
    ContactChanges,
    ContactFilter,
    Membership,
    MembershipChanges,
    NewMembership,
)
from crm_mcp.crm.contract import equals, plain
from crm_mcp.crm.errors import InvalidInputError, NotFoundError, UnexpectedResponseError
from crm_mcp.crm.leads import LeadFilter
from crm_mcp.crm.paging import Page
from crm_mcp.lines import ContactRow, LeadRow
from crm_mcp.matching import words
from crm_mcp.results import (
    DASHBOARD_URI,
    ContactList,
    ContactResult,
    ContactWritten,
    MembershipResult,
    RemovalResult,
    company_uri,
    contact_uri,
    lead_uri,
)
from crm_mcp.tenant import Tenant
from crm_mcp.tools.asking import MaybeCompany, MeantCompany, MeantContact
from crm_mcp.tools.bodies import filled, not_kept
from crm_mcp.tools.catalogue import Effect, Toolset, tool
from crm_mcp.tools.parameters import (
    AllowDuplicate,
    CompanyRef,
    ContactRef,
    Crm,
    Detail,
    Limit,
    PageNumber,
    Repeat,
)
from crm_mcp.tools.parts import at_once, if_possible, none_of, page_of
from crm_mcp.tools.searching import Search, searched
from crm_mcp.wording import sentence

MAX_LEADS = 10

Clear = Annotated[
    tuple[Literal["first_name", "last_name", "email", "phone", "job_title", "company", "notes"], ...],
    Field(description="Fields to empty."),
]


@tool(effect=Effect.READ, toolset=Toolset.READ, title="Search contacts")
async def search_contacts(
    crm: Crm,
    query: Annotated[str, Field(description="Part of the name or e-mail.")] = "",
    company: CompanyRef = "",
    limit: Limit = 25,
    page: PageNumber = 1,
) -> ContactList:
    """Find people; with `company`, only its people; without arguments, list all."""
    if not company:
        search: Search[Contact] = Search(crm, "contacts", ContactFilter(q=query or None), query)
        found = await searched(search, page=page, limit=limit)
        return ContactList(contacts=await crm.rows.contacts(found.records), **page_of(found))
    meant = await crm.refs.company(company)
    people = await crm.client.companies.contacts(meant.id)
    found = _page_of(people, query, page, limit)
    rows = await crm.rows.contacts(found.records)
    return ContactList(contacts=rows, **page_of(found)).noting(meant.note, *none_of(found, meant))


def _page_of(people: Page[Contact], query: str, page: int, limit: int) -> Page[Contact]:
    """Of all people of a company those that match: nobody documented a search of them."""
    matching = [contact for contact in people.records if _has_words(contact, query)]
    return replace(
        people,
        records=matching[(page - 1) * limit : page * limit],
        page=page,
        limit=limit,
        has_more=page * limit < len(matching),
        total=None if people.bounded else len(matching),
    )


def _has_words(contact: Contact, query: str) -> bool:
    """Whether each word is in the name, the e-mail address or the job title, if only as part of another."""
    said = " ".join(part for part in (contact.label, contact.email, contact.job_title) if part)
    text = " ".join([plain(said), *words(said)])
    return all(word in text for word in words(query) or [plain(query)])


@tool(effect=Effect.READ, toolset=Toolset.READ, title="Get a contact")
async def get_contact(crm: Crm, contact: ContactRef, detail: Detail = "normal") -> ContactResult:
    """A contact with its companies and leads."""
    meant = await crm.refs.contact(contact)
    notes = [meant.note] if meant.note else []
    found = await crm.client.contacts.get(meant.id)
    if detail == "brief":
        await crm.rows.learn_companies([found.company_id])
        return ContactResult(contact=found, company=crm.memory.names.get(found.company_id), notes=notes)
    parts = await at_once(
        notes, memberships=crm.client.contacts.memberships(meant.id), leads=_leads(crm, meant.id, notes)
    )
    return ContactResult(
        contact=found, notes=notes, other=found.unknown if detail == "full" else None, **parts
    )


async def _leads(crm: Tenant, contact_id: str, notes: list[str]) -> list[LeadRow]:
    found = await crm.client.leads.search(LeadFilter(contact_id=contact_id), limit=MAX_LEADS)
    notes += found.notes
    if found.has_more:
        count = f"{found.total} leads" if found.total is not None else "More leads"
        notes.append(f"{count}, {MAX_LEADS} shown; search_leads(contact) lists all.")
    return await crm.rows.leads(found.records)


def _has_name(first_name: str, last_name: str, email: str, **_: object) -> None:
    if not (first_name or last_name or email):
        raise InvalidInputError("A contact needs a name or an e-mail address. Nothing was created.")


@tool(effect=Effect.CREATE, toolset=Toolset.SALES, title="Create a contact", check=_has_name)
async def create_contact(
    crm: Crm,
    first_name: str = "",
    last_name: str = "",
    email: str = "",
    phone: str = "",
    job_title: str = "",
    company: CompanyRef = "",
    notes: str = "",
    allow_duplicate: AllowDuplicate = False,
    repeat: Repeat = False,
    *,
    home: MaybeCompany,
) -> ContactWritten:
    """Create a person; needs a name or an e-mail. The same person being there already stops it."""
    contact = filled(
        ContactChanges,
        first_name=first_name,
        last_name=last_name,
        email=email,
        phone=phone,
        job_title=job_title,
        company=home.id if home else None,
        notes=notes,
    )
    created = await crm.client.contacts.create(contact)
    result = ContactWritten(contact=await _row(crm, created), notes=not_kept(contact, created))
    return result.after("Contact created.", *_homes(created, home), DASHBOARD_URI)


@tool(
    effect=Effect.UPDATE,
    toolset=Toolset.SALES,
    title="Update a contact",
    check=lambda contact, **fields: filled(ContactChanges, **fields),
)
async def update_contact(
    crm: Crm,
    contact: ContactRef,
    first_name: str = "",
    last_name: str = "",
    email: str = "",
    phone: str = "",
    job_title: str = "",
    company: CompanyRef = "",
    notes: Annotated[str, Field(description="Replaces the old notes.")] = "",
    clear: Clear = (),
    *,
    meant: MeantContact,
    home: MaybeCompany,
) -> ContactWritten:
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
        company=home.id if home else None,
        notes=notes,
    )
    updated = await crm.client.contacts.update(meant.id, changes)
    result = ContactWritten(contact=await _row(crm, updated), notes=not_kept(changes, updated))
    return result.after("Contact updated.", *_homes(updated, home))


@tool(effect=Effect.UPDATE, toolset=Toolset.SALES, title="Link a contact to a company")
async def link_contact_to_company(
    crm: Crm,
    contact: ContactRef,
    company: CompanyRef,
    title: Annotated[str, Field(description="Role there, e.g. `CFO`.")] = "",
    is_primary: bool | None = None,
    *,
    person: MeantContact,
    home: MeantCompany,
) -> MembershipResult:
    """Make a contact a member of a company, or change the membership it has there."""
    existing = await _membership(crm, person.id, home.id)
    if existing and title in ("", existing.title) and is_primary in (None, existing.is_primary):
        role = f" as {title}" if title else ""
        linked = (
            f"{_called(person)} is a member of {_called(home)}{role} already. Nothing was sent to the CRM."
        )
        return MembershipResult(membership=existing).after(linked)
    sent: MembershipChanges
    if existing is None:
        sent = new = filled(NewMembership, company=home.id, title=title, is_primary=is_primary)
        membership = await crm.client.contacts.link(person.id, new)
    else:
        sent = filled(MembershipChanges, title=title, is_primary=is_primary)
        membership = await crm.client.contacts.update_membership(person.id, existing.id, sent)
    membership = membership or await if_possible(_membership(crm, person.id, home.id))
    result = MembershipResult(membership=membership, notes=not_kept(sent, membership))
    done = "Contact {} linked." if existing is None else "Membership of {} updated."
    return result.after(done.format(_called(person)), contact_uri(person.id), company_uri(home.id))


@tool(effect=Effect.DELETE, toolset=Toolset.DELETE, title="Unlink a contact from a company")
async def unlink_contact_from_company(
    crm: Crm, contact: ContactRef, company: CompanyRef, person: MeantContact, home: MeantCompany
) -> RemovalResult:
    """End a contact's membership in a company. Both records stay."""
    membership = await _membership(crm, person.to_be_ended(contact), home.to_be_ended(company))
    if membership is None:
        raise NotFoundError("The contact is not a member of that company. Nothing was unlinked.")
    await crm.client.contacts.unlink(person.id, membership.id)
    result = RemovalResult(removed="membership", id=membership.id)
    done = sentence(f"Contact {_called(person)} unlinked from {_called(home)}")
    return result.after(done, contact_uri(person.id), company_uri(home.id))


@tool(effect=Effect.DELETE, toolset=Toolset.DELETE, title="Delete a contact")
async def delete_contact(crm: Crm, contact: ContactRef, meant: MeantContact) -> RemovalResult:
    """Delete a contact for good. Only on the person's explicit wish."""
    await crm.client.contacts.delete(meant.to_be_ended(contact))
    return RemovalResult(removed="contact", id=meant.id).after(
        f"Contact {_called(meant)} deleted.", contact_uri(meant.id), lead_uri(None), DASHBOARD_URI
    )


def _called(meant: Meant) -> str:
    return meant.name or meant.id


def _homes(contact: Contact | None, home: Meant | None) -> list[str]:
    return [contact_uri(contact), *([company_uri(home.id)] if home else [])]


async def _row(crm: Tenant, contact: Contact | None) -> ContactRow | None:
    return (await crm.rows.contacts([contact]))[0] if contact else None


async def _membership(crm: Tenant, contact_id: str, company_id: str) -> Membership | None:
    """The contact's membership in the company.

    Raises UnexpectedResponseError where the CRM does not show whose a membership is: it may be this one.
    """
    of_company = equals("companyId", "company.id")
    for membership in await crm.client.contacts.memberships(contact_id):
        verdict = of_company.passes(membership.wire, company_id)
        if verdict is None:
            raise UnexpectedResponseError(
                "The CRM does not show which company a membership is for. Nothing was changed."
            )
        if verdict:
            return membership
    return None
