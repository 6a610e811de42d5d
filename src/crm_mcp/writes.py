"""What each kind of write is about: its record before it, its words, how it is found again and taken back."""

from __future__ import annotations

import unicodedata
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from typing import TYPE_CHECKING, Any, ClassVar, get_args

from crm_mcp.crm import activities, companies, contacts, leads, outreach, pipeline
from crm_mcp.crm.client import Write
from crm_mcp.crm.contract import Body, Entity, Operation, Record
from crm_mcp.crm.errors import NotFoundError, RefusedError
from crm_mcp.preview import Named, Wire, email_lines, in_order, label, recipient, shown, text_of, worded
from crm_mcp.same import COMPANIES, CONTACTS, LEADS, STAGES, Sameness
from crm_mcp.wording import MAX_NAME_CHARS, clean, on_one_line

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient

ACTIVITY_TYPES = get_args(activities.ActivityType)
Reading = Callable[["CrmClient", Mapping[str, str]], Awaitable[Entity | None]]

# What the CRM sets by itself, whoever changes the record.
KEPT_BY_CRM = frozenset({"createdAt", "updatedAt", "leadCount", "sortOrder"})
# A CRM's clock may differ from ours.
CLOCK_TOLERANCE = timedelta(minutes=2)
# Where the e-mails are kept that a lead's timeline showed before one was sent.
EMAILS = "emails"
# As far as an activity is looked for whose answer was lost.
MAX_PAGES = 100
MAX_TITLE_CHARS = 240
MAX_PART_CHARS = 40


class NotUndoableError(Exception):
    """Why a change cannot be taken back; a sentence for the person."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What there was before a write: the record as the CRM sent it, or what else tells."""

    record: Wire | None = None
    # What would go with the record, each in words.
    hanging: tuple[str, ...] = ()

    def what_counts(self) -> Any:
        """What must not change between an approval and its write; more e-mails on a timeline may come."""
        record = {name: value for name, value in (self.record or {}).items() if name != EMAILS}
        return [record, list(self.hanging)] if self.record is not None else None


@dataclass(frozen=True, slots=True)
class Done:
    """A change as the ledger has it."""

    ids: Mapping[str, str]
    body: Wire
    before: Wire | None
    after: Wire | None


class Absence(Enum):
    """What it means where the CRM does not show a write whose answer was lost, and what is told of it."""

    NOT_DONE = "the same call again looks first"  # and finds that it was not done, once it cannot be late
    NOT_TOLD = "the same call again does no harm"  # nobody knows, and it comes to the same
    FOR_A_PERSON = "the same call again looks first, and asks"  # nobody knows, and it may do it twice


