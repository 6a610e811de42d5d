"""Finding one record of the caller's entity, by a path or by a reference in a body."""

from typing import Final

from crm_mcp.sandbox.call import ApiError, Call
from crm_mcp.sandbox.store import Record

_NAMES: Final = {
    "companies": "company",
    "contacts": "contact",
    "stages": "stage",
    "leads": "lead",
    "connections": "connection",
}


def find(call: Call, table: str, record_id: str) -> Record | None:
    """The record, unless it is unknown or another entity's."""
    return call.store.one(
        f"SELECT * FROM {table} WHERE id = ? AND entity_no = ?",  # noqa: S608  (table names are the code's own)
        record_id,
        call.caller.entity_no,
    )


def of_path(call: Call, table: str, parameter: str) -> Record:
    """The record that the path names; 404 without it."""
    record = find(call, table, call.path[parameter].lower())
    if record is None:
        raise ApiError(404, f"There is no {_NAMES[table]} {call.path[parameter]}.")
    return record


def referred(call: Call, table: str, field: str, record_id: str) -> Record:
    """The record that a body field refers to; 400 without it."""
    record = find(call, table, record_id)
    if record is None:
        raise ApiError(400, f"{field}: there is no {_NAMES[table]} {record_id}.")
    return record
