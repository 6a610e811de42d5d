"""What tools answer: for each kind of answer its facts, its lines, and what people wrote."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import date, datetime
from typing import Any, Literal, Self, TypeVar

from pydantic import BaseModel, PrivateAttr

from crm_mcp.crm.companies import Company
from crm_mcp.crm.contacts import Contact, Membership
from crm_mcp.crm.contract import UUID_PATTERN, Entity, Record
from crm_mcp.crm.leads import Lead, TimelineEntry
from crm_mcp.crm.outreach import EmailConnection
from crm_mcp.crm.pipeline import PipelineStage
from crm_mcp.lines import (
    MAX_ENTRY_CHARS,
    ActivityRow,
    CompanyRow,
    ContactRow,
    LeadRow,
    Row,
    activity_line,
    company_line,
    contact_line,
    lead_line,
    listed,
    logged_line,
    membership_line,
    stage_line,
    task_line,
    timeline_line,
)
from crm_mcp.rendering import MAX_FIELD_CHARS, ListResult, Result, evenly, facts_fit, fits, without_nulls
from crm_mcp.wording import MAX_NAME_CHARS, Reader, clean, money

T = TypeVar("T")

MAX_LINE_TEXT_CHARS = 160
PIPELINE_URI = "crm://pipeline-stages"
DASHBOARD_URI = "crm://dashboard"
# Fields in which people write freely.
TIME_FIELDS = ("created_at", "updated_at")
PROSE_FIELDS = ("notes", "description", "lost_reason")


def company_uri(company: Entity | str | None) -> str:
    return _uri("crm://companies", company)


def contact_uri(contact: Entity | str | None) -> str:
    return _uri("crm://contacts", contact)


def lead_uri(lead: Entity | str | None) -> str:
    return _uri("crm://leads", lead)


def _uri(root: str, record: Entity | str | None) -> str:
    """A record's resource; all of its kind where the record is not known."""
    if record is None:
        return root
    return f"{root}/{record if isinstance(record, str) else record.id}"


class CompanyList(ListResult):
    companies: list[CompanyRow]

    def lines(self, reader: Reader) -> Iterable[str]:
        return [self.header("Companies"), *listed(self.companies, company_line, reader)]


class ContactList(ListResult):
    contacts: list[ContactRow]

    def lines(self, reader: Reader) -> Iterable[str]:
        return [self.header("Contacts"), *listed(self.contacts, contact_line, reader)]


class LeadList(ListResult):
    leads: list[LeadRow]

    def lines(self, reader: Reader) -> Iterable[str]:
        return [self.header("Leads"), *listed(self.leads, lead_line, reader)]


class ActivityList(ListResult):
    activities: list[ActivityRow]

    def lines(self, reader: Reader) -> Iterable[str]:
        return [self.header("Activities, newest first")]

    def prose(self, reader: Reader) -> Iterable[str]:
        return listed(self.activities, activity_line, reader)


class TaskList(ListResult):
    tasks: list[ActivityRow]

    def lines(self, reader: Reader) -> Iterable[str]:
        return [self.header("Tasks")]

    def prose(self, reader: Reader) -> Iterable[str]:
        return listed(self.tasks, task_line, reader)


class RecordResult(Result):
    """A record in full, with what belongs to it; a part that could not be fetched is named in the notes.

    `other` holds the fields that nobody documented, under the CRM's names, where they were asked for.
    """

    other: dict[str, Any] | None = None

    @property
    def _uri(self) -> str:
        """The resource that shows the record whole."""
        raise NotImplementedError

    def _facts(
        self, record: Record | None, row_line: str, shown: Collection[str], reader: Reader
    ) -> Iterator[str]:
        """The record's line, then what the line does not show, a field a line."""
        if record is None:
            yield "The CRM's answer does not show the record; a search finds it."
            return
        yield f"- {row_line}"
        kept = () if self.other is not None else TIME_FIELDS
        hidden = {"id", *shown, *kept, *PROSE_FIELDS}
        for name, value in record.model_dump(exclude_none=True, exclude=hidden).items():
            yield f"{name}: {clean(_as_text(name, value, reader), MAX_LINE_TEXT_CHARS)}"

    def _written(self, record: Record | None) -> Iterator[str]:
        """What people wrote freely into the record's fields; undocumented fields may hold anything."""
        for name in PROSE_FIELDS:
            if text := getattr(record, name, None):
                whole = f"; {self._uri} has all" if len(text) > MAX_FIELD_CHARS else ""
                yield f"{name}: {clean(text, MAX_FIELD_CHARS)}{whole}"
        for name, value in without_nulls(self.other or {}).items():
            yield f"{clean(name, MAX_NAME_CHARS)}: {clean(_said(value), MAX_FIELD_CHARS)}"


