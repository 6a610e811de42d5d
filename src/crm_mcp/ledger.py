"""What every attempted write was and became, and what persons decided about those that need them.

A *change* is one attempted write: begun before the request leaves, closed when its answer is there. It is
kept as events in the `journal`; so is an *approval*, a person's word on one exact operation.
"""

from __future__ import annotations

import base64
import os
import secrets
import sys
import time
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from itertools import islice
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple, Self, TypeVar, get_args

import anyio

from crm_mcp.journal import (
    LOCK_SECONDS,
    AlteredError,
    BusyError,
    Journal,
    LedgerError,
    Record,
    Verification,
    fingerprint,
)

T = TypeVar("T")

Json = Any
Outcome = Literal["pending", "applied", "refused", "declined", "expired", "failed", "unknown", "undone"]
NeverSent = Literal["refused", "declined", "expired", "failed"]
Wanted = dict[str, Collection[object]]
State = Literal["waiting", "approved", "declined", "expired", "used", "void"]

MIN_START_CHARS: Final = 4
# What one whose answer nobody noted may read as.
ENDED: Final = frozenset({"unknown", "failed"})
NEVER_SENT: Final = "It ended before it was sent."
FORGET_EVERY: Final = timedelta(days=1)
# What has other things to do does not stand still, and how long it does those in between.
SHORT_LOCK_SECONDS: Final = 0.0
RETRY_SECONDS: Final = 0.02

# What may still be learnt of a change. `failed` may turn out to be `applied`: the answer of a slow process
# comes after another one has looked and found nothing. `undone` is told by the change that undoes.
_NEXT: Final[dict[Outcome, set[Outcome]]] = {
    "pending": {"applied", "refused", "declined", "expired", "failed", "unknown"},
    "unknown": {"applied", "failed"},
    "failed": {"applied"},
}
_STANDING: Final[dict[State, str]] = {
    "waiting": "has not been decided by a person yet",
    "approved": "was already approved",
    "declined": "was declined",
    "expired": "has expired",
    "used": "was already used",
    "void": "no longer holds",
}


def _host() -> str:
    """Where a process number means it: a container may share its host's name, and not its numbers."""
    if sys.platform == "win32":
        return ""
    try:
        return f"{os.uname().nodename} {Path('/proc/self/ns/pid').readlink()}"
    except OSError:  # no Linux
        return os.uname().nodename


# Tells this process from an earlier one that had its number, as the first one of a container always has.
_PROCESS: Final = secrets.token_hex(4)
_HOST: Final = _host()


class ApprovalError(LedgerError):
    """An approval that does not hold for what was asked; the text says why, and what was not done."""


class Subject(NamedTuple):
    """The record that a change is about."""

    kind: str
    id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One write as it is about to be sent."""

    principal: str
    entity: str
    """Whose records these are; an embedded CRM's file has an id of its own."""
    tool: str
    arguments: Json
    operation: str
    """The CRM's operation."""
    targets: Json
    """The ids of the records that it touches."""
    body: Json
    title: str
    """What it does, in plain words."""
    key: str
    """The digest of the canonical write: equal for equal writes."""
    subject: Subject | None = None
    before: Json = None
    approval: str | None = None
    undoes: str | None = None
    """The id of the change that it takes back."""
    claim: str | None = None
    """What it touches; one pending change of an entity at a time may hold it."""
    call: str = ""
    """The call of a tool that it is part of."""
    meant: Json = None
    """What that call's references meant: by the parameter, what was said, and the id."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Change(Attempt):
    """One attempted write and what became of it."""

    id: str
    opened_at: datetime
    expires_at: datetime | None = None
    """When it no longer counts as in flight; without an answer, when it cannot be done late any more."""
    closed_at: datetime | None = None
    outcome: Outcome
    detail: str = ""
    after: Json = None
    undone_by: str | None = None
    lost: bool = False
    """Whether it was found done after its answer was lost, and nobody who asked for it was told yet."""


class Begun(NamedTuple):
    """A change to be sent now; or, not new, the one that stands in its way or has done the same already."""

    change: Change
    is_new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One exact operation that a person is to be asked about."""

    digest: str
    principal: str
    entity: str
    tool: str
    preview: str
    plan: Json


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval(Question):
    """The question, and a person's word on it."""

    id: str
    state: State
    created_at: datetime
    expires_at: datetime
    decided_at: datetime | None = None
    decided_by: str | None = None

    @property
    def crm(self) -> str:
        """Which CRM it is about: one ledger may be of several."""
        address, _, entity = self.entity.partition(" ")
        return f"{address}, entity {entity}" if entity else "the embedded CRM"


