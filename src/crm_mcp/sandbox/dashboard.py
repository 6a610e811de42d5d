"""The dashboard: row 2 of `crm-api.md`, all of whose fields are assumed."""

from datetime import UTC, datetime, timedelta
from typing import Final

from crm_mcp.sandbox.call import Answer, Call, Json, Operation
from crm_mcp.sandbox.store import utc

_BY_STAGE: Final = """
    SELECT s.id, s.name, coalesce(sum(t.n), 0) AS n, coalesce(sum(t.cents), 0) AS cents
    FROM stages s LEFT JOIN lead_tally t ON t.entity_no = s.entity_no AND t.stage_id = s.id
    WHERE s.entity_no = ? GROUP BY s.id ORDER BY s.sort_order
"""
_BY_CURRENCY: Final = """
    SELECT t.currency, sum(t.cents) AS cents, sum(t.cent_percents) AS cent_percents
    FROM lead_tally t JOIN stages s ON s.id = t.stage_id
    WHERE t.entity_no = ? AND s.kind = 'open' AND t.currency <> '' AND t.n > 0
    GROUP BY t.currency ORDER BY t.currency
"""
_OPEN_LEADS: Final = """
    SELECT sum(n) FROM lead_tally t JOIN stages s ON s.id = t.stage_id
    WHERE t.entity_no = ? AND s.kind = 'open'
"""
_WON: Final = """
    SELECT count(*) AS n, coalesce(sum(value), 0) AS value FROM leads
    WHERE entity_no = ? AND closed_at >= ?
    AND stage_id IN (SELECT id FROM stages WHERE kind = 'won')
"""
_OVERDUE: Final = """
    SELECT count(*) FROM activities
    WHERE entity_no = ? AND type = 'task'
    AND (completed_at IS NOT NULL) = 0 AND (due_at IS NULL) = 0 AND due_at < ?
"""


def get_dashboard(call: Call) -> Answer:
    store, entity_no = call.store, call.caller.entity_no
    now = datetime.now(UTC)
    month = now.replace(day=1, hour=0, minute=0, second=0, microsecond=0)
    return 200, {
        "companies": store.number("SELECT sum(n) FROM company_tally WHERE entity_no = ?", entity_no),
        "contacts": store.number("SELECT n FROM contact_tally WHERE entity_no = ?", entity_no),
        "openLeads": store.number(_OPEN_LEADS, entity_no),
        "pipelineValue": _pipeline_value(call),
        "leadsByStage": [
            {"stageId": row["id"], "name": row["name"], "count": row["n"], "value": row["cents"] / 100}
            for row in store.all(_BY_STAGE, entity_no)
        ],
        "wonThisMonth": _won_since(call, utc(month)),
        "overdueTasks": store.number(_OVERDUE, entity_no, utc(now)),
        "activitiesLast30Days": store.number(
            "SELECT sum(n) FROM activity_tally WHERE entity_no = ? AND day BETWEEN ? AND ?",
            entity_no,
            (now - timedelta(days=30)).date().isoformat(),
            now.date().isoformat(),
        ),
    }


def _pipeline_value(call: Call) -> list[Json]:
    return [
        {
            "currency": row["currency"],
            "value": row["cents"] / 100,
            "weightedValue": row["cent_percents"] / 10_000,
        }
        for row in call.store.all(_BY_CURRENCY, call.caller.entity_no)
    ]


def _won_since(call: Call, moment: str) -> Json:
    [row] = call.store.all(_WON, call.caller.entity_no, moment)
    return {"count": row["n"], "value": row["value"]}


OPERATIONS: Final[list[Operation]] = [("GET", "/dashboard", get_dashboard)]
