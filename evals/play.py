"""Plays a task: a fresh CRM, a server over it, an assistant that is asked, and what became of it all."""

from __future__ import annotations

import re
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
from mcp import Client
from mcp.server.lowlevel import Server
from mcp.server.mcpserver import MCPServer
from mcp.types import CallToolResult, PromptReference, TextContent

from crm_mcp.access import CrmAccess
from crm_mcp.calls import Policy
from crm_mcp.crm import CrmClient
from crm_mcp.sandbox.app import create_app
from crm_mcp.sandbox.demo_data import seed
from crm_mcp.sandbox.store import Credentials, Store
from crm_mcp.server import build_server
from crm_mcp.tools.catalogue import Toolset
from task import Call, Request, Task, filled, parsed, pick

# Who is asked: reads the tools off the client, calls them, and returns what the person is told.
Assistant = Callable[[Client, str], Awaitable[str]]

# The marketing lists' aliases, as an operator would set them.
LISTS = {"Spring mailing": "7c0a5a4e-3c1d-4b58-9a61-52f0d1c7b9e3"}

# What the API lists of the state, and the fields there that only count other records.
LISTED = {"companies": (), "contacts": (), "leads": (), "activities": (), "pipeline-stages": ("leadCount",)}
PAGE_SIZE = 100


@dataclass(frozen=True)
class Crm:
    """A fresh embedded CRM: its HTTP API, and what a server needs to open it."""

    api: httpx2.AsyncClient
    key: Credentials
    transport: httpx2.AsyncBaseTransport


BuildServer = Callable[[Crm], MCPServer[Any] | Server[Any]]


@dataclass(frozen=True)
class Heard:
    """A call as it was made, what the assistant read of it, and how long it took."""

    tool: str
    arguments: dict[str, Any]
    text: str
    failed: bool
    seconds: float


@dataclass(frozen=True)
class Played:
    """What an assistant said, did and read, and where the state is not what it should be."""

    answer: str
    heard: list[Heard]
    faults: list[str]

    @property
    def read(self) -> str:
        return "\n".join(heard.text for heard in self.heard)


class ListeningClient(Client):
    """A client that remembers its calls."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.heard: list[Heard] = []

    async def call_tool(
        self, name: str, arguments: dict[str, Any] | None = None, *args: Any, **options: Any
    ) -> CallToolResult:
        began = time.perf_counter()
        result = await super().call_tool(name, arguments, *args, **options)
        seconds = time.perf_counter() - began
        failed = bool(result.is_error)
        self.heard.append(Heard(name, arguments or {}, text_of(result), failed, seconds))
        return result


def text_of(result: CallToolResult) -> str:
    return "\n".join(block.text for block in result.content if isinstance(block, TextContent))


def script(calls: Sequence[Call]) -> Assistant:
    """An assistant that makes these calls whatever it is asked, and says all that it read.

    It stops where an answer is an error that was not expected, or is none.
    """

    async def make_calls(client: Client, _asks: str) -> str:
        texts: list[str] = []
        for call in calls:
            arguments = filled(call.arguments, [parsed(text) for text in texts])
            result = await client.call_tool(call.tool, arguments)
            texts.append(text_of(result))
            if bool(result.is_error) is not call.fails:
                break
        return "\n".join(texts)

    return make_calls


def our_server(crm: Crm) -> MCPServer[CrmAccess]:
    """The server with every toolset."""

    def open_crm() -> CrmClient:
        return CrmClient("http://localhost", crm.key.api_key, crm.key.entity_id, transport=crm.transport)

    access = CrmAccess(open_crm, lists=LISTS, policy=Policy(approval="client"))
    return build_server(access, frozenset(Toolset), read_only=False, sandbox=True)


@asynccontextmanager
async def fresh_crm() -> AsyncIterator[Crm]:
    """The embedded CRM in memory, with the demo company."""
    store = Store.open(None)
    try:
        seed(store)
        key = store.credentials
        transport = httpx2.ASGITransport(create_app(store))
        async with httpx2.AsyncClient(
            transport=transport,
            base_url="http://localhost/api/crm",
            headers={"Authorization": f"Bearer {key.api_key}"},
            params={"entityId": key.entity_id},
        ) as api:
            yield Crm(api, key, transport)
    finally:
        store.close()


async def evaluate(task: Task, assistant: Assistant | None = None) -> list[str]:
    """What is wrong with how the assistant did the task; without one, the task's script plays it."""
    played = await play(task, assistant or script(task.calls))
    return [
        *(call_faults(task.calls, played.heard) if assistant is None else []),
        *played.faults,
        *answer_faults(task, played),
        *await completion_faults(task),
    ]


