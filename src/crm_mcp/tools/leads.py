"""Tools for leads."""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from datetime import UTC, date, datetime, timedelta
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from crm_mcp.candidates import Meant
from crm_mcp.crm.contacts import Contact
from crm_mcp.crm.contract import plain
from crm_mcp.crm.errors import CrmError, InvalidInputError
from crm_mcp.crm.leads import Lead, LeadChanges, LeadFilter, NewLead, TimelineEntry
from crm_mcp.crm.pipeline import PipelineStage
from crm_mcp.lines import LeadRow
from crm_mcp.picking import AmbiguousReferenceError
from crm_mcp.results import (
    DASHBOARD_URI,
    PIPELINE_URI,
    LeadFacts,
    LeadList,
    LeadResult,
    LeadWritten,
    RemovalResult,
    TimelineResult,
    lead_uri,
)
from crm_mcp.rows import is_open
from crm_mcp.tenant import Tenant
from crm_mcp.tools.asking import (
    MaybeCompany,
    MaybeContact,
    MaybeLead,
    MaybeOwner,
    MaybeStage,
    MeantLead,
    MeantLeads,
    MeantStage,
)
from crm_mcp.tools.bodies import filled, not_kept
from crm_mcp.tools.catalogue import Effect, Toolset, tool
from crm_mcp.tools.parameters import (
    AllowDuplicate,
    CompanyRef,
    ContactRef,
    Crm,
    Detail,
    LeadRef,
    Limit,
    Owner,
    OwnerFilter,
    PageNumber,
    Repeat,
    StageRef,
    per_cent,
)
from crm_mcp.tools.parts import MAX_BATCH, at_once, none_of, one_by_one, or_error, page_of
from crm_mcp.tools.searching import Search, searched
from crm_mcp.wording import sentence

MAX_TIMELINE = 15

Value = Annotated[float | None, Field(description="Amount, without currency.", ge=0, allow_inf_nan=False)]
Currency = Annotated[str, Field(description="ISO code, e.g. `EUR`.")]
Probability = Annotated[float | None, Field(description="Per cent.", ge=0, le=100), AfterValidator(per_cent)]
CloseDate = Annotated[date | None, Field(description="YYYY-MM-DD.")]
LeadRefs = Annotated[
    tuple[str, ...], Field(description="For up to 25 at once, instead of `lead`.", max_length=MAX_BATCH)
]
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
    company: CompanyRef = "",
    contact: ContactRef = "",
    stage: StageRef = "",
    owner: OwnerFilter = "",
    idle_days: Annotated[
        int, Field(description="Only open ones without activity for so long, idlest first.", ge=0, le=36_500)
    ] = 0,
    limit: Limit = 25,
    page: PageNumber = 1,
) -> LeadList:
    """Find leads (deals); without arguments, list all."""
    at_company = await crm.refs.company(company) if company else None
    with_contact = await crm.refs.contact(contact) if contact else None
    in_stages = await _stages(crm, stage) if stage else []
    wanted = LeadFilter(
        company_id=at_company.id if at_company else None,
        contact_id=with_contact.id if with_contact else None,
        stage_id=in_stages[0].id if len(in_stages) == 1 else None,
        q=query or None,
    )
    owner_id, owner_note = await crm.refs.owner_id(owner) if owner else (None, None)
    owners = (owner_id,) if owner else ()
    stages = await crm.rows.stages() if idle_days else []

    def in_question(lead: Lead) -> bool | None:
        verdicts = [is_owned(lead, owners)]
        if len(in_stages) > 1:
            verdicts.append(_is_in(lead, in_stages))
        if idle_days:
            verdicts += [is_open(lead, stages), is_idle(lead, idle_days)]
        return False if False in verdicts else None if None in verdicts else True

    def arranged(leads: list[Lead]) -> list[Lead]:
        return sorted(leads, key=last_activity) if idle_days else leads

    keep = in_question if owners or idle_days or len(in_stages) > 1 else None
    search = Search(crm, "leads", wanted, query, keep, arranged)
    found = await searched(search, page=page, limit=limit)
    notes = [meant.note for meant in (at_company, with_contact) if meant]
    notes += none_of(found, at_company, with_contact)
    if idle_days and in_stages and not any(one.kind == "open" for one in in_stages):
        notes.append("With `idle_days` only open leads are listed, and no stage that was asked for is open.")
    return LeadList(leads=await crm.rows.leads(found.records), **page_of(found)).noting(*notes, owner_note)


