"""While another process writes in the ledger, a write waits for it, and nothing else does."""

import sqlite3
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client

from crm_mcp import gate
from crm_mcp import ledger as ledger_module
from crm_mcp.calls import Policy
from crm_mcp.journal import BusyError
from crm_mcp.ledger import SHORT_LOCK_SECONDS, Ledger

from .writing import Held, facts_of, text_of

pytestmark = pytest.mark.anyio

OpenClient = Callable[..., Awaitable[Client]]
MOVE = {"lead": "Acme annual licence", "stage": "Qualified"}
# Far more than a read takes, and far less than a write waits.
READ_SECONDS = 5
# What the CRM is asked for right before the ledger is needed.
STEPS = {
    "begin": lambda request: request.method == "GET",
    "renew": lambda request: request.method == "GET" and request.url.path.count("/") == 4,
    "close": lambda request: request.method == "PATCH",
}


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another connection writes, and comes to no end."""
    other = sqlite3.connect(path, isolation_level=None)
    try:
        other.execute("BEGIN IMMEDIATE")
        yield
    finally:
        other.close()


async def read(client: Client) -> None:
    with anyio.fail_after(READ_SECONDS):
        await facts_of(client, "get_company", company="Acme Inc.")
        await facts_of(client, "list_changes")


@pytest.mark.parametrize("step", STEPS)
async def test_reads_are_answered_while_a_write_waits(
    client: Client, wire: Any, ledger_file: Path, changes: Any, step: str
) -> None:
    before = Held(wire.inner, STEPS[step])
    wire.inner = httpx2.MockTransport(before)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: facts_of(client, "move_lead_stage", **MOVE))
        await before.met.wait()
        with locked(ledger_file):
            before.let_go.set()
            await anyio.wait_all_tasks_blocked()
            await read(client)
            outcomes = [change.outcome for change in changes()]
            assert outcomes == ([] if step == "begin" else ["pending"])
            assert len(wire.writes) == (1 if step == "close" else 0)
    assert [change.outcome for change in changes()] == ["applied"]
    assert len(wire.writes) == 1


async def test_reads_are_answered_while_a_question_waits_to_be_put_on_record(
    open_client: OpenClient, ledger: Ledger, ledger_file: Path
) -> None:
    client = await open_client(policy=Policy())
    said: list[str] = []

    async def delete() -> None:
        said.append(await text_of(client, "delete_lead", fails=True, lead="Acme annual licence"))

    async with anyio.create_task_group() as tasks:
        with locked(ledger_file):
            tasks.start_soon(delete)
            await anyio.wait_all_tasks_blocked()
            await read(client)
            assert (said, ledger.waiting()) == ([], [])
    [asked] = ledger.waiting()
    assert asked.id in said[0]


async def test_a_write_that_is_cancelled_while_it_waits_is_not_sent(
    client: Client, wire: Any, ledger_file: Path, changes: Any
) -> None:
    before = Held(wire.inner, STEPS["renew"])
    wire.inner = httpx2.MockTransport(before)
    impatience = anyio.CancelScope()

    async def move() -> None:
        with impatience:
            await client.call_tool("move_lead_stage", MOVE)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(move)
        await before.met.wait()
        with locked(ledger_file):
            before.let_go.set()
            await anyio.wait_all_tasks_blocked()
            impatience.cancel()
            await anyio.wait_all_tasks_blocked()
    with anyio.fail_after(READ_SECONDS):
        while changes()[0].outcome == "pending":  # noqa: ASYNC110  # what was cancelled tells nobody
            await anyio.sleep(0.01)
    [change] = changes()
    assert (change.outcome, change.detail) == ("failed", "It ended before it was sent.")
    assert wire.writes == []


@pytest.mark.parametrize("step", ["begin", "renew"])
async def test_what_cannot_be_put_on_record_is_not_sent(
    client: Client, wire: Any, ledger_file: Path, monkeypatch: pytest.MonkeyPatch, step: str
) -> None:
    monkeypatch.setattr(ledger_module, "LOCK_SECONDS", 0.1)
    before = Held(wire.inner, STEPS[step])
    wire.inner = httpx2.MockTransport(before)
    said: list[str] = []

    async def move() -> None:
        said.append(await text_of(client, "move_lead_stage", fails=True, **MOVE))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(move)
        await before.met.wait()
        with locked(ledger_file), anyio.fail_after(READ_SECONDS):
            before.let_go.set()
            while not said:  # noqa: ASYNC110  # it ends while the other one still writes
                await anyio.sleep(0.01)
    assert said == [f"The ledger cannot use {ledger_file}: database is locked. Nothing was sent to the CRM."]
    assert wire.writes == []


async def test_what_was_sent_and_cannot_be_closed_is_told_and_looked_for_later(
    client: Client, wire: Any, ledger_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger_module, "LOCK_SECONDS", 0.1)
    before = Held(wire.inner, STEPS["close"])
    wire.inner = httpx2.MockTransport(before)
    said: list[str] = []

    async def move() -> None:
        said.append(await text_of(client, "move_lead_stage", **MOVE))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(move)
        await before.met.wait()
        with locked(ledger_file), anyio.fail_after(READ_SECONDS):
            before.let_go.set()
            while not said:  # noqa: ASYNC110  # it ends while the other one still writes
                await anyio.sleep(0.01)
    note = f"This was done, but it is not on record that it was: The ledger cannot use {ledger_file}"
    assert note in said[0]
    assert len(wire.writes) == 1


async def test_a_ledger_that_is_always_slow_refuses_the_write(
    client: Client, wire: Any, changes: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gate, "PROMPT_SECONDS", 0)
    text = await text_of(client, "move_lead_stage", fails=True, **MOVE)
    assert text == "The ledger is too slow to be sure of what is there. Nothing was sent to the CRM."
    assert ([change.outcome for change in changes()], wire.writes) == (["refused"], [])


async def test_what_changed_while_the_ledger_was_slow_is_seen(
    open_client: OpenClient,
    wire: Any,
    ledger_file: Path,
    sandbox: Any,
    ledger: Ledger,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A record that a person approved to end, and that is another one by the time it would be sent."""
    client = await open_client(policy=Policy())
    await text_of(client, "delete_lead", fails=True, lead="Acme annual licence")
    [waiting] = ledger.waiting()
    ledger.decide(waiting.id, approved=True, by="page")
    monkeypatch.setattr(gate, "PROMPT_SECONDS", 0.2)
    renewing = Held(wire.inner, lambda request: request.url.path.endswith("/timeline"))
    looks = 0

    async def third_look(request: httpx2.Request) -> httpx2.Response:
        nonlocal looks
        looks += request.url.path.endswith("/timeline")
        # The first is for what a person is shown, the next before it is sent.
        handler = renewing if looks == 2 else wire_before.handle_async_request
        return await handler(request)  # type: ignore[no-any-return]

    wire_before, wire.inner = wire.inner, httpx2.MockTransport(third_look)
    texts: list[str] = []

    async def delete() -> None:
        texts.append(await text_of(client, "delete_lead", fails=True, lead="Acme annual licence"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(delete)
        await renewing.met.wait()
        with locked(ledger_file):
            renewing.let_go.set()
            await anyio.sleep(0.4)
            sandbox.execute("UPDATE leads SET value = 99 WHERE title = 'Acme annual licence'")
    assert texts == [
        "The record changed since it was shown, so that the approval is void. Nothing was sent to the CRM."
    ]
    assert wire.writes == []


def test_a_ledger_is_opened_while_another_process_writes_and_forgets_later(ledger_file: Path) -> None:
    options = {"keep": timedelta(0), "lock_seconds": SHORT_LOCK_SECONDS}
    Ledger.open(ledger_file).shut()
    with locked(ledger_file):
        ledger = Ledger.open(ledger_file, **options)
        with pytest.raises(BusyError, match="database is locked"):
            ledger.void("any")
        assert ledger.changes() == []
    ledger.shut()
