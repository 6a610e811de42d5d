"""The parts of an answer, fetched at once; one that fails is named and costs only itself."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import anyio

from crm_mcp.crm.errors import CrmError, RateLimitedError
from crm_mcp.rendering import Batch, BatchItem
from crm_mcp.tools.parameters import Told

T = TypeVar("T")
MAX_BATCH = 25


async def at_once(notes: list[str], **parts: Awaitable[Any]) -> dict[str, Any]:
    """What each part brought, by name; None for one that failed, which `notes` then names."""
    brought: dict[str, Any] = dict.fromkeys(parts)

    async def fetch(name: str, part: Awaitable[Any]) -> None:
        try:
            brought[name] = await part
        except CrmError as error:
            notes.append(f"{name.replace('_', ' ')} could not be fetched: {error}")

    async with anyio.create_task_group() as tasks:
        for name, part in parts.items():
            tasks.start_soon(fetch, name, part)
    return brought


async def if_possible(read: Awaitable[T]) -> T | None:
    """What is read after a write; None where it cannot be read now: the write is done all the same."""
    try:
        return await read
    except CrmError:
        return None


async def one_by_one(items: list[str], do: Callable[[str], Awaitable[str]], progress: Told) -> Batch:
    """Do each item and tell what became of it; the rate limit ends it, the rest is not attempted.

    Progress is told between items, so that a person who cancels knows what was done.
    """
    outcomes: list[BatchItem] = []
    for number, item in enumerate(items):
        try:
            outcomes.append(BatchItem(item=item, outcome="done", detail=await do(item)))
        except RateLimitedError as error:
            outcomes.append(BatchItem(item=item, outcome="failed", detail=str(error)))
            outcomes += [BatchItem(item=rest, outcome="not attempted") for rest in items[number + 1 :]]
            break
        except CrmError as error:
            outcomes.append(BatchItem(item=item, outcome="failed", detail=str(error)))
        await progress(number + 1, len(items), f"{item}: {outcomes[-1].outcome}")
    return Batch.of(outcomes)