async def play(task: Task, assistant: Assistant, serve: BuildServer = our_server) -> Played:
    async with fresh_crm() as crm:
        if wrong := await request_faults(crm.api, task.before):
            raise ValueError(f"The state before {task.id} cannot be made: {wrong}")
        before = await records(crm.api)
        client = ListeningClient(serve(crm))
        async with client:
            answer = await assistant(client, filled(task.asks, []))
        after = await records(crm.api)
        faults = [*changes_faults(task, before, after), *await request_faults(crm.api, task.after)]
    return Played(answer, client.heard, faults)


def call_faults(calls: Sequence[Call], heard: Sequence[Heard]) -> list[str]:
    """The calls that failed, and those that should have."""
    return [
        f"{one.tool} answered: {one.text}"
        for call, one in zip(calls, heard, strict=False)
        if one.failed is not call.fails
    ]


async def request_faults(api: httpx2.AsyncClient, requests: Sequence[Request]) -> list[str]:
    """Send the requests; where an answer is not as expected. One without answer ends it."""
    answers: list[Any] = []
    faults: list[str] = []
    for request in requests:
        try:
            answers.append(await _answer(api, request, answers))
            found = pick(answers[-1], request.at)
        except (LookupError, httpx2.HTTPStatusError) as error:
            return [*faults, f"{request.path}: {error}"]
        expected = filled(request.expected, answers)
        if request.at and found != expected:
            faults.append(f"{request.path}: {request.at} is {found!r}, not {expected!r}")
    return faults


async def _answer(api: httpx2.AsyncClient, request: Request, answers: Sequence[Any]) -> Any:
    path, query, body = (filled(part, answers) for part in (request.path, request.query, request.body))
    response = await api.request(request.method, path, params=query, json=body)
    return response.raise_for_status().json() if response.content else None


async def records(api: httpx2.AsyncClient) -> dict[str, dict[str, Any]]:
    """All that the API lists, by kind and id."""
    return {kind: {row["id"]: row for row in await _rows(api, kind)} for kind in LISTED}


async def _rows(api: httpx2.AsyncClient, kind: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    while True:
        query = {"page": len(rows) // PAGE_SIZE + 1, "pageSize": PAGE_SIZE}
        page = (await api.get(f"/{kind}", params=query)).raise_for_status().json()
        listed = page[kind.rpartition("-")[2]]
        rows += [{name: row[name] for name in row if name not in LISTED[kind]} for row in listed]
        if len(rows) >= page.get("total", 0):
            return rows


def changes_faults(task: Task, before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """Where more or fewer records were made, changed or removed than the task wants."""
    changed = Counter(
        kind
        for kind in before
        for record_id in before[kind].keys() | after[kind].keys()
        if before[kind].get(record_id) != after[kind].get(record_id)
    )
    return [f"changed: {dict(changed)}, not {task.changes}"] if changed != Counter(task.changes) else []


def answer_faults(task: Task, played: Played) -> list[str]:
    """What the person was not told, or should not have been, and foreign text outside the marks."""
    outside = re.sub(r"<crm (\w+)>.*?</crm \1>", "", played.read, flags=re.DOTALL)
    answer = task.answer
    return [
        *(f"not said: {fact}" for fact in missing([*answer.says, *answer.concludes], played.answer)),
        *(f"said: {fact}" for fact in answer.never_says if not missing([fact], played.answer)),
        *(f"not read: {text}" for text in missing(task.marked, played.read)),
        *(f"read outside the marks: {text}" for text in task.marked if not missing([text], outside)),
    ]


def missing(facts: Sequence[str], text: str) -> list[str]:
    """The facts that the text does not hold, however it writes upper case and thousands."""
    return [fact for fact in facts if _plain(fact) not in _plain(text)]


def _plain(text: str) -> str:
    return re.sub(r"(?<=\d),(?=\d{3})", "", text).casefold()


async def completion_faults(task: Task) -> list[str]:
    """Whether the client offers the person what is to complete what they type."""
    if (wanted := task.completion) is None:
        return []
    async with fresh_crm() as crm, Client(our_server(crm)) as client:
        typed = {"name": wanted.argument, "value": wanted.typed}
        offered = await client.complete(PromptReference(name=wanted.prompt), typed)
    values = offered.completion.values
    return [] if wanted.offers in values else [f"{wanted.typed!r} is completed with {values}"]