class Ledger:
    """The record of all changes and approvals. Every method may raise LedgerError."""

    def __init__(self, journal: Journal, keep: timedelta | None) -> None:
        self._journal = journal
        self._keep = keep
        self._forget_at = _now()

    @classmethod
    def open(
        cls,
        path: Path | None,
        *,
        create: bool = True,
        keep: timedelta | None = None,
        lock_seconds: float = LOCK_SECONDS,
    ) -> Self:
        """Open the file, making it first if need be; `None` keeps everything in memory.

        What is older than `keep` is forgotten now, and once a day when something is written. A method that
        writes waits for `lock_seconds` until no other process does; who has `patiently` wait for more.

        Raises NoLedgerError where there is none and none is to be made.
        """
        ledger = cls(Journal(path, create=create, lock_seconds=lock_seconds), keep)
        if keep is not None:
            # What is not forgotten now is with the first that is written.
            with suppress(BusyError), ledger._journal.transaction():
                ledger._forget(_now())
        return ledger

    def shut(self) -> None:
        self._journal.close()

    # Changes

    def begin(
        self,
        attempt: Attempt,
        *,
        window_seconds: float,
        lease_seconds: float,
        despite: str = "",
        though_applied: bool = True,
        blocks: Callable[[Change], bool] = lambda _: True,
    ) -> Begun:
        """Open the change, to be sent once it is renewed; unless an equal one is in flight or unknown, or was
        applied within the window, or one in flight holds its claim and `blocks` it: then that one, and
        nothing may be sent.

        Equal are changes of one key, principal and entity; whoever meets one with another key met the claim,
        waits and begins again. An equal write on purpose is begun `despite` the one before; unless
        `though_applied`, only where that one is not on record as applied by now. Past its lease, or when its
        process is gone, a change without an answer reads as `unknown`, and one that was not renewed as
        `failed`: it was not sent.
        """
        # Others see it at once. What is lost with the power before it is renewed was never sent.
        with self._journal.transaction(durable=False):
            now = _now()
            since = now - timedelta(seconds=window_seconds)
            equal = self._equal(attempt, now, since, despite, though_applied=though_applied)
            if earlier := equal or self._claimed(attempt, now, blocks):
                return Begun(earlier, is_new=False)
            expires_at = _stamp(now + timedelta(seconds=lease_seconds))
            process = [_HOST, os.getpid(), _PROCESS]
            opening = {"outcome": "pending", "expires_at": expires_at, "late_at": None, "process": process}
            return Begun(self._opened("begun", attempt, now, opening), is_new=True)

    def renew(
        self,
        change_id: str,
        *,
        lease_seconds: float,
        late_seconds: float = 0,
        before: Json,
        title: str,
        approval: str | None = None,
    ) -> Change | None:
        """A fresh lease, right before it is sent, with what was seen since it was begun: all of that has
        reached the disk then. Where nothing is learnt of it, the CRM may do it for `late_seconds` more.

        None where the old one is over: somebody may have judged the change, or begun what its claim forbade.
        """
        with self._journal.transaction():
            now = _now()
            record = self._record(change_id)
            if _change(record, now).outcome != "pending":
                return None
            until = _stamp(now + timedelta(seconds=lease_seconds))
            late = _stamp(now + timedelta(seconds=lease_seconds + late_seconds))
            renewed = {
                "outcome": "pending",
                "expires_at": until,
                "late_at": late,
                "before": before,
                "title": title,
                **({"approval": approval} if approval else {}),
            }
            self._journal.append("renewed", _stamp(now), "changes", record["id"], renewed)
            return _change(record | renewed, now)

    def earlier(self, attempt: Attempt, *, window_seconds: float) -> Change | None:
        """The equal change that `begin` would meet."""
        with self._journal.transaction(write=False):
            now = _now()
            return self._equal(attempt, now, now - timedelta(seconds=window_seconds))

    def never_sent(self, attempt: Attempt, outcome: NeverSent, detail: str) -> Change:
        """Record an attempt that was not sent, and why."""
        with self._journal.transaction():
            now = _now()
            opening = {"outcome": outcome, "detail": detail, "closed_at": _stamp(now)}
            return self._opened("refused", attempt, now, opening)

    def close(
        self,
        change_id: str,
        outcome: Outcome,
        *,
        after: Json = None,
        subject: Subject | None = None,
        detail: str = "",
        late_seconds: float = 0,
        lost: bool = False,
    ) -> Change:
        """Record what became of a change, or what was learnt later of one without an answer.

        For `late_seconds` the CRM may still do what is unknown. Applied, it makes the change that it undoes
        `undone`. What adds nothing (the same outcome again, or `unknown` where others know more) leaves the
        change as it stands; what contradicts raises LedgerError.
        """
        # Of one that was sent the disk has what it takes to look for it; of one that was not, nothing yet.
        with self._journal.transaction(durable=outcome in get_args(NeverSent)):
            now = _now()
            record = self._record(change_id)
            known: Outcome = record["outcome"]
            if outcome == known or (outcome == "unknown" and known != "pending"):
                return _change(record, now)
            if outcome not in _NEXT.get(known, ()):
                raise LedgerError(f"Change {record['id']} is {known}: it cannot become {outcome}.")
            learnt: Record = {"outcome": outcome, "closed_at": _stamp(now), "detail": detail}
            if outcome == "unknown":
                learnt["expires_at"] = _stamp(now + timedelta(seconds=late_seconds))
            if after is not None:
                learnt["after"] = after
            if lost:
                learnt["lost"] = True
            if subject is not None:
                learnt |= _subject_columns(subject)
            self._journal.append("closed", _stamp(now), "changes", record["id"], learnt)
            if outcome == "applied" and record["undoes"]:
                self._mark_undone(record["undoes"], record["id"], now)
            return _change(record | learnt, now)

    def told(self, change_id: str) -> None:
        """Who asked for a lost one has been told that it was done."""
        with self._journal.transaction(durable=False):
            record = self._record(change_id)
            self._journal.append("told", _stamp(_now()), "changes", record["id"], {"lost": False})

    def may_be_late(self, attempt: Attempt) -> list[Change]:
        """Those that hold its claim and brought no answer, and that the CRM may still do."""
        if attempt.claim is None:
            return []
        wanted = _wanted(claim=attempt.claim, entity=attempt.entity)
        with self._journal.transaction(write=False):
            now = _now()
            unknown = self._changes(wanted, ["unknown"], now)
            return [change for change in unknown if change.expires_at and change.expires_at > now]

    def get(self, start: str) -> Change:
        """The change whose id, all or its first 4 letters or more, is given."""
        with self._journal.transaction(write=False):
            return _change(self._record(start), _now())

    def changes(
        self,
        *,
        limit: int | None = None,
        before: str = "",
        since: datetime | None = None,
        outcomes: Collection[Outcome] | None = None,
        tool: str | None = None,
        principal: str | None = None,
        entity: str | None = None,
        subject: Subject | None = None,
        claim: str | None = None,
        arguments: Json = None,
        lost: bool = False,
    ) -> list[Change]:
        """The changes, newest first; for the next page, those opened before the change `before`."""
        wanted = _wanted(tool=tool, principal=principal, entity=entity, subject=subject, claim=claim)
        if arguments is not None:
            wanted["asked"] = [fingerprint(arguments)]
        if lost:
            wanted["lost"] = [True]
        with self._journal.transaction(write=False):
            return list(islice(self._changes(wanted, outcomes, _now(), since, before), limit))

    def verify(self) -> Verification:
        return self._journal.verify()

    def prune(self, older_than: datetime) -> int:
        """Forget what is older and not in flight; how many events were removed."""
        with self._journal.transaction():
            return self._prune(older_than, _now())

    def _prune(self, older_than: datetime, now: datetime) -> int:
        in_flight = (change.opened_at for change in self._changes({}, ["pending"], now))
        return self._journal.prune(_stamp(min([older_than, *in_flight])), _stamp(now))

    def _forget(self, now: datetime) -> None:
        """What nobody wants kept any more, where it is time to look for it."""
        if self._keep is not None and now >= self._forget_at:
            self._prune(now - self._keep, now)
            self._forget_at = now + min(self._keep, FORGET_EVERY)

    def _equal(
        self,
        attempt: Attempt,
        now: datetime,
        since: datetime,
        despite: str = "",
        *,
        though_applied: bool = True,
    ) -> Change | None:
        """The latest equal change that is in flight, of which nobody knows, or that was applied since."""
        wanted = _wanted(key=attempt.key, principal=attempt.principal, entity=attempt.entity)
        for change in self._changes(wanted, ["pending", "applied", "unknown"], now):
            if change.id == despite and (though_applied or change.outcome != "applied"):
                return None
            recent = change.outcome != "applied" or (change.closed_at or change.opened_at) >= since
            # What was done since, be it long ago, tells more than what nobody knows of before.
            return change if recent else None
        return None

    def _claimed(self, attempt: Attempt, now: datetime, blocks: Callable[[Change], bool]) -> Change | None:
        if attempt.claim is None:
            return None
        wanted = _wanted(claim=attempt.claim, entity=attempt.entity)
        return next(filter(blocks, self._changes(wanted, ["pending"], now)), None)

    def _opened(self, kind: str, attempt: Attempt, now: datetime, opening: Record) -> Change:
        self._forget(now)
        values = {field.name: getattr(attempt, field.name) for field in fields(Attempt)}
        record = values | _subject_columns(values.pop("subject")) | {"opened_at": _stamp(now)} | opening
        change_id = _new_id(50)
        self._journal.append(kind, _stamp(now), "changes", change_id, record)
        return _change({"id": change_id} | record, now)

    def _mark_undone(self, change_id: str, undone_by: str, now: datetime) -> None:
        for undone in self._journal.find("changes", {"id": [change_id], "outcome": ["applied"]}):
            news = {"outcome": "undone", "undone_by": undone_by}
            self._journal.append("undone", _stamp(now), "changes", undone["id"], news)

    def _record(self, start: str) -> Record:
        start = start.strip().lower()
        found = list(islice(self._journal.find("changes", {}, id_start=start), 2))
        if not found or len(start) < MIN_START_CHARS:
            raise LedgerError(f'There is no change "{start}" in the ledger.')
        if len(found) > 1:
            raise LedgerError(f'The ids of several changes begin with "{start}": give more of it.')
        return found[0]

    def _changes(
        self,
        wanted: Wanted,
        outcomes: Collection[Outcome] | None,
        now: datetime,
        since: datetime | None = None,
        before: str = "",
    ) -> Iterator[Change]:
        if outcomes is not None:
            # What is kept as pending may read as one of these.
            wanted = wanted | {"outcome": {*outcomes, *(["pending"] if {*outcomes} & ENDED else [])}}
        earliest = _stamp(since) if since else ""
        for record in self._journal.find("changes", wanted, since=earliest, before=before):
            change = _change(record, now)
            if outcomes is None or change.outcome in outcomes:
                yield change

    # Approvals

    def ask_for_approval(self, question: Question, *, seconds: float) -> Approval:
        """The approval of this operation that waits, or is given and not used; else a new one, waiting."""
        with self._journal.transaction():
            now = _now()
            wanted = _wanted(digest=question.digest, principal=question.principal, entity=question.entity)
            for asked in self._approvals(wanted, ["waiting", "approved"], now):
                return asked
            record = {field.name: getattr(question, field.name) for field in fields(Question)}
            expires_at = _stamp(now + timedelta(seconds=seconds))
            record |= {"state": "waiting", "created_at": _stamp(now), "expires_at": expires_at}
            approval_id = _new_id(128)
            self._journal.append("asked", _stamp(now), "approvals", approval_id, record)
            return _approval({"id": approval_id} | record, now)

    def let_down(self, approval: Approval) -> Approval | None:
        """The approval of the same that was asked for right before, where it was declined or ran out."""
        wanted = _wanted(digest=approval.digest, principal=approval.principal, entity=approval.entity)
        with self._journal.transaction(write=False):
            for earlier in self._approvals(wanted, get_args(State), _now()):
                if earlier.id != approval.id:
                    return earlier if earlier.state in ("declined", "expired") else None
        return None

    def approval(self, approval_id: str) -> Approval:
        """Raises ApprovalError when there is none."""
        with self._journal.transaction(write=False):
            return self._approval(approval_id, _now())

    def waiting(self) -> list[Approval]:
        """What waits for a person, the oldest first."""
        with self._journal.transaction(write=False):
            return list(self._approvals({}, ["waiting"], _now()))[::-1]

    def answer(self, approval_id: str, *, approved: bool, by: str) -> Approval:
        """The word of the person who was asked, where it still waits for one; their no counts although
        there was a yes elsewhere."""
        with self._journal.transaction():
            now = _now()
            asked = self._approval(approval_id, now)
            if asked.state == "approved" and not approved:
                return self._became(asked, "void", now)
            return self._decided(asked, now, approved=approved, by=by) if asked.state == "waiting" else asked

    def decide(self, approval_id: str, *, approved: bool, by: str) -> Approval:
        """Record a person's decision, and where it was made; raises ApprovalError unless it waits."""
        with self._journal.transaction():
            now = _now()
            asked = self._approval(approval_id, now)
            if asked.state != "waiting":
                raise ApprovalError(f"Approval {asked.id} {_STANDING[asked.state]}. Nothing was decided.")
            return self._decided(asked, now, approved=approved, by=by)

    def consume(self, approval_id: str, *, digest: str, principal: str, entity: str) -> Approval:
        """Use up the approval of this very operation; raises ApprovalError unless it was given."""
        with self._journal.transaction():
            now = _now()
            given = self._approval(approval_id, now)
            if (given.principal, given.entity) != (principal, entity):
                raise ApprovalError(f"Approval {given.id} is somebody else's. Nothing was sent.")
            if given.digest != digest:
                raise ApprovalError(f"Approval {given.id} is for another operation. Nothing was sent.")
            if given.state != "approved":
                raise ApprovalError(f"Approval {given.id} {_STANDING[given.state]}. Nothing was sent.")
            return self._became(given, "used", now)

    def void(self, approval_id: str) -> Approval:
        """Let an approval that waits or was given no longer hold; any other stays as it is."""
        with self._journal.transaction():
            now = _now()
            approval = self._approval(approval_id, now)
            if approval.state not in ("waiting", "approved"):
                return approval
            return self._became(approval, "void", now)

    def approved_by(self, change: Change) -> str | None:
        """Where a person approved the change; None where nobody had to."""
        with self._journal.transaction(write=False):
            for record in self._journal.find("approvals", {"id": [change.approval or ""]}):
                return _approval(record, _now()).decided_by
        # The client, or an approval that is not on record any more.
        return change.approval

    def _decided(self, asked: Approval, now: datetime, *, approved: bool, by: str) -> Approval:
        state: State = "approved" if approved else "declined"
        return self._became(asked, state, now, decided_at=_stamp(now), decided_by=by)

    def _became(self, approval: Approval, state: State, now: datetime, **news: str) -> Approval:
        self._journal.append(state, _stamp(now), "approvals", approval.id, {"state": state, **news})
        return self._approval(approval.id, now)

    def _approval(self, approval_id: str, now: datetime) -> Approval:
        for record in self._journal.find("approvals", {"id": [approval_id]}):
            return _approval(record, now)
        raise ApprovalError(f'There is no approval "{approval_id}". Nothing was done.')

    def _approvals(self, wanted: Wanted, states: Collection[State], now: datetime) -> Iterator[Approval]:
        for record in self._journal.find("approvals", wanted | {"state": states}):
            approval = _approval(record, now)
            if approval.state in states:
                yield approval


