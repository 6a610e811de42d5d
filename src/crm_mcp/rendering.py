"""What a tool answers: typed facts for programs, and what a colleague would read out for the model."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator
from datetime import datetime
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, PrivateAttr

from crm_mcp.crm.activities import Activity
from crm_mcp.crm.companies import Company
from crm_mcp.crm.contacts import Contact, Membership
from crm_mcp.crm.contract import Entity, Record
from crm_mcp.crm.leads import Lead, TimelineEntry
from crm_mcp.crm.outreach import EmailConnection
from crm_mcp.crm.paging import Page
from crm_mcp.crm.pipeline import PipelineStage

R = TypeVar("R", bound=Record)

MAX_FIELD_CHARS = 1000
MAX_LINE_FIELD_CHARS = 120

# Shown as nothing although Unicode counts them as printable: fillers, joiners and variation selectors.
BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)

PIPELINE_URI = "crm://pipeline-stages"
DASHBOARD_URI = "crm://dashboard"


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


class Result(BaseModel):
    """An answer: its fields are the structured content, `text()` is what the model reads.

    `notes` tells what could not be taken at the CRM's word.
    """

    model_config = ConfigDict(defer_build=True)

    notes: list[str] = []

    _headline: str = PrivateAttr("")
    _touched: tuple[str, ...] = PrivateAttr(())

    def after(self, headline: str, *touched: str) -> Self:
        """The same, as the answer of a write: what was done, and the URIs of what looks different now.

        A URI stands for all below it too.
        """
        self._headline, self._touched = headline, touched
        return self

    @property
    def touched(self) -> tuple[str, ...]:
        return self._touched

    def text(self) -> str:
        notes = [f"Note: {note}" for note in self.notes]
        return "\n".join(line for line in (self._headline, *self.lines(), *notes) if line)

    def lines(self) -> Iterable[str]:
        return ()

    def structured(self) -> dict[str, Any]:
        facts = self.model_dump(mode="json", by_alias=False, exclude_none=True)
        return facts if self.notes else {name: value for name, value in facts.items() if name != "notes"}


class ListResult(Result):
    """A page of a list: how many are shown, how many there are where that is known, how to get more."""

    shown: int
    total: int | None = None
    next_page: int | None = None

    def header(self, noun: str) -> str:
        """`Leads: 25 of 60; page=2 shows the next`."""
        if self.total is None:
            of = " (there are more)" if self.next_page else ""
        else:
            of = f" of {self.total}" if self.total != self.shown else ""
        more = f"; page={self.next_page} shows the next" if self.next_page else ""
        return f"{noun}: {self.shown}{of}{more}"


def counts(page: Page[Any]) -> dict[str, Any]:
    """The fields of a ListResult."""
    next_page = page.page + 1 if page.has_more else None
    return {"shown": len(page.records), "total": page.total, "next_page": next_page, "notes": page.notes}


class CompanyResult(Result):
    company: Company | None = None

    def lines(self) -> Iterable[str]:
        return _details(company_line, self.company, {"name", "role", "status", "website"})


class CompanyList(ListResult):
    companies: list[Company]

    def lines(self) -> Iterable[str]:
        return [self.header("Companies"), *map(company_line, self.companies)]


class ContactResult(Result):
    contact: Contact | None = None
    memberships: list[Membership] | None = None

    def lines(self) -> Iterable[str]:
        shown = {"first_name", "last_name", "job_title", "email", "phone"}
        yield from _details(contact_line, self.contact, shown)
        yield from (f"member of {membership_line(one)}" for one in self.memberships or ())


class ContactList(ListResult):
    contacts: list[Contact]

    def lines(self) -> Iterable[str]:
        return [self.header("Contacts"), *map(contact_line, self.contacts)]


class MembershipResult(Result):
    membership: Membership | None = None

    def lines(self) -> Iterable[str]:
        return [membership_line(self.membership)] if self.membership else []


class LeadFacts(Lead):
    """A lead with the name of its stage."""

    stage: str | None = None

    @classmethod
    def of(cls, lead: Lead, stages: list[PipelineStage]) -> LeadFacts:
        name = next((stage.name for stage in stages if stage.id == lead.stage_id), None)
        return cls(**lead.model_dump(), stage=name)


class LeadResult(Result):
    lead: LeadFacts | None = None
    timeline: list[TimelineEntry] | None = None

    def lines(self) -> Iterable[str]:
        shown = {"title", "stage", "stage_id", "value", "currency", "closed_at"}
        yield from _details(lead_line, self.lead, shown)
        if self.timeline:
            yield "timeline, newest first:"
            yield from map(timeline_line, self.timeline)


class TimelineResult(Result):
    timeline: list[TimelineEntry]

    def lines(self) -> Iterable[str]:
        return map(timeline_line, self.timeline)


class LeadList(ListResult):
    leads: list[LeadFacts]

    def lines(self) -> Iterable[str]:
        return [self.header("Leads"), *map(lead_line, self.leads)]


class ActivityResult(Result):
    activity: Activity | None = None

    def lines(self) -> Iterable[str]:
        return [activity_line(self.activity)] if self.activity else []


class ActivityList(ListResult):
    activities: list[Activity]

    def lines(self) -> Iterable[str]:
        return [self.header("Activities"), *map(activity_line, self.activities)]


class TaskList(ListResult):
    tasks: list[Activity]

    def lines(self) -> Iterable[str]:
        return [self.header("Tasks"), *map(activity_line, self.tasks)]


class StageResult(Result):
    stage: PipelineStage | None = None

    def lines(self) -> Iterable[str]:
        return [stage_line(self.stage)] if self.stage else []


class StageList(Result):
    stages: list[PipelineStage]

    def lines(self) -> Iterable[str]:
        return [f"Stages, in order: {len(self.stages)}", *map(stage_line, self.stages)]


class DashboardResult(Result):
    """The CRM's aggregates as it sends them: their names are undocumented."""

    dashboard: dict[str, Any]

    def lines(self) -> Iterable[str]:
        for name, value in self.dashboard.items():
            yield from _tree(name, value)