async def _stages(crm: Tenant, said: str) -> list[PipelineStage]:
    """The stage that is meant, or all of a kind: `open`."""
    try:
        return [await crm.refs.stage(said)]
    except AmbiguousReferenceError as error:
        if all(stage.kind == plain(said) for stage in error.records):
            return list(error.records)
        raise


def _is_in(lead: Lead, stages: Sequence[PipelineStage]) -> bool | None:
    """Whether it is in one of these stages, which are of a kind; None where it shows no stage."""
    if stages[0].kind == "open" and lead.closed_at:
        return False
    return lead.stage_id in [stage.id for stage in stages] if lead.stage_id else None


def is_owned(lead: Lead, owners: tuple[str | None, ...]) -> bool | None:
    """Whether the lead is one of theirs, or of anybody where none are named; None where it shows no owner."""
    if not owners:
        return True
    return lead.owner_user_id in owners if "owner_user_id" in lead.model_fields_set else None


def last_activity(lead: Lead) -> datetime:
    """When something last happened to it; where nothing did, its creation."""
    return lead.last_activity_at or lead.created_at or datetime.max.replace(tzinfo=UTC)


def is_idle(lead: Lead, days: int) -> bool | None:
    """Without activity for so many days; where there was none, its creation counts. None where neither is
    known."""
    last = lead.last_activity_at or lead.created_at
    if last is None:
        return None
    idle = datetime.now(UTC) - last > timedelta(days=days)
    # A CRM that does not show activity may have seen some since the lead was created.
    return idle if "last_activity_at" in lead.model_fields_set or not idle else None


@tool(effect=Effect.READ, toolset=Toolset.READ, title="Get a lead")
async def get_lead(crm: Crm, lead: LeadRef, detail: Detail = "normal") -> LeadResult:
    """A lead with its company, contact, stage and timeline."""
    meant = await crm.refs.lead(lead)
    notes = [meant.note] if meant.note else []
    wanted: dict[str, Awaitable[Any]] = {"lead": or_error(crm.client.leads.get(meant.id))}
    if detail != "brief":
        wanted["timeline"] = crm.client.leads.timeline(meant.id)
    parts = await at_once(notes, **wanted)
    found = parts["lead"]
    if isinstance(found, CrmError):
        raise found
    named = await at_once(notes, rows=crm.rows.leads([found]), contact=_contact(crm, found.contact_id))
    [row] = named["rows"]
    # Not before: most contacts are at the lead's company, whose name is known now.
    contacts = await crm.rows.contacts([named["contact"]] if named["contact"] else [])
    lead_facts = LeadFacts(**found.model_dump() | {"title": row.title}, stage=row.stage, company=row.company)
    timeline: list[TimelineEntry] | None = parts.get("timeline")
    if timeline and len(timeline) > MAX_TIMELINE:
        notes.append(
            f"{len(timeline)} timeline entries, {MAX_TIMELINE} shown; {lead_uri(found)}/timeline has all."
        )
    return LeadResult(
        lead=lead_facts,
        contact=contacts[0] if contacts else None,
        timeline=timeline and timeline[:MAX_TIMELINE],
        other=found.unknown if detail == "full" else None,
        notes=notes,
    )


async def _contact(crm: Tenant, contact_id: str | None) -> Contact | None:
    return await crm.client.contacts.get(contact_id) if contact_id else None


async def get_lead_timeline(crm: Tenant, lead: str) -> TimelineResult:
    """What happened to a lead: a resource, and no tool, since get_lead brings it."""
    meant = await crm.refs.lead(lead)
    return TimelineResult(timeline=await crm.client.leads.timeline(meant.id)).noting(meant.note)


@tool(effect=Effect.CREATE, toolset=Toolset.SALES, title="Create a lead")
async def create_lead(
    crm: Crm,
    title: str,
    company: CompanyRef = "",
    contact: ContactRef = "",
    stage: StageRef = "",
    value: Value = None,
    currency: Currency = "",
    probability: Probability = None,
    expected_close_date: CloseDate = None,
    source: str = "",
    description: str = "",
    owner: Owner = "",
    allow_duplicate: AllowDuplicate = False,
    repeat: Repeat = False,
    *,
    in_stage: MaybeStage,
    owned_by: MaybeOwner,
    at_company: MaybeCompany,
    with_contact: MaybeContact,
) -> LeadWritten:
    """Create a lead (deal); without `stage`, in the first one. One of that title at the company stops it."""
    lead = filled(
        NewLead,
        title=title,
        company=at_company.id if at_company else None,
        contact=with_contact.id if with_contact else None,
        stage=in_stage.id if in_stage else None,
        value=value,
        currency=currency.upper(),
        probability=probability,
        expected_close_date=expected_close_date,
        source=source,
        description=description,
        owner=owned_by,
    )
    created = await crm.client.leads.create(lead)
    result = LeadWritten(lead=await _row(crm, created), notes=not_kept(lead, created))
    return result.after("Lead created.", lead_uri(created), PIPELINE_URI, DASHBOARD_URI)


