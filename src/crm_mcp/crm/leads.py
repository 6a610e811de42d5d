"""Leads on the CRM's wire: rows 22 to 28 of the contract."""

from __future__ import annotations

from datetime import date
from typing import TYPE_CHECKING, Annotated

from crm_mcp.crm.contract import (
    ASSUMED,
    DOCUMENTED,
    UNVERIFIABLE,
    Body,
    Done,
    Entity,
    Many,
    One,
    Operation,
    PagedFilter,
    Record,
    Timestamp,
    Uuid,
    WireModel,
    Written,
    equals,
    mentions,
)
from crm_mcp.crm.paging import Page, Told, Walk, gather_page

if TYPE_CHECKING:
    from crm_mcp.crm.client import CrmClient


class LeadFields(WireModel):
    """What can be read from and written to a lead; `value` is in units of `currency` (ISO 4217)."""

    title: Annotated[str | None, ASSUMED] = None
    company_id: Annotated[Uuid | None, ASSUMED] = None
    contact_id: Annotated[Uuid | None, ASSUMED] = None
    stage_id: Annotated[Uuid | None, ASSUMED] = None
    owner_user_id: Annotated[Uuid | None, ASSUMED] = None
    value: Annotated[float | None, ASSUMED] = None
    currency: Annotated[str | None, ASSUMED] = None
    probability_pct: Annotated[float | None, ASSUMED] = None
    expected_close_date: Annotated[date | None, ASSUMED] = None
    source: Annotated[str | None, ASSUMED] = None
    description: Annotated[str | None, ASSUMED] = None


class Lead(LeadFields, Entity):
    """A deal on its way through the pipeline."""

    lost_reason: Annotated[str | None, ASSUMED] = None
    closed_at: Annotated[Timestamp | None, ASSUMED] = None
    last_activity_at: Annotated[Timestamp | None, ASSUMED] = None
    created_at: Annotated[Timestamp | None, ASSUMED] = None
    updated_at: Annotated[Timestamp | None, ASSUMED] = None

    @property
    def label(self) -> str:
        """The title, or what else tells the lead from others."""
        return self.title or str(self.wire.get("name") or self.wire.get("displayName") or self.id)


class LeadChanges(LeadFields, Body):
    """The fields of a lead to set; None clears one. The stage has an operation of its own."""


class NewLead(LeadChanges):
    """A lead to be created."""

    title: Annotated[str, DOCUMENTED]


class StageMove(Body):
    """The stage that a lead moves to."""

    stage_id: Annotated[Uuid | None, ASSUMED] = None
    stage: Annotated[str | None, ASSUMED] = None
    lost_reason: Annotated[str | None, ASSUMED] = None


class LeadFilter(PagedFilter):
    """Three UUID filters and "stage name or legacy system key" are documented, without their names."""

    company_id: Annotated[Uuid | None, ASSUMED, equals("companyId", "company.id")] = None
    contact_id: Annotated[Uuid | None, ASSUMED, equals("contactId", "contact.id")] = None
    stage_id: Annotated[Uuid | None, ASSUMED, equals("stageId", "stage.id")] = None
    stage: Annotated[str | None, ASSUMED, UNVERIFIABLE] = None
    q: Annotated[str | None, ASSUMED, mentions()] = None


class TimelineEntry(Record):
    """Something that happened to a lead."""

    id: Annotated[str | None, ASSUMED] = None
    type: Annotated[str | None, ASSUMED] = None
    subject: Annotated[str | None, ASSUMED] = None
    body: Annotated[str | None, ASSUMED] = None
    occurred_at: Annotated[Timestamp | None, ASSUMED] = None


LIST_LEADS = Operation(
    "list_leads",
    "List leads",
    "GET",
    "/leads",
    answer=Many(Lead, "leads"),
    evidence=ASSUMED,
    filter=LeadFilter,
)
CREATE_LEAD = Operation(
    "create_lead",
    "Create a lead",
    "POST",
    "/leads",
    answer=Written(Lead, "lead"),
    evidence=ASSUMED,
    body=NewLead,
)
GET_LEAD = Operation(
    "get_lead",
    "Get a lead",
    "GET",
    "/leads/{lead_id}",
    answer=One(Lead, "lead"),
    evidence=ASSUMED,
    error_responses=1,
)
UPDATE_LEAD = Operation(
    "update_lead",
    "Update a lead",
    "PATCH",
    "/leads/{lead_id}",
    answer=Written(Lead, "lead"),
    evidence=ASSUMED,
    body=LeadChanges,
    error_responses=1,
)
DELETE_LEAD = Operation(
    "delete_lead",
    "Delete a lead",
    "DELETE",
    "/leads/{lead_id}",
    answer=Done(),
    evidence=ASSUMED,
    error_responses=1,
)
GET_TIMELINE = Operation(
    "get_lead_timeline",
    "List what happened to a lead",
    "GET",
    "/leads/{lead_id}/timeline",
    answer=Many(TimelineEntry, "timeline"),
    evidence=ASSUMED,
    error_responses=1,
)
MOVE_LEAD = Operation(
    "move_lead_stage",
    "Move a lead to a stage",
    "PATCH",
    "/leads/{lead_id}/stage",
    answer=Written(Lead, "lead"),
    evidence=ASSUMED,
    body=StageMove,
    error_responses=1,
)


class Leads:
    """`crm.leads`."""

    def __init__(self, client: CrmClient) -> None:
        self._client = client

    async def search(
        self,
        wanted: LeadFilter | None = None,
        *,
        page: int = 1,
        limit: int = 25,
        told: Told | None = None,
    ) -> Page[Lead]:
        wanted = wanted or LeadFilter()
        fetch = self._client.pages(LIST_LEADS, wanted)
        return await gather_page(fetch, wanted, page=page, limit=limit, told=told)

    def walk(self, wanted: LeadFilter | None = None) -> Walk[Lead]:
        wanted = wanted or LeadFilter()
        return Walk(self._client.pages(LIST_LEADS, wanted), wanted)

    async def get(self, lead_id: str) -> Lead:
        return await self._client.call(GET_LEAD, lead_id=lead_id)

    async def create(self, lead: NewLead) -> Lead | None:
        """The new lead, or None where the CRM's answer does not show it."""
        return await self._client.call(CREATE_LEAD, body=lead)

    async def update(self, lead_id: str, changes: LeadChanges) -> Lead | None:
        """The lead as it is now, or None if it cannot be read now: the update is done."""
        return await self._client.change(UPDATE_LEAD, GET_LEAD, body=changes, lead_id=lead_id)

    async def delete(self, lead_id: str) -> None:
        await self._client.call(DELETE_LEAD, lead_id=lead_id)

    async def timeline(self, lead_id: str) -> list[TimelineEntry]:
        """What happened to the lead, newest first; entries without a time come last."""
        entries = (await self._client.call(GET_TIMELINE, lead_id=lead_id)).records
        return sorted(
            entries,
            key=lambda entry: entry.occurred_at.timestamp() if entry.occurred_at else 0.0,
            reverse=True,
        )

    async def move(self, lead_id: str, stage_id: str, *, lost_reason: str | None = None) -> Lead | None:
        """Move to a stage, named by its id alone: the other ways to name it are less certain.

        The lead as it is now, or None if it cannot be read now: the move is done.
        """
        move = (
            StageMove(stage_id=stage_id, lost_reason=lost_reason)
            if lost_reason
            else StageMove(stage_id=stage_id)
        )
        return await self._client.change(MOVE_LEAD, GET_LEAD, body=move, lead_id=lead_id)
