"""The pipeline's stages and the dashboard on the CRM's wire: rows 2 and 17 to 21 of the contract."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from crm_mcp.crm.contract import (
    ASSUMED,
    DOCUMENTED,
    Body,
    Done,
    Entity,
    Many,
    One,
    Operation,
    Record,
    Uuid,
    WireModel,
    Written,
)

if TYPE_CHECKING:
    from crm_mcp.crm.client import CrmClient

StageKind = Literal["open", "won", "lost"]


class StageFields(WireModel):
    """What can be read from and written to a stage; probabilities are percentages from 0 to 100."""

    name: Annotated[str | None, ASSUMED] = None
    kind: Annotated[str | None, ASSUMED] = None
    default_probability_pct: Annotated[float | None, ASSUMED] = None
    color_key: Annotated[str | None, ASSUMED] = None


class PipelineStage(Entity):
    """A stage of the pipeline: the one record whose every field is documented."""

    id: Annotated[str, DOCUMENTED]
    name: Annotated[str, DOCUMENTED]
    kind: Annotated[str | None, DOCUMENTED] = None
    sort_order: Annotated[int | None, DOCUMENTED] = None
    default_probability_pct: Annotated[float | None, DOCUMENTED] = None
    color_key: Annotated[str | None, DOCUMENTED] = None
    system_key: Annotated[str | None, DOCUMENTED] = None
    lead_count: Annotated[int | None, DOCUMENTED] = None


class StageChanges(StageFields, Body):
    """The fields of a stage to set."""

    kind: Annotated[StageKind | None, ASSUMED] = None


class NewStage(StageChanges):
    """A stage to be created, at the end of the pipeline."""

    name: Annotated[str, DOCUMENTED]


class StageOrder(Body):
    """The pipeline's order; the full set of stages (assumed)."""

    stage_ids: Annotated[list[Uuid], DOCUMENTED]


class StageRemoval(Body):
    """Where the leads of a deleted stage go."""

    reassign_to_stage_id: Annotated[Uuid | None, ASSUMED] = None


class Dashboard(Record):
    """The CRM's aggregates: documented as an object, none of its fields are. Read them from `wire`."""


GET_DASHBOARD = Operation(
    "get_dashboard",
    "Get the dashboard's aggregates",
    "GET",
    "/dashboard",
    answer=One(Dashboard, "dashboard"),
    evidence=DOCUMENTED,
    error_responses=1,
)
LIST_STAGES = Operation(
    "list_pipeline_stages",
    "List the pipeline's stages",
    "GET",
    "/pipeline-stages",
    answer=Many(PipelineStage, "stages"),
    evidence=DOCUMENTED,
    error_responses=1,
)
CREATE_STAGE = Operation(
    "create_pipeline_stage",
    "Create a stage",
    "POST",
    "/pipeline-stages",
    answer=Written(PipelineStage, "stage"),
    evidence=ASSUMED,
    body=NewStage,
    error_responses=2,
)
REORDER_STAGES = Operation(
    "reorder_pipeline_stages",
    "Set the order of the stages",
    "POST",
    "/pipeline-stages/reorder",
    answer=Done(),
    evidence=ASSUMED,
    body=StageOrder,
    error_responses=2,
)
UPDATE_STAGE = Operation(
    "update_pipeline_stage",
    "Update a stage",
    "PATCH",
    "/pipeline-stages/{stage_id}",
    answer=Written(PipelineStage, "stage"),
    evidence=ASSUMED,
    body=StageChanges,
    error_responses=3,
)
DELETE_STAGE = Operation(
    "delete_pipeline_stage",
    "Delete a stage, its leads moving to another",
    "DELETE",
    "/pipeline-stages/{stage_id}",
    answer=Done(),
    evidence=ASSUMED,
    body=StageRemoval,
    error_responses=4,
)


class Pipeline:
    """`crm.pipeline`. The CRM has no GET for a single stage."""

    def __init__(self, client: CrmClient) -> None:
        self._client = client

    async def dashboard(self) -> Dashboard:
        return await self._client.call(GET_DASHBOARD)

    async def stages(self) -> list[PipelineStage]:
        """The stages in the pipeline's order."""
        stages = (await self._client.call(LIST_STAGES)).records
        return sorted(stages, key=lambda stage: stage.sort_order or 0)

    async def create(self, stage: NewStage) -> PipelineStage | None:
        """The new stage, or None where the CRM's answer does not show it."""
        return await self._client.call(CREATE_STAGE, body=stage)

    async def update(self, stage_id: str, changes: StageChanges) -> PipelineStage | None:
        """The stage as it is now, or None where the CRM's answer does not show it."""
        return await self._client.call(UPDATE_STAGE, body=changes, stage_id=stage_id)

    async def reorder(self, stage_ids: list[str]) -> None:
        """Set the order; `stage_ids` are all of the stages."""
        await self._client.call(REORDER_STAGES, body=StageOrder(stage_ids=stage_ids))

    async def delete(self, stage_id: str, *, reassign_to_stage_id: str | None = None) -> None:
        """Raises ConflictError when the stage has leads and nowhere to put them."""
        target = (
            StageRemoval(reassign_to_stage_id=reassign_to_stage_id)
            if reassign_to_stage_id
            else StageRemoval()
        )
        await self._client.call(DELETE_STAGE, body=target, stage_id=stage_id)
