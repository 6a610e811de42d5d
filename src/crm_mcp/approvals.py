"""What a person is asked about the planned writes of a call, and how their word lets just these through."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import NoReturn

from crm_mcp.calls import REPEAT_SECONDS, Call, Planned, digest
from crm_mcp.crm.errors import RefusedError
from crm_mcp.ledger import Approval, ApprovalError, Ledger, NeverSent, Question, patiently
from crm_mcp.wording import MAX_NAME_CHARS, clean

MAX_LINE_CHARS = 240


def question_of(call: Call, planned: Sequence[Planned]) -> Question:
    """What a person is to be asked about these writes."""
    attempt = planned[0].attempt
    exactly = [(one.attempt.key, one.attempt.targets, one.attempt.body, one.again) for one in planned]
    return Question(
        digest=digest([attempt.tool, *exactly]),
        principal=attempt.principal,
        entity=attempt.entity,
        tool=call.tool,
        preview="\n".join([*_lines(planned), *_left_out(call)]),
        plan={one.attempt.key: one.before for one in planned},
    )


def _lines(planned: Sequence[Planned]) -> list[str]:
    return [line for one in planned for line in (one.attempt.title, *(f"  {part}" for part in one.details))]


def _left_out(call: Call) -> Iterator[str]:
    """What a person may miss, with what could be meant by it."""
    for said, problem in call.left_out.items():
        first, *candidates = problem.splitlines()
        yield f'Not "{clean(said, MAX_NAME_CHARS)}": {clean(first, MAX_LINE_CHARS)}'
        yield from (f"  {clean(line, MAX_LINE_CHARS)}" for line in candidates)


async def approval_of(ledger: Ledger, call: Call, planned: Sequence[Planned], seconds: float) -> Approval:
    """The approval that waits for exactly this, or was given; void ones are not."""
    question = question_of(call, planned)
    found = await patiently(lambda: ledger.ask_for_approval(question, seconds=seconds))
    if (found.plan, found.preview) == (question.plan, question.preview):
        return found
    # What was shown is not so any more.
    await patiently(lambda: ledger.void(found.id))
    what = "The record" if found.plan != question.plan else "What is shown of it"
    call.notes.append(f"{what} changed since it was shown, so that the earlier approval is void.")
    return await patiently(lambda: ledger.ask_for_approval(question, seconds=seconds))


def overtaken(ledger: Ledger, planned: Sequence[Planned]) -> bool:
    """Whether all of it is on its way since it was planned, or done: the same call was approved elsewhere."""
    equal = [ledger.earlier(one.attempt, window_seconds=REPEAT_SECONDS) for one in planned]
    return all(
        change is not None and change.id != one.again and change.outcome in ("pending", "applied")
        for one, change in zip(planned, equal, strict=True)
    )


async def let_through(ledger: Ledger, call: Call, planned: Sequence[Planned], approval: Approval) -> None:
    """Use the approval up, and mark the call as approved.

    Raises RefusedError, on record, where it was not given for exactly this.
    """
    asked = question_of(call, planned)
    by = {"principal": asked.principal, "entity": asked.entity}
    try:
        await patiently(lambda: ledger.consume(approval.id, digest=asked.digest, **by))
    except ApprovalError as error:
        outcome: NeverSent = "expired" if approval.state == "expired" else "refused"
        await refuse(ledger, call, planned, outcome, RefusedError(str(error)))
    call.approval, call.approved = approval.id, approval.plan


async def refuse(
    ledger: Ledger, call: Call, planned: Sequence[Planned], outcome: NeverSent, error: Exception
) -> NoReturn:
    """Raise the error, whose first line goes on record for each of the writes."""
    await keep_unsent(ledger, planned, outcome, str(error).partition("\n")[0])
    call.on_record = True
    raise error


async def keep_unsent(ledger: Ledger, planned: Sequence[Planned], outcome: NeverSent, why: str) -> None:
    for one in planned:
        await patiently(partial(ledger.never_sent, one.attempt, outcome, why))