def _as_text(name: str, value: Any, reader: Reader) -> str:
    if name.endswith("_id"):
        return reader.id(str(value))
    if isinstance(value, datetime):
        return reader.moment(value) or ""
    if isinstance(value, date):
        return reader.day(value) or ""
    return f"{value:g}" if isinstance(value, float) else str(value)


class CompanyResult(RecordResult):
    company: Company | None = None
    contacts: list[ContactRow] | None = None
    open_leads: list[LeadRow] | None = None
    activities: list[ActivityRow] | None = None

    @property
    def _uri(self) -> str:
        return company_uri(self.company)

    def lines(self, reader: Reader) -> Iterable[str]:
        row = CompanyRow.of(self.company, name=self.company.label) if self.company else None
        line = company_line(row, reader) if row else ""
        yield from self._facts(self.company, line, {"name", "role", "status", "website"}, reader)
        yield from _part("contacts", self.contacts, contact_line, reader)
        yield from _part("open leads", self.open_leads, lead_line, reader)

    def prose(self, reader: Reader) -> Iterable[str]:
        yield from self._written(self.company)
        yield from _part("latest activities", self.activities, activity_line, reader)


class ContactResult(RecordResult):
    """A contact; `company` is what its primary one is called, where no memberships say so."""

    contact: Contact | None = None
    company: str | None = None
    memberships: list[Membership] | None = None
    leads: list[LeadRow] | None = None

    @property
    def _uri(self) -> str:
        return contact_uri(self.contact)

    def lines(self, reader: Reader) -> Iterable[str]:
        shown = {"first_name", "last_name", "job_title", "email", "phone", "company_id"}
        homes = {one.company_id: one.company_name for one in self.memberships or ()}
        home = self.company or (homes.get(self.contact.company_id) if self.contact else None)
        person = self.contact
        row = ContactRow.of(person, name=person.label, company=home) if person else None
        line = contact_line(row, reader) if row else ""
        yield from self._facts(self.contact, line, shown, reader)
        yield from _part("companies", self.memberships, membership_line, reader)
        yield from _part("leads", self.leads, lead_line, reader)

    def prose(self, reader: Reader) -> Iterable[str]:
        return self._written(self.contact)


class LeadFacts(Lead):
    """A lead with the names of its stage and its company."""

    stage: str | None = None
    company: str | None = None


class LeadResult(RecordResult):
    lead: LeadFacts | None = None
    contact: ContactRow | None = None
    timeline: list[TimelineEntry] | None = None

    @property
    def _uri(self) -> str:
        return lead_uri(self.lead)

    def lines(self, reader: Reader) -> Iterable[str]:
        row = LeadRow.of(self.lead, title=self.lead.label) if self.lead else None
        line = lead_line(row, reader) if row else ""
        shown = {*LeadRow.model_fields, "contact_id"}
        if self.lead and self.lead.closed_at:
            shown.remove("expected_close_date")
        if self.lead and self.lead.value is None:
            shown.remove("currency")
        yield from self._facts(self.lead, line, shown, reader)
        yield from _part("contact", [self.contact] if self.contact else None, contact_line, reader)

    def prose(self, reader: Reader) -> Iterable[str]:
        yield from self._written(self.lead)
        yield from _part("timeline, newest first", self.timeline, timeline_line, reader)