class ConnectionList(Result):
    connections: list[EmailConnection]

    def lines(self) -> Iterable[str]:
        yield f"E-mail connections: {len(self.connections)}"
        yield from (_line(one.email, one.channel, one.status, one.id) for one in self.connections)


class EmailResult(Result):
    to: str | None = None
    sent_from: str | None = None
    subject: str
    sent_at: datetime | None = None


class ListAdditionResult(Result):
    list_id: str
    sent: int
    added: int | None = None
    already_on_list: int | None = None


class RemovalResult(Result):
    """Something that is gone now."""

    removed: str
    id: str


def company_line(company: Company) -> str:
    return _line(company.name, company.role, company.status, company.website, company.id)


def contact_line(contact: Contact) -> str:
    return _line(contact.name, contact.job_title, contact.email, contact.phone, contact.id)


def membership_line(membership: Membership) -> str:
    company = membership.company_name or "company"
    primary = "primary" if membership.is_primary else None
    return _line(company, membership.title, primary, membership.company_id)


def lead_line(lead: LeadFacts) -> str:
    expected = f"close expected {lead.expected_close_date}" if lead.expected_close_date else None
    close = f"closed {lead.closed_at:%Y-%m-%d}" if lead.closed_at else expected
    return _line(lead.title, lead.stage, money(lead.value, lead.currency), close, lead.id)


def timeline_line(entry: TimelineEntry) -> str:
    return _line(moment(entry.occurred_at), entry.type, entry.subject, entry.body)


def activity_line(activity: Activity) -> str:
    done = f"done {moment(activity.completed_at)}" if activity.completed_at else None
    due = f"due {moment(activity.due_at)}" if activity.due_at and not done else None
    about = f"lead {activity.lead_id}" if activity.lead_id else None
    occurred = moment(activity.occurred_at) if activity.type != "task" else None
    return _line(occurred, due, done, activity.type, activity.subject, activity.body, about)


def stage_line(stage: PipelineStage) -> str:
    probability = stage.default_probability_pct
    chance = f"{probability:g} %" if probability is not None else None
    leads = f"{stage.lead_count} leads" if stage.lead_count is not None else None
    return _line(stage.name, stage.kind, chance, leads, stage.id)


def money(value: float | None, currency: str | None) -> str | None:
    if value is None:
        return None
    return f"{currency or ''} {value:,.{0 if value == int(value) else 2}f}".strip()


def moment(at: datetime | None) -> str | None:
    return f"{at:%Y-%m-%d %H:%M} UTC" if at else None


def clean(text: str, limit: int) -> str:
    """Text from the CRM on one line, without characters that nobody can see; cut, with its length said."""
    shown = BLANK.sub(" ", text)
    visible = shown if shown.isprintable() else "".join(char if char.isprintable() else " " for char in shown)
    one_line = " ".join(visible.split())
    if len(one_line) <= limit:
        return one_line
    return f"{one_line[:limit]}… (cut, {len(one_line)} characters)"


def _line(*parts: str | None) -> str:
    return " · ".join(clean(part, MAX_LINE_FIELD_CHARS) for part in parts if part)


def _details(line: Callable[[R], str], record: R | None, shown: Collection[str]) -> Iterator[str]:
    """A record's line, then what the line does not show, a field a line."""
    if record is None:
        yield "The CRM's answer does not show the record; a search finds it."
        return
    yield line(record)
    for name, value in record.model_dump(exclude_none=True, exclude={"id", *shown}).items():
        yield f"{name}: {clean(_as_text(value), MAX_FIELD_CHARS)}"


def _as_text(value: Any) -> str:
    if isinstance(value, datetime):
        return moment(value) or ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def _tree(name: str, value: Any) -> Iterator[str]:
    """Any JSON, a fact a line: `pipelineValue: currency EUR, value 1200`."""
    if isinstance(value, list):
        yield f"{name}:"
        yield from (f"- {_flat(item)}" for item in value)
    else:
        yield f"{name}: {_flat(value)}"


def _flat(value: Any) -> str:
    if not isinstance(value, dict):
        return clean(str(value), MAX_LINE_FIELD_CHARS)
    return ", ".join(f"{name} {clean(str(part), MAX_LINE_FIELD_CHARS)}" for name, part in value.items())
