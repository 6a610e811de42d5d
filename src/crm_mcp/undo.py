"""Taking a change back: whether that can be, and the write that does it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from crm_mcp.calls import CALL
from crm_mcp.crm.errors import CrmError, RateLimitedError, RefusedError, RejectedError
from crm_mcp.journal import LedgerError
from crm_mcp.kinds import KINDS
from crm_mcp.lost import settle_recorded
from crm_mcp.wording import worded
from crm_mcp.writes import KEPT_BY_CRM, Done, Kind, NotUndoableError, Update

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient
    from crm_mcp.ledger import Change, Ledger

NOTHING_UNDONE = "Nothing was undone."
WHY_NOT: Mapping[str, str] = {
    "pending": "is still on its way",
    "unknown": "may not have been done: nobody knows",
    "undone": "was undone already",
}


async def undo(crm: CrmClient, ledger: Ledger, change_id: str) -> Change:
    """Take back what the change did, through the client's gate; the change that was taken back.

    Raises RefusedError where that cannot be or where the record was changed since.
    """
    try:
        change = ledger.get(change_id)
    except LedgerError as error:
        raise RefusedError(f"{error} {NOTHING_UNDONE}") from error
    if change.entity != crm.identity:
        raise RefusedError(f"Change {change.id} is of another CRM. {NOTHING_UNDONE}")
    change = await _settled(crm, ledger, change)
    if change.outcome != "applied":
        why = WHY_NOT.get(change.outcome, f"was never done ({change.outcome})")
        raise RefusedError(f"Change {change.id} {why}. {NOTHING_UNDONE}")
    kind = KINDS[change.operation]
    done = Done(change.targets, change.body, change.before, change.after, change.opened_at)
    try:
        write = kind.undoing(done)
    except NotUndoableError as error:
        raise RefusedError(f'"{change.title}" cannot be undone. {error} {NOTHING_UNDONE}') from error
    await _refuse_if_changed(crm, ledger, change, kind, done)
    call = CALL.get()
    call.undoes = change.id
    # Once more when nobody else can change it.
    call.check = lambda: _refuse_if_changed(crm, ledger, change, kind, done)
    ids: dict[str, Any] = dict(write.ids)
    try:
        await crm.call(write.operation, body=write.body, **ids)
    except RateLimitedError:
        raise  # it says so itself, and when it can be done
    except RejectedError as error:
        raise RefusedError(f"{error} {NOTHING_UNDONE}") from error
    if call.rehearsal is None:
        call.notes += kind.left_behind(done)
    if isinstance(kind, Update) and call.rehearsal is None:
        # It is taken back, whether or not anybody can look at it.
        with suppress(CrmError):
            call.notes += _still_other(change.before or {}, await kind.now(crm, change.targets))
    return change


def _still_other(before: Mapping[str, Any], now: Mapping[str, Any] | None) -> list[str]:
    """What the CRM changed along with the write, and did not change back."""
    names = [
        worded(name)
        for name, value in before.items()
        if name not in KEPT_BY_CRM and now is not None and name in now and now[name] != value
    ]
    return [f"Other than before the change: {', '.join(names)}."] if names else []


async def _settled(crm: CrmClient, ledger: Ledger, change: Change) -> Change:
    """The change, once it is known what became of it, and of an undoing of it whose answer was lost."""
    about = ledger.changes(subject=change.subject, entity=change.entity) if change.subject else [change]
    for one in about:
        if one.outcome == "unknown" and change.id in (one.id, one.undoes):
            await settle_recorded(crm, ledger, one)
    return ledger.get(change.id)


async def _refuse_if_changed(crm: CrmClient, ledger: Ledger, change: Change, kind: Kind, done: Done) -> None:
    since = await kind.since(crm, done, change.subject.id if change.subject else "")
    if not since:
        return
    by = _by_whom(ledger, change, {one.field for one in since})
    what = "; ".join(one.what for one in since)
    raise RefusedError(f"It was changed since{by}: {what}. {NOTHING_UNDONE}")


def _by_whom(ledger: Ledger, change: Change, fields: set[str]) -> str:
    """Where one of ours was the last to change one of these fields, or to end the record."""
    if change.subject is None:
        return ""
    about = ledger.changes(
        subject=change.subject, entity=change.entity, since=change.opened_at, outcomes=["applied"]
    )
    for one in about:
        if one.id != change.id and ("" in fields or fields & {*one.body}):
            return f" by {one.principal} (change {one.id}: {one.title})"
    return ""