class Kind:
    """How the writes of an operation are watched; by itself, of one about which nothing can be known."""

    # Whether it makes something that has an id of its own.
    is_new: ClassVar[bool] = False
    is_email: ClassVar[bool] = False
    # Whether the record is gone afterwards.
    ends: ClassVar[bool] = False
    absence: ClassVar[Absence] = Absence.NOT_TOLD
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

    def aim(self, seen: Seen) -> Any:
        """What makes it another write although the CRM is sent the same."""
        return None

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

    def refuse(self, write: Write, seen: Seen) -> None:
        """Raises RefusedError for what can come to no good."""

    async def same(self, crm: CrmClient, write: Write) -> list[Entity]:
        """The records there are of what it would create."""
        return []

    async def stands(self, crm: CrmClient, write: Write, record_id: str | None) -> bool:
        """Whether what it did is still so, to the record that it made where it made one; True where nothing
        tells."""
        return True

    async def now(self, crm: CrmClient, ids: Mapping[str, str]) -> Wire | None:
        """The record that it is about, as it is now; None where it is gone or nobody can tell."""
        return None

    async def found(
        self, crm: CrmClient, write: Write, before: Wire | None, since: datetime
    ) -> Sequence[Wire]:
        """What may show that it was done, each as its answer would have it."""
        return ()

    def is_ours(self, write: Write, found: Wire) -> bool:
        """Whether what was found does show it, and not only something like it."""
        return True

    def read(self, wire: Wire) -> Record:
        """What the CRM shows of the record, or of another of its kind."""
        answer: Any = self.operation.answer
        record: Record = answer.record.from_wire(wire)
        return record

    def undoing(self, done: Done) -> Write:
        """The write that takes it back.

        Raises NotUndoableError.
        """
        raise NotUndoableError("The CRM has no way to take this back.")

    async def since(self, crm: CrmClient, done: Done, record_id: str) -> list[str]:
        """What became of it since by somebody: what hangs on it now, the fields with their values."""
        return list(self.changed_since(done, await self.now(crm, done.ids)))

    def changed_since(self, done: Done, now: Wire | None) -> Iterator[str]:
        """The fields that are not as they were written, each with its value now."""
        yield from ()

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        return label(seen.record) or named(self.subject(write, None) or "")


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

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        for name, value in _sent(write).items():
            yield f"{worded(name)}: {shown((seen.record or {}).get(name), named)} → {shown(value, named)}"

    async def stands(self, crm: CrmClient, write: Write, record_id: str | None) -> bool:
        return bool(await self.found(crm, write, None, datetime.now(UTC)))

    async def found(
        self, crm: CrmClient, write: Write, before: Wire | None, since: datetime
    ) -> Sequence[Wire]:
        now = await self.now(crm, write.ids)
        is_as_sent = now and write.body and not any(write.body.not_kept_by(self.read(now)))
        return [now] if now and is_as_sent else []

    def undoing(self, done: Done) -> Write:
        before, changed = done.before or {}, self._undoable(done.body)
        unknown = [name for name in changed if name not in before]
        if unknown:
            raise NotUndoableError(
                f"The CRM did not show how it was before: {', '.join(map(worded, unknown))}."
            )
        fields = {name: before[name] for name in changed}
        return Write(
            self.operation, done.ids, self._body.model_validate(fields, by_alias=True, by_name=False)
        )

    @property
    def _body(self) -> type[Body]:
        if self.operation.body is None:
            raise TypeError(f"{self.operation.name} sends nothing")
        return self.operation.body

    def changed_since(self, done: Done, now: Wire | None) -> Iterator[str]:
        if now is None:
            yield "the record is gone"
            return
        for name in self._undoable(done.body):
            if now.get(name) != (done.after or done.body).get(name):
                yield f"{worded(name)} is {shown(now.get(name), str)} now"

    def _undoable(self, body: Wire) -> list[str]:
        return list(body)


class Move(Update):
    """A lead's move to another stage; why it was lost is the CRM's to forget when it is open again."""

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        # The title says from where to where: of a batch a person should see all of it.
        return (line for line in super().details(write, seen, named) if not line.startswith("stage: "))

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        lead = clean(super()._called(write, seen, named), MAX_PART_CHARS)
        before, after = (seen.record or {}).get("stageId"), _sent(write).get("stageId")
        stages = (clean(named(str(stage)), MAX_PART_CHARS) for stage in (before, after))
        return f"{lead} from {' to '.join(stages)}" if seen.record else f"{lead} to {list(stages)[1]}"

    def _undoable(self, body: Wire) -> list[str]:
        return [name for name in body if name == "stageId"]


