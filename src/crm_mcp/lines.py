"""A record in a line, and the facts that the line shows."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from datetime import date, datetime, time
from typing import Self, TypeVar

from pydantic import BaseModel

from crm_mcp.crm.contacts import Membership
from crm_mcp.crm.contract import Record
from crm_mcp.crm.leads import TimelineEntry
from crm_mcp.crm.pipeline import PipelineStage
from crm_mcp.wording import Reader, clean, money

T = TypeVar("T")

MAX_ENTRY_CHARS = 300


class Row(BaseModel):
    """A record as a list shows it."""

    @classmethod
    def of(cls, record: Record, **named: str | None) -> Self:
        """The row of a record, with what it names called by name."""
        return cls.model_validate({**{f: getattr(record, f, None) for f in cls.model_fields}, **named})


class CompanyRow(Row):
    id: str
    name: str
    role: str | None = None
    status: str | None = None
    website: str | None = None


class ContactRow(Row):
    id: str
    name: str
    job_title: str | None = None
    email: str | None = None
    phone: str | None = None
    company_id: str | None = None
    company: str | None = None


class LeadRow(Row):
    id: str
    title: str
    stage_id: str | None = None
    stage: str | None = None
    company_id: str | None = None
    company: str | None = None
    value: float | None = None
    currency: str | None = None
    expected_close_date: date | None = None
    closed_at: datetime | None = None
    last_activity_at: datetime | None = None


class ActivityRow(Row):
    id: str
    type: str | None = None
    subject: str | None = None
    occurred_at: datetime | None = None
    due_at: datetime | None = None
    completed_at: datetime | None = None
    lead_id: str | None = None
    lead: str | None = None
    company_id: str | None = None
    company: str | None = None


def listed(rows: Iterable[T], line: Callable[[T, Reader], str], reader: Reader) -> Iterator[str]:
    """Records, a line each, begun so that none can pass for a line of ours, whatever it is called."""
    return (f"- {line(row, reader)}" for row in rows)


def company_line(company: CompanyRow, reader: Reader) -> str:
    archived = "archived" if company.status == "inactive" else None
    return reader.line(
        reader.name(company.name),
        reader.spare(reader.name(company.role)),
        archived,
        reader.address(company.website),
        reader.id(company.id),
    )


def contact_line(contact: ContactRow, reader: Reader) -> str:
    return reader.line(
        reader.name(contact.name),
        reader.name(contact.job_title),
        reader.name(contact.company),
        reader.address(contact.email),
        reader.spare(reader.address(contact.phone)),
        reader.id(contact.id),
    )


def lead_line(lead: LeadRow, reader: Reader) -> str:
    close = reader.day(lead.expected_close_date)
    active = reader.day(lead.last_activity_at)
    return reader.line(
        reader.name(lead.title),
        reader.called(lead.company, lead.company_id, "company"),
        reader.called(lead.stage, lead.stage_id, "stage"),
        money(lead.value, lead.currency),
        f"closed {reader.day(lead.closed_at)}" if lead.closed_at else close and f"close {close}",
        reader.spare(active and f"last activity {active}"),
        reader.id(lead.id),
    )


def activity_line(activity: ActivityRow, reader: Reader) -> str:
    """What was done, by when it was; a task also tells what became of it."""
    return _activity_line(activity, _about(activity, reader), reader)


def logged_line(activity: ActivityRow, reader: Reader) -> str:
    """The same with the company beside the lead, which may be another one's than was thought."""
    company = reader.name(activity.company) if activity.lead_id else None
    return _activity_line(activity, [*_about(activity, reader), company], reader)


def _activity_line(activity: ActivityRow, about: Iterable[str | None], reader: Reader) -> str:
    state = _task_state(activity, reader) if activity.type == "task" else None
    moment = reader.moment(activity.occurred_at)
    return reader.line(moment, reader.name(activity.type), reader.name(activity.subject), *about, state)


def task_line(task: ActivityRow, reader: Reader) -> str:
    """What is to be done, by when it is due."""
    return reader.line(_task_state(task, reader), reader.name(task.subject), *_about(task, reader))


def _task_state(task: ActivityRow, reader: Reader) -> str:
    if task.completed_at:
        return f"done {reader.day(task.completed_at)}"
    overdue = "overdue, " if is_overdue(task.due_at, reader.now) else ""
    return f"{overdue}due {reader.day(task.due_at)}" if task.due_at else "no due date"


def is_overdue(due_at: datetime | None, now: datetime) -> bool:
    """Whether it should have been done; what is due on a day, which is its midnight, has the day for it."""
    if due_at is None:
        return False
    whole_day = due_at.time() == time.min
    return due_at.date() < now.date() if whole_day else due_at < now


def _about(activity: ActivityRow, reader: Reader) -> Iterator[str | None]:
    """Of a lead the short id too: it is what is acted on next, and titles are often alike."""
    if activity.lead_id or activity.lead:
        yield reader.name(activity.lead)
        yield activity.lead_id and f"lead {reader.id(activity.lead_id)}"
    else:
        yield reader.called(activity.company, activity.company_id, "company")


def stage_line(stage: PipelineStage, reader: Reader) -> str:
    probability = stage.default_probability_pct
    chance = f"{probability:g} %" if probability is not None else None
    leads = f"{stage.lead_count} leads" if stage.lead_count is not None else None
    return reader.line(reader.name(stage.name), reader.name(stage.kind), chance, leads, reader.id(stage.id))


def membership_line(membership: Membership, reader: Reader) -> str:
    company = reader.called(membership.company_name, membership.company_id, "company")
    known = membership.company_name and membership.company_id
    primary = "primary" if membership.is_primary else None
    return reader.line(company, reader.name(membership.title), primary, known and reader.id(known))


def timeline_line(entry: TimelineEntry, reader: Reader) -> str:
    head = reader.line(reader.moment(entry.occurred_at), reader.name(entry.type), reader.name(entry.subject))
    return " · ".join(part for part in (head, clean(entry.body or "", MAX_ENTRY_CHARS)) if part)
