"""How a write is watched: its record before it, its words, how it is found again and taken back."""

from __future__ import annotations

import unicodedata
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from pydantic import ValidationError

from crm_mcp.crm import activities, contacts, leads
from crm_mcp.crm.client import Write
from crm_mcp.crm.contract import UUID_PATTERN, Body, Entity, Operation, Record
from crm_mcp.crm.errors import NotFoundError, PermissionDeniedError
from crm_mcp.preview import Named, Wire, label, shown, text_of, whole
from crm_mcp.wording import MAX_NAME_CHARS, clean, worded

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient
    from crm_mcp.same import Sameness

ACTIVITY_TYPES = get_args(activities.ActivityType)
Reading = Callable[["CrmClient", Mapping[str, str]], Awaitable[Entity | None]]

# What the CRM sets by itself, whoever changes the record.
KEPT_BY_CRM = frozenset({"createdAt", "updatedAt", "lastActivityAt", "leadCount", "sortOrder"})
# In which people write freely: a title is told as a fact, and has none of it.
PROSE = frozenset({"notes", "description", "lostReason"})
# A CRM's clock may differ from ours.
CLOCK_TOLERANCE = timedelta(minutes=2)
# However wrong it is, what is older than this is certainly another one.
SURELY_OLDER = timedelta(days=1)
# Where the ids of what may be taken for it are kept that were there before.
THERE_BEFORE = "there_before"
MAX_TITLE_CHARS = 240
MAX_PART_CHARS = 40
MAX_PLACES = 3


class NotUndoableError(Exception):
    """Why a change cannot be taken back; a sentence for the person."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What there was before a write: the record as the CRM sent it, or what else tells."""

    record: Wire | None = None
    # What would go with the record, where somebody is to know it.
    hanging: Sequence[str] = ()
    # The records there are of what it would create.
    same: tuple[Entity, ...] = ()
    # Whether there may be some that nobody looked at.
    unsure: bool = False

    def what_counts(self) -> Any:
        """What must not change between an approval and its write: nothing that people see of the record."""
        beside = {THERE_BEFORE, *KEPT_BY_CRM}
        record = {name: value for name, value in (self.record or {}).items() if name not in beside}
        return [record, list(self.hanging)] if self.record is not None else None


@dataclass(frozen=True, slots=True)
class Trail:
    """What is on record of a write that is looked for, and of others."""

    before: Wire | None
    since: datetime
    # Whether a record is what another change made; how many equal writes others did since.
    is_anothers: Callable[[str], bool]
    done_by_others: Callable[[], int]
    # Whether others may have changed much since.
    is_late: bool = False


@dataclass(frozen=True, slots=True)
class WasDone:
    """The CRM shows that it was done; `after` is what its answer would have been."""

    after: Wire


@dataclass(frozen=True, slots=True)
class NotDone:
    """The CRM shows what there was before: if it does not come late, it was not done."""


@dataclass(frozen=True, slots=True)
class CannotTell:
    """It may have been done or not; `like` is what may have come of it."""

    like: Sequence[Record] = ()


Verdict = WasDone | NotDone | CannotTell


@dataclass(frozen=True, slots=True)
class Done:
    """A change as the ledger has it."""

    ids: Mapping[str, str]
    body: Wire
    before: Wire | None
    after: Wire | None
    at: datetime


@dataclass(frozen=True, slots=True)
class Since:
    """What became of a record since a change: the field on the wire, where it is one, and a sentence."""

    field: str
    what: str


