"""Tools for the pipeline: its stages and its numbers."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Annotated

from mcp.server.mcpserver import Resolve
from pydantic import AfterValidator, Field

from crm_mcp.crm.errors import CrmError, InvalidInputError
from crm_mcp.crm.pipeline import NewStage, PipelineStage, StageChanges, StageKind
from crm_mcp.picking import find_stage
from crm_mcp.results import (
    DASHBOARD_URI,
    PIPELINE_URI,
    DashboardResult,
    RemovalResult,
    StageList,
    StageResult,
)
from crm_mcp.tenant import Tenant
from crm_mcp.tools.asking import Found, asked, asked_each, each, one, written_to
from crm_mcp.tools.bodies import filled, not_kept
from crm_mcp.tools.catalogue import Effect, Toolset, tool
from crm_mcp.tools.parameters import Crm, StageRef, per_cent
from crm_mcp.tools.parts import if_possible

DefaultProbability = Annotated[
    float | None,
    Field(description="Of winning, per cent, for leads that enter.", ge=0, le=100),
    AfterValidator(per_cent),
]
ColorKey = Annotated[str, Field(description="E.g. `blue`.")]


async def _stages(crm: Crm) -> list[PipelineStage]:
    return await crm.client.pipeline.stages()


# As they are now: what is changed or deleted is not told by a stage's old name.
Stages = Annotated[list[PipelineStage], Resolve(_stages)]


def _among(stages: list[PipelineStage]) -> Callable[[str], Awaitable[PipelineStage]]:
    async def find(name: str) -> PipelineStage:
        return find_stage(stages, name)

    return find


@asked
async def _changed(stage: str, stages: Stages) -> Found[PipelineStage]:
    return await one(stage, written_to("changed", _among(stages)))


@asked
async def _new_home(move_leads_to: str, stages: Stages) -> Found[PipelineStage]:
    return await one(move_leads_to, written_to("new_home", _among(stages)))


@asked_each
async def _order(stages: list[str], existing: Stages) -> Found[PipelineStage]:
    return await each(stages, _among(existing))


MeantOrder = Annotated[Found[PipelineStage], Resolve(_order)]
ChangedStage = Annotated[PipelineStage, Resolve(_changed)]
NewHome = Annotated[PipelineStage | None, Resolve(_new_home)]


@tool(effect=Effect.READ, toolset=Toolset.READ, title="List pipeline stages")
async def list_pipeline_stages(crm: Crm) -> StageList:
    """The stages in order, with kind, probability and number of leads."""
    return StageList(stages=await crm.client.pipeline.stages())


async def get_pipeline_stage(crm: Tenant, stage: str) -> StageResult:
    """One stage, by name, system key or id: a resource, and no tool, since the list is short."""
    return StageResult(stage=find_stage(await crm.client.pipeline.stages(), stage))


@tool(effect=Effect.READ, toolset=Toolset.PIPELINE, title="Get the dashboard")
async def get_dashboard(crm: Crm) -> DashboardResult:
    """The CRM's own totals: good for "how are we doing"."""
    return DashboardResult(dashboard=(await crm.client.pipeline.dashboard()).wire)


@tool(effect=Effect.CREATE, toolset=Toolset.PIPELINE, title="Create a pipeline stage")
async def create_pipeline_stage(
    crm: Crm,
    name: str,
    kind: StageKind | None = None,
    default_probability: DefaultProbability = None,
    color_key: ColorKey = "",
) -> StageResult:
    """Add a stage at the end of the pipeline."""
    stage = filled(
        NewStage, name=name, kind=kind, default_probability=default_probability, color_key=color_key
    )
    created = await crm.client.pipeline.create(stage)
    result = StageResult(stage=created, notes=not_kept(stage, created))
    return result.after("Stage created.", PIPELINE_URI, DASHBOARD_URI)


@tool(
    effect=Effect.UPDATE,
    toolset=Toolset.PIPELINE,
    title="Update a pipeline stage",
    check=lambda stage, **fields: filled(StageChanges, **fields),
)
async def update_pipeline_stage(
    crm: Crm,
    stage: StageRef,
    name: str = "",
    kind: StageKind | None = None,
    default_probability: DefaultProbability = None,
    color_key: ColorKey = "",
    *,
    changed: ChangedStage,
) -> StageResult:
    """Rename a stage or change its kind, probability or colour."""
    changes = filled(
        StageChanges, name=name, kind=kind, default_probability=default_probability, color_key=color_key
    )
    updated = await crm.client.pipeline.update(changed.id, changes)
    if updated is None:
        after = await if_possible(crm.client.pipeline.stages()) or []
        updated = next((one for one in after if one.id == changed.id), None)
    result = StageResult(stage=updated, notes=not_kept(changes, updated))
    return result.after("Stage updated.", PIPELINE_URI, DASHBOARD_URI)


@tool(effect=Effect.UPDATE, toolset=Toolset.PIPELINE, title="Reorder the pipeline's stages")
async def reorder_pipeline_stages(
    crm: Crm,
    stages: Annotated[list[StageRef], Field(description="All stages, in the new order.")],
    *,
    existing: Stages,
    meant: MeantOrder,
) -> StageList:
    """Set the order of the stages."""
    ids = []
    for said in stages:
        found = meant[said]
        if isinstance(found, CrmError):
            raise found
        ids.append(found.id)
    missing = ", ".join(stage.name for stage in existing if stage.id not in ids)
    if missing:
        raise InvalidInputError(f"Name every stage; missing: {missing}. Nothing was reordered.")
    if len(ids) != len(set(ids)):
        raise InvalidInputError("A stage is named twice. Nothing was reordered.")
    await crm.client.pipeline.reorder(ids)
    after = await if_possible(crm.client.pipeline.stages())
    kept = after is None or [stage.id for stage in after] == ids
    notes = [] if kept else ["The CRM shows another order than was asked for."]
    asked = sorted(existing, key=lambda stage: ids.index(stage.id))
    result = StageList(stages=after or asked, notes=notes)
    return result.after("Stages reordered.", PIPELINE_URI, DASHBOARD_URI)


@tool(effect=Effect.DELETE, toolset=Toolset.PIPELINE, title="Delete a pipeline stage")
async def delete_pipeline_stage(
    crm: Crm,
    stage: StageRef,
    move_leads_to: Annotated[str, Field(description="Stage for its leads; needed if it has any.")] = "",
    *,
    doomed: ChangedStage,
    target: NewHome,
) -> RemovalResult:
    """Delete a stage; its leads move to another one."""
    if target and target.id == doomed.id:
        raise InvalidInputError("The leads cannot move to the stage that is deleted. Nothing was deleted.")
    await crm.client.pipeline.delete(doomed.id, reassign_to_stage_id=target.id if target else None)
    result = RemovalResult(removed="pipeline stage", id=doomed.id)
    moved = f', its leads moved to "{target.name}"' if target else ""
    done = f'Stage "{doomed.name}" deleted{moved}.'
    # Its leads show another stage now.
    return result.after(done, PIPELINE_URI, "crm://leads", DASHBOARD_URI)