async def patiently(write: Callable[[], T]) -> T:
    """What `write` comes to, a method that writes in the ledger; while another process does, it is tried
    again and again, and what else this process has to do goes on.

    Raises LedgerError.
    """
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            return write()
        except BusyError:
            if time.monotonic() >= deadline:
                raise
        await anyio.sleep(RETRY_SECONDS)


def _change(record: Record, now: datetime) -> Change:
    try:
        return _as_change(record, now)
    except (KeyError, TypeError, ValueError) as error:
        raise AlteredError(record["id"]) from error


def _as_change(record: Record, now: datetime) -> Change:
    values = _read(record)
    kind, subject_id = values.pop("subject_kind"), values.pop("subject_id")
    process, late_at = values.pop("process", None), values.pop("late_at", values.get("expires_at"))
    if values["outcome"] == "pending" and (values["expires_at"] <= now or _is_gone(*process)):
        sent = {"outcome": "unknown", "expires_at": late_at}
        values |= sent if late_at else {"outcome": "failed", "detail": NEVER_SENT}
    return Change(**values, subject=Subject(kind, subject_id) if subject_id else None)


def _approval(record: Record, now: datetime) -> Approval:
    values = _read(record)
    if values["state"] in ("waiting", "approved") and values["expires_at"] <= now:
        values["state"] = "expired"
    return Approval(**values)