class Kind:
    """How the writes of an operation are watched; by itself, of one about which nothing can be known."""

    # Whether it makes something that has an id of its own.
    is_new: ClassVar[bool] = False
    is_email: ClassVar[bool] = False
    # Whether the record is gone afterwards.
    ends: ClassVar[bool] = False
    # Whether people tell it in words, so that in others it may be the same.
    is_told: ClassVar[bool] = False
    # Whether it hangs something on the record that its claim names, and changes nothing of it.
    hangs: ClassVar[bool] = False
    # Whether doing it twice is as good as doing it once.
    is_idempotent: ClassVar[bool] = False
    # The arguments and fields that hold what people wrote to each other.
    bodies: ClassVar[Sequence[str]] = ()

    def __init__(self, operation: Operation[Any], record: str, verb: str) -> None:
        self.operation, self.record, self.verb = operation, record, verb

    def title(self, write: Write, seen: Seen, named: Named) -> str:
        """What it does, in a line."""
        called = clean(self._called(write, seen, named), MAX_TITLE_CHARS)
        return " ".join(part for part in (self.verb, self.record, called) if part)

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        """What a person should see before they approve it, a line each."""
        yield from ()

    def same(self, write: Write, seen: Seen) -> Any:
        """What people take for the same write has the same."""
        return [dict(write.ids), write.body and write.body.to_wire()]

    def subject(self, write: Write, after: Wire | None) -> str | None:
        """The id of the record that it is about; of a new one the CRM tells it."""
        if self.is_new:
            return (after or {}).get("id")
        return next(reversed(list(write.ids.values())), None) or (after or {}).get("id")

    def claim(self, write: Write) -> str:
        """What only one write at a time may touch; empty where nothing stands against it."""
        return ""

    def meets(self, write: Write, other: Wire) -> bool:
        """Whether it must not be done while another of its claim may still be; `other` is what that sent."""
        return True

    async def seen(self, crm: CrmClient, write: Write) -> Seen:
        """What there is before it."""
        return Seen()

    async def hanging(self, crm: CrmClient, write: Write) -> list[str]:
        """What would go with the record, each in words."""
        return []

    def is_like(self, write: Write, other: Wire) -> bool:
        """Whether one in other words may be the same, told again."""
        return False

    def also_ends(self, write: Write, seen: Seen) -> bool:
        """Whether it may end another record, too, for good."""
        return False

    def refuse(self, write: Write, seen: Seen) -> None:
        """Raises RefusedError for what can come to no good."""

    async def now(self, crm: CrmClient, ids: Mapping[str, str]) -> Wire | None:
        """The record that it is about, as it is now; None where it is gone or nobody can tell."""
        return None

    async def look(self, crm: CrmClient, write: Write, trail: Trail) -> Verdict:
        """What the CRM shows of it.

        Raises CrmError where nobody can look.
        """
        return CannotTell()

    async def stands(self, crm: CrmClient, write: Write, after: Wire | None) -> bool:
        """Whether what it came to is still so; True where nothing tells."""
        return True

    def notes(self, before: Wire | None, after: Wire | None) -> Iterator[str]:
        """What is to be told of what it came to."""
        yield from ()

    def was_so(self, write: Write, before: Wire | None) -> bool:
        """Whether the record showed before all that is sent."""
        return False

    def is_answer(self, write: Write, record: Record) -> bool:
        """Whether it can be what the write came to, and not another record."""
        target = next(reversed([*write.ids.values()]), None)
        return target in (None, getattr(record, "id", target))

    def says_no(self, record: Record) -> bool:
        """Whether it tells that the CRM did not do it after all."""
        return False

    def read(self, wire: Wire) -> Record:
        """The record that it is about."""
        answer: Any = self.operation.answer
        record: Record = answer.record.from_wire(wire)
        return record

    def undoing(self, done: Done) -> Write:
        """The write that takes it back.

        Raises NotUndoableError.
        """
        raise NotUndoableError("The CRM has no way to take this back.")

    def left_behind(self, done: Done) -> Iterator[str]:
        """What the CRM may have done along with it that taking it back does not, each a sentence."""
        yield from ()

    async def since(self, crm: CrmClient, done: Done, record_id: str) -> list[Since]:
        """What became of it since by somebody: the fields with their values, what hangs on it now."""
        return list(self.changed_since(done, await self.now(crm, done.ids)))

    def changed_since(self, done: Done, now: Wire | None) -> Iterator[Since]:
        """The fields that are not as they were written, each with its value now."""
        yield from ()

    def called(self, wire: Wire | None) -> str:
        """What people call the record; empty where nothing tells."""
        kind = getattr(self.operation.answer, "record", None)
        record = kind.from_wire(wire) if kind and wire and "id" in wire else None
        return getattr(record, "label", None) or label(wire)

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        return self.called(seen.record) or named(self.subject(write, None) or "")


