"""Tools for activities and tasks."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from crm_mcp.crm.activities import ActivityFilter, ActivityType, NewActivity, NewLeadActivity, TaskFilter
from crm_mcp.rendering import DASHBOARD_URI, ActivityList, ActivityResult, TaskList, counts, lead_uri
from crm_mcp.tools.bodies import filled, not_kept
from crm_mcp.tools.catalogue import Effect, Toolset, tool
from crm_mcp.tools.parameters import (
    Crm,
    Limit,
    OptionalCompanyRef,
    OptionalContactRef,
    OptionalLeadRef,
    PageNumber,
    When,
)


@tool(effect=Effect.READ, toolset=Toolset.READ, title="List activities")
async def list_activities(
    crm: Crm,
    lead: OptionalLeadRef = None,
    company: OptionalCompanyRef = None,
    limit: Limit = 25,
    page: PageNumber = 1,
) -> ActivityList:
    """Calls, e-mails, meetings, notes and tasks: of a lead, a company, or all."""
    found = await crm.activities.search(
        ActivityFilter(lead_id=lead, company_id=company), page=page, limit=limit
    )
    return ActivityList(activities=found.records, **counts(found))


@tool(effect=Effect.READ, toolset=Toolset.READ, title="List tasks")
async def list_tasks(
    crm: Crm, lead: OptionalLeadRef = None, limit: Limit = 25, page: PageNumber = 1
) -> TaskList:
    """What is to be done, for a lead or in all. A task is made with log_activity(type="task", due_at)."""
    found = await crm.activities.tasks(TaskFilter(lead_id=lead), page=page, limit=limit)
    return TaskList(tasks=found.records, **counts(found))


@tool(effect=Effect.CREATE, toolset=Toolset.SALES, title="Log an activity")
async def log_activity(
    crm: Crm,
    type: ActivityType,  # the CRM's and the tool's word for it
    subject: str,
    lead: OptionalLeadRef = None,
    company: OptionalCompanyRef = None,
    contact: OptionalContactRef = None,
    body: str = "",
    occurred_at: When = None,
    due_at: Annotated[When, Field(description="For tasks.")] = None,
    duration_minutes: Annotated[int | None, Field(ge=0)] = None,
) -> ActivityResult:
    """Log what was done, or a task to do, on a lead, a company or a contact. It stays: the CRM can't change
    or delete activities. `email` only notes one; send_outbound_email sends."""
    fields: dict[str, Any] = {
        "type": type,
        "subject": subject,
        "contact": contact,
        "body": body,
        "occurred_at": occurred_at,
        "due_at": due_at,
        "duration_minutes": duration_minutes,
    }
    activity: NewLeadActivity
    if lead and not company:
        activity = filled(NewLeadActivity, **fields)
        logged = await crm.activities.log_on_lead(lead, activity)
    else:
        activity = anywhere = filled(NewActivity, lead=lead, company=company, **fields)
        logged = await crm.activities.log(anywhere)
    result = ActivityResult(activity=logged, notes=not_kept(activity, logged))
    return result.after(f"Logged as {type}.", *([lead_uri(lead)] if lead else []), DASHBOARD_URI)
