"""Activities and tasks on the CRM's wire: rows 29 to 32 of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from crm_mcp.crm.contract import (
    ASSUMED,
    DOCUMENTED,
    Body,
    Entity,
    Many,
    Operation,
    PagedFilter,
    Timestamp,
    Uuid,
    WireModel,
    Written,
    equals,
)
from crm_mcp.crm.paging import Page, Walk, gather_page

if TYPE_CHECKING:
    from crm_mcp.crm.client import CrmClient

ActivityType = Literal["call", "email", "meeting", "note", "task"]


class ActivityFields(WireModel):
    """What can be read from and written to an activity; a task is one of type `task` (assumed)."""

    type: Annotated[str | None, ASSUMED] = None
    subject: Annotated[str | None, ASSUMED] = None
    body: Annotated[str | None, ASSUMED] = None
    occurred_at: Annotated[Timestamp | None, ASSUMED] = None
    due_at: Annotated[Timestamp | None, ASSUMED] = None
    duration_minutes: Annotated[int | None, ASSUMED] = None
    contact_id: Annotated[Uuid | None, ASSUMED] = None


class Activity(ActivityFields, Entity):
    """Something done or to be done: a call, an e-mail, a meeting, a note, a task."""

    completed_at: Annotated[Timestamp | None, ASSUMED] = None
    lead_id: Annotated[Uuid | None, ASSUMED] = None
    company_id: Annotated[Uuid | None, ASSUMED] = None
    created_at: Annotated[Timestamp | None, ASSUMED] = None


class NewLeadActivity(ActivityFields, Body):
    """An activity to be logged on a lead."""

    type: Annotated[ActivityType, DOCUMENTED]
    subject: Annotated[str, DOCUMENTED]


class NewActivity(NewLeadActivity):
    """An activity to be logged on anything."""

    lead_id: Annotated[Uuid | None, ASSUMED] = None
    company_id: Annotated[Uuid | None, ASSUMED] = None


class ActivityFilter(PagedFilter):
    """Two UUID filters are documented, without their names. A company's activity may name only its lead."""

    lead_id: Annotated[Uuid | None, ASSUMED, equals("leadId", "lead.id")] = None
    company_id: Annotated[Uuid | None, ASSUMED, equals("companyId", "company.id", null_tells=False)] = None


class TaskFilter(PagedFilter):
    """One UUID filter is documented, without its name."""

    lead_id: Annotated[Uuid | None, ASSUMED, equals("leadId", "lead.id")] = None


LOG_LEAD_ACTIVITY = Operation(
    "log_lead_activity",
    "Log an activity on a lead",
    "POST",
    "/leads/{lead_id}/activities",
    answer=Written(Activity, "activity"),
    evidence=ASSUMED,
    body=NewLeadActivity,
    error_responses=1,
)
LIST_ACTIVITIES = Operation(
    "list_activities",
    "List activities",
    "GET",
    "/activities",
    answer=Many(Activity, "activities"),
    evidence=ASSUMED,
    filter=ActivityFilter,
)
LOG_ACTIVITY = Operation(
    "log_activity",
    "Log an activity",
    "POST",
    "/activities",
    answer=Written(Activity, "activity"),
    evidence=ASSUMED,
    body=NewActivity,
)
LIST_TASKS = Operation(
    "list_tasks",
    "List tasks",
    "GET",
    "/tasks",
    answer=Many(Activity, "tasks"),
    evidence=ASSUMED,
    filter=TaskFilter,
)


class Activities:
    """`crm.activities`. What was logged stays: the CRM has no PATCH or DELETE for activities."""

    def __init__(self, client: CrmClient) -> None:
        self._client = client

    async def search(
        self, wanted: ActivityFilter | None = None, *, page: int = 1, limit: int = 25
    ) -> Page[Activity]:
        wanted = wanted or ActivityFilter()
        return await gather_page(self._client.pages(LIST_ACTIVITIES, wanted), wanted, page=page, limit=limit)

    def walk(self, wanted: ActivityFilter | None = None) -> Walk[Activity]:
        wanted = wanted or ActivityFilter()
        return Walk(self._client.pages(LIST_ACTIVITIES, wanted), wanted)

    async def tasks(
        self, wanted: TaskFilter | None = None, *, page: int = 1, limit: int = 25
    ) -> Page[Activity]:
        wanted = wanted or TaskFilter()
        return await gather_page(self._client.pages(LIST_TASKS, wanted), wanted, page=page, limit=limit)

    def walk_tasks(self, wanted: TaskFilter | None = None) -> Walk[Activity]:
        wanted = wanted or TaskFilter()
        return Walk(self._client.pages(LIST_TASKS, wanted), wanted)

    async def log(self, activity: NewActivity) -> Activity | None:
        """The new activity, or None where the CRM's answer does not show it."""
        return await self._client.call(LOG_ACTIVITY, body=activity)

    async def log_on_lead(self, lead_id: str, activity: NewLeadActivity) -> Activity | None:
        """The new activity, or None where the CRM's answer does not show it."""
        return await self._client.call(LOG_LEAD_ACTIVITY, body=activity, lead_id=lead_id)
