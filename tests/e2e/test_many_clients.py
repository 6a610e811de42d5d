"""Fifty assistants at once, through several servers on one ledger: nothing is done twice, nothing is lost."""

from collections import Counter
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack, ExitStack
from pathlib import Path
from typing import Any

import anyio
import pytest
from mcp import Client

from crm_mcp.ledger import Ledger
from crm_mcp.sandbox.store import Store

from ..misbehaving import MisbehavingCrm
from .programs import Program

pytestmark = pytest.mark.anyio

SERVERS, CLIENTS = 4, 50
SECONDS = 60


@pytest.fixture
def crm(sandbox: Store) -> Iterator[MisbehavingCrm]:
    with MisbehavingCrm(sandbox) as crm:
        yield crm


@pytest.fixture
def ledger_file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
async def clients(crm: MisbehavingCrm, ledger_file: Path, tmp_path: Path) -> AsyncIterator[list[Client]]:
    with ExitStack() as programs:
        servers = [
            programs.enter_context(
                Program("--http", "0", "--ledger", str(ledger_file), home=tmp_path, **crm.settings)
            )
            for _ in range(SERVERS)
        ]
        urls = [server.url() for server in servers]
        async with AsyncExitStack() as stack:
            yield [
                await stack.enter_async_context(Client(urls[number % SERVERS])) for number in range(CLIENTS)
            ]


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