class Create(OfRecord):
    """A new record; `same` finds those that are there already, `removal` takes the new one back."""

    is_new = True
    absence = Absence.NOT_DONE

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
        yield from (f"{worded(name)}: {shown(value, named)}" for name, value in _sent(write).items())

    def claim(self, write: Write) -> str:
        # What is the same in any of several ways needs one claim for all.
        return f"create {self.record}"

    def meets(self, write: Write, other: Wire) -> bool:
        return self._same is None or self._same.of(_sent(write), other)

    async def seen(self, crm: CrmClient, write: Write) -> Seen:
        return Seen()

    async def same(self, crm: CrmClient, write: Write) -> list[Entity]:
        return await self._same.found(crm, _sent(write)) if self._same else []

    async def stands(self, crm: CrmClient, write: Write, record_id: str | None) -> bool:
        return record_id is None or await self.now(crm, {f"{self.record}_id": record_id}) is not None

    async def found(
        self, crm: CrmClient, write: Write, before: Wire | None, since: datetime
    ) -> Sequence[Wire]:
        return _newly(await self.same(crm, write), since)

    def is_ours(self, write: Write, found: Wire) -> bool:
        return _is_alike(write.body, self.read(found))

    def undoing(self, done: Done) -> Write:
        record_id = (done.after or {}).get("id")
        if not isinstance(record_id, str):
            raise NotUndoableError("The CRM did not show the new record: nobody knows which it is.")
        return self._removal({**done.ids, f"{self.record}_id": record_id})

    async def since(self, crm: CrmClient, done: Done, record_id: str) -> list[str]:
        ids = {**done.ids, f"{self.record}_id": record_id}
        hung = [f"there is {one}" for one in await hanging(crm, self.record, ids)]
        return [*self.changed_since(done, await self.now(crm, ids)), *hung]

    def changed_since(self, done: Done, now: Wire | None) -> Iterator[str]:
        if now is None:
            yield "the record is gone"
            return
        for name, value in (done.after or {}).items():
            if name not in KEPT_BY_CRM and name in now and now[name] != value:
                yield f"{worded(name)} is {shown(now[name], str)} now"

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        return label(_sent(write))


class Link(Create):
    """A contact's new membership in a company."""

    def claim(self, write: Write) -> str:
        return _memberships_of(write)

    async def stands(self, crm: CrmClient, write: Write, record_id: str | None) -> bool:
        return bool(await self.found(crm, write, None, datetime.now(UTC)))

    async def found(
        self, crm: CrmClient, write: Write, before: Wire | None, since: datetime
    ) -> Sequence[Wire]:
        every = await crm.contacts.memberships(write.ids["contact_id"])
        return [one.wire for one in every if one.company_id == _sent(write).get("companyId")]

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        return f"of {named(write.ids['contact_id'])} in {named(str(_sent(write).get('companyId')))}"


def _memberships_of(write: Write) -> str:
    # Which one is the primary one is told of all of them.
    return f"memberships of {write.ids['contact_id']}"


def _membership_called(write: Write, seen: Seen, named: Named) -> str:
    company = named(str((seen.record or {}).get("companyId", "")))
    return f"of {named(write.ids['contact_id'])} in {company}"


class Relink(Update):
    """A change of a contact's membership, whose title is the contact's there."""

    def claim(self, write: Write) -> str:
        return _memberships_of(write)

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        return _membership_called(write, seen, named)


class Delete(OfRecord):
    """A record's end."""

    absence = Absence.NOT_DONE
    ends = True

    async def seen(self, crm: CrmClient, write: Write) -> Seen:
        record = await self.now(crm, write.ids)
        return Seen(record, tuple(await hanging(crm, self.record, write.ids)) if record else ())

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        yield "This cannot be taken back."
        yield from (f"Goes with it: {one}" for one in seen.hanging)
        yield from _facts(seen.record, named)
        yield from (f"{worded(name)}: {shown(value, named)}" for name, value in _sent(write).items())

    async def stands(self, crm: CrmClient, write: Write, record_id: str | None) -> bool:
        return await self.now(crm, write.ids) is None

    async def found(
        self, crm: CrmClient, write: Write, before: Wire | None, since: datetime
    ) -> Sequence[Wire]:
        # What shows that it was done is that nothing is there.
        return [{}] if await self.now(crm, write.ids) is None else []


class Unlink(Delete):
    """The end of a contact's membership, which a new one takes back."""

    def claim(self, write: Write) -> str:
        return _memberships_of(write)

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        yield from _facts(seen.record, named)

    def undoing(self, done: Done) -> Write:
        before = done.before or {}
        if not before.get("companyId"):
            raise NotUndoableError("The CRM did not show which company it was.")
        kept = {name: before[name] for name in ("companyId", "title", "isPrimary") if before.get(name)}
        body = contacts.NewMembership.model_validate(kept, by_alias=True, by_name=False)
        return Write(contacts.CREATE_MEMBERSHIP, {"contact_id": done.ids["contact_id"]}, body)

    def changed_since(self, done: Done, now: Wire | None) -> Iterator[str]:
        if now is not None:
            yield "it is there again"

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        return _membership_called(write, seen, named)


