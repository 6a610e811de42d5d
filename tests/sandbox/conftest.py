from collections.abc import AsyncIterator, Callable, Iterator

import httpx2
import pytest

from crm_mcp.sandbox.app import create_app
from crm_mcp.sandbox.demo_data import seed
from crm_mcp.sandbox.store import Store

Connect = Callable[..., httpx2.AsyncClient]


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture
def store() -> Iterator[Store]:
    """A store with nothing but its entity, its key and the standard stages."""
    store = Store.open(None)
    yield store
    store.close()


@pytest.fixture
def seeded(store: Store) -> Store:
    seed(store)
    return store


@pytest.fixture(scope="session")
def large() -> Iterator[Store]:
    """A store with more records than lists count, and with copies of generated ones; to be read only."""
    store = Store.open(None)
    seed(store, companies=6_200)
    yield store
    store.close()


@pytest.fixture
async def crm(store: Store, connect: Connect) -> AsyncIterator[httpx2.AsyncClient]:
    """The API over the empty store, authorised and with the entity in every query."""
    async with connect(store) as connected:
        yield connected


@pytest.fixture
async def demo(seeded: Store, connect: Connect) -> AsyncIterator[httpx2.AsyncClient]:
    """The API over the demo data."""
    async with connect(seeded) as connected:
        yield connected


@pytest.fixture
def connect() -> Connect:
    """Makes a client of the API over a store, by default with its first key and its entity in every query."""

    def client(store: Store, api_key: str | None = None, **params: str) -> httpx2.AsyncClient:
        credentials = store.credentials
        return httpx2.AsyncClient(
            transport=httpx2.ASGITransport(create_app(store)),
            base_url="http://crm.example/api/crm",
            headers={"Authorization": f"Bearer {api_key or credentials.api_key}"},
            params=params or {"entityId": credentials.entity_id},
        )

    return client
