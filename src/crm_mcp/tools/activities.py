"""Tools for activities and tasks."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Annotated, Any

from pydantic import Field

from crm_mcp.candidates import Meant
from crm_mcp.crm.activities import (
    Activity,
    ActivityFilter,
    ActivityType,
    NewActivity,
    NewLeadActivity,
    TaskFilter,
)
from crm_mcp.crm.errors import InvalidInputError
from crm_mcp.crm.paging import MAX_PAGE_SIZE, MAX_PAGES, Page, selected
from crm_mcp.results import DASHBOARD_URI, ActivityList, ActivityWritten, TaskList, company_uri, lead_uri
from crm_mcp.tenant import Tenant
from crm_mcp.tools.asking import MaybeCompany, MaybeContact, MaybeLead, MeantLeads
from crm_mcp.tools.bodies import filled, not_kept
from crm_mcp.tools.catalogue import Effect, Toolset, tool
from crm_mcp.tools.leads import LeadRefs
from crm_mcp.tools.parameters import (
    CompanyRef,
    ContactRef,
    Crm,
    LeadRef,
    Limit,
    PageNumber,
    Repeat,
    When,
)
from crm_mcp.tools.parts import none_of, one_by_one, page_of
from crm_mcp.wording import sentence

FAR = datetime.max.replace(tzinfo=UTC)
EARLY = datetime.min.replace(tzinfo=UTC)
NEWER_MISSING = "The CRM does not list the newest first: newer ones than these may be missing."


def _in_order(since: date | None, until: date | None, **_: object) -> None:
    if since and until and since > until:
        raise InvalidInputError(f"`since` ({since}) is after `until` ({until}): no day is in both.")


@tool(effect=Effect.READ, toolset=Toolset.READ, title="List activities", check=_in_order)
async def list_activities(
    crm: Crm,
    lead: LeadRef = "",
    company: CompanyRef = "",
    type: ActivityType | None = None,
    since: Annotated[date | None, Field(description="YYYY-MM-DD.")] = None,
    until: Annotated[date | None, Field(description="YYYY-MM-DD.")] = None,
    limit: Limit = 25,
    page: PageNumber = 1,
) -> ActivityList:
    """What was done, newest first: of a lead, a company, or all."""
    on_lead = await crm.refs.lead(lead) if lead else None
    at_company = await crm.refs.company(company) if company else None
    wanted = ActivityFilter(
        lead_id=on_lead.id if on_lead else None, company_id=at_company.id if at_company else None
    )

    def in_question(activity: Activity) -> bool | None:
        if type not in (None, activity.type):
            return False
        if not (since or until):
            return True
        at = activity.occurred_at
        return (since or date.min) <= at.date() <= (until or date.max) if at else None

    # Of all so far, where they came newest first; else EARLY.
    oldest = FAR

    def is_last(activities: list[Activity]) -> bool:
        """Whether the rest is from before the period: it is believed to go on as it came so far."""
        nonlocal oldest
        times = [oldest, *(activity.occurred_at or EARLY for activity in activities)]
        oldest = times[-1] if times == sorted(times, reverse=True) else EARLY
        return since is not None and oldest > EARLY and oldest.date() < since

    if type or since or until:
        found = await selected(
            crm.client.activities.walk(wanted),
            in_question,
            page=page,
            limit=limit,
            told=crm.reading("activities"),
            arranged=_newest_first,
            is_last=is_last,
        )
        if oldest == EARLY:
            found = _with_doubts(found)
    else:
        found = await newest_activities(crm, wanted, page=page, limit=limit)
    notes = [meant.note for meant in (on_lead, at_company) if meant]
    notes += none_of(found, on_lead, at_company)
    if found.records and on_lead and on_lead.name and not on_lead.certain:
        # It may have others, that are closed.
        notes.append(sentence(f"These are of the lead {on_lead.name}"))
    return ActivityList(activities=await crm.rows.activities(found.records), **page_of(found)).noting(*notes)


async def newest_activities(
    crm: Tenant, wanted: ActivityFilter, *, page: int, limit: int, calls: int = MAX_PAGES
) -> Page[Activity]:
    """A page of the activities, newest first.

    The CRM's order is not documented: a first page that comes like this, or the other way round in a list of
    known length, is believed to go on like this; otherwise all are read and sorted, in so many requests.
    """
    search = crm.client.activities.search
    first = await search(wanted, limit=MAX_PAGE_SIZE)
    if (first.has_more or first.bounded) and first.records != _newest_first(first.records):
        turned = await _from_the_end(search, wanted, first, page=page, limit=limit)
        if turned:
            return turned
        walk, told = crm.client.activities.walk(wanted), crm.reading("activities")
        return _with_doubts(
            await selected(
                walk,
                lambda _: True,
                page=page,
                limit=limit,
                told=told,
                arranged=_newest_first,
                calls=calls,
            )
        )
    if first.has_more and page * limit > MAX_PAGE_SIZE:
        return await search(wanted, page=page, limit=limit)
    shown = _newest_first(first.records)[(page - 1) * limit : page * limit]
    more = first.has_more or page * limit < len(first.records)
    return replace(first, records=shown, page=page, limit=limit, has_more=more)


async def _from_the_end(
    search: Callable[..., Awaitable[Page[Activity]]],
    wanted: ActivityFilter,
    first: Page[Activity],
    *,
    page: int,
    limit: int,
) -> Page[Activity] | None:
    """The same of a list that comes oldest first; None where this one does not, or has no known length."""
    if first.total is None or not _is_oldest_first(first.records):
        return None
    end = max(first.total - (page - 1) * limit, 0)
    start = max(end - limit, 0)
    skipped = start // MAX_PAGE_SIZE
    records: list[Activity] = []
    for number in range(skipped, math.ceil(end / MAX_PAGE_SIZE)):
        records += (await search(wanted, page=number + 1, limit=MAX_PAGE_SIZE)).records
    shown = records[start - skipped * MAX_PAGE_SIZE : end - skipped * MAX_PAGE_SIZE]
    if len(shown) < end - start or not _is_oldest_first([*first.records[:1], *shown]):
        return None
    return replace(first, records=_newest_first(shown), page=page, limit=limit, has_more=start > 0)


def _is_oldest_first(activities: list[Activity]) -> bool:
    times = [activity.occurred_at or EARLY for activity in activities]
    return times == sorted(times)


def _with_doubts(found: Page[Activity]) -> Page[Activity]:
    """With a note where not all could be read: these may not be the newest."""
    return replace(found, notes=[*found.notes, NEWER_MISSING]) if found.bounded else found


def _newest_first(activities: list[Activity]) -> list[Activity]:
    return sorted(activities, key=lambda activity: activity.occurred_at or EARLY, reverse=True)


@tool(effect=Effect.READ, toolset=Toolset.READ, title="List tasks")
async def list_tasks(
    crm: Crm,
    lead: LeadRef = "",
    done: Annotated[bool, Field(description="The done ones instead, latest first.")] = False,
    limit: Limit = 25,
    page: PageNumber = 1,
) -> TaskList:
    """What is to be done next, by due date. A task is made with log_activity(type="task", due_at), and
    ticked off in the CRM itself."""
    on_lead = await crm.refs.lead(lead) if lead else None
    wanted = TaskFilter(lead_id=on_lead.id if on_lead else None)
    found = await tasks(crm, wanted, done=done, page=page, limit=limit)
    rows = await crm.rows.activities(found.records)
    notes = [on_lead.note if on_lead else None, *none_of(found, on_lead)]
    return TaskList(tasks=rows, **page_of(found)).noting(*notes)


DONE_NOT_SHOWN = "The CRM does not show which tasks are done: done ones may be among the open ones."


async def tasks(
    crm: Tenant, wanted: TaskFilter, *, done: bool = False, page: int = 1, limit: int
) -> Page[Activity]:
    """Open tasks by due date, or done ones, the latest first: the CRM's order is not documented.

    Nor is it whether it shows when a task was done. One without that counts as open, for it may be left out
    where it is null; but where no task shows it, a note says that nobody can tell.
    """
    silent = telling = 0

    def in_question(task: Activity) -> bool:
        nonlocal silent, telling
        silent += "completed_at" not in task.model_fields_set
        telling += task.completed_at is not None
        return (task.completed_at is not None) is done

    def arranged(found: list[Activity]) -> list[Activity]:
        if done:
            return sorted(found, key=lambda task: task.completed_at or EARLY, reverse=True)
        return sorted(found, key=lambda task: task.due_at or FAR)

    found = await selected(
        crm.client.activities.walk_tasks(wanted),
        in_question,
        page=page,
        limit=limit,
        told=crm.reading("tasks"),
        arranged=arranged,
    )
    if silent and not telling:
        found.notes.append(DONE_NOT_SHOWN)
    return found


def _loggable(
    *,
    type: ActivityType,
    lead: str,
    leads: Sequence[str],
    company: str,
    contact: str,
    due_at: datetime | None,
    **fields: Any,
) -> None:
    if not (lead or leads or company or contact):
        raise InvalidInputError("Say what it is about: `lead`, `company` or `contact`. Nothing was logged.")
    if leads and (lead or company):
        raise InvalidInputError("Say either `leads`, or `lead` and `company`. Nothing was logged.")
    if due_at and type != "task":
        raise InvalidInputError("`due_at` is for tasks: log what is to be done as one. Nothing was logged.")
    # Whether the times can be sent.
    filled(
        NewLeadActivity,
        type=type,
        subject=fields["subject"],
        occurred_at=fields["occurred_at"],
        due_at=due_at,
    )


@tool(effect=Effect.CREATE, toolset=Toolset.SALES, title="Log an activity", check=_loggable)
async def log_activity(
    crm: Crm,
    type: ActivityType,
    subject: str,
    lead: LeadRef = "",
    leads: LeadRefs = (),
    company: CompanyRef = "",
    contact: ContactRef = "",
    body: str = "",
    occurred_at: When = None,
    due_at: Annotated[When, Field(description="For tasks.")] = None,
    duration_minutes: Annotated[int | None, Field(ge=0)] = None,
    repeat: Repeat = False,
    *,
    on_lead: MaybeLead,
    on_leads: MeantLeads,
    at_company: MaybeCompany,
    with_contact: MaybeContact,
) -> ActivityWritten:
    """Log what was done, or a task to do, on a lead, a company or a contact. It stays: the CRM can't change
    or delete activities. `email` only notes one; send_outbound_email sends."""
    fields: dict[str, Any] = {
        "type": type,
        "subject": subject,
        "contact": with_contact.id if with_contact else None,
        "body": body,
        "occurred_at": occurred_at,
        "due_at": due_at,
        "duration_minutes": duration_minutes,
    }
    if leads:

        async def log(one: Meant) -> str:
            sent = filled(NewLeadActivity, **fields)
            logged = await crm.client.activities.log_on_lead(one.id, sent)
            return "; ".join([one.name or one.id, *not_kept(sent, logged)])

        batch = await one_by_one(leads, on_leads, log, crm.advance)
        headline = f"Logging as {type}: {batch.summary()}."
        return ActivityWritten(batch=batch).after(headline, lead_uri(None), DASHBOARD_URI)
    activity: NewLeadActivity
    if on_lead and not at_company:
        activity = filled(NewLeadActivity, **fields)
        logged = await crm.client.activities.log_on_lead(on_lead.id, activity)
    else:
        activity = anywhere = filled(
            NewActivity,
            lead=on_lead.id if on_lead else None,
            company=at_company.id if at_company else None,
            **fields,
        )
        logged = await crm.client.activities.log(anywhere)
    rows = await crm.rows.activities([logged]) if logged else []
    result = ActivityWritten(activity=rows[0] if rows else None, notes=not_kept(activity, logged))
    touched = [lead_uri(on_lead.id)] if on_lead else [company_uri(at_company.id)] if at_company else []
    whom = f" with {with_contact.name}" if with_contact and with_contact.name else ""
    return result.after(sentence(f"Logged as {type}{whom}"), *touched, DASHBOARD_URI)
