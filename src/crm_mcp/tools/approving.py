"""A person's word on what is guarded: asked for through the client, or given elsewhere between two calls."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from functools import wraps
from typing import Annotated, Any, get_type_hints

from mcp.server.mcpserver import (
    AcceptedElicitation,
    Context,
    DeclinedElicitation,
    Elicit,
    ElicitationResult,
    Resolve,
)
from pydantic import BaseModel, Field, StrictBool

from crm_mcp.access import CrmAccess
from crm_mcp.approvals import approval_of, keep_unsent, let_through, overtaken, refuse
from crm_mcp.calls import CALL, NOTHING_SENT, Call, Planned
from crm_mcp.crm.errors import DeclinedError, RefusedError
from crm_mcp.ledger import Approval, NeverSent, patiently
from crm_mcp.tools.asking import can_ask
from crm_mcp.tools.catalogue import ToolFunction

# As an error it must leave room for how it can be approved.
MAX_PREVIEW_BYTES = 7_000


class Word(BaseModel):
    """What a person said of what an assistant is about to do."""

    approve: StrictBool = Field(title="Approve", description="Nothing is done without it.")


def approving(function: ToolFunction) -> ToolFunction:
    """The same tool, which does what is guarded only with a person's word.

    The function is rehearsed first: its writes are collected instead of sent. That is what the person is
    shown, and only that is let through afterwards.
    """

    async def rehearsed(ctx: Context[CrmAccess], **arguments: Any) -> list[Planned]:
        call, policy = CALL.get(), ctx.request_context.lifespan_context.policy
        call.guarded = policy.guards(call.tool, call.arguments)
        trusted = policy.trusts_client(call.tool, call.arguments)
        if trusted or not (call.guarded or policy.may_guard(call.tool, call.arguments)):
            return []
        call.rehearsal = []
        try:
            await function(**arguments)
            return call.rehearsal if call.guarded else []
        finally:
            call.rehearsal = None

    async def asked(ctx: Context[CrmAccess], planned: list[Planned]) -> Word | Elicit[Word]:
        if ctx.request_context.lifespan_context.policy.approval == "never" or not (planned and can_ask(ctx)):
            return Word(approve=False)
        is_answered, asked_at = key in (ctx.input_responses or {}), datetime.now(UTC)
        approval = await _approval(ctx, planned)
        if is_answered and approval.created_at >= asked_at:
            await _keep_unasked(ctx, planned, approval)
        # An answer that has come counts, although somebody approved it elsewhere meanwhile.
        if approval.state == "approved" and not is_answered:
            return Word(approve=False)
        CALL.get().asked = approval.id
        return Elicit(_question(approval), Word)

    key = f"{asked.__module__}:{asked.__qualname__}"

    async def approved(
        ctx: Context[CrmAccess], planned: list[Planned], word: ElicitationResult[Word], **arguments: Any
    ) -> Any:
        if planned:
            await _approve(ctx, planned, word)
        return await function(**arguments)

    plan = Annotated[list[Planned], Resolve(_like(function, rehearsed, ctx=Context[CrmAccess]))]
    asked.__annotations__["planned"] = plan
    word = Annotated[ElicitationResult[Word], Resolve(asked)]
    return _like(function, approved, ctx=Context[CrmAccess], planned=plan, word=word)


def _like(function: ToolFunction, wrapper: Callable[..., Any], **more: Any) -> Callable[..., Any]:
    """The wrapper with the function's name and parameters, and some more."""
    hints = get_type_hints(function, include_extras=True)
    given = inspect.signature(function)
    own = [parameter.replace(annotation=hints[name]) for name, parameter in given.parameters.items()]
    added = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=annotation)
        for name, annotation in more.items()
        if name not in given.parameters
    ]
    wrapped: Any = wraps(function)(wrapper)
    wrapped.__signature__ = inspect.Signature([*own, *added])
    wrapped.__annotations__ = {parameter.name: parameter.annotation for parameter in [*own, *added]}
    return wrapped  # type: ignore[no-any-return]


