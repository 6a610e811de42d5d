"""A client over a CRM that is one function, and retries that do not wait."""

from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any

import httpx2
import pytest
import stamina

from crm_mcp.crm import CrmClient

Connect = Callable[..., CrmClient]

CANARY_KEY = "ak_canary-7f3a"
ENTITY_ID = "6f1d9b52-4a0e-4c1b-9d27-2f6c0d4f8a11"


@pytest.fixture(autouse=True)
def retries_without_waiting() -> Iterator[None]:
    with stamina.set_testing(True, attempts=10, cap=True):
        yield


@pytest.fixture
async def connect(anyio_backend: str) -> AsyncIterator[Connect]:
    """`connect(handler, **options)`: an open client whose requests `handler` answers."""
    async with AsyncExitStack() as stack:

        def connect(handler: Any, **options: Any) -> CrmClient:
            transport = (
                handler if isinstance(handler, httpx2.AsyncBaseTransport) else httpx2.MockTransport(handler)
            )
            client = CrmClient("https://crm.test", CANARY_KEY, ENTITY_ID, transport=transport, **options)
            stack.push_async_exit(client)
            return client

        yield connect
