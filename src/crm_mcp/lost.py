"""Writes whose answer was lost: what the CRM shows of them, and whether they may be done again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any

from crm_mcp.calls import DAY_SECONDS, DIGEST, TEXTS
from crm_mcp.crm.client import Write
from crm_mcp.crm.errors import CrmError
from crm_mcp.journal import LedgerError
from crm_mcp.kinds import KINDS
from crm_mcp.ledger import Subject, patiently
from crm_mcp.preview import Wire
from crm_mcp.timeline_kinds import ENTRY, READS
from crm_mcp.wording import clock
from crm_mcp.writes import CannotTell, Kind, NotDone, Trail, Verdict, WasDone, written

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient
    from crm_mcp.ledger import Attempt, Change, Ledger


async def look(
    crm: CrmClient, ledger: Ledger, kind: Kind, write: Write, change: Change, *, late: bool = False
) -> Verdict:
    """What the CRM shows of a change, right after it was sent or `late`.

    Raises CrmError where nobody can look.
    """

    def is_anothers(record_id: str) -> bool:
        made = ledger.changes(
            subject=Subject(kind.record, record_id), entity=change.entity, outcomes=["applied", "undone"]
        )
        is_made = any(one.id != change.id and KINDS[one.operation].is_new for one in made)
        return is_made or any(_entry(one) == record_id for one in of_same_subject())

    def done_by_others() -> int:
        done = of_same_subject(since=change.opened_at)
        return sum(_is_equal(one, change) and _entry(one) is None for one in done)

    def of_same_subject(since: datetime | None = None) -> list[Change]:
        done = ledger.changes(subject=change.subject, entity=change.entity, since=since, outcomes=["applied"])
        return [one for one in done if one.id != change.id]

    trail = Trail(change.before, change.opened_at, is_anothers, done_by_others, late)
    return await kind.look(crm, write, trail)


def _is_equal(one: Change, other: Change) -> bool:
    """Whether nobody who looks at the CRM could tell what the two did; of e-mails it shows the text alone."""
    reads = (one.before or {}).get(READS) if isinstance(one.before, dict) else None
    return one.body == other.body or (reads is not None and reads == (other.before or {}).get(READS))


def _entry(change: Change) -> str | None:
    """Which entry of the timeline a lost e-mail was found to be."""
    return (change.after or {}).get(ENTRY) if isinstance(change.after, dict) else None


async def settle(
    crm: CrmClient, ledger: Ledger, kind: Kind, write: Write, change: Change, keep: Callable[[Wire], Wire]
) -> Verdict:
    """What the CRM shows of a change without an answer; what is certain is on record then."""
    verdict = await look(crm, ledger, kind, write, change, late=True)
    if isinstance(verdict, WasDone):
        await close(ledger, kind, write, change, keep(verdict.after), lost=True)
    elif isinstance(verdict, NotDone) and not may_be_late(change):
        not_shown = "The CRM did not show it later."
        await patiently(lambda: ledger.close(change.id, "failed", detail=not_shown))
    return verdict


async def settle_recorded(crm: CrmClient, ledger: Ledger, change: Change) -> Change:
    """The same for one whose write is only on record; as it is where not even that is, but its digests."""
    if write := recorded(change):
        await settle(crm, ledger, KINDS[change.operation], write, change, keep=lambda after: after)
        return ledger.get(change.id)
    return change


def recorded(change: Change) -> Write | None:
    """The write as it was sent; None where only digests of its texts are kept."""
    if any(str(change.body.get(name)).startswith(DIGEST) for name in TEXTS):
        return None
    operation = KINDS[change.operation].operation
    if operation.body is None:
        return Write(operation, change.targets, None)
    return written(operation, change.targets, change.body)


async def close(
    ledger: Ledger, kind: Kind, write: Write, change: Change, after: Wire | None, *, lost: bool = False
) -> None:
    """Put on record that it was done; of a new record the CRM tells which it is."""
    about = kind.subject(write, after)
    subject = Subject(kind.record, about) if about else None
    await patiently(lambda: ledger.close(change.id, "applied", after=after, subject=subject, lost=lost))


async def tell(ledger: Ledger, change: Change) -> None:
    """That it was done has reached who asked for it: the same call after this is another one."""
    if change.lost:
        with suppress(LedgerError):
            await patiently(lambda: ledger.told(change.id))


def collides(kind: Kind, write: Write, other: Change) -> bool:
    """Whether it must not be done while another of its claim is on its way, or may be: what only hangs on a
    record stands against its end alone."""
    theirs = KINDS[other.operation]
    if kind.hangs or theirs.hangs:
        return kind.ends or theirs.ends
    return kind.meets(write, other.body)


def may_be_late(change: Change) -> bool:
    return change.expires_at is not None and change.expires_at > datetime.now(UTC)


def why_not_again(kind: Kind, arguments: Mapping[str, Any], earlier: Change, verdict: Verdict) -> str | None:
    """What keeps a write from being done again that may have been done; None where nothing does."""
    if kind.is_idempotent:
        return None
    tried = f"The same was tried at {clock(earlier.opened_at)} (change {earlier.id}), and"
    if arguments.get("repeat"):
        late = f"{tried} may still be on its way in the CRM. {_wait_for(earlier)}"
        return late if may_be_late(earlier) else None
    ask = "ask the person to look. `repeat` does it again."
    if isinstance(verdict, CannotTell):
        if verdict.like:
            return f"{tried} its answer was lost. The CRM shows what may have come of it: {ask}"
        return f"{tried} nobody knows whether it was done: {ask}"
    if may_be_late(earlier):
        return f"{tried} may still be on its way in the CRM. {_wait_for(earlier)}"
    return None


async def why_not_now(
    crm: CrmClient, ledger: Ledger, kind: Kind, write: Write, attempt: Attempt
) -> str | None:
    """What keeps a write from being done now: another that may come after it, and undo or double it."""
    for other in ledger.may_be_late(attempt):
        ours = other.principal == attempt.principal or kind.is_idempotent
        is_equal = other.key == attempt.key and ours
        if is_equal or not collides(kind, write, other):
            continue
        with suppress(CrmError):
            other = await settle_recorded(crm, ledger, other)  # noqa: PLW2901  # what it is by now
        if other.outcome == "unknown":
            return (
                f'"{other.title}" (change {other.id}) may still be on its way in the CRM. {_wait_for(other)}'
            )
    return None


async def why_like_lost(
    crm: CrmClient, ledger: Ledger, kind: Kind, write: Write, attempt: Attempt
) -> str | None:
    """What was said in other words may be what was sent before, and brought no answer."""
    day = datetime.now(UTC) - timedelta(seconds=DAY_SECONDS)
    theirs = partial(
        ledger.changes, tool=attempt.tool, entity=attempt.entity, principal=attempt.principal, since=day
    )
    # Nor has anybody been told of those that were found done.
    for other in (*theirs(outcomes=["unknown"]), *theirs(outcomes=["applied"], lost=True)):
        if other.key == attempt.key or not kind.is_like(write, other.targets | other.body):
            continue
        with suppress(CrmError):
            if other.outcome == "unknown":
                other = await settle_recorded(crm, ledger, other)  # noqa: PLW2901  # what it is by now
        became = {"unknown": "nobody knows whether it was done", "applied": "it was done"}.get(other.outcome)
        if became:
            return (
                f'"{other.title}" was tried at {clock(other.opened_at)} (change {other.id}) and brought '
                f"no answer; {became}. If this is another one, `repeat` does it."
            )
    return None


def _wait_for(change: Change) -> str:
    return f"Try again after {change.expires_at:%H:%M:%S} UTC."
