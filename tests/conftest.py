"""The fixtures that all tests share: the embedded CRM, the wire to it, an assistant's connection."""

import json
import os
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client

from crm_mcp import backend
from crm_mcp.access import CrmAccess
from crm_mcp.calls import Policy
from crm_mcp.crm import CrmClient
from crm_mcp.ledger import Change, Ledger
from crm_mcp.sandbox.app import create_app
from crm_mcp.sandbox.demo_data import seed
from crm_mcp.sandbox.store import Record, Store
from crm_mcp.server import build_server
from crm_mcp.settings import Settings
from crm_mcp.tools.catalogue import Toolset

OpenCrm = Callable[..., CrmClient]
OpenClient = Callable[..., Awaitable[Client]]
Find = Callable[..., Record]

# Who tests a tool has no person at hand to approve it.
TRUSTING = Policy(approval="client")


@pytest.fixture
def anyio_backend() -> str:
    return "asyncio"


@pytest.fixture(scope="session", autouse=True)
def same_code_elsewhere() -> Iterator[None]:
    """Programs that tests start in other directories find what a relative PYTHONPATH names here."""
    with pytest.MonkeyPatch.context() as patch:
        if said := os.environ.get("PYTHONPATH"):
            places = [str(Path(place).absolute()) for place in said.split(os.pathsep)]
            patch.setenv("PYTHONPATH", os.pathsep.join(places))
        yield


@dataclass(frozen=True)
class Sent:
    """A request as it left for the CRM; the body is None where there was none."""

    method: str
    path: str
    query: dict[str, str]
    body: Any


class RecordingTransport(httpx2.AsyncBaseTransport):
    """Notes each request on its way to `inner`, which a test may replace."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self.inner = inner
        self.sent: list[Sent] = []

    @property
    def writes(self) -> list[Sent]:
        return [request for request in self.sent if request.method != "GET"]

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        content = await request.aread()
        body = json.loads(content) if content else None
        query = dict(request.url.params.multi_items())
        self.sent.append(Sent(request.method, request.url.path, query, body))
        return await self.inner.handle_async_request(request)


@pytest.fixture(scope="session")
def demo_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo company's records, generated once: a copy of the file is ten times as quick."""
    path = tmp_path_factory.mktemp("demo") / "sandbox.db"
    store = Store.open(path)
    seed(store)
    store.close()
    return path


@pytest.fixture
def sandbox(demo_file: Path, tmp_path: Path) -> Iterator[Store]:
    """The embedded CRM's records: the demo company."""
    store = Store.open(Path(shutil.copy(demo_file, tmp_path)))
    yield store
    store.close()


@pytest.fixture
def find(sandbox: Store) -> Find:
    """`find(table, **columns)`: the one record of the embedded CRM with these values."""

    def find(table: str, **columns: str) -> Record:
        condition = " AND ".join(f"{column} = ?" for column in columns)
        [row] = sandbox.all(f"SELECT * FROM {table} WHERE {condition}", *columns.values())  # noqa: S608
        return row

    return find


@pytest.fixture
def wire(sandbox: Store) -> RecordingTransport:
    """What stands between the client and the embedded CRM."""
    return RecordingTransport(httpx2.ASGITransport(create_app(sandbox)))


@pytest.fixture
def open_crm(sandbox: Store, wire: RecordingTransport) -> OpenCrm:
    """`open_crm(**options)`: a client of the embedded CRM, to be entered."""
    key = sandbox.credentials

    def open_crm(**options: Any) -> CrmClient:
        options |= {"transport": wire, "identity": key.installation_id}
        return CrmClient("http://localhost", key.api_key, key.entity_id, **options)

    return open_crm


@pytest.fixture
async def crm(open_crm: OpenCrm) -> AsyncIterator[CrmClient]:
    async with open_crm() as client:
        yield client


@pytest.fixture
async def open_client(open_crm: OpenCrm, ledger_file: Path) -> AsyncIterator[OpenClient]:
    """`await open_client(toolsets, read_only=, sandbox=, lists=, **options)`: a connection, in memory.

    `mode="legacy"` makes it speak 2025-11-25; without it, it speaks 2026-07-28.
    """
    async with AsyncExitStack() as stack:

        async def open_client(
            toolsets: frozenset[Toolset] = frozenset(Toolset),
            *,
            read_only: bool = False,
            sandbox: bool = True,
            lists: Mapping[str, str] | None = None,
            policy: Policy = TRUSTING,
            principal: str = "local",
            **options: Any,
        ) -> Client:
            access = CrmAccess(
                lambda: open_crm(read_only=read_only),
                lists,
                open_ledger=backend.ledger_opener(Settings(ledger=str(ledger_file))),
                policy=policy,
                principal=lambda: principal,
                approve_command="crm-mcp approve",
            )
            server = build_server(access, toolsets, read_only=read_only, sandbox=sandbox)
            return await stack.enter_async_context(Client(server, **options))

        yield open_client


@pytest.fixture
def ledger_file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(ledger_file: Path) -> Iterator[Ledger]:
    """The record of writes that the server keeps, seen from beside it."""
    ledger = Ledger.open(ledger_file)
    yield ledger
    ledger.shut()


@pytest.fixture
async def client(open_client: OpenClient) -> Client:
    """An assistant's connection to a server with all toolsets."""
    return await open_client()


@pytest.fixture
def changes(ledger_file: Path) -> Callable[[], list[Change]]:
    """`changes()`: what the ledger has, the oldest first."""

    def changes() -> list[Change]:
        ledger = Ledger.open(ledger_file)
        try:
            return ledger.changes()[::-1]
        finally:
            ledger.shut()

    return changes