class OfRecord(Kind):
    """A write about one record that can be read."""

    def __init__(self, operation: Operation[Any], record: str, reading: Reading, verb: str) -> None:
        super().__init__(operation, record, verb)
        self._reading = reading

    def claim(self, write: Write) -> str:
        # One after the other: what was before it is what another left.
        return f"{self.record} {self.subject(write, None)}"

    async def seen(self, crm: CrmClient, write: Write) -> Seen:
        return Seen(await self.now(crm, write.ids))

    async def now(self, crm: CrmClient, ids: Mapping[str, str]) -> Wire | None:
        try:
            found = await self._reading(crm, ids)
        except NotFoundError:
            return None
        return found.wire if found else None


class Update(OfRecord):
    """A change of a record's fields."""

    is_idempotent = True

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        called = clean(super()._called(write, seen, named), MAX_NAME_CHARS)
        to = (
            worded(name)
            if name in PROSE
            else f"{worded(name)} → {clean(shown(value, named), MAX_PART_CHARS)}"
            for name, value in sent_by(write).items()
        )
        return f"{called}: {', '.join(to)}"

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        for name, value in sent_by(write).items():
            yield f"{worded(name)}: {shown((seen.record or {}).get(name), named)} → {whole(value, named)}"

    def was_so(self, write: Write, before: Wire | None) -> bool:
        return bool(before and write.body and write.body.is_shown_by(self.read(before)))

    async def look(self, crm: CrmClient, write: Write, trail: Trail) -> Verdict:
        now = await self.now(crm, write.ids)
        if now is None or write.body is None:
            return CannotTell()
        if write.body.is_shown_by(self.read(now)):
            # Whoever set the value: a late one may still come, and undo what is done after it.
            was_there = all(now.get(name) == (trail.before or {}).get(name) for name in sent_by(write))
            return CannotTell() if was_there or trail.done_by_others() else WasDone(now)
        return NotDone() if self._is_untouched(write, trail.before or {}, now) else CannotTell()

    def _is_untouched(self, write: Write, before: Wire, now: Wire) -> bool:
        """Whether all is as it was before; who `me` is, it may have been before."""
        sent = sent_by(write)
        told = now.keys() >= sent.keys() and "me" not in sent.values()
        return told and all(now.get(name) == before.get(name) for name in (*sent, "updatedAt"))

    async def stands(self, crm: CrmClient, write: Write, after: Wire | None) -> bool:
        now = await self.now(crm, write.ids)
        if now is None or write.body is None or write.body.not_kept_by(self.read(now))[0]:
            return False
        # Who `me` is the answer told.
        mine = [name for name, value in sent_by(write).items() if value == "me"]
        return all(now.get(name) == (after or {}).get(name) for name in mine)

    def undoing(self, done: Done) -> Write:
        before, changed = done.before or {}, self._undoable(done.body)
        unknown = [name for name in changed if name not in before]
        if unknown:
            raise NotUndoableError(
                f"The CRM did not show how it was before: {', '.join(map(worded, unknown))}."
            )
        try:
            return written(self.operation, done.ids, {name: before[name] for name in changed})
        except ValidationError as error:
            odd = ", ".join(worded(str(problem["loc"][0])) for problem in error.errors(include_url=False))
            raise NotUndoableError(f"The CRM showed what cannot be sent to it: {odd}.") from error

    def changed_since(self, done: Done, now: Wire | None) -> Iterator[Since]:
        if now is None:
            yield Since("", "the record is gone")
            return
        for name in self._undoable(done.body):
            if now.get(name) != (done.after or done.body).get(name):
                yield _is_now(name, now)

    def _undoable(self, body: Wire) -> list[str]:
        return list(body)