class Log(Kind):
    """An activity: the CRM can neither change nor delete it."""

    is_new = True
    absence = Absence.NOT_DONE
    bodies = ("body",)

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        yield from (f"{worded(name)}: {shown(value, named)}" for name, value in _sent(write).items())

    async def found(
        self, crm: CrmClient, write: Write, before: Wire | None, since: datetime
    ) -> Sequence[Wire]:
        """Of all that is logged on what it is about: in which order the CRM lists it nobody knows."""
        sent = _sent(write)
        lead, company = write.ids.get("lead_id") or sent.get("leadId"), sent.get("companyId")
        wanted = activities.ActivityFilter(lead_id=lead, company_id=company)
        walks = [crm.activities.walk(wanted)]
        if sent.get("type") == "task":
            walks.append(crm.activities.walk_tasks(activities.TaskFilter(lead_id=lead)))
        return [
            wire
            for walk in walks
            async for rows in walk.pages(MAX_PAGES)
            for wire in _newly((one for one in rows if _is_like(one, sent)), since)
        ]

    def is_ours(self, write: Write, found: Wire) -> bool:
        return _is_alike(write.body, self.read(found))

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        sent = _sent(write)
        about = (
            write.ids.get("lead_id") or sent.get("leadId") or sent.get("companyId") or sent.get("contactId")
        )
        return f"{sent.get('type')} on {named(str(about))}: {sent.get('subject')}"


class Send(Kind):
    """An e-mail to a lead's contact."""

    absence = Absence.FOR_A_PERSON
    is_email = True
    bodies = ("body", "htmlBody")

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        sent = _sent(write)
        yield f"To: {recipient(seen.record)}"
        yield f"From: {shown(sent['connectionId'], named)}"
        yield f"Subject: {shown(sent['subject'], str)}"
        yield f"Lead: {clean(str((seen.record or {}).get('lead')), MAX_NAME_CHARS)}"
        yield from email_lines(sent["htmlBody"])

    def subject(self, write: Write, after: Wire | None) -> str | None:
        return str(_sent(write)["leadId"])

    def aim(self, seen: Seen) -> Any:
        return (seen.record or {}).get("to")

    def claim(self, write: Write) -> str:
        # How many were sent is counted before one more is.
        return "send an e-mail"

    def meets(self, write: Write, other: Wire) -> bool:
        return False

    async def seen(self, crm: CrmClient, write: Write) -> Seen:
        """Who it goes to, as far as the CRM lets us know, and the e-mails that its timeline shows already."""
        lead = await crm.leads.get(_sent(write)["leadId"])
        contact = await crm.contacts.get(lead.contact_id) if lead.contact_id else None
        return Seen(
            {
                "lead": lead.label,
                "contactId": lead.contact_id,
                "contact": contact and contact.label,
                "to": contact and contact.email,
                EMAILS: [entry.id for entry in await _emails(crm, write)],
            }
        )

    def refuse(self, write: Write, seen: Seen) -> None:
        found = seen.record or {}
        if found.get("contactId") and not found.get("to"):
            contact = clean(str(found["contact"]), MAX_NAME_CHARS)
            raise RefusedError(f"{contact} has no e-mail address. Nothing was sent.")

    async def found(
        self, crm: CrmClient, write: Write, before: Wire | None, since: datetime
    ) -> Sequence[Wire]:
        there = (before or {}).get(EMAILS, [])
        sent = _sent(write)
        new = [
            one
            for one in await _emails(crm, write)
            if one.id not in there
            and one.subject == sent["subject"]
            and (one.body is None or text_of(one.body) == text_of(sent["htmlBody"]))
        ]
        return [{"to": (before or {}).get("to"), "sentAt": entry.wire.get("occurredAt")} for entry in new[:1]]

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        return f"to {recipient(seen.record)}: {_sent(write)['subject']}"


