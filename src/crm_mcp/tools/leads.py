"""Tools for leads."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Literal

from pydantic import Field

from crm_mcp.crm import CrmClient
from crm_mcp.crm.leads import Lead, LeadChanges, LeadFilter, NewLead
from crm_mcp.references import find_stage
from crm_mcp.rendering import (
    DASHBOARD_URI,
    PIPELINE_URI,
    LeadFacts,
    LeadList,
    LeadResult,
    RemovalResult,
    TimelineResult,
    counts,
    lead_uri,
)
from crm_mcp.tools.bodies import filled, not_kept
from crm_mcp.tools.catalogue import Effect, Toolset, tool
from crm_mcp.tools.parameters import (
    Crm,
    LeadRef,
    Limit,
    OptionalCompanyRef,
    OptionalContactRef,
    Owner,
    PageNumber,
    StageRef,
)

Value = Annotated[float | None, Field(description="Amount, without currency.", ge=0)]
Currency = Annotated[str, Field(description="ISO code, e.g. `EUR`.")]
Probability = Annotated[float | None, Field(description="Per cent.", ge=0, le=100)]
CloseDate = Annotated[date | None, Field(description="YYYY-MM-DD.")]
Clear = Annotated[
    tuple[
        Literal[
            "company",
            "contact",
            "value",
            "currency",
            "probability",
            "expected_close_date",
            "source",
            "description",
            "owner",
        ],
        ...,
    ],
    Field(description="Fields to empty."),
]


@tool(effect=Effect.READ, toolset=Toolset.READ, title="Search leads")
async def search_leads(
    crm: Crm,
    query: Annotated[str, Field(description="Part of the title.")] = "",
    company: OptionalCompanyRef = None,
    contact: OptionalContactRef = None,
    stage: StageRef = "",
    limit: Limit = 25,
    page: PageNumber = 1,
) -> LeadList:
    """Find leads (deals); without arguments, list all. Shows the ids that other tools take."""
    stages = await crm.pipeline.stages()
    stage_id = find_stage(stages, stage).id if stage else None
    wanted = LeadFilter(company_id=company, contact_id=contact, stage_id=stage_id, q=query or None)
    found = await crm.leads.search(wanted, page=page, limit=limit)
    return LeadList(leads=[LeadFacts.of(lead, stages) for lead in found.records], **counts(found))


@tool(effect=Effect.READ, toolset=Toolset.READ, title="Get a lead")
async def get_lead(crm: Crm, lead: LeadRef) -> LeadResult:
    """All fields of a lead, and what happened to it."""
    result = await _shown(crm, await crm.leads.get(lead))
    result.timeline = await crm.leads.timeline(lead)
    return result


async def get_lead_timeline(crm: CrmClient, lead: str) -> TimelineResult:
    """What happened to a lead: a resource, and no tool, since get_lead brings it."""
    return TimelineResult(timeline=await crm.leads.timeline(lead))


@tool(effect=Effect.CREATE, toolset=Toolset.SALES, title="Create a lead")
async def create_lead(
    crm: Crm,
    title: str,
    company: OptionalCompanyRef = None,
    contact: OptionalContactRef = None,
    stage: StageRef = "",
    value: Value = None,
    currency: Currency = "",
    probability: Probability = None,
    expected_close_date: CloseDate = None,
    source: str = "",
    description: str = "",
    owner: Owner = "",
) -> LeadResult:
    """Create a lead (deal); without `stage`, in the first one. Search first: duplicates are not stopped."""
    stage_id = find_stage(await crm.pipeline.stages(), stage).id if stage else None
    lead = filled(
        NewLead,
        title=title,
        company=company,
        contact=contact,
        stage=stage_id,
        value=value,
        currency=currency.upper(),
        probability=probability,
        expected_close_date=expected_close_date,
        source=source,
        description=description,
        owner=owner,
    )
    created = await crm.leads.create(lead)
    result = await _shown(crm, created, not_kept(lead, created))
    return result.after("Lead created.", lead_uri(created), PIPELINE_URI, DASHBOARD_URI)


@tool(effect=Effect.UPDATE, toolset=Toolset.SALES, title="Update a lead")
async def update_lead(
    crm: Crm,
    lead: LeadRef,
    title: str = "",
    company: OptionalCompanyRef = None,
    contact: OptionalContactRef = None,
    value: Value = None,
    currency: Currency = "",
    probability: Probability = None,
    expected_close_date: CloseDate = None,
    source: str = "",
    description: Annotated[str, Field(description="Replaces the old one.")] = "",
    owner: Owner = "",
    clear: Clear = (),
) -> LeadResult:
    """Change a lead's fields; what is not given stays. For the stage use move_lead_stage."""
    changes = filled(
        LeadChanges,
        clear=clear,
        title=title,
        company=company,
        contact=contact,
        value=value,
        currency=currency.upper(),
        probability=probability,
        expected_close_date=expected_close_date,
        source=source,
        description=description,
        owner=owner,
    )
    updated = await crm.leads.update(lead, changes)
    result = await _shown(crm, updated, not_kept(changes, updated))
    return result.after("Lead updated.", lead_uri(lead), DASHBOARD_URI)


@tool(effect=Effect.UPDATE, toolset=Toolset.SALES, title="Move a lead to another stage")
async def move_lead_stage(
    crm: Crm,
    lead: LeadRef,
    stage: StageRef,
    lost_reason: Annotated[str, Field(description="Why, when it is lost.")] = "",
) -> LeadResult:
    """Move a lead along the pipeline, to won or lost too."""
    stages = await crm.pipeline.stages()
    target = find_stage(stages, stage)
    moved = await crm.leads.move(lead, target.id, lost_reason=lost_reason or None)
    notes = [] if moved.stage_id in (None, target.id) else ["The CRM shows another stage than was asked for."]
    result = LeadResult(lead=LeadFacts.of(moved, stages), notes=notes)
    return result.after(f"Lead moved to {target.name}.", lead_uri(lead), PIPELINE_URI, DASHBOARD_URI)


@tool(effect=Effect.DELETE, toolset=Toolset.DELETE, title="Delete a lead")
async def delete_lead(crm: Crm, lead: LeadRef) -> RemovalResult:
    """Delete a lead and its timeline for good. A deal that fell through is moved to a lost stage instead."""
    await crm.leads.delete(lead)
    result = RemovalResult(removed="lead", id=lead)
    return result.after(f"Lead {lead} deleted.", lead_uri(lead), PIPELINE_URI, DASHBOARD_URI)


async def _shown(crm: CrmClient, lead: Lead | None, notes: list[str] | None = None) -> LeadResult:
    if lead is None:
        return LeadResult(notes=notes or [])
    return LeadResult(lead=LeadFacts.of(lead, await crm.pipeline.stages()), notes=notes or [])
