"""The parts of an answer, fetched at once or one by one."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeVar

import anyio

from crm_mcp.calls import CALL
from crm_mcp.candidates import Meant
from crm_mcp.crm.errors import CrmError, OutcomeUnknownError, RateLimitedError
from crm_mcp.crm.paging import Page
from crm_mcp.rendering import counts
from crm_mcp.results import Batch, BatchItem
from crm_mcp.tenant import Advance
from crm_mcp.tools.asking import Found
from crm_mcp.wording import sentence

T = TypeVar("T")
MAX_BATCH = 25
# A client that is gone may not take what it is told.
TELL_SECONDS = 2.0


async def at_once(notes: list[str], within: float = math.inf, /, **parts: Awaitable[Any]) -> dict[str, Any]:
    """What each part brought, by name; None for one that failed, or took more than so many seconds, which
    `notes` then names."""
    brought: dict[str, Any] = dict.fromkeys(parts)
    missing = set(parts)

    async def fetch(name: str, part: Awaitable[Any]) -> None:
        try:
            brought[name] = await part
        except CrmError as error:
            notes.append(f"{name.replace('_', ' ')} could not be fetched: {error}")
        missing.remove(name)

    with anyio.move_on_after(within):
        async with anyio.create_task_group() as tasks:
            for name, part in parts.items():
                tasks.start_soon(fetch, name, part)
    notes += [f"{name.replace('_', ' ')} took more than {within:g} s." for name in parts if name in missing]
    return brought


def none_of(found: Page[Any], *meant: Meant | None) -> list[str]:
    """Of whom nothing was found: no row says who was taken for who was meant."""
    names = [one.name for one in meant if one and one.name]
    is_empty = found.page == 1 and not found.records
    return [sentence(f"Looked among those of {', '.join(names)}")] if names and is_empty else []


def page_of(found: Page[Any]) -> dict[str, Any]:
    """The fields of a ListResult; of a page past the end, or past what can be reached, a note tells which one
    is the last."""
    facts = counts(found)
    if found.records or found.page == 1:
        return facts
    return facts | {"notes": [*found.notes, _why_empty(found)]}


def _why_empty(found: Page[Any]) -> str:
    seen = found.at_least if found.bounded else found.total
    if seen is None:
        return f"Nothing was found on page {found.page}: page=1 is where to begin."
    last = f"page={max(math.ceil(seen / found.limit), 1)} is the last"
    if found.bounded:
        return f"Page {found.page} is not among what could be read: {last} of it, with limit={found.limit}."
    there = f"there are {found.total} rows, and {last} with limit={found.limit}"
    return f"Nothing was found on page {found.page}: {there}."


async def if_possible(read: Awaitable[T]) -> T | None:
    """What is read after a write; None where it cannot be read now: the write is done all the same."""
    try:
        return await read
    except CrmError:
        return None


async def or_error(read: Awaitable[T]) -> T | CrmError:
    try:
        return await read
    except CrmError as error:
        return error


def unclear_ones(found: Found[Any]) -> dict[str, str]:
    """What is wrong with those of which it is not clear what is meant."""
    return {said: str(one) for said, one in found.items() if isinstance(one, CrmError)}


async def one_by_one(
    items: Sequence[str],
    found: Found[Meant],
    do: Callable[[Meant], Awaitable[str]],
    advance: Advance,
) -> Batch:
    """Do each item once and tell what became of it.

    All were looked up before the first is done, so that none means something else because of it. The rate
    limit ends it, and so does a write of which nobody knows the outcome; the rest is not attempted. Nor is
    it where the call is cancelled: that takes effect between items, and the last progress tells how many
    were done, for the call has no answer then.
    """
    call = CALL.get()
    call.left_out = unclear_ones(found)
    outcomes: list[BatchItem] = []
    so_far = Batch.of([])
    done: set[str] = set()
    for number, item in enumerate(items, 1):
        with anyio.CancelScope(shield=True):
            outcomes.append(await _outcome(item, found[item], do, done))
        rest = [BatchItem(item=one, outcome="not attempted") for one in items[number:]]
        so_far = Batch.of([*outcomes, *rest])
        stopped = anyio.current_effective_deadline() == -math.inf
        message = f"Stopped: {so_far.summary()}." if stopped else f"{item}: {outcomes[-1].outcome}"
        if call.rehearsal is None:
            with anyio.move_on_after(TELL_SECONDS, shield=True):
                await advance(1, len(items) - number, message)
        await anyio.lowlevel.checkpoint_if_cancelled()
        if outcomes[-1].ends_the_batch:
            break
    return so_far


async def _outcome(
    item: str, meant: Meant | CrmError, do: Callable[[Meant], Awaitable[str]], done: set[str]
) -> BatchItem:
    if isinstance(meant, CrmError):
        return BatchItem(item=item, outcome="failed", detail=str(meant))
    if meant.id in done:
        return BatchItem(item=item, outcome="named twice", detail="it was done once")
    repeats = CALL.get().repeats
    before = len(repeats)
    try:
        detail = await do(meant)
        done.add(meant.id)
        again = "; done before, and not sent again" if len(repeats) > before else ""
        return BatchItem(item=item, outcome="done", detail=f"{detail}{again}")
    except CrmError as error:
        ends = isinstance(error, RateLimitedError | OutcomeUnknownError)
        outcome = "unknown" if isinstance(error, OutcomeUnknownError) else "failed"
        return BatchItem(item=item, outcome=outcome, detail=str(error)).ending(ends)
