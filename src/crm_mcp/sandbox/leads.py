"""Leads, their stage and their timeline: rows 22 to 28 of `crm-api.md`."""

from typing import Any, Final

from crm_mcp.sandbox import records
from crm_mcp.sandbox.call import Answer, ApiError, Call, Fields, Json, Operation, to_wire
from crm_mcp.sandbox.listing import Conditions, Listing, SearchQuery, page, search
from crm_mcp.sandbox.moves import move_lead, on_entering
from crm_mcp.sandbox.search import lead_texts
from crm_mcp.sandbox.store import Record, new_id
from crm_mcp.sandbox.values import Currency, Day, Money, Owner, Percent, RequiredText, Text, Uuid

_SELECT: Final = """
    SELECT id, title, company_id, contact_id, stage_id, owner_user_id, value, currency, probability_pct,
        expected_close_date, source, description, lost_reason, closed_at, last_activity_at,
        created_at, updated_at
    FROM leads
"""
_LIST: Final = Listing("leads", "leads", _SELECT, order="updated_at DESC, id")
_DEFAULT_CURRENCY: Final = "EUR"


class LeadQuery(SearchQuery):
    company_id: Uuid | None = None
    contact_id: Uuid | None = None
    stage_id: Uuid | None = None
    stage: Text | None = None


class LeadPatch(Fields):
    title: RequiredText = ""
    company_id: Uuid | None = None
    contact_id: Uuid | None = None
    stage_id: Uuid = ""
    owner_user_id: Owner | None = None
    value: Money | None = None
    currency: Currency | None = None
    probability_pct: Percent | None = None
    expected_close_date: Day | None = None
    source: Text | None = None
    description: Text | None = None


class LeadCreate(LeadPatch):
    title: RequiredText


class StageMove(Fields):
    stage_id: Uuid | None = None
    stage: RequiredText | None = None
    lost_reason: Text | None = None


def list_leads(call: Call) -> Answer:
    query = call.query_as(LeadQuery)
    conditions = Conditions(call.caller.entity_no)
    if query.stage_id:
        conditions.add("stage_id = ?", query.stage_id)
    if query.stage:
        stage = _stage_named(call, query.stage)
        conditions.add("stage_id = ?", stage["id"] if stage else None)
    total = None
    if not (query.q or query.company_id or query.contact_id):
        sql = f"SELECT sum(n) FROM lead_tally WHERE {conditions.sql()}"  # noqa: S608  (clauses are our own)
        total = call.store.number(sql, *conditions.parameters)
    conditions.add_reference("company_id", query.company_id)
    conditions.add_reference("contact_id", query.contact_id)
    search(call, "leads", query.q, conditions)
    return 200, page(call, query, _LIST, conditions, total=total)


def create_lead(call: Call) -> Answer:
    body = call.body_as(LeadCreate)
    given = body.model_dump(exclude_unset=True)
    _check_references(call, given)
    stage = _first_stage(call, body.stage_id)
    lead_id, now = new_id(), call.store.now()
    values = {**on_entering(stage, None, None, now), **given, "created_at": now, "updated_at": now}
    values |= {"currency": _currency(values), **lead_texts(values)}
    call.store.insert_searched("leads", call.caller.entity_no, {"id": lead_id, **values})
    return 201, _lead(call, lead_id)


def get_lead(call: Call) -> Answer:
    return 200, _lead(call, records.of_path(call, "leads", "lead_id")["id"])


def update_lead(call: Call) -> Answer:
    lead = records.of_path(call, "leads", "lead_id")
    changes = call.body_as(LeadPatch).model_dump(exclude_unset=True)
    _check_references(call, changes)
    stage_id = changes.pop("stage_id", lead["stage_id"])
    if stage_id != lead["stage_id"]:
        _move(call, lead, records.referred(call, "stages", "stageId", stage_id), None)
    if changes:
        changed = {**lead, **changes}
        changes |= {"currency": _currency(changed), "updated_at": call.store.now(), **lead_texts(changed)}
        call.store.update("leads", lead["id"], changes)
    return 200, _lead(call, lead["id"])


