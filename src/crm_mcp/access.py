"""The CRM behind the server, opened with the first call that needs it, and the memory of its calls."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import anyio

from crm_mcp.memory import Memory

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient
    from crm_mcp.tenant import Tenant

OpenCrm = Callable[[], AbstractAsyncContextManager["CrmClient"]]


class CrmAccess:
    """Where tools and resources get the client from; a server that only lists its tools never opens it."""

    def __init__(self, open_crm: OpenCrm, lists: Mapping[str, str] | None = None) -> None:
        self._open_crm = open_crm
        self._lists = lists or {}
        self._opening = anyio.Lock(fast_acquire=True)
        self._stack = AsyncExitStack()
        self._tenant: Tenant | None = None
        self.memory = Memory()
        self.closed = anyio.Event()

    async def tenant(self) -> Tenant:
        """The one tenant of this server.

        Raises UnavailableError when it cannot be opened.
        """
        async with self._opening:
            if self._tenant is None:
                from crm_mcp.tenant import Tenant  # noqa: PLC0415

                client = await self._stack.enter_async_context(self._open_crm())
                self._tenant = Tenant(client, self.memory, self._lists)
            return self._tenant

    @asynccontextmanager
    async def lifespan(self, _server: object) -> AsyncIterator[CrmAccess]:
        """Closes what was opened when the server ends."""
        try:
            async with self._stack:
                yield self
        finally:
            self._tenant = None
            self.closed.set()
