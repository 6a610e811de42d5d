"""Fifty assistants at once, through several servers on one ledger: nothing is done twice, nothing is lost."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.streamable_http import streamable_http_client

from crm_mcp.ledger import Ledger
from crm_mcp.sandbox.store import Store

from ..misbehaving import MisbehavingCrm
from .programs import Program

pytestmark = pytest.mark.anyio

SERVERS, CLIENTS = 4, 50
SECONDS = 60
TOKENS = {name: name[0] * 32 for name in ("anna", "ben", "carla", "dan", "eve")}
EACH = CLIENTS // len(TOKENS)


@pytest.fixture
def crm(sandbox: Store) -> Iterator[MisbehavingCrm]:
    with MisbehavingCrm(sandbox) as crm:
        yield crm


@pytest.fixture
def ledger_file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def urls(crm: MisbehavingCrm, ledger_file: Path, tmp_path: Path) -> Iterator[Callable[..., list[str]]]:
    """`urls(**variables)`: where servers on one ledger serve."""
    with ExitStack() as programs:

        def urls(**variables: str) -> list[str]:
            flags = ("--http", "0", "--ledger", str(ledger_file))
            servers = [Program(*flags, home=tmp_path, **crm.settings, **variables) for _ in range(SERVERS)]
            return [programs.enter_context(server).url() for server in servers]

        yield urls


@pytest.fixture
async def clients(urls: Callable[..., list[str]]) -> AsyncIterator[list[Client]]:
    places = urls()
    async with AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Client(places[number % SERVERS])) for number in range(CLIENTS)]


@pytest.fixture
async def clients_of(urls: Callable[..., list[str]]) -> AsyncIterator[dict[str, list[Client]]]:
    """Of each of several people so many."""
    places = urls(CRM_MCP_HTTP_TOKENS=",".join(f"{name}={token}" for name, token in TOKENS.items()))
    async with AsyncExitStack() as stack:

        async def connected(name: str, number: int) -> Client:
            headers = {"Authorization": f"Bearer {TOKENS[name]}"}
            http = await stack.enter_async_context(httpx2.AsyncClient(headers=headers, timeout=SECONDS))
            transport = streamable_http_client(places[number % SERVERS], http_client=http)
            return await stack.enter_async_context(Client(transport))

        yield {name: [await connected(name, number) for number in range(EACH)] for name in TOKENS}


async def all_at_once(
    clients: list[Client], tool: str, arguments: Callable[[int], dict[str, Any]]
) -> list[dict[str, Any]]:
    """What each is answered."""
    answers: list[dict[str, Any]] = []

    async def call(number: int, client: Client) -> None:
        result = await client.call_tool(tool, arguments(number))
        assert not result.is_error, result.content
        assert result.structured_content is not None
        answers.append(result.structured_content)

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            for number, client in enumerate(clients):
                tasks.start_soon(call, number, client)
    return answers


async def test_fifty_clients_write_the_same_once_and_the_different_all(
    clients: list[Client], crm: MisbehavingCrm, sandbox: Store, ledger_file: Path
) -> None:
    created = await all_at_once(clients, "create_company", lambda _: {"name": "Newcomer AG"})
    moved = await all_at_once(
        clients, "move_lead_stage", lambda _: {"lead": "Acme annual licence", "stage": "Proposal"}
    )
    logged = await all_at_once(
        clients,
        "log_activity",
        lambda number: {
            "type": "call",
            # Each from two clients, of different servers.
            "subject": f"Call number {number // 2}",
            "lead": "Acme annual licence",
        },
    )

    [company] = sandbox.all("SELECT id FROM companies WHERE name = 'Newcomer AG'")
    [lead] = sandbox.all("SELECT id FROM leads WHERE title = 'Acme annual licence'")
    assert {answer["company"]["id"] for answer in created} == {company["id"]}
    assert Counter(crm.tried) == {
        "POST /api/crm/companies": 1,
        f"PATCH /api/crm/leads/{lead['id']}/stage": 1,
        f"POST /api/crm/leads/{lead['id']}/activities": CLIENTS // 2,
    }
    calls = sandbox.all("SELECT subject FROM activities WHERE subject LIKE 'Call number %'")
    assert sorted(row["subject"] for row in calls) == sorted(f"Call number {n}" for n in range(CLIENTS // 2))
    for answers, done in ((created, 1), (moved, 1), (logged, CLIENTS // 2)):
        assert sum(not answer.get("repeat") for answer in answers) == done
        assert len({tuple(answer["change_ids"]) for answer in answers}) == done

    ledger = Ledger.open(ledger_file)
    changes = ledger.changes()
    assert Counter((change.tool, change.outcome) for change in changes) == {
        ("create_company", "applied"): 1,
        ("move_lead_stage", "applied"): 1,
        ("log_activity", "applied"): CLIENTS // 2,
    }
    assert ledger.verify().broken is None
    ledger.shut()


async def test_people_who_create_the_same_at_once_create_one_and_their_activities_are_their_own(
    clients_of: dict[str, list[Client]], crm: MisbehavingCrm, sandbox: Store, ledger_file: Path
) -> None:
    everybody = [(name, client) for name, clients in clients_of.items() for client in clients]
    created, logged = Counter[str](), Counter[str]()

    async def work(name: str, client: Client) -> None:
        company = await client.call_tool("create_company", {"name": "Newcomer AG"})
        created["refused" if company.is_error else "created"] += 1
        call = {"type": "call", "subject": "Hello", "lead": "Acme annual licence"}
        activity = (await client.call_tool("log_activity", call)).structured_content or {}
        logged["repeat" if activity.get("repeat") else name] += 1

    with anyio.fail_after(SECONDS):
        async with anyio.create_task_group() as tasks:
            for name, client in everybody:
                tasks.start_soon(work, name, client)

    assert len(sandbox.all("SELECT id FROM companies WHERE name = 'Newcomer AG'")) == 1
    # Who created it, and whoever of theirs asked for the same; the others are told of it.
    assert created == {"created": EACH, "refused": CLIENTS - EACH}
    assert logged == {"repeat": CLIENTS - len(TOKENS), **dict.fromkeys(TOKENS, 1)}
    assert len(sandbox.all("SELECT id FROM activities WHERE subject = 'Hello'")) == len(TOKENS)
    ledger = Ledger.open(ledger_file)
    applied = Counter((one.principal, one.tool) for one in ledger.changes(outcomes=["applied"]))
    [(creator, _)] = [one for one in applied if one[1] == "create_company"]
    assert applied == {(creator, "create_company"): 1, **{(name, "log_activity"): 1 for name in TOKENS}}
    assert ledger.verify().broken is None
    ledger.shut()
