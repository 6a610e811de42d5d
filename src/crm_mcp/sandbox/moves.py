"""What happens to a lead that enters a stage, however it gets there (assumed; row 28 of `crm-api.md`)."""

from crm_mcp.sandbox.store import Record, SqlValue, Store, new_id


def on_entering(
    stage: Record, probability_pct: SqlValue, lost_reason: str | None, now: str
) -> dict[str, SqlValue]:
    """The columns of a lead that its stage decides."""
    closing: dict[str, SqlValue]
    if stage["kind"] == "open":
        default = stage["default_probability_pct"]
        closing = {"probability_pct": probability_pct if default is None else default, "closed_at": None}
    else:
        closing = {"probability_pct": 100 if stage["kind"] == "won" else 0, "closed_at": now}
    return {"stage_id": stage["id"], "lost_reason": lost_reason, **closing}


def move_lead(
    store: Store, lead: Record, origin: Record, stage: Record, lost_reason: str | None = None
) -> None:
    """Put the lead into the other stage, and say so on its timeline."""
    now = store.now()
    changes = on_entering(stage, lead["probability_pct"], lost_reason, now)
    store.update("leads", lead["id"], {**changes, "updated_at": now})
    change = {
        "id": new_id(),
        "lead_id": lead["id"],
        "subject": f"Stage: {origin['name']} → {stage['name']}",
        "body": lost_reason,
        "occurred_at": now,
    }
    store.insert("stage_changes", change)
