"""Taking a change back: whether that can be, and the write that does it."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from crm_mcp.calls import CALL
from crm_mcp.crm.client import NOTHING_DONE
from crm_mcp.crm.contract import UUID_PATTERN
from crm_mcp.crm.errors import CrmError, RateLimitedError, RefusedError, RejectedError
from crm_mcp.journal import LedgerError
from crm_mcp.kinds import KINDS
from crm_mcp.lost import recorded, settle_recorded
from crm_mcp.preview import shown
from crm_mcp.wording import MAX_NAME_CHARS, clean, clock, worded
from crm_mcp.writes import KEPT_BY_CRM, Done, Kind, NotUndoableError, Update, sent_by

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient
    from crm_mcp.crm.client import Write
    from crm_mcp.ledger import Change, Ledger
    from crm_mcp.memory import Names
    from crm_mcp.tenant import Tenant

NOTHING_UNDONE = "Nothing was undone."
WHY_NOT: Mapping[str, str] = {
    "pending": "is still on its way",
    "unknown": "may not have been done: nobody knows",
    "undone": "was undone already",
}


async def undo(tenant: Tenant, ledger: Ledger, change_id: str) -> Change:
    """Take back what the change did, through the client's gate; the change that was taken back.

    Raises RefusedError where that cannot be or where the record was changed since.
    """
    crm, call = tenant.client, CALL.get()
    change = await _found(crm, ledger, change_id)
    again = next((one for one in call.before if one.id == change.undone_by), None)
    if again and await _stands(crm, again):
        # The same call did it.
        if call.rehearsal is None:
            call.repeats.append(again.id)
        return change
    if change.outcome != "applied":
        why = WHY_NOT.get(change.outcome, f"was never done ({change.outcome})")
        raise RefusedError(f"Change {change.id} {why}. {NOTHING_UNDONE}")
    kind = KINDS[change.operation]
    done = Done(change.targets, change.body, change.before, change.after, change.opened_at)
    write = _undoing(kind, change, done)
    await _refuse_if_changed(tenant, ledger, change, kind, done)
    call.undoes = change.id
    # Once more when nobody else can change it.
    call.check = lambda: _refuse_if_changed(tenant, ledger, change, kind, done)
    ids: dict[str, Any] = dict(write.ids)
    try:
        await crm.call(write.operation, body=write.body, **ids)
    except RateLimitedError:
        raise  # it says so itself, and when it can be done
    except RejectedError as error:
        said = str(error).removesuffix(NOTHING_DONE).rstrip()
        raise RefusedError(f"{said} {NOTHING_UNDONE}") from error
    equal = call.repeats[-1:] if call.rehearsal is None and not call.changes else []
    if any(ledger.get(one).undoes != change.id for one in equal):
        # What is set already by another write is not taken back by it.
        raise RefusedError(f"It changed nothing: the CRM had it so before. {NOTHING_UNDONE}")
    if call.rehearsal:
        takes_back = f'Takes back "{change.title}" (change {change.id}, {clock(change.opened_at)}).'
        last = call.rehearsal[-1]
        along = _changed_along(done, tenant.memory.names) if isinstance(kind, Update) else []
        details = [takes_back, *last.details, *kind.left_behind(done), *along]
        call.rehearsal[-1] = replace(last, details=details)
    if call.rehearsal is not None:
        return change
    call.notes += kind.left_behind(done)
    if isinstance(kind, Update):
        # It is taken back, whether or not anybody can look at it.
        with suppress(CrmError):
            now = await kind.now(crm, change.targets)
            call.notes += _still_other(change.before or {}, now, tenant.memory.names)
    return change


async def _found(crm: CrmClient, ledger: Ledger, change_id: str) -> Change:
    if len(change_id.replace(",", " ").split()) > 1:
        raise RefusedError(f"Say one change at a time, the last one first. {NOTHING_UNDONE}")
    try:
        change = ledger.get(change_id)
    except LedgerError as error:
        raise RefusedError(f"{error} {NOTHING_UNDONE}") from error
    if change.entity != crm.identity:
        raise RefusedError(f"Change {change.id} is of another CRM. {NOTHING_UNDONE}")
    return await _settled(crm, ledger, change)


async def _stands(crm: CrmClient, change: Change) -> bool:
    write = recorded(change)
    return write is None or await KINDS[change.operation].stands(crm, write, change.after)


def _undoing(kind: Kind, change: Change, done: Done) -> Write:
    try:
        write = kind.undoing(done)
    except NotUndoableError as error:
        raise RefusedError(f'"{change.title}" cannot be undone. {error} {NOTHING_UNDONE}') from error
    if isinstance(kind, Update) and (dict(write.ids), sent_by(write)) == (change.targets, change.body):
        raise RefusedError(f"It changed nothing: the CRM had it so before. {NOTHING_UNDONE}")
    return write


def _changed_along(done: Done, names: Names) -> list[str]:
    """What the CRM changed along with the write, and may not change back."""
    before, after = done.before or {}, done.after or {}
    along = [
        f"{worded(name)}: {shown(value, names.named)} → {shown(after[name], names.named)}"
        for name, value in before.items()
        if name in after and after[name] != value and name not in (*done.body, *KEPT_BY_CRM)
    ]
    return [f"Changed along with it, and may stay: {'; '.join(along)}"] if along else []


def _still_other(before: Mapping[str, Any], now: Mapping[str, Any] | None, names: Names) -> list[str]:
    """What the CRM changed along with the write, and did not change back."""
    other = [
        f"{worded(name)} is {shown(now[name], names.named)}, and was {shown(value, names.named)}"
        for name, value in before.items()
        if name not in KEPT_BY_CRM and now is not None and name in now and now[name] != value
    ]
    return [f"Other than before the change: {'; '.join(other)}."] if other else []


async def _settled(crm: CrmClient, ledger: Ledger, change: Change) -> Change:
    """The change, once it is known what became of it, and of an undoing of it whose answer was lost."""
    for one in ledger.changes(entity=change.entity, outcomes=["unknown"]):
        if change.id in (one.id, one.undoes):
            await settle_recorded(crm, ledger, one)
    return ledger.get(change.id)


async def _refuse_if_changed(tenant: Tenant, ledger: Ledger, change: Change, kind: Kind, done: Done) -> None:
    since = await kind.since(tenant.client, done, change.subject.id if change.subject else "")
    if not since:
        return
    by = _by_whom(ledger, change, {one.field for one in since})
    what = "; ".join(one.what for one in since)
    ids, names = UUID_PATTERN.findall(what), tenant.memory.names
    await tenant.rows.known_stages()
    await tenant.rows.learn_companies(one for one in ids if not names.get(one))
    what = UUID_PATTERN.sub(lambda found: clean(names.get(found[0]) or found[0], MAX_NAME_CHARS), what)
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