class BatchItem(BaseModel):
    """What became of one of many; of an `unknown` one nobody knows whether it was done, and one that was
    `named twice` was done once."""

    item: str
    outcome: Literal["done", "named twice", "failed", "unknown", "not attempted"]
    detail: str = ""

    _ends: bool = PrivateAttr(False)

    def ending(self, ends: bool) -> Self:
        self._ends = ends
        return self

    @property
    def ends_the_batch(self) -> bool:
        return self._ends


class Batch(BaseModel):
    """What became of many, one by one."""

    done: int
    failed: int
    unknown: int
    not_attempted: int
    items: list[BatchItem]

    @classmethod
    def of(cls, items: list[BatchItem]) -> Self:
        outcomes = Counter(item.outcome for item in items)
        return cls(
            done=outcomes["done"],
            failed=outcomes["failed"],
            unknown=outcomes["unknown"],
            not_attempted=outcomes["not attempted"],
            items=items,
        )

    def summary(self) -> str:
        unknown = f"{self.unknown} unknown, " if self.unknown else ""
        return f"{self.done} done, {self.failed} failed, {unknown}{self.not_attempted} not attempted"

    def lines(self, reader: Reader) -> Iterable[str]:
        """A line for each, and below it the candidates for what was not clear."""
        for item in self.items:
            first, *rest = [clean(line, MAX_FIELD_CHARS) for line in item.detail.splitlines()] or [""]
            head = reader.line(item.outcome, reader.name(item.item))
            # Its title is what it was said by.
            first = first if first != item.item else ""
            yield f"- {head} · {first}" if first else f"- {head}"
            yield from (f"  {line}" for line in rest)

    def telling(self, details: list[str]) -> Self:
        """The same with other details."""
        items = zip(self.items, details, strict=True)
        told = [item.model_copy(update={"detail": detail}) for item, detail in items]
        return self.model_copy(update={"items": told})


class Written(Result):
    """A record as it is after a write, or what became of many; neither where the CRM shows nothing."""

    batch: Batch | None = None

    def _now(self, line: str | None, reader: Reader) -> Iterable[str]:
        if self.batch:
            return self.batch.lines(reader)
        return [f"- {line}"] if line else []

    def text(self, reader: Reader) -> str:
        """As ever, but a write that left no record to show is not called done more surely than it is."""
        if not self.batch and not list(self.lines(reader)):
            self._headline = (
                "The CRM accepted this, but its answer does not show the record. "
                "Look whether it is there before doing it again."
            )
        return Result.text(self._shorter(lambda one: fits(str(one._told_to(reader)))), reader)

    def structured(self) -> dict[str, Any]:
        return Result.structured(self._shorter(lambda one: facts_fit(one.facts())))

    def _shorter(self, is_short: Callable[[Self], bool]) -> Self:
        """With as many lines of each item's detail as there is room for."""
        if not self.batch or not self.batch.items or is_short(self):
            return self
        details = [item.detail for item in self.batch.items]
        return self._telling(evenly(details, lambda cut: is_short(self._telling(cut))))

    def _telling(self, details: list[str]) -> Self:
        return self.model_copy(update={"batch": self.batch and self.batch.telling(details)})


class CompanyWritten(Written):
    company: CompanyRow | None = None

    def lines(self, reader: Reader) -> Iterable[str]:
        return self._now(company_line(self.company, reader) if self.company else None, reader)


class ContactWritten(Written):
    contact: ContactRow | None = None

    def lines(self, reader: Reader) -> Iterable[str]:
        return self._now(contact_line(self.contact, reader) if self.contact else None, reader)


class LeadWritten(Written):
    lead: LeadRow | None = None

    def lines(self, reader: Reader) -> Iterable[str]:
        return self._now(lead_line(self.lead, reader) if self.lead else None, reader)


class ActivityWritten(Written):
    activity: ActivityRow | None = None

    def lines(self, reader: Reader) -> Iterable[str]:
        return self._now(logged_line(self.activity, reader) if self.activity else None, reader)