@tool(
    effect=Effect.UPDATE,
    toolset=Toolset.SALES,
    title="Update a lead",
    check=lambda lead, **fields: filled(LeadChanges, **fields),
)
async def update_lead(
    crm: Crm,
    lead: LeadRef,
    title: str = "",
    company: CompanyRef = "",
    contact: ContactRef = "",
    value: Value = None,
    currency: Currency = "",
    probability: Probability = None,
    expected_close_date: CloseDate = None,
    source: str = "",
    description: Annotated[str, Field(description="Replaces the old one.")] = "",
    owner: Owner = "",
    clear: Clear = (),
    *,
    owned_by: MaybeOwner,
    meant: MeantLead,
    at_company: MaybeCompany,
    with_contact: MaybeContact,
) -> LeadWritten:
    """Change a lead's fields; what is not given stays. For the stage use move_lead_stage."""
    changes = filled(
        LeadChanges,
        clear=clear,
        title=title,
        company=at_company.id if at_company else None,
        contact=with_contact.id if with_contact else None,
        value=value,
        currency=currency.upper(),
        probability=probability,
        expected_close_date=expected_close_date,
        source=source,
        description=description,
        owner=owned_by,
    )
    updated = await crm.client.leads.update(meant.id, changes)
    result = LeadWritten(lead=await _row(crm, updated), notes=not_kept(changes, updated))
    return result.after("Lead updated.", lead_uri(updated), DASHBOARD_URI)


def _one_or_many(lead: str, leads: Sequence[str], **_: object) -> None:
    if bool(lead) == bool(leads):
        raise InvalidInputError("Say either `lead` or `leads`. Nothing was moved.")


@tool(
    effect=Effect.UPDATE,
    toolset=Toolset.SALES,
    title="Move a lead to another stage",
    check=_one_or_many,
)
async def move_lead_stage(
    crm: Crm,
    stage: StageRef,
    lead: LeadRef = "",
    leads: LeadRefs = (),
    lost_reason: Annotated[str, Field(description="Why, when it is lost.")] = "",
    *,
    target: MeantStage,
    meant: MaybeLead,
    each_meant: MeantLeads,
) -> LeadWritten:
    """Move a lead along the pipeline, to won or lost too."""
    if meant:
        moved = await crm.client.leads.move(meant.id, target.id, lost_reason=lost_reason or None)
        result = LeadWritten(lead=await _row(crm, moved), notes=_kept_stage(moved, target))
        return result.after(sentence(f"Moved to {target.name}"), lead_uri(moved), PIPELINE_URI, DASHBOARD_URI)

    async def move(one: Meant) -> str:
        done = await crm.client.leads.move(one.id, target.id, lost_reason=lost_reason or None)
        return "; ".join([done.label if done else one.name or one.id, *_kept_stage(done, target)])

    batch = await one_by_one(leads, each_meant, move, crm.advance)
    headline = f"Moving to {target.name}: {batch.summary()}."
    return LeadWritten(batch=batch).after(headline, lead_uri(None), PIPELINE_URI, DASHBOARD_URI)


def _kept_stage(moved: Lead | None, target: PipelineStage) -> list[str]:
    if moved is None or moved.stage_id in (None, target.id):
        return []
    return ["The CRM shows another stage than was asked for."]


@tool(effect=Effect.DELETE, toolset=Toolset.DELETE, title="Delete a lead")
async def delete_lead(crm: Crm, lead: LeadRef, meant: MeantLead) -> RemovalResult:
    """Delete a lead and its timeline for good. A deal that fell through is moved to a lost stage instead."""
    await crm.client.leads.delete(meant.to_be_ended(lead))
    result = RemovalResult(removed="lead", id=meant.id)
    return result.after(
        f"Lead {meant.name or meant.id} deleted.", lead_uri(meant.id), PIPELINE_URI, DASHBOARD_URI
    )


async def _row(crm: Tenant, lead: Lead | None) -> LeadRow | None:
    return (await crm.rows.leads([lead]))[0] if lead else None
