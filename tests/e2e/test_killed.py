"""A server that is killed at any step of a write: its successor doubles nothing and loses nothing."""

from collections.abc import Callable, Iterator
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from crm_mcp.ledger import Change, Ledger
from crm_mcp.sandbox.store import Store

from ..faults import WRITES, Write
from ..misbehaving import SECONDS, Exchange, MisbehavingCrm, answer, well
from .programs import Program

SHOWN = {write.operation: write for write in WRITES}
KILLED = [
    SHOWN[name] for name in ("create_company", "update_company", "move_lead_stage", "log_lead_activity")
]
killed = pytest.mark.parametrize("write", KILLED, ids=lambda write: write.operation)


class Held:
    """Where the CRM stops until the other side is dead; `act` is what it does before."""

    def __init__(self, act: Callable[[Exchange], object] = lambda _: None) -> None:
        self._act, self._is_here = act, Event()

    def __call__(self, exchange: Exchange) -> None:
        self._act(exchange)
        self._is_here.set()
        exchange.hang()

    def wait(self) -> None:
        assert self._is_here.wait(SECONDS)


@pytest.fixture
def crm(sandbox: Store) -> Iterator[MisbehavingCrm]:
    with MisbehavingCrm(sandbox) as crm:
        yield crm


@pytest.fixture
def start(crm: MisbehavingCrm, tmp_path: Path) -> Callable[[], Program]:
    """`start()`: a server of this CRM and this ledger."""

    def start() -> Program:
        approving = {"CRM_MCP_APPROVAL": "client", "CRM_MCP_TOOLSETS": "all"}
        return Program("--ledger", str(tmp_path / "ledger.db"), home=tmp_path, **crm.settings, **approving)

    return start


@pytest.fixture
def changes(tmp_path: Path) -> Callable[[], list[Change]]:
    """`changes()`: what the ledger has, the oldest first; its chain holds."""

    def changes() -> list[Change]:
        ledger = Ledger.open(tmp_path / "ledger.db")
        try:
            assert ledger.verify().broken is None
            return ledger.changes()[::-1]
        finally:
            ledger.shut()

    return changes


def kill_during(start: Callable[[], Program], write: Write, held: Held) -> None:
    with start() as server:
        server.shake_hands()
        server.tell(id=1, method="tools/call", params={"name": write.tool, "arguments": write.arguments})
        held.wait()
        server.process.kill()


def call_again(start: Callable[[], Program], write: Write) -> dict[str, Any]:
    with start() as server:
        server.shake_hands()
        result: dict[str, Any] = server.ask(1, "tools/call", name=write.tool, arguments=write.arguments)[
            "result"
        ]
        return result


def outcomes(changes: list[Change]) -> list[str]:
    return [change.outcome for change in changes]


def test_while_it_looks_for_the_same_it_is_on_record_and_not_done(
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any
) -> None:
    write = SHOWN["create_company"]
    crm.on_read = held = Held()
    kill_during(start, write, held)
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["unknown"], 0)
    crm.behave()
    assert not call_again(start, write).get("isError")
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["failed", "applied"], 1)


@pytest.mark.parametrize("write", KILLED[1:], ids=lambda write: write.operation)
def test_before_it_is_on_record_nothing_is_known_and_nothing_was_done(
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any, write: Write
) -> None:
    crm.on_read = held = Held()
    kill_during(start, write, held)
    assert (outcomes(changes()), sandbox.number(write.effects)) == ([], 0)
    crm.behave()
    assert not call_again(start, write).get("isError")
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["applied"], 1)


@killed
def test_when_it_was_not_done_it_is_done_by_the_next(
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any, write: Write
) -> None:
    crm.on_write = held = Held()
    kill_during(start, write, held)
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["unknown"], 0)
    crm.behave()
    assert not call_again(start, write).get("isError")
    # Whether a value was ever there, another value does not tell.
    first = "unknown" if write.operation.startswith(("update", "move")) else "failed"
    assert (outcomes(changes()), sandbox.number(write.effects)) == ([first, "applied"], 1)


@killed
@pytest.mark.parametrize("part", [b"", b"HTTP/1.1 201 Created\r\n"], ids=["before", "within"])
def test_when_it_was_done_before_the_answer_it_is_found_by_the_next(
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any, write: Write, part: bytes
) -> None:
    def do(exchange: Exchange) -> None:
        exchange.done()
        exchange.send(part)

    crm.on_write = held = Held(do)
    kill_during(start, write, held)
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["unknown"], 1)
    crm.behave()
    assert call_again(start, write)["structuredContent"]["repeat"]
    assert (outcomes(changes()), len(crm.written)) == (["applied"], 1)


@killed
def test_after_the_answer_and_before_it_is_on_record_it_is_found_by_the_next(
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any, write: Write
) -> None:
    """An answer that shows no record makes the server look for it, which is where it is killed."""
    held = Held()

    def answer_nothing(exchange: Exchange) -> None:
        exchange.done()
        crm.on_read = held
        exchange.send(answer(204, b""))

    crm.on_write = answer_nothing
    kill_during(start, write, held)
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["unknown"], 1)
    crm.behave()
    assert call_again(start, write)["structuredContent"]["repeat"]
    assert (outcomes(changes()), len(crm.written)) == (["applied"], 1)


def test_an_email_that_was_under_way_is_not_sent_again(
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any
) -> None:
    email = SHOWN["send_outbound_email"]
    crm.on_write = held = Held()
    kill_during(start, email, held)
    crm.behave()
    assert call_again(start, email)["isError"]
    assert (outcomes(changes()), sandbox.number(email.effects)) == (["unknown", "refused"], 0)


def test_within_a_batch_what_was_done_stays_and_the_rest_is_done_by_the_next(
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any
) -> None:
    rows = sandbox.all("SELECT id FROM leads WHERE closed_at IS NULL ORDER BY id LIMIT 3")
    moved = "SELECT count(*) FROM stage_changes WHERE subject LIKE '%→ Won' AND occurred_at > "
    since = sandbox.now()
    write = Write(
        "move_lead_stage",
        "move_lead_stage",
        {"leads": [row["id"] for row in rows], "stage": "Won"},
        f"{moved}'{since}'",
    )
    held = Held(Exchange.done)

    def only_the_first(exchange: Exchange) -> None:
        crm.on_write = held
        well(exchange)

    crm.on_write = only_the_first
    kill_during(start, write, held)
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["applied", "unknown"], 2)
    crm.behave()
    assert not call_again(start, write).get("isError")
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["applied"] * 3, 3)
    assert len(crm.written) == 3
