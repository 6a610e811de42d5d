"""The server over stdio, ended by the client's EOF or by a signal, cleanly both times."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import anyio
from mcp.server.mcpserver import MCPServer

from crm_mcp.access import CrmAccess

CLEAN_UP_SECONDS = 3


async def serve(server: MCPServer[Any], access: CrmAccess) -> None:
    """Serve until stdin ends.

    On SIGTERM or SIGINT what is open is closed and the process exits: the thread that reads stdin cannot be
    stopped, so there is no returning from here.
    """
    async with anyio.create_task_group() as tasks:
        stopping = anyio.Event()
        tasks.start_soon(_exit_when, stopping, access, tasks.cancel_scope)
        with _on_signals(stopping.set):
            await server.run_stdio_async()
        tasks.cancel_scope.cancel()


async def _exit_when(stopping: anyio.Event, access: CrmAccess, serving: anyio.CancelScope) -> None:
    await stopping.wait()
    with anyio.CancelScope(shield=True):
        serving.cancel()
        with anyio.move_on_after(CLEAN_UP_SECONDS):
            await access.closed.wait()
        os._exit(0)


@contextmanager
def _on_signals(stop: Callable[[], object]) -> Iterator[None]:
    """Call `stop` on the event loop; through `signal` itself, which Windows has too."""
    loop = asyncio.get_running_loop()
    numbers = (signal.SIGINT, signal.SIGTERM)
    before = {number: signal.signal(number, lambda *_: loop.call_soon_threadsafe(stop)) for number in numbers}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