async def _approval(ctx: Context[CrmAccess], planned: Sequence[Planned]) -> Approval:
    access, call = ctx.request_context.lifespan_context, CALL.get()
    return await approval_of(access.ledger(), call, planned, access.policy.approval_seconds)


def _start(preview: str) -> str:
    """As much of it as an error has room for; the person reads all of it where they approve."""
    cut = preview.encode()[:MAX_PREVIEW_BYTES].decode(errors="ignore")
    return preview if cut == preview else f"{cut}… (cut; all of it is shown where they approve)"


def _question(approval: Approval) -> str:
    return f"An assistant wants to do this in the CRM:\n\n{approval.preview}\n\n(approval {approval.id[:8]})"


async def _keep_unasked(ctx: Context[CrmAccess], planned: Sequence[Planned], approval: Approval) -> None:
    """What was answered was not this question, which is only asked now: the answer is on record."""
    ledger = ctx.request_context.lifespan_context.ledger()
    before = ledger.let_down(approval)
    outcome: NeverSent = "expired" if before and before.state == "expired" else "refused"
    why = f"The answer was to no question that holds. {NOTHING_SENT}"
    await keep_unsent(ledger, planned, outcome, why)


async def _approve(
    ctx: Context[CrmAccess], planned: Sequence[Planned], word: ElicitationResult[Word]
) -> None:
    """Mark the call as approved.

    Raises RefusedError, on record, where it is not.
    """
    access, call = ctx.request_context.lifespan_context, CALL.get()
    if access.policy.approval == "never":
        problem = f"`{call.tool}` needs a person's approval, and this server never asks for it."
        await refuse(access.ledger(), call, planned, "refused", RefusedError(f"{problem} {NOTHING_SENT}"))
    answer = word.data if call.asked and isinstance(word, AcceptedElicitation) else None
    approval = await (_answered(access, planned, answer) if answer else _approval(ctx, planned))
    if approval.state != "approved" and overtaken(access.ledger(), planned):
        # The gate answers with what becomes of that.
        await patiently(lambda: access.ledger().void(approval.id))
        return
    if approval.state != "approved" and not answer:
        outcome: NeverSent = "declined" if call.asked else "refused"
        before = None if call.asked else access.ledger().let_down(approval)
        if before:
            outcome = "declined" if before.state == "declined" else "expired"
            call.notes.append(_let_down(before))
        how = _how(access, call, approval, declined=isinstance(word, DeclinedElicitation))
        await refuse(access.ledger(), call, planned, outcome, RefusedError(how))
    await let_through(access.ledger(), call, planned, approval)


async def _answered(access: CrmAccess, planned: Sequence[Planned], answer: Word) -> Approval:
    """What a person was asked about, with their answer if it came in time.

    Raises RefusedError, on record, for a no; also where there was a yes elsewhere.
    """
    ledger, call, by = access.ledger(), CALL.get(), "asked through the client"
    approval = await patiently(lambda: ledger.answer(call.asked or "", approved=answer.approve, by=by))
    if not answer.approve:
        error = DeclinedError(f"The person said no. {NOTHING_SENT}")
        await refuse(ledger, call, planned, "declined", error)
    return approval


def _let_down(before: Approval) -> str:
    if before.state == "declined":
        return f"A person declined the same at {before.decided_at:%H:%M} UTC: ask them before trying again."
    return f"The earlier approval ended at {before.expires_at:%H:%M} UTC without being used."


def _how(access: CrmAccess, call: Call, approval: Approval, *, declined: bool) -> str:
    who = "A person must approve this."
    if call.asked:
        # Some clients decline by themselves.
        who = "The question was declined." if declined else "The person was asked and did not answer."
    until = f"{approval.expires_at:%H:%M} UTC"
    ways = []
    with suppress(OSError):  # there is no loopback
        ways.append(f"at {access.approval_link(approval.id)}")
    if access.approve_command:
        ways.append(f"with `{access.approve_command} {approval.id}`")
    return "\n".join(
        [
            f"{who} {NOTHING_SENT}",
            *call.notes,
            _start(approval.preview),
            f"They can approve it {' or '.join(ways)}, until {until}; then make the same call again."
            if ways
            else "Nobody can approve it on this machine.",
        ]
    )
