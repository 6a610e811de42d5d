"""The CRM behind the server, opened with the first call that needs it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING

import anyio

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient

OpenCrm = Callable[[], AbstractAsyncContextManager["CrmClient"]]


class CrmAccess:
    """Where tools and resources get the client from; a server that only lists its tools never opens it."""

    def __init__(self, open_crm: OpenCrm) -> None:
        self._open_crm = open_crm
        self._opening = anyio.Lock(fast_acquire=True)
        self._stack = AsyncExitStack()
        self._client: CrmClient | None = None
        self.closed = anyio.Event()

    async def client(self) -> CrmClient:
        """The one client of this server.

        Raises UnavailableError when it cannot be opened.
        """
        async with self._opening:
            if self._client is None:
                self._client = await self._stack.enter_async_context(self._open_crm())
            return self._client

    @asynccontextmanager
    async def lifespan(self, _server: object) -> AsyncIterator[CrmAccess]:
        """Closes what was opened when the server ends."""
        try:
            async with self._stack:
                yield self
        finally:
            self._client = None
            self.closed.set()
