"""What a person reads and decides on the command line: the record of all writes, approvals, taking back."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import anyio

from crm_mcp import backend
from crm_mcp.approvals import approval_of, let_through, question_of, refuse
from crm_mcp.calls import CALL, NOTHING_SENT, Call, Planned
from crm_mcp.crm.errors import DeclinedError, RefusedError
from crm_mcp.gate import Gate
from crm_mcp.journal import LedgerError, NoLedgerError
from crm_mcp.ledger import Approval, ApprovalError, Change, Ledger
from crm_mcp.memory import MIN_SHORT_CHARS, Memory
from crm_mcp.settings import Settings, SettingsError
from crm_mcp.terminal import NoTerminalError, ask, plain
from crm_mcp.undo import NOTHING_UNDONE, undo

BY = "terminal"


@contextmanager
def opened(settings: Settings, *, listing: bool = False) -> Iterator[Ledger]:
    """The ledger that the settings mean; a person's command makes none.

    Who only lists is told that nothing was written yet, unless the file was named: then its name is wrong.

    Raises SettingsError where it cannot be used.
    """
    try:
        try:
            ledger = backend.existing_ledger(settings)
        except NoLedgerError as error:
            if settings.ledger or not listing:
                raise
            print(f"crm-mcp: {error}", file=sys.stderr)
            ledger = Ledger.open(None)
        try:
            yield ledger
        finally:
            ledger.shut()
    except ApprovalError:
        raise
    except LedgerError as error:
        raise SettingsError(str(error)) from error


# Changes


@dataclass(frozen=True, slots=True)
class ChangeLine:
    """A change for a table."""

    change: Change
    approved_by: str | None

    def cells(self) -> tuple[str, ...]:
        change = self.change
        more = {
            "undone by": change.undone_by,
            "undoes": change.undoes,
            "approved:": self.approved_by,
        }
        title = " ".join([change.title, *(f"({what} {who})" for what, who in more.items() if who)])
        told = f"{title}: {change.detail}" if change.detail else title
        who = plain(change.principal)
        return _moment(change.opened_at), change.id, change.outcome, who, change.tool, plain(told)


def change_fields(change: Change, approved_by: str | None) -> dict[str, Any]:
    """All that is on record of a change, as JSON can say it."""
    values = {name: _said(value) for name, value in asdict(change).items()}
    del values["subject"]
    record = change.subject._asdict() if change.subject else None
    first = {"id": values.pop("id"), "at": values.pop("opened_at")}
    return {**first, **values, "approved_by": approved_by, "record": record}


# Approvals


def approval_fields(approval: Approval) -> dict[str, Any]:
    return {
        "id": approval.id,
        "tool": approval.tool,
        "preview": approval.preview,
        "expires_at": _said(approval.expires_at),
    }


def approval_text(approval: Approval) -> str:
    indented = "\n".join(f"  {line}" for line in plain(approval.preview).split("\n"))
    asked = f"{approval.tool} for {plain(approval.principal)} in {plain(approval.crm)}"
    return f"{approval.id}  {asked}, until {_moment(approval.expires_at)}\n{indented}"


def decide(ledger: Ledger, said: str) -> tuple[str, bool]:
    """Let the person at the terminal decide about an approval; what became of it, and whether they approved.

    Raises ApprovalError where it does not wait, and NoTerminalError.
    """
    asked = _waiting(ledger, said)
    text = (
        f"An assistant wants to do this in {asked.crm}:\n\n{asked.preview}\n\n"
        f"Asked for by {asked.principal} with {asked.tool}; approval {asked.id[:MIN_SHORT_CHARS]}, "
        f"until {_moment(asked.expires_at)}."
    )
    approved = ask(text, "Approve it? Type yes or no: ")
    if approved is None:
        return f"Nothing was decided: it still waits, until {_moment(asked.expires_at)}.", False
    ledger.decide(asked.id, approved=approved, by=BY)
    if not approved:
        return "Declined. Nothing will be sent.", False
    return "Approved, for once. Tell the assistant to go on: it makes the same call again.", True


def _waiting(ledger: Ledger, said: str) -> Approval:
    start = said.strip().lower()
    alike = [one for one in ledger.waiting() if one.id.startswith(start)]
    if len(start) >= MIN_SHORT_CHARS and alike:
        if len(alike) > 1:
            raise ApprovalError(f'Several approvals begin with "{start}": give more. Nothing was decided.')
        return alike[0]
    asked = ledger.approval(start)
    raise ApprovalError(
        f"Approval {asked.id} does not wait any more: it is {asked.state}. Nothing was decided."
    )


# Taking back


def take_back(settings: Settings, ledger: Ledger, principal: str, change_id: str) -> str:
    """Undo a change when the person at the terminal wants it, shown what that does; what became of it.

    Raises CrmError, ApprovalError and NoTerminalError; then nothing was undone, or nobody knows.
    """
    policy = settings.policy
    call = Call("undo_change", {"change": change_id})
    call.guarded = policy.guards(call.tool, call.arguments)
    planned: list[Planned] = []
    call.rehearsal = planned
    memory = Memory()
    change = anyio.run(_undo, settings, ledger, principal, call, memory)
    call.rehearsal = None
    if not planned:
        raise RefusedError(f"The CRM has it as it was before. {NOTHING_UNDONE}")
    if policy.approval == "never" and call.guarded:
        problem = f"`{call.tool}` needs a person's approval, and CRM_MCP_APPROVAL is never. {NOTHING_SENT}"
        anyio.run(refuse, ledger, call, planned, "refused", RefusedError(problem))
    _ask_to_undo(ledger, call, planned, question_of(call, planned).preview)
    approval = anyio.run(approval_of, ledger, call, planned, policy.approval_seconds)
    if approval.state == "waiting":
        approval = ledger.decide(approval.id, approved=True, by=BY)
    anyio.run(let_through, ledger, call, planned, approval)
    call.guarded = True
    anyio.run(_undo, settings, ledger, principal, call, memory)
    [done] = [*call.changes, *call.repeats]
    return plain("\n".join([f'"{change.title}" is undone, by change {done}.', *call.notes]))


def _ask_to_undo(ledger: Ledger, call: Call, planned: Sequence[Planned], preview: str) -> None:
    """Raises DeclinedError or NoTerminalError, on record, unless the person says yes."""
    try:
        answer = ask(preview, "Do it? Type yes or no: ")
    except NoTerminalError as error:
        anyio.run(refuse, ledger, call, planned, "refused", error)
        raise
    if answer:
        return
    problem = "The person was asked and did not answer." if answer is None else "The person said no."
    declined = DeclinedError(f"{problem} {NOTHING_UNDONE}")
    anyio.run(refuse, ledger, call, planned, "declined", declined)


async def _undo(settings: Settings, ledger: Ledger, principal: str, call: Call, memory: Memory) -> Change:
    """Do or, where the call is a rehearsal, plan it; whoever trusts a client does not trust this program."""
    from crm_mcp.tenant import Tenant  # noqa: PLC0415

    CALL.set(call)
    async with backend.opener(settings)() as crm:
        tenant = Tenant(crm, memory, settings.marketing_lists)
        gate = Gate(tenant, lambda: ledger, replace(settings.policy, approval="ask"), principal)
        return await undo(replace(tenant, client=crm.through(gate)), ledger, call.arguments["change"])


def _moment(at: datetime) -> str:
    """On the clock of the person who reads it."""
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


def _said(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else value
