"""From a tool's arguments to the body of a write, and what the CRM kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from pydantic import ValidationError

from crm_mcp.crm.contract import Body, Record
from crm_mcp.crm.errors import InvalidInputError

B = TypeVar("B", bound=Body)

# Parameters are named by what they mean, fields by what the CRM stores.
FIELDS = {
    "owner": "owner_user_id",
    "company": "company_id",
    "contact": "contact_id",
    "lead": "lead_id",
    "stage": "stage_id",
    "probability": "probability_pct",
    "default_probability": "default_probability_pct",
}


def filled(model: type[B], *, clear: Sequence[str] | None = None, **arguments: Any) -> B:
    """A body with the arguments that were given, and null for those to `clear`, where fields can be emptied.

    Raises InvalidInputError when there is nothing to send, or when a field is both given and cleared.
    """
    given = {name: value for name, value in arguments.items() if value not in (None, "")}
    both = [name for name in clear or () if name in given]
    if both:
        raise InvalidInputError(f"`{both[0]}` is both given and to be cleared. Nothing was changed.")
    said: dict[str, Any] = {**given, **dict.fromkeys(clear or ())}
    if not said:
        empty = "" if clear is None else " To empty a field, name it in `clear`."
        raise InvalidInputError(f"Nothing to change was given. Fields: {', '.join(arguments)}.{empty}")
    try:
        return model(**{FIELDS.get(name, name): value for name, value in said.items()})
    except ValidationError as error:
        problem = error.errors(include_url=False, include_input=False)[0]
        names = {field: name for name, field in FIELDS.items()}
        field = str(problem["loc"][0])
        raise InvalidInputError(
            f"`{names.get(field, field)}`: {problem['msg']}. Nothing was sent."
        ) from error


def not_kept(sent: Body, record: Record | None) -> list[str]:
    """Notes on what the record that came back shows otherwise than it was sent, or does not show."""
    if record is None:
        return []
    names = {field: name for name, field in FIELDS.items()}
    other, unseen = ([names.get(name, name) for name in found] for found in sent.not_kept_by(record))
    notes = {
        "The CRM shows other values than were sent for: {}.": other,
        "The CRM's answer does not show what was sent for: {}. It may not have kept it.": unseen,
    }
    return [note.format(", ".join(found)) for note, found in notes.items() if found]
