"""Tools for what was written: what became of it, and taking it back."""

from __future__ import annotations

from contextlib import suppress
from typing import Annotated

from pydantic import Field

from crm_mcp.calls import CALL
from crm_mcp.journal import LedgerError
from crm_mcp.ledger import Change, Ledger, Outcome
from crm_mcp.memory import Names
from crm_mcp.results import ChangeList, ChangeRow, UndoResult
from crm_mcp.tools.catalogue import Effect, Toolset, tool
from crm_mcp.tools.parameters import Changes, Crm, Limit, Principal
from crm_mcp.wording import sentence

# What may look different afterwards.
RECORDS = ("companies", "contacts", "leads", "pipeline-stages", "dashboard")


@tool(effect=Effect.READ, toolset=Toolset.READ, title="List changes")
async def list_changes(
    crm: Crm,
    ledger: Changes,
    principal: Principal,
    outcome: Annotated[Outcome | None, Field(description="Only these.")] = None,
    limit: Limit = 10,
) -> ChangeList:
    """What this person had written here, newest first, and what became of it. undo_change takes one back."""
    return latest_changes(ledger, crm.client.identity, principal, outcome, limit)


def latest_changes(
    ledger: Ledger, entity: str, principal: str, outcome: Outcome | None, limit: int
) -> ChangeList:
    outcomes = [outcome] if outcome else None
    found = ledger.changes(entity=entity, principal=principal, outcomes=outcomes, limit=limit + 1)
    rows = [row(change) for change in found[:limit]]
    return ChangeList(changes=rows, at_least=len(found) if len(found) > limit else None)


def row(change: Change) -> ChangeRow:
    return ChangeRow(
        id=change.id,
        at=change.opened_at,
        tool=change.tool,
        title=change.title,
        outcome=change.outcome,
        detail=change.detail or None,
        record_id=change.subject.id if change.subject else None,
        undoes=change.undoes,
        undone_by=change.undone_by,
    )


@tool(effect=Effect.UPDATE, toolset=Toolset.SALES, title="Undo a change")
async def undo_change(
    crm: Crm,
    ledger: Changes,
    change: Annotated[str, Field(description="Its id, from a result.")],
    preview: Annotated[bool, Field(description="Only tell what it would do.")] = False,
) -> UndoResult:
    """Take back an update, a move, a link or a create. Refused where the record was changed since."""
    from crm_mcp.undo import undo  # noqa: PLC0415  # only writing needs it

    call = CALL.get()
    if preview:
        call.rehearsal = []
    undone = await undo(crm, ledger, change)
    if preview:
        would = [
            line for planned in call.rehearsal or [] for line in (planned.attempt.title, *planned.details)
        ]
        return UndoResult(undone=row(undone), did=would).after("Nothing is undone yet. This would be done:")
    did = None
    # A rehearsal has written nothing; and what was done was, though the ledger cannot be read now.
    with suppress(LedgerError):
        done = [*call.repeats, *call.changes]
        did = ledger.get(done[-1]) if done else None
        undone = ledger.get(undone.id)
    fields = _fields(did, crm.memory.names) if did else []
    # What was taken back may have taken a change of another record.
    other = [did.title] if did and did.subject != undone.subject else []
    result = UndoResult(undone=row(undone), did=[*other, *fields])
    return result.after(sentence(f"Undone: {undone.title}"), *map("crm://{}".format, RECORDS))


def _fields(change: Change, names: Names) -> list[str]:
    """What it changed, a field each: `phone: 2 → 1`."""

    from crm_mcp.preview import shown  # noqa: PLC0415  # only writing needs it
    from crm_mcp.wording import worded  # noqa: PLC0415

    before = change.before or {}
    return [
        f"{worded(name)}: {shown(before.get(name), names.named)} → {shown(value, names.named)}"
        for name, value in change.body.items()
    ]
