"""Pipeline stages: rows 17 to 21 of `crm-api.md`.

Assumed: names are unique whatever their case, and one open stage always remains, for new leads to start in.
"""

from typing import Final

from crm_mcp.sandbox import records
from crm_mcp.sandbox.call import Answer, ApiError, Call, Fields, Json, Operation, to_wire
from crm_mcp.sandbox.moves import move_lead
from crm_mcp.sandbox.store import Record, new_id
from crm_mcp.sandbox.values import Percent, RequiredText, StageKind, Text, Uuid

_SELECT: Final = """
    SELECT id, name, kind, sort_order, default_probability_pct, color_key, system_key, coalesce((
        SELECT sum(n) FROM lead_tally t WHERE t.entity_no = stages.entity_no AND t.stage_id = stages.id
    ), 0) AS lead_count
    FROM stages
"""


class StagePatch(Fields):
    name: RequiredText = ""
    kind: StageKind = "open"
    default_probability_pct: Percent | None = None
    color_key: Text | None = None


class StageCreate(StagePatch):
    name: RequiredText


class StageOrder(Fields):
    stage_ids: list[Uuid]


class StageRemoval(Fields):
    reassign_to_stage_id: Uuid | None = None


def list_stages(call: Call) -> Answer:
    rows = call.store.all(f"{_SELECT} WHERE entity_no = ? ORDER BY sort_order", call.caller.entity_no)
    return 200, {"stages": [to_wire(row) for row in rows]}


def create_stage(call: Call) -> Answer:
    body = call.body_as(StageCreate)
    _refuse_taken_name(call, body.name)
    stage_id, entity_no = new_id(), call.caller.entity_no
    order = call.store.number("SELECT max(sort_order) + 1 FROM stages WHERE entity_no = ?", entity_no)
    values = {"id": stage_id, "entity_no": entity_no, "sort_order": order, **body.model_dump()}
    call.store.insert("stages", values)
    return 201, _stage(call, stage_id)


def reorder_stages(call: Call) -> Answer:
    stage_ids = call.body_as(StageOrder).stage_ids
    if sorted(stage_ids) != sorted(_ids_in_order(call)):
        raise ApiError(400, "stageIds: must name each stage of the pipeline exactly once.")
    _number(call, stage_ids)
    return list_stages(call)


def update_stage(call: Call) -> Answer:
    stage = records.of_path(call, "stages", "stage_id")
    changes = call.body_as(StagePatch).model_dump(exclude_unset=True)
    if "name" in changes:
        _refuse_taken_name(call, changes["name"], besides=stage["id"])
    if changes.get("kind", stage["kind"]) != stage["kind"]:
        _refuse_last_open(call, stage)
        if _stage(call, stage["id"])["leadCount"]:
            raise ApiError(409, "kind: cannot change while the stage has leads.")
    if changes:
        call.store.update("stages", stage["id"], changes)
    return 200, _stage(call, stage["id"])


def delete_stage(call: Call) -> Answer:
    stage = records.of_path(call, "stages", "stage_id")
    body = call.body_as(StageRemoval)
    target = None
    if body.reassign_to_stage_id is not None:
        target = records.referred(call, "stages", "reassignToStageId", body.reassign_to_stage_id)
        if target["id"] == stage["id"]:
            raise ApiError(400, "reassignToStageId: must be another stage than the one to delete.")
    _refuse_last_open(call, stage)
    leads = "SELECT * FROM leads WHERE entity_no = ? AND stage_id = ?"
    for lead in call.store.all(leads, call.caller.entity_no, stage["id"]):
        if target is None:
            raise ApiError(409, "The stage has leads; name another stage for them in reassignToStageId.")
        move_lead(call.store, lead, stage, target)
    call.store.execute("DELETE FROM stages WHERE id = ?", stage["id"])
    _number(call, _ids_in_order(call))
    return 204, None


def _refuse_taken_name(call: Call, name: str, besides: str = "") -> None:
    taken = call.store.one(
        "SELECT 1 FROM stages WHERE entity_no = ? AND name_key = ? AND id <> ?",
        call.caller.entity_no,
        name.casefold(),
        besides,
    )
    if taken:
        raise ApiError(409, f"name: there is a stage {name} already.")


def _refuse_last_open(call: Call, stage: Record) -> None:
    others = call.store.number(
        "SELECT count(*) FROM stages WHERE entity_no = ? AND kind = 'open' AND id <> ?",
        call.caller.entity_no,
        stage["id"],
    )
    if stage["kind"] == "open" and not others:
        raise ApiError(409, "This is the last open stage; new leads need one to start in.")


def _ids_in_order(call: Call) -> list[str]:
    rows = call.store.all(
        "SELECT id FROM stages WHERE entity_no = ? ORDER BY sort_order", call.caller.entity_no
    )
    return [row["id"] for row in rows]


def _number(call: Call, stage_ids: list[str]) -> None:
    for order, stage_id in enumerate(stage_ids):
        call.store.update("stages", stage_id, {"sort_order": order})


def _stage(call: Call, stage_id: str) -> Json:
    [row] = call.store.all(f"{_SELECT} WHERE id = ?", stage_id)
    return to_wire(row)


OPERATIONS: Final[list[Operation]] = [
    ("GET", "/pipeline-stages", list_stages),
    ("POST", "/pipeline-stages", create_stage),
    ("POST", "/pipeline-stages/reorder", reorder_stages),
    ("PATCH", "/pipeline-stages/{stage_id}", update_stage),
    ("DELETE", "/pipeline-stages/{stage_id}", delete_stage),
]