class MembershipResult(Result):
    membership: Membership | None = None

    def lines(self, reader: Reader) -> Iterable[str]:
        return listed([self.membership] if self.membership else [], membership_line, reader)


class TimelineResult(Result):
    timeline: list[TimelineEntry]

    def prose(self, reader: Reader) -> Iterable[str]:
        return listed(self.timeline, timeline_line, reader)


class StageResult(Result):
    stage: PipelineStage | None = None

    def lines(self, reader: Reader) -> Iterable[str]:
        return listed([self.stage] if self.stage else [], stage_line, reader)


class StageList(Result):
    stages: list[PipelineStage]

    def lines(self, reader: Reader) -> Iterable[str]:
        return [f"Stages, in order: {len(self.stages)}", *listed(self.stages, stage_line, reader)]


class DashboardResult(Result):
    """The CRM's aggregates as it sends them: their names are undocumented."""

    dashboard: dict[str, Any]

    def lines(self, reader: Reader) -> Iterable[str]:
        for name, value in without_nulls(self.dashboard).items():
            yield from _tree(name, value)


class ConnectionList(Result):
    connections: list[EmailConnection]

    def lines(self, reader: Reader) -> Iterable[str]:
        yield f"E-mail connections: {len(self.connections)}"
        yield from listed(self.connections, _connection_line, reader)


def _connection_line(connection: EmailConnection, reader: Reader) -> str:
    return reader.line(
        reader.address(connection.email),
        reader.name(connection.channel),
        reader.name(connection.status),
        reader.id(connection.id),
    )


class EmailResult(Result):
    to: str | None = None
    sent_from: str | None = None
    subject: str
    sent_at: datetime | None = None


class ListAdditionResult(Written):
    list_id: str
    company_ids: list[str]
    added: int | None = None
    already_on_list: int | None = None
    batch: Batch

    def lines(self, reader: Reader) -> Iterable[str]:
        return self._now(None, reader)


class RemovalResult(Result):
    """Something that is gone now."""

    removed: str
    id: str


class ChangeRow(Row):
    """An attempted write and what became of it."""

    id: str
    at: datetime
    tool: str
    title: str
    outcome: str
    detail: str | None = None
    record_id: str | None = None
    undoes: str | None = None
    undone_by: str | None = None


class ChangeList(Result):
    """The latest; `at_least` so many there are, where they are not all."""

    changes: list[ChangeRow]
    at_least: int | None = None

    def lines(self, reader: Reader) -> Iterable[str]:
        more = f" of at least {self.at_least}; `limit` shows more" if self.at_least else ""
        yield f"Changes, newest first: {len(self.changes)}{more}"
        yield from (f"- {change_line(change, reader)}" for change in self.changes)


class UndoResult(Result):
    """The change that was taken back, and what that did, a field each."""

    undone: ChangeRow
    did: list[str]

    def prose(self, reader: Reader) -> Iterable[str]:
        return self.did


def change_line(change: ChangeRow, reader: Reader) -> str:
    # One is told from another by its title: it is cut last.
    title = clean(change.title, 2 * reader.name_chars)
    undoes = f"undoes {change.undoes}" if change.undoes else None
    detail = reader.spare(reader.name(change.detail))
    return reader.line(reader.moment(change.at), title, change.outcome, undoes, detail, change.id)


class Hit(Row):
    """Something that a search over everything found."""

    kind: str
    id: str
    name: str
    detail: str


class SearchResult(Result):
    """The best of what was found: `total`, or `at_least` so much where nobody tells how much there is."""

    hits: list[Hit]
    total: int | None = None
    at_least: int | None = None

    def lines(self, reader: Reader) -> Iterable[str]:
        count = self.total or self.at_least or 0
        of = f" of {'at least ' * bool(self.at_least)}{count}" if count > len(self.hits) else ""
        yield f"Found: {len(self.hits)}{of}" if self.hits else "Nothing found."
        yield from listed(self.hits, _hit_line, reader)