class Create(OfRecord):
    """A new record; `same` finds those that are there already, `removal` takes the new one back."""

    is_new = True

    def __init__(
        self,
        operation: Operation[Any],
        record: str,
        reading: Reading,
        same: Sameness[Any] | None,
        removal: Callable[[Mapping[str, str]], Write],
    ) -> None:
        super().__init__(operation, record, reading, "Create")
        self._same, self._removal = same, removal

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        yield from (f"{worded(name)}: {whole(value, named)}" for name, value in sent_by(write).items())
        yield from (f"Seems to be there already: {_called(one)}" for one in seen.same)

    def claim(self, write: Write) -> str:
        # What is the same in any of several ways needs one claim for all.
        return f"create {self.record}"

    def meets(self, write: Write, other: Wire) -> bool:
        return self._same is None or self._same.of(sent_by(write), other)

    async def seen(self, crm: CrmClient, write: Write) -> Seen:
        same, is_all = await self._matching(crm, write)
        return Seen({THERE_BEFORE: [one.id for one in same]}, same=tuple(same), unsure=not is_all)

    async def look(self, crm: CrmClient, write: Write, trail: Trail) -> Verdict:
        """Of what matches it, what did not before: no clock has to be right for that, only not days off."""
        there_before = (trail.before or {}).get(THERE_BEFORE, ())
        matching, is_all = await self._matching(crm, write)
        new = [
            one
            for one in matching
            if one.id not in there_before
            and not trail.is_anothers(one.id)
            and not is_older(getattr(one, "created_at", None), trail.since)
        ]
        ours = [one for one in new if trail.before is not None and is_alike(write.body, one)]
        if len(ours) == 1:
            return WasDone(ours[0].wire)
        return CannotTell(new) if new or not is_all else NotDone()

    def is_answer(self, write: Write, record: Record) -> bool:
        return self._same is None or self._same.of(sent_by(write), record.wire)

    async def _matching(self, crm: CrmClient, write: Write) -> tuple[list[Entity], bool]:
        """Those there are of what it would create, and whether all could be looked at."""
        return await self._same.found(crm, sent_by(write)) if self._same else ([], True)

    async def stands(self, crm: CrmClient, write: Write, after: Wire | None) -> bool:
        record_id = (after or {}).get("id")
        if record_id is None:
            return True
        now = await self.now(crm, {f"{self.record}_id": record_id})
        return now is not None and (self._same is None or self._same.of(sent_by(write), now))

    def notes(self, before: Wire | None, after: Wire | None) -> Iterator[str]:
        if (after or {}).get("id") in (before or {}).get(THERE_BEFORE, ()):
            yield f"The CRM made no new {self.record}: it answered with one that was there before."

    def undoing(self, done: Done) -> Write:
        after = done.after or {}
        record_id = after.get("id")
        if not isinstance(record_id, str):
            raise NotUndoableError("The CRM did not show the new record: nobody knows which it is.")
        created = getattr(self.read(after), "created_at", None)
        was_there = created is not None and created < done.at - CLOCK_TOLERANCE
        if was_there or record_id in (done.before or {}).get(THERE_BEFORE, ()):
            raise NotUndoableError("The record was there before: the CRM made no new one.")
        return self._removal({**done.ids, f"{self.record}_id": record_id})

    async def since(self, crm: CrmClient, done: Done, record_id: str) -> list[Since]:
        ids = {**done.ids, f"{self.record}_id": record_id}
        home = (done.after or {}).get("companyId")
        hung = [Since("", f"there is {one}") for one in await hanging(crm, self.record, ids, home=home)]
        return [*self.changed_since(done, await self.now(crm, ids)), *hung]

    def changed_since(self, done: Done, now: Wire | None) -> Iterator[Since]:
        """What was empty and is not any more, too."""
        if now is None:
            yield Since("", "the record is gone")
            return
        after = done.after or {}
        for name in now.keys() - KEPT_BY_CRM:
            if now[name] != after.get(name) and (name in after or now[name] not in (None, "", [])):
                yield _is_now(name, now)

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        return label(sent_by(write))


class Delete(OfRecord):
    """A record's end."""

    ends = True

    async def hanging(self, crm: CrmClient, write: Write) -> list[str]:
        return await hanging(crm, self.record, write.ids)

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        yield "This cannot be taken back."
        yield from (f"Goes with it: {one}" for one in seen.hanging)
        yield from facts(seen.record, named)
        yield from (f"{worded(name)}: {whole(value, named)}" for name, value in sent_by(write).items())

    async def look(self, crm: CrmClient, write: Write, trail: Trail) -> Verdict:
        return WasDone({}) if await self.now(crm, write.ids) is None else NotDone()

    async def stands(self, crm: CrmClient, write: Write, after: Wire | None) -> bool:
        return await self.now(crm, write.ids) is None