def _read(record: Record) -> Record:
    return {
        name: datetime.fromisoformat(value) if name.endswith("_at") and value is not None else value
        for name, value in record.items()
    }


def _subject_columns(subject: Subject | None) -> Record:
    return {"subject_kind": subject and subject.kind, "subject_id": subject and subject.id}


def _wanted(subject: Subject | None = None, **values: str | None) -> Wanted:
    """What is to be looked for; None is anything."""
    if subject is not None:
        values |= _subject_columns(subject)
    return {column: [value] for column, value in values.items() if value is not None}


def _is_gone(host: str, process_id: int, process: str) -> bool:
    """Whether the process is certainly no more, which can only be told on its own host."""
    if sys.platform == "win32" or host != _HOST:
        return False
    if process_id == os.getpid():
        return process != _PROCESS
    try:
        os.kill(process_id, 0)
    except ProcessLookupError:
        return True
    except PermissionError:  # somebody else's, so it lives
        return False
    return False


def _new_id(bits: int) -> str:
    """Unguessable in its length; letters and digits that can be said aloud."""
    return base64.b32encode(secrets.token_bytes(16)).decode().lower()[: -(-bits // 5)]


def _now() -> datetime:
    return datetime.now(UTC)


def _stamp(moment: datetime) -> str:
    """The one spelling of a moment, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="microseconds")