def _hit_line(hit: Hit, reader: Reader) -> str:
    return reader.line(hit.kind, reader.name(hit.name), clean(hit.detail, MAX_ENTRY_CHARS), reader.id(hit.id))


class Money(BaseModel):
    currency: str
    value: float
    weighted: float


class PipelineGroup(BaseModel):
    """Leads that are alike; `values` per currency, `weighted` by their probability."""

    name: str
    id: str | None = None
    leads: int
    values: list[Money]


class PipelineSummary(Result):
    """Over all open leads: `counted` of them were read, `complete` tells whether that is all."""

    counted: int
    complete: bool
    by: str
    groups: list[PipelineGroup]
    total: PipelineGroup
    idle_days: int
    stale: list[LeadRow]
    stale_total: int
    overdue_tasks: list[ActivityRow]
    overdue_total: int
    # What they were narrowed to, as it was said.
    company: str | None = None
    company_name: str | None = None
    owner: str | None = None

    def lines(self, reader: Reader) -> Iterable[str]:
        more = "" if self.complete else " (there are more)"
        of = f" of {reader.name(self.company_name)}" if self.company_name else ""
        yield f"Open leads{of} by {self.by}, {self.counted} counted{more}"
        yield from listed(self.groups, _group_line, reader)
        yield _group_line(self.total, reader)
        at_least = "" if self.complete else "at least "
        said = {"idle_days": self.idle_days, "company": self.company, "owner": self.owner}
        narrowed = {name: json.dumps(value, ensure_ascii=False) for name, value in said.items() if value}
        call = ", ".join(f"{name}={clean(value, MAX_NAME_CHARS)}" for name, value in narrowed.items())
        few = self.stale_total > len(self.stale)
        shown = f", {len(self.stale)} shown; search_leads({call}) lists all" if few else ""
        yield f"Without activity for {self.idle_days} days: {at_least}{self.stale_total}{shown}"
        yield from listed(self.stale, lead_line, reader)
        count = len(self.overdue_tasks)
        all_tasks = "everybody's" if self.company or self.owner else "all"
        more = f", {count} shown; list_tasks lists {all_tasks}" if self.overdue_total > count else ""
        yield f"Overdue tasks: {self.overdue_total}{more}"

    def prose(self, reader: Reader) -> Iterable[str]:
        return listed(self.overdue_tasks, task_line, reader)


def _group_line(group: PipelineGroup, reader: Reader) -> str:
    values = [
        f"{money(one.value, one.currency)} (weighted {money(one.weighted, None)})" for one in group.values
    ]
    leads = f"{group.leads} lead{'s' * (group.leads != 1)}"
    # An owner has no name.
    name = reader.id(group.name) if UUID_PATTERN.fullmatch(group.name) else reader.name(group.name)
    return reader.line(name, leads, *values, group.id and reader.id(group.id))


def _part(name: str, rows: list[T] | None, line: Callable[[T, Reader], str], reader: Reader) -> Iterator[str]:
    """A part of a record, or nothing where it was not fetched."""
    if rows is None:
        return
    yield f"{name}: {len(rows) or 'none'}"
    yield from listed(rows, line, reader)


def _tree(name: str, value: Any) -> Iterator[str]:
    """Any JSON, a fact a line: `pipelineValue: currency EUR, value 1200`."""
    if isinstance(value, list):
        yield f"- {clean(name, MAX_NAME_CHARS)}:"
        yield from (f"  - {_flat(item)}" for item in value)
    else:
        yield f"- {clean(name, MAX_NAME_CHARS)}: {_flat(value)}"


def _flat(value: Any) -> str:
    if not isinstance(value, dict):
        return clean(_said(value), MAX_LINE_TEXT_CHARS)
    return ", ".join(
        f"{clean(name, MAX_NAME_CHARS)} {clean(_said(part), MAX_LINE_TEXT_CHARS)}"
        for name, part in value.items()
        if name != "id" and not name.endswith("Id")
    )


def _said(value: Any) -> str:
    """A text as it is, and anything else as JSON."""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