async def _emails(crm: CrmClient, write: Write) -> list[leads.TimelineEntry]:
    timeline = await crm.leads.timeline(_sent(write)["leadId"])
    return [entry for entry in timeline if entry.type == "email"]


class Extend(Kind):
    """Companies put on a marketing list, which nobody can look at."""

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        yield from (f"- {clean(named(company), MAX_NAME_CHARS)}" for company in _sent(write)["companyIds"])

    def subject(self, write: Write, after: Wire | None) -> str | None:
        return str(_sent(write)["listId"])

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        sent = _sent(write)
        count = len(sent["companyIds"])
        return f"{named(sent['listId'])} by {count} {'company' if count == 1 else 'companies'}"


class Reorder(Kind):
    """Another order of the stages."""

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        record = seen.record or {}
        names = dict(zip(record.get("stageIds", ()), record.get("names", ()), strict=False))
        order = [names.get(stage, stage) for stage in _sent(write)["stageIds"]]
        yield f"{in_order(record.get('names', ()))} → {in_order(order)}"

    async def seen(self, crm: CrmClient, write: Write) -> Seen:
        return Seen(await self.now(crm, {}))

    async def now(self, crm: CrmClient, ids: Mapping[str, str]) -> Wire | None:
        stages = await crm.pipeline.stages()
        return {"stageIds": [stage.id for stage in stages], "names": [stage.name for stage in stages]}

    async def stands(self, crm: CrmClient, write: Write, record_id: str | None) -> bool:
        return bool(await self.found(crm, write, None, datetime.now(UTC)))

    def claim(self, write: Write) -> str:
        return self.record

    async def found(
        self, crm: CrmClient, write: Write, before: Wire | None, since: datetime
    ) -> Sequence[Wire]:
        now = await self.now(crm, {}) or {}
        return [{}] if now["stageIds"] == _sent(write)["stageIds"] else []

    def undoing(self, done: Done) -> Write:
        if not done.before:
            raise NotUndoableError("Nobody knows how it was before.")
        return Write(self.operation, {}, pipeline.StageOrder(stage_ids=done.before["stageIds"]))

    def changed_since(self, done: Done, now: Wire | None) -> Iterator[str]:
        if (now or {}).get("stageIds") != done.body.get("stageIds"):
            yield f"the order is {in_order((now or {}).get('names', ()))} now"

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        return ""


async def hanging(crm: CrmClient, kind: str, ids: Mapping[str, str]) -> list[str]:
    """What people hung on a contact or a lead, in words: its deals, what is logged on it."""
    if kind == "contact":
        wanted = leads.LeadFilter(contact_id=ids["contact_id"])
        page = await crm.leads.search(wanted, limit=100)
        return [f"its place in the deal {clean(lead.label, MAX_NAME_CHARS)}" for lead in page.records]
    if kind == "lead":
        entries = await crm.leads.timeline(ids["lead_id"])
        logged = [entry for entry in entries if entry.type in ACTIVITY_TYPES]
        return [f"{len(logged)} timeline entries"] if logged else []
    if kind == "stage":
        count = next((one.lead_count for one in await crm.pipeline.stages() if one.id == ids["stage_id"]), 0)
        return [f"{count} lead{'s' * (count != 1)} in it"] if count else []
    return []


def _facts(record: Wire | None, named: Named) -> Iterator[str]:
    for name, value in (record or {}).items():
        if value not in (None, "", []) and name not in KEPT_BY_CRM and name != "id":
            yield f"{worded(name)}: {shown(value, named)}"


def _sent(write: Write) -> Wire:
    return write.body.to_wire() if write.body else {}


def _newly(records: Iterable[Record], since: datetime) -> list[Wire]:
    """Those from after the write began, or that may be."""
    return [one.wire for one in records if (at := _when(one)) is None or at >= since - CLOCK_TOLERANCE]


def _is_like(activity: activities.Activity, sent: Wire) -> bool:
    """Of the same type and subject: else nobody would take one for the other."""
    subject = on_one_line(activity.subject or "")
    return (activity.type, subject) == (sent.get("type"), on_one_line(str(sent.get("subject"))))


