"""What a tool works with: one tenant's CRM, and what makes its names ids and its ids names."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from crm_mcp.crm.paging import Told
from crm_mcp.memory import Memory
from crm_mcp.references import References
from crm_mcp.rows import Rows

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient

# How much is done, of how much where that is known, and what that is.
Tell = Callable[[float, float | None, str], Awaitable[None]]
# How much more is done, how much is left where that is known, and what that is.
Advance = Tell


async def _nobody(_done: float, _total: float | None, _what: str) -> None:
    """Where nobody waits for a call."""


@dataclass
class Tenant:
    """A CRM client with its memory; `lists` are the operator's aliases of marketing lists.

    `tell` reports the progress of the call that this is for.
    """

    client: CrmClient
    memory: Memory = field(default_factory=Memory)
    lists: Mapping[str, str] = field(default_factory=dict)
    tell: Tell = _nobody
    _done: float = field(default=0, init=False)

    @cached_property
    def refs(self) -> References:
        return References(self.client, self.memory, self.rows, self.lists, self.reading)

    @cached_property
    def rows(self) -> Rows:
        return Rows(self.client, self.memory)

    def reading(self, what: str) -> Told:
        """What tells how far a list of `what` has been read."""
        before = 0

        async def told(read: int, total: int | None) -> None:
            nonlocal before
            await self.advance(read - before, None if total is None else total - read, f"{read} {what} read")
            before = read

        return told

    async def advance(self, by: float, left: float | None, what: str) -> None:
        """Tell of progress; over all that a call does it only grows, as MCP wants it."""
        self._done += by
        await self.tell(self._done, None if left is None else self._done + left, what)
