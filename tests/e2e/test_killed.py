"""A server that is killed at any step of a write: its successor doubles nothing and loses nothing."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from crm_mcp.ledger import Change, Ledger
from crm_mcp.sandbox.store import Store

from ..faults import WRITES, Write
from ..misbehaving import SECONDS, Exchange, MisbehavingCrm, answer, well
from .programs import Program

KIND = {write.operation: write for write in WRITES}
SOME = [KIND[name] for name in ("create_company", "update_company", "move_lead_stage", "log_lead_activity")]
# What may be sent again at once, for it comes to the same.
HARMLESS = [write for write in WRITES if write.comes_to_the_same]
EMAIL = KIND["send_outbound_email"]
# What waits until it cannot be late any more.
WAITING = [write for write in WRITES if write not in (*HARMLESS, EMAIL)]


def each(writes: Sequence[Write]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("write", writes, ids=lambda write: write.operation)


class Held:
    """Where the CRM stops until the other side is dead; `act` is what it does before, `which` tells when."""

    def __init__(
        self, act: Callable[[Exchange], object] = lambda _: None, *, which: Callable[[], bool] = lambda: True
    ) -> None:
        self._act, self._which, self._is_here = act, which, Event()

    def __call__(self, exchange: Exchange) -> None:
        if not self._which():
            well(exchange)
            return
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
def ledger_file(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def start(crm: MisbehavingCrm, tmp_path: Path, ledger_file: Path) -> Callable[..., Program]:
    """`start(**variables)`: a server of this CRM and this ledger."""

    def start(**variables: str) -> Program:
        options = {"CRM_MCP_APPROVAL": "client", "CRM_MCP_TOOLSETS": "all"} | variables
        return Program("--ledger", str(ledger_file), home=tmp_path, **crm.settings, **options)

    return start


@pytest.fixture
def changes(ledger_file: Path) -> Callable[[], list[Change]]:
    """`changes()`: what the ledger has, the oldest first; its chain holds."""

    def changes() -> list[Change]:
        ledger = Ledger.open(ledger_file)
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


def time_passes(ledger_file: Path) -> None:
    """What the CRM might still be doing cannot be late any more: nobody waits a minute for that here."""
    ledger = Ledger.open(ledger_file)
    for change in ledger.changes(outcomes=["unknown"]):
        ledger.close(change.id, "unknown")
    ledger.shut()


@each(SOME[:-1])  # an activity is about no record that is looked at
def test_while_it_looks_at_the_record_it_is_on_record_and_not_done(
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any, ledger_file: Path, write: Write
) -> None:
    crm.on_read = held = Held(which=lambda: bool(changes()))
    kill_during(start, write, held)
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["unknown"], 0)
    crm.behave()
    time_passes(ledger_file)
    assert not call_again(start, write).get("isError")
    assert (outcomes(changes())[-1], sandbox.number(write.effects)) == ("applied", 1)


@each(SOME)
def test_before_it_is_on_record_nothing_is_known_and_nothing_was_done(
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any, write: Write
) -> None:
    crm.on_read = held = Held()
    kill_during(start, write, held)
    known = outcomes(changes())
    # Who creates a company looks nothing up before that is on record.
    assert (known, sandbox.number(write.effects)) in (([], 0), (["unknown"], 0))
    crm.behave()


@each(WAITING)
def test_what_the_crm_may_be_doing_when_it_is_killed_is_not_done_again_by_the_next(
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any, ledger_file: Path, write: Write
) -> None:
    crm.on_write = held = Held()
    kill_during(start, write, held)
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["unknown"], 0)
    crm.behave()
    assert call_again(start, write)["isError"]
    assert (outcomes(changes()), crm.written) == (["unknown", "refused"], [])
    time_passes(ledger_file)
    assert not call_again(start, write).get("isError")
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["failed", "refused", "applied"], 1)


@each(HARMLESS)
def test_what_comes_to_the_same_is_done_by_the_next(
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any, write: Write
) -> None:
    crm.on_write = held = Held()
    kill_during(start, write, held)
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["unknown"], 0)
    crm.behave()
    assert not call_again(start, write).get("isError")
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["unknown", "applied"], 1)


def test_an_email_that_was_under_way_is_not_sent_again(
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any, ledger_file: Path
) -> None:
    crm.on_write = held = Held()
    kill_during(start, EMAIL, held)
    crm.behave()
    time_passes(ledger_file)
    assert call_again(start, EMAIL)["isError"]
    assert (outcomes(changes()), sandbox.number(EMAIL.effects)) == (["unknown", "refused"], 0)


@each([write for write in WRITES if write.is_shown])
def test_when_it_was_done_before_the_answer_it_is_found_by_the_next(
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any, write: Write
) -> None:
    crm.on_write = held = Held(Exchange.done)
    kill_during(start, write, held)
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["unknown"], 1)
    crm.behave()
    again = call_again(start, write)
    assert (outcomes(changes()), len(crm.written)) == (["applied"], 1)
    # Who is linked already is told so.
    assert again["structuredContent"].get("repeat") or write.tool == "link_contact_to_company"


@each(SOME)
def test_within_the_answer_it_is_found_by_the_next(
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any, write: Write
) -> None:
    def do(exchange: Exchange) -> None:
        exchange.done()
        exchange.send(b"HTTP/1.1 201 Created\r\n")

    crm.on_write = held = Held(do)
    kill_during(start, write, held)
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["unknown"], 1)
    crm.behave()
    assert call_again(start, write)["structuredContent"]["repeat"]
    assert (outcomes(changes()), len(crm.written)) == (["applied"], 1)


@each(SOME)
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


@each([KIND["delete_lead"], EMAIL])
def test_between_the_approval_and_the_request_nothing_is_done_and_the_approval_is_used_up(
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any, ledger_file: Path, write: Write
) -> None:
    with start(CRM_MCP_APPROVAL="ask") as server:
        server.shake_hands()
        server.ask(1, "tools/call", name=write.tool, arguments=write.arguments)
    ledger = Ledger.open(ledger_file)
    [asked] = ledger.waiting()
    ledger.decide(asked.id, approved=True, by="a test")
    crm.on_read = held = Held(which=lambda: ledger.approval(asked.id).state == "used")
    kill_during(lambda: start(CRM_MCP_APPROVAL="ask"), write, held)
    assert (crm.written, ledger.approval(asked.id).state) == ([], "used")
    crm.behave()
    time_passes(ledger_file)
    with start(CRM_MCP_APPROVAL="ask") as server:
        server.shake_hands()
        refused = server.ask(1, "tools/call", name=write.tool, arguments=write.arguments)["result"]
    assert (refused["isError"], crm.written, len(ledger.waiting())) == (True, [], 1)
    ledger.shut()


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