def _is_alike(body: Body | None, record: Record) -> bool:
    """In every field what was sent; a CRM may trim texts, or keep them as HTML."""
    if body is None:
        return True
    sent = body.to_wire()
    other = (body.wire_name(name) for name in body.not_kept_by(record)[0])
    return all(_text(record.wire[name]) == _text(sent[name]) is not None for name in other)


def _text(value: Any) -> str | None:
    return unicodedata.normalize("NFC", text_of(value)) if isinstance(value, str) else None


def _when(record: Record) -> datetime | None:
    at = getattr(record, "created_at", None) or getattr(record, "occurred_at", None)
    return at if isinstance(at, datetime) else None


async def _company(crm: CrmClient, ids: Mapping[str, str]) -> Entity:
    return await crm.companies.get(ids["company_id"])


async def _contact(crm: CrmClient, ids: Mapping[str, str]) -> Entity:
    return await crm.contacts.get(ids["contact_id"])


async def _lead(crm: CrmClient, ids: Mapping[str, str]) -> Entity:
    return await crm.leads.get(ids["lead_id"])


async def _stage(crm: CrmClient, ids: Mapping[str, str]) -> Entity | None:
    return next((one for one in await crm.pipeline.stages() if one.id == ids["stage_id"]), None)


async def _membership(crm: CrmClient, ids: Mapping[str, str]) -> Entity | None:
    every = await crm.contacts.memberships(ids["contact_id"])
    return next((one for one in every if one.id == ids["membership_id"]), None)


def _archiving(ids: Mapping[str, str]) -> Write:
    body: Body = companies.CompanyChanges(status="inactive")
    return Write(companies.UPDATE_COMPANY, ids, body)


KINDS: dict[str, Kind] = {
    kind.operation.name: kind
    for kind in (
        Create(companies.CREATE_COMPANY, "company", _company, COMPANIES, _archiving),
        Update(companies.UPDATE_COMPANY, "company", _company, "Update"),
        Create(
            contacts.CREATE_CONTACT,
            "contact",
            _contact,
            CONTACTS,
            lambda ids: Write(contacts.DELETE_CONTACT, ids, None),
        ),
        Update(contacts.UPDATE_CONTACT, "contact", _contact, "Update"),
        Delete(contacts.DELETE_CONTACT, "contact", _contact, "Delete"),
        Link(
            contacts.CREATE_MEMBERSHIP,
            "membership",
            _membership,
            None,
            lambda ids: Write(contacts.DELETE_MEMBERSHIP, ids, None),
        ),
        Relink(contacts.UPDATE_MEMBERSHIP, "membership", _membership, "Update the"),
        Unlink(contacts.DELETE_MEMBERSHIP, "membership", _membership, "End the"),
        Create(leads.CREATE_LEAD, "lead", _lead, LEADS, lambda ids: Write(leads.DELETE_LEAD, ids, None)),
        Update(leads.UPDATE_LEAD, "lead", _lead, "Update"),
        Move(leads.MOVE_LEAD, "lead", _lead, "Move"),
        Delete(leads.DELETE_LEAD, "lead", _lead, "Delete"),
        Create(
            pipeline.CREATE_STAGE,
            "stage",
            _stage,
            STAGES,
            lambda ids: Write(pipeline.DELETE_STAGE, ids, pipeline.StageRemoval()),
        ),
        Update(pipeline.UPDATE_STAGE, "stage", _stage, "Update"),
        Reorder(pipeline.REORDER_STAGES, "the stages", "Reorder"),
        Delete(pipeline.DELETE_STAGE, "stage", _stage, "Delete"),
        Log(activities.LOG_LEAD_ACTIVITY, "activity", "Log"),
        Log(activities.LOG_ACTIVITY, "activity", "Log"),
        Send(outreach.SEND_EMAIL, "e-mail", "Send"),
        Extend(outreach.ADD_TO_MARKETING_LIST, "marketing list", "Extend"),
    )
}
