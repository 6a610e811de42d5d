"""From a tool's arguments to the body of a write, and what the CRM kept of it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

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


def filled(model: type[B], *, clear: Sequence[str] = (), **arguments: Any) -> B:
    """A body with the arguments that were given, and null for those to `clear`.

    Raises InvalidInputError when there is nothing to send, or when a field is both given and cleared.
    """
    given = {name: value for name, value in arguments.items() if value not in (None, "")}
    both = [name for name in clear if name in given]
    if both:
        raise InvalidInputError(f"`{both[0]}` is both given and to be cleared. Nothing was changed.")
    said: dict[str, Any] = {**given, **dict.fromkeys(clear)}
    if not said:
        raise InvalidInputError(f"Nothing to change was given. Fields: {', '.join(arguments)}.")
    return model(**{FIELDS.get(name, name): value for name, value in said.items()})


def not_kept(sent: Body, record: Record | None) -> list[str]:
    """A note, where the record that came back shows other values than were sent."""
    names = {field: name for name, field in FIELDS.items()}
    lost = [names.get(name, name) for name in sent.not_kept_by(record)] if record else []
    return [f"The CRM shows other values than were sent for: {', '.join(lost)}."] if lost else []