def delete_lead(call: Call) -> Answer:
    """The activities and the timeline go with it."""
    lead = records.of_path(call, "leads", "lead_id")
    call.store.execute("DELETE FROM leads WHERE id = ?", lead["id"])
    return 204, None


def move_to_stage(call: Call) -> Answer:
    lead = records.of_path(call, "leads", "lead_id")
    body = call.body_as(StageMove)
    stage = _wanted_stage(call, body)
    if body.lost_reason is not None and stage["kind"] != "lost":
        raise ApiError(400, f"lostReason: {stage['name']} is not a lost stage.")
    if stage["id"] != lead["stage_id"]:
        _move(call, lead, stage, body.lost_reason)
    elif body.lost_reason is not None:
        changes = {"lost_reason": body.lost_reason, "updated_at": call.store.now()}
        call.store.update("leads", lead["id"], changes)
    return 200, _lead(call, lead["id"])


def list_timeline(call: Call) -> Answer:
    """Activities (sent e-mails are among them) and stage changes, newest first."""
    lead = records.of_path(call, "leads", "lead_id")
    rows = call.store.all(
        "SELECT id, type, subject, occurred_at, body FROM activities WHERE lead_id = ?"
        " UNION ALL"
        " SELECT id, 'stage_change', subject, occurred_at, body FROM stage_changes WHERE lead_id = ?"
        " ORDER BY occurred_at DESC, id",
        lead["id"],
        lead["id"],
    )
    return 200, {"timeline": [_timeline_entry(row) for row in rows]}


def _timeline_entry(row: Record) -> Json:
    entry = to_wire(row)
    if entry["body"] is None:
        del entry["body"]
    return entry


def _check_references(call: Call, given: dict[str, Any]) -> None:
    if given.get("company_id"):
        records.referred(call, "companies", "companyId", given["company_id"])
    if given.get("contact_id"):
        records.referred(call, "contacts", "contactId", given["contact_id"])


def _first_stage(call: Call, stage_id: str) -> Record:
    if stage_id:
        return records.referred(call, "stages", "stageId", stage_id)
    return call.store.all(
        "SELECT * FROM stages WHERE entity_no = ? AND kind = 'open' ORDER BY sort_order LIMIT 1",
        call.caller.entity_no,
    )[0]


def _currency(lead: dict[str, Any]) -> str | None:
    """A value without a currency would count nowhere."""
    currency: str | None = lead.get("currency")
    return _DEFAULT_CURRENCY if currency is None and lead.get("value") is not None else currency


def _wanted_stage(call: Call, body: StageMove) -> Record:
    if body.stage_id is not None:
        return records.referred(call, "stages", "stageId", body.stage_id)
    if body.stage is None:
        raise ApiError(400, "stageId or stage is required.")
    stage = _stage_named(call, body.stage)
    if stage is None:
        raise ApiError(400, f"stage: there is no stage {body.stage}.")
    return stage


def _stage_named(call: Call, text: str) -> Record | None:
    """The stage of that name or, failing that, of that system key."""
    return call.store.one(
        "SELECT * FROM stages WHERE entity_no = ?1 AND (name_key = ?2 OR casefold(system_key) = ?2)"
        " ORDER BY name_key = ?2 DESC",
        call.caller.entity_no,
        text.strip().casefold(),
    )


def _move(call: Call, lead: Record, stage: Record, lost_reason: str | None) -> None:
    origin = call.store.all("SELECT * FROM stages WHERE id = ?", lead["stage_id"])[0]
    move_lead(call.store, lead, origin, stage, lost_reason)


def _lead(call: Call, lead_id: str) -> Json:
    [row] = call.store.all(f"{_SELECT} WHERE id = ?", lead_id)
    return to_wire(row)


OPERATIONS: Final[list[Operation]] = [
    ("GET", "/leads", list_leads),
    ("POST", "/leads", create_lead),
    ("GET", "/leads/{lead_id}", get_lead),
    ("PATCH", "/leads/{lead_id}", update_lead),
    ("DELETE", "/leads/{lead_id}", delete_lead),
    ("GET", "/leads/{lead_id}/timeline", list_timeline),
    ("PATCH", "/leads/{lead_id}/stage", move_to_stage),
]
