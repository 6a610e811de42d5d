"""Writes whose answer was lost: what the CRM shows of them, and whether they may be done again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from crm_mcp.ledger import Subject
from crm_mcp.writes import Absence

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient
    from crm_mcp.crm.client import Write
    from crm_mcp.crm.contract import Record
    from crm_mcp.ledger import Attempt, Change, Ledger
    from crm_mcp.writes import Kind


@dataclass(frozen=True, slots=True)
class Traces:
    """What the CRM shows of a write: that it was done, as its answer would be; else what may be of it."""

    ours: Any = None
    like: Sequence[Record] = ()


async def look(crm: CrmClient, ledger: Ledger, kind: Kind, write: Write, change: Change) -> Traces:
    """A record that another change made is no trace of this one.

    Raises CrmError where nobody can look.
    """
    like = []
    for found in await kind.found(crm, write, change.before, change.opened_at):
        about = kind.subject(write, found)
        if kind.is_new and about and _is_of_another(ledger, change, Subject(kind.record, about)):
            continue
        if kind.is_ours(write, found):
            return Traces(found)
        like.append(kind.read(found))
    return Traces(like=like)


def _is_of_another(ledger: Ledger, change: Change, subject: Subject) -> bool:
    others = ledger.changes(subject=subject, entity=change.entity)
    return any(other.id != change.id for other in others)


def is_not_done(kind: Kind, change: Change, traces: Traces) -> bool:
    """Whether it was certainly not done, and will not be."""
    return kind.absence is Absence.NOT_DONE and not (traces.like or may_be_late(change))


def may_be_late(change: Change) -> bool:
    return change.expires_at is not None and change.expires_at > datetime.now(UTC)


def why_not_again(kind: Kind, arguments: Mapping[str, Any], earlier: Change, traces: Traces) -> str | None:
    """What keeps a write from being done again that may have been done; None where nothing does."""
    if arguments.get("repeat"):
        return None
    tried = f"The same was tried at {earlier.opened_at:%H:%M} UTC (change {earlier.id}), and"
    ask = "ask the person to look. `repeat` does it again."
    if traces.like and not arguments.get("allow_duplicate"):
        return f"{tried} its answer was lost. The CRM shows what may have come of it: {ask}"
    if kind.absence is Absence.FOR_A_PERSON:
        return f"{tried} nobody knows whether it was done: {ask}"
    if kind.absence is Absence.NOT_DONE and may_be_late(earlier):
        return f"{tried} its answer was lost: the CRM may still be doing it. {_wait_for(earlier)}"
    return None


def why_not_now(ledger: Ledger, kind: Kind, write: Write, attempt: Attempt) -> str | None:
    """What keeps a write from being done now: another that may come after it, and undo or double it."""
    for other in ledger.may_be_late(attempt):
        is_equal = (other.key, other.principal) == (attempt.key, attempt.principal)
        if not is_equal and kind.meets(write, other.body):
            return (
                f'The answer to "{other.title}" (change {other.id}) was lost: the CRM may still be doing it. '
                f"{_wait_for(other)}"
            )
    return None


def _wait_for(change: Change) -> str:
    return f"Try again after {change.expires_at:%H:%M:%S} UTC."
