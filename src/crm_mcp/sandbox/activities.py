"""Activities and tasks: rows 29 to 32 of `crm-api.md`. A task is an activity of type `task` (assumed)."""

from collections.abc import Mapping
from typing import Final

from crm_mcp.sandbox import records
from crm_mcp.sandbox.call import Answer, Call, Fields, Json, Operation, to_wire
from crm_mcp.sandbox.listing import Conditions, Listing, PageQuery, page
from crm_mcp.sandbox.store import Record, SqlValue, new_id
from crm_mcp.sandbox.values import ActivityType, Minutes, Moment, RequiredText, Text, Uuid

_SELECT: Final = """
    SELECT id, type, subject, body, occurred_at, due_at, completed_at, duration_minutes, lead_id, company_id,
        contact_id, created_at
    FROM activities
"""
_ACTIVITIES: Final = Listing("activities", "activities", _SELECT, order="occurred_at DESC, id")
_TASKS: Final = Listing(
    "tasks", "activities", _SELECT, order="completed_at IS NOT NULL, due_at IS NULL, due_at, id"
)


class TaskQuery(PageQuery):
    lead_id: Uuid | None = None


class ActivityQuery(TaskQuery):
    company_id: Uuid | None = None


class LeadActivityCreate(Fields):
    type: ActivityType
    subject: RequiredText
    body: Text | None = None
    occurred_at: Moment | None = None
    due_at: Moment | None = None
    duration_minutes: Minutes | None = None
    contact_id: Uuid | None = None


class ActivityCreate(LeadActivityCreate):
    lead_id: Uuid | None = None
    company_id: Uuid | None = None


def list_activities(call: Call) -> Answer:
    query = call.query_as(ActivityQuery)
    conditions = Conditions(call.caller.entity_no)
    conditions.add_reference("lead_id", query.lead_id)
    conditions.add_reference("company_id", query.company_id)
    total = None
    if not (query.lead_id or query.company_id):
        total = call.store.number(
            "SELECT sum(n) FROM activity_tally WHERE entity_no = ?", call.caller.entity_no
        )
    return 200, page(call, query, _ACTIVITIES, conditions, total=total)


def list_tasks(call: Call) -> Answer:
    query = call.query_as(TaskQuery)
    conditions = Conditions(call.caller.entity_no)
    conditions.add("type = 'task'")
    conditions.add_reference("lead_id", query.lead_id)
    return 200, page(call, query, _TASKS, conditions)


def create_lead_activity(call: Call) -> Answer:
    lead = records.of_path(call, "leads", "lead_id")
    return 201, add_activity(call, call.body_as(LeadActivityCreate).model_dump(), lead)


def create_activity(call: Call) -> Answer:
    body = call.body_as(ActivityCreate)
    lead = records.referred(call, "leads", "leadId", body.lead_id) if body.lead_id else None
    if body.company_id:
        records.referred(call, "companies", "companyId", body.company_id)
    return 201, add_activity(call, body.model_dump(), lead)


def add_activity(call: Call, given: Mapping[str, SqlValue], lead: Record | None) -> Json:
    """Record the activity and let its lead know. What it does not say about whom, the lead says."""
    if contact_id := given.get("contact_id"):
        records.referred(call, "contacts", "contactId", str(contact_id))
    activity_id, now = new_id(), call.store.now()
    occurred_at = given.get("occurred_at") or now
    values = {
        **given,
        "id": activity_id,
        "entity_no": call.caller.entity_no,
        "occurred_at": occurred_at,
        "created_at": now,
    }
    if lead is not None:
        values["lead_id"] = lead["id"]
        values["company_id"] = given.get("company_id") or lead["company_id"]
        values["contact_id"] = contact_id or lead["contact_id"]
        call.store.execute(
            "UPDATE leads SET last_activity_at = max(coalesce(last_activity_at, ''), ?) WHERE id = ?",
            occurred_at,
            lead["id"],
        )
    call.store.insert("activities", values)
    [row] = call.store.all(f"{_SELECT} WHERE id = ?", activity_id)
    return to_wire(row)


OPERATIONS: Final[list[Operation]] = [
    ("POST", "/leads/{lead_id}/activities", create_lead_activity),
    ("GET", "/activities", list_activities),
    ("POST", "/activities", create_activity),
    ("GET", "/tasks", list_tasks),
]
