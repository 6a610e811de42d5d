"""Contacts: rows 7 to 12 of `crm-api.md`.

The list's `companyId` filter means the field of that name (assumed); a company's own contacts include those
whose primary membership is elsewhere (assumed).
"""

from typing import Final

from crm_mcp.sandbox import records
from crm_mcp.sandbox.call import Answer, Call, Fields, Json, Operation, to_wire
from crm_mcp.sandbox.listing import Conditions, Listing, SearchQuery, page, search
from crm_mcp.sandbox.memberships import set_primary_company
from crm_mcp.sandbox.search import contact_texts
from crm_mcp.sandbox.store import new_id
from crm_mcp.sandbox.values import Email, Text, Uuid

_SELECT: Final = """
    SELECT contacts.id, first_name, last_name, email, phone, job_title, m.company_id, notes,
        created_at, updated_at
    FROM contacts LEFT JOIN memberships m ON m.contact_id = contacts.id AND m.is_primary
"""
_ORDER: Final = "contacts.sort_key, contacts.id"
_LIST: Final = Listing("contacts", "contacts", _SELECT, _ORDER)


class ContactQuery(SearchQuery):
    company_id: Uuid | None = None


class ContactBody(Fields):
    first_name: Text | None = None
    last_name: Text | None = None
    email: Email | None = None
    phone: Text | None = None
    job_title: Text | None = None
    company_id: Uuid | None = None
    notes: Text | None = None


def list_contacts(call: Call) -> Answer:
    query = call.query_as(ContactQuery)
    conditions = Conditions(call.caller.entity_no)
    total = None
    if query.company_id:
        members = "SELECT contact_id FROM memberships WHERE company_id = ? AND is_primary"
        conditions.add(f"contacts.id IN ({members})", query.company_id, selective=True)
    elif not query.q:
        total = call.store.number("SELECT n FROM contact_tally WHERE entity_no = ?", call.caller.entity_no)
    search(call, "contacts", query.q, conditions)
    return 200, page(call, query, _LIST, conditions, total=total)


def list_company_contacts(call: Call) -> Answer:
    company = records.of_path(call, "companies", "company_id")
    members = "SELECT contact_id FROM memberships WHERE company_id = ?"
    sql = f"{_SELECT} WHERE contacts.id IN ({members}) ORDER BY {_ORDER}"
    rows = call.store.all(sql, company["id"])
    return 200, {"contacts": [to_wire(row) for row in rows]}


def create_contact(call: Call) -> Answer:
    body = call.body_as(ContactBody)
    contact = body.model_dump(exclude={"company_id"})
    contact_id, now = new_id(), call.store.now()
    values = {"id": contact_id, **contact, "created_at": now, "updated_at": now, **contact_texts(contact)}
    call.store.insert_searched("contacts", call.caller.entity_no, values)
    if body.company_id:
        _set_company(call, contact_id, body.company_id)
    return 201, _contact(call, contact_id)


def get_contact(call: Call) -> Answer:
    return 200, _contact(call, records.of_path(call, "contacts", "contact_id")["id"])


def update_contact(call: Call) -> Answer:
    contact = records.of_path(call, "contacts", "contact_id")
    body = call.body_as(ContactBody)
    if body.model_fields_set:
        changes = body.model_dump(exclude_unset=True, exclude={"company_id"})
        changes |= {"updated_at": call.store.now(), **contact_texts({**contact, **changes})}
        call.store.update("contacts", contact["id"], changes)
    if "company_id" in body.model_fields_set:
        _set_company(call, contact["id"], body.company_id)
    return 200, _contact(call, contact["id"])


def delete_contact(call: Call) -> Answer:
    """Leads and activities stay, without the contact."""
    contact = records.of_path(call, "contacts", "contact_id")
    call.store.execute("DELETE FROM contacts WHERE id = ?", contact["id"])
    return 204, None


def _set_company(call: Call, contact_id: str, company_id: str | None) -> None:
    if company_id is not None:
        records.referred(call, "companies", "companyId", company_id)
    set_primary_company(call.store, contact_id, company_id)


def _contact(call: Call, contact_id: str) -> Json:
    [row] = call.store.all(f"{_SELECT} WHERE contacts.id = ?", contact_id)
    return to_wire(row)


OPERATIONS: Final[list[Operation]] = [
    ("GET", "/companies/{company_id}/contacts", list_company_contacts),
    ("GET", "/contacts", list_contacts),
    ("POST", "/contacts", create_contact),
    ("GET", "/contacts/{contact_id}", get_contact),
    ("PATCH", "/contacts/{contact_id}", update_contact),
    ("DELETE", "/contacts/{contact_id}", delete_contact),
]
