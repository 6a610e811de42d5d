"""Which contact works for which companies: rows 13 to 16 of `crm-api.md`.

A contact with memberships has exactly one primary one, and its company is the contact's `companyId`.
"""

from typing import Final

from crm_mcp.sandbox import records
from crm_mcp.sandbox.call import Answer, ApiError, Call, Fields, Json, Operation, to_wire
from crm_mcp.sandbox.store import Record, Store, new_id
from crm_mcp.sandbox.values import Text, Uuid

_SELECT: Final = """
    SELECT m.id, m.contact_id, m.company_id, companies.name AS company_name, m.title, m.is_primary
    FROM memberships m JOIN companies ON companies.id = m.company_id
"""


class MembershipPatch(Fields):
    title: Text | None = None
    is_primary: bool = False


class MembershipCreate(MembershipPatch):
    company_id: Uuid


def list_memberships(call: Call) -> Answer:
    contact = records.of_path(call, "contacts", "contact_id")
    rows = call.store.all(f"{_SELECT} WHERE m.contact_id = ? ORDER BY m.is_primary DESC, m.no", contact["id"])
    return 200, {"memberships": [_to_wire(row) for row in rows]}


def create_membership(call: Call) -> Answer:
    contact = records.of_path(call, "contacts", "contact_id")
    body = call.body_as(MembershipCreate)
    company = records.referred(call, "companies", "companyId", body.company_id)
    if _membership(call.store, contact["id"], company["id"]):
        raise ApiError(409, f"This contact is a member of {company['name']} already.")
    is_first = _primary(call.store, contact["id"]) is None
    membership_id = _add(call.store, contact["id"], company["id"], body.title)
    if body.is_primary or is_first:
        _make_primary(call.store, contact["id"], membership_id)
    return 201, _read(call, membership_id)


def update_membership(call: Call) -> Answer:
    membership = _of_path(call)
    body = call.body_as(MembershipPatch)
    if "title" in body.model_fields_set:
        call.store.update("memberships", membership["id"], {"title": body.title})
    if body.is_primary:
        _make_primary(call.store, membership["contact_id"], membership["id"])
    elif "is_primary" in body.model_fields_set and membership["is_primary"]:
        raise ApiError(
            400, "isPrimary: a contact needs a primary membership; make another one primary instead."
        )
    return 200, _read(call, membership["id"])


def delete_membership(call: Call) -> Answer:
    membership = _of_path(call)
    call.store.execute("DELETE FROM memberships WHERE id = ?", membership["id"])
    _promote_oldest(call.store, membership["contact_id"])
    return 204, None


def set_primary_company(store: Store, contact_id: str, company_id: str | None) -> None:
    """What writing a contact's `companyId` means for its memberships."""
    primary = _primary(store, contact_id)
    if company_id is None:
        store.execute("DELETE FROM memberships WHERE contact_id = ? AND is_primary", contact_id)
        _promote_oldest(store, contact_id)
    elif existing := _membership(store, contact_id, company_id):
        _make_primary(store, contact_id, existing["id"])
    elif primary is None:
        _make_primary(store, contact_id, _add(store, contact_id, company_id, None))
    else:
        # The title was the one at the former company.
        store.update("memberships", primary["id"], {"company_id": company_id, "title": None})


def _of_path(call: Call) -> Record:
    contact = records.of_path(call, "contacts", "contact_id")
    membership_id = call.path["membership_id"]
    row = call.store.one(
        "SELECT * FROM memberships WHERE id = ? AND contact_id = ?", membership_id.lower(), contact["id"]
    )
    if row is None:
        raise ApiError(404, f"This contact has no membership {membership_id}.")
    return row


def _membership(store: Store, contact_id: str, company_id: str) -> Record | None:
    return store.one(
        "SELECT * FROM memberships WHERE contact_id = ? AND company_id = ?", contact_id, company_id
    )


def _primary(store: Store, contact_id: str) -> Record | None:
    return store.one("SELECT * FROM memberships WHERE contact_id = ? AND is_primary", contact_id)


def _add(store: Store, contact_id: str, company_id: str, title: str | None) -> str:
    values = {
        "id": new_id(),
        "contact_id": contact_id,
        "company_id": company_id,
        "title": title,
        "is_primary": 0,
    }
    store.insert("memberships", values)
    return str(values["id"])


def _make_primary(store: Store, contact_id: str, membership_id: str) -> None:
    store.execute("UPDATE memberships SET is_primary = 0 WHERE contact_id = ? AND is_primary", contact_id)
    store.update("memberships", membership_id, {"is_primary": 1})


def _promote_oldest(store: Store, contact_id: str) -> None:
    """Give a contact without primary membership one, if it has any membership left."""
    oldest = store.one("SELECT id FROM memberships WHERE contact_id = ? ORDER BY no", contact_id)
    if oldest and _primary(store, contact_id) is None:
        _make_primary(store, contact_id, oldest["id"])


def _read(call: Call, membership_id: str) -> Json:
    [row] = call.store.all(f"{_SELECT} WHERE m.id = ?", membership_id)
    return _to_wire(row)


def _to_wire(row: Record) -> Json:
    return {**to_wire(row), "isPrimary": bool(row["is_primary"])}


_PATH: Final = "/contacts/{contact_id}/company-memberships"

OPERATIONS: Final[list[Operation]] = [
    ("GET", _PATH, list_memberships),
    ("POST", _PATH, create_membership),
    ("PATCH", _PATH + "/{membership_id}", update_membership),
    ("DELETE", _PATH + "/{membership_id}", delete_membership),
]