async def hanging(crm: CrmClient, kind: str, ids: Mapping[str, str], *, home: str | None = None) -> list[str]:
    """What people hung on a record, in words: deals, memberships, what is logged on it.

    The membership of a contact in its `home` came with it.
    """
    if kind == "company":
        deals = await crm.leads.search(leads.LeadFilter(company_id=ids["company_id"]), limit=100)
        people = (await crm.companies.contacts(ids["company_id"])).records
        wanted = activities.ActivityFilter(company_id=ids["company_id"])
        logged = _entries(len((await crm.activities.search(wanted, limit=100)).records))
        return [*map(_deal, deals.records), *(f"its contact {_called(one)}" for one in people), *logged]
    if kind == "contact":
        deals = await crm.leads.search(leads.LeadFilter(contact_id=ids["contact_id"]), limit=100)
        try:
            places = await crm.contacts.memberships(ids["contact_id"])
        except (PermissionDeniedError, NotFoundError):
            return [*map(_deal, deals.records), "whatever memberships it has: they cannot be seen"]
        others = [_membership(one) for one in places if one.company_id != home]
        logged = await _logged_with(crm, ids["contact_id"], places)
        return [*map(_deal, deals.records), *others, *logged]
    if kind == "lead":
        entries = await crm.leads.timeline(ids["lead_id"])
        return _entries(len([entry for entry in entries if entry.type in ACTIVITY_TYPES]))
    if kind == "stage":
        counts = [one.lead_count for one in await crm.pipeline.stages() if one.id == ids["stage_id"]]
        return [leads_in(count) for count in counts if count != 0]
    return []


async def _logged_with(crm: CrmClient, contact_id: str, places: Sequence[contacts.Membership]) -> list[str]:
    """What is logged with a contact can only be looked for at its companies, there as far as a page goes."""
    count = 0
    for company_id in [place.company_id for place in places if place.company_id][:MAX_PLACES]:
        page = await crm.activities.search(activities.ActivityFilter(company_id=company_id), limit=100)
        count += sum(one.contact_id == contact_id for one in page.records)
    return _entries(count)


def _entries(count: int) -> list[str]:
    return [f"{count} logged {'activity' if count == 1 else 'activities'}"] if count else []


def _deal(lead: leads.Lead) -> str:
    return f"its place in the deal {_called(lead)}"


def _membership(one: contacts.Membership) -> str:
    title = f" as {one.title}" if one.title else ""
    return clean(f"its membership of {one.company_name or one.company_id}{title}", MAX_TITLE_CHARS)


def leads_in(count: int | None) -> str:
    return "an unknown number of leads in it" if count is None else f"{count} lead{'s' * (count != 1)} in it"


def _called(record: Any) -> str:
    return clean(record.label, MAX_NAME_CHARS)


def facts(record: Wire | None, named: Named) -> Iterator[str]:
    for name, value in (record or {}).items():
        # Its company is named by its id already; an id that nobody knows says nothing to a person.
        told = name in ("id", "companyName") or bool(UUID_PATTERN.fullmatch(named(str(value))))
        if value not in (None, "", []) and name not in KEPT_BY_CRM and not told:
            yield f"{worded(name)}: {shown(value, named)}"


def written(operation: Operation[Any], ids: Mapping[str, str], wire: Wire) -> Write:
    """The write that sends this; raises TypeError for an operation that sends nothing."""
    if operation.body is None:
        raise TypeError(f"{operation.name} sends nothing")
    return Write(operation, ids, operation.body.model_validate(wire, by_alias=True, by_name=False))


def sent_by(write: Write) -> Wire:
    return write.body.to_wire() if write.body else {}


def is_alike(body: Body | None, record: Record) -> bool:
    """In every field what was sent; a CRM may trim texts, or keep them as HTML."""
    if body is None:
        return True
    sent = body.to_wire()
    other = (body.wire_name(name) for name in body.not_kept_by(record)[0])
    return all(_text(record.wire[name]) == _text(sent[name]) is not None for name in other)


def is_older(made_at: datetime | None, since: datetime) -> bool:
    return made_at is not None and made_at < since - SURELY_OLDER


def _text(value: Any) -> str | None:
    return unicodedata.normalize("NFC", text_of(value)) if isinstance(value, str) else None


def _is_now(name: str, now: Wire) -> Since:
    return Since(name, f"{worded(name)} is {shown(now.get(name), str)} now")
