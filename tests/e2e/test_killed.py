"""A server that is killed at any step of a write: its successor doubles nothing and loses nothing."""

import json
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
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
def asking(start: Callable[..., Program]) -> Callable[[], Program]:
    """The same, which asks a person about what is guarded."""
    return lambda: start(CRM_MCP_APPROVAL="ask")


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


@contextmanager
def open_ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(path)
    try:
        yield ledger
    finally:
        ledger.shut()


def approve(ledger: Ledger, start: Callable[[], Program], write: Write) -> None:
    """Have a person approve it, once the server has asked for that."""
    assert call_again(start, write)["isError"]
    [asked] = ledger.waiting()
    ledger.decide(asked.id, approved=True, by="a test")


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
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any, write: Write
) -> None:
    crm.on_read = held = Held(which=lambda: bool(changes()))
    kill_during(start, write, held)
    # It was not sent for certain, so that nobody has to wait.
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["failed"], 0)
    crm.behave()
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
    assert (known, sandbox.number(write.effects)) in (([], 0), (["failed"], 0))
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


class Taken:
    """What it sends back while the ledger is somebody else's, so that the other side can write nothing."""

    def __init__(self, ledger_file: Path) -> None:
        self._ledger_file = ledger_file

    def __call__(self, exchange: Exchange) -> None:
        content = exchange.done()
        self._lock = sqlite3.connect(self._ledger_file, isolation_level=None, check_same_thread=False)
        self._lock.execute("BEGIN IMMEDIATE")
        exchange.send(content)
        # Until it has been read to its end.
        exchange.hang()

    def let_go(self) -> None:
        self._lock.close()


@each([*SOME, EMAIL, KIND["delete_lead"]])
def test_when_the_answer_was_read_and_is_not_on_record_it_is_found_by_the_next(
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any, ledger_file: Path, write: Write
) -> None:
    crm.on_write = held = Held(taken := Taken(ledger_file))
    kill_during(start, write, held)
    taken.let_go()
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["unknown"], 1)
    crm.behave()
    assert call_again(start, write)["structuredContent"]["repeat"]
    assert (outcomes(changes()), len(crm.written)) == (["applied"], 1)


@each(SOME[:2])
def test_when_it_has_looked_and_not_sent_it_nothing_is_done_and_the_next_does_it(
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any, ledger_file: Path, write: Write
) -> None:
    crm.on_read = held = Held(taken := Taken(ledger_file), which=lambda: bool(changes()))
    kill_during(start, write, held)
    taken.let_go()
    assert (outcomes(changes()), crm.tried) == (["failed"], [])
    crm.behave()
    assert not call_again(start, write).get("isError")
    assert (outcomes(changes())[-1], sandbox.number(write.effects), len(crm.written)) == ("applied", 1, 1)


@each([SOME[0], EMAIL])
def test_what_is_on_record_and_nobody_was_told_of_is_told_by_the_next(
    crm: MisbehavingCrm, start: Any, changes: Any, write: Write
) -> None:
    with start() as server:
        server.shake_hands()
        server.tell(id=1, method="tools/call", params={"name": write.tool, "arguments": write.arguments})
        deadline = time.monotonic() + SECONDS
        while outcomes(changes()) != ["applied"]:
            assert time.monotonic() < deadline
        server.process.kill()
    assert call_again(start, write)["structuredContent"]["repeat"]
    assert (outcomes(changes()), len(crm.written)) == (["applied"], 1)


@each([KIND["delete_lead"], EMAIL])
@pytest.mark.parametrize("act", [Exchange.done, lambda _: None], ids=["done", "not done"])
def test_an_approved_write_that_was_under_way_is_found_or_asked_about_anew(
    crm: MisbehavingCrm,
    sandbox: Store,
    asking: Any,
    changes: Any,
    ledger_file: Path,
    write: Write,
    act: Callable[[Exchange], object],
) -> None:
    with open_ledger(ledger_file) as ledger:
        approve(ledger, asking, write)
        crm.on_write = held = Held(act)
        kill_during(asking, write, held)
        crm.behave()
        time_passes(ledger_file)
        again = call_again(asking, write)
        if act is Exchange.done:
            assert again["structuredContent"]["repeat"]
            assert (outcomes(changes()), ledger.waiting()) == (["refused", "applied"], [])
        else:
            assert again["isError"]
            # Nobody knows of an e-mail; of what is there still the person is asked.
            assert len(ledger.waiting()) == (write is not EMAIL)
            assert outcomes(changes())[1] == ("unknown" if write is EMAIL else "failed")
        assert sandbox.number(write.effects) == len(crm.written) == (act is Exchange.done)


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


def moving(sandbox: Store, count: int) -> Write:
    """A batch of leads to be won."""
    rows = sandbox.all("SELECT id FROM leads WHERE closed_at IS NULL ORDER BY id LIMIT ?", count)
    moved = "SELECT count(*) FROM stage_changes WHERE subject LIKE '%→ Won' AND occurred_at > "
    return Write(
        "move_lead_stage",
        "move_lead_stage",
        {"leads": [row["id"] for row in rows], "stage": "Won"},
        f"{moved}'{sandbox.now()}'",
    )


def from_the_second_on(held: Held) -> Callable[[Exchange], None]:
    def first(exchange: Exchange) -> None:
        exchange.crm.on_write = held
        well(exchange)

    return first


def test_within_a_batch_what_was_done_stays_and_the_rest_is_done_by_the_next(
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any
) -> None:
    write = moving(sandbox, 3)
    crm.on_write = from_the_second_on(held := Held(Exchange.done))
    kill_during(start, write, held)
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["applied", "unknown"], 2)
    crm.behave()
    assert not call_again(start, write).get("isError")
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["applied"] * 3, 3)
    assert len(crm.written) == 3


def test_of_an_approved_batch_the_rest_needs_another_word_and_nothing_is_done_twice(
    crm: MisbehavingCrm, sandbox: Store, asking: Any, changes: Any, ledger_file: Path, tmp_path: Path
) -> None:
    write = moving(sandbox, 12)
    with open_ledger(ledger_file) as ledger:
        approve(ledger, asking, write)
        crm.on_write = from_the_second_on(held := Held(Exchange.done))
        kill_during(asking, write, held)
        crm.behave()
        approve(ledger, asking, write)
        assert len(crm.written) == 2
        assert not call_again(asking, write).get("isError")
        assert (sandbox.number(write.effects), len(crm.written)) == (12, 12)
        sent = [change for change in changes() if change.outcome != "refused"]
        assert outcomes(sent) == ["applied"] * 12
        assert len({change.approval for change in sent}) == 2
    with Program(
        "changes", "--json", "--outcome", "applied", "--ledger", str(ledger_file), home=tmp_path
    ) as program:
        told = json.loads(program.stdout.to_the_end())
    assert sorted(one["id"] for one in told) == sorted(one.id for one in sent)


def test_of_a_batch_of_activities_that_was_under_way_each_is_logged_once(
    crm: MisbehavingCrm, sandbox: Store, start: Any, changes: Any, ledger_file: Path
) -> None:
    leads = moving(sandbox, 3).arguments["leads"]
    arguments = {"type": "call", "subject": "Good day", "leads": leads}
    effects = "SELECT count(*) FROM activities WHERE subject = 'Good day'"
    write = Write("log_lead_activity", "log_activity", arguments, effects)
    crm.on_write = from_the_second_on(held := Held())
    kill_during(start, write, held)
    assert (outcomes(changes()), sandbox.number(write.effects)) == (["applied", "unknown"], 1)
    crm.behave()
    call_again(start, write)
    # The second one may still be on its way.
    assert (
        sandbox.number("SELECT count(*) FROM activities WHERE subject = 'Good day' AND lead_id = ?", leads[1])
        == 0
    )
    time_passes(ledger_file)
    assert not call_again(start, write).get("isError")
    assert (sandbox.number(write.effects), len(crm.written)) == (3, 3)
    assert [one for one in outcomes(changes()) if one != "refused"] == [
        "applied",
        "failed",
        "applied",
        "applied",
    ]


@pytest.mark.parametrize("is_done", [True, False], ids=["done", "not done"])
def test_an_undoing_that_was_under_way_is_done_once(
    crm: MisbehavingCrm, start: Any, changes: Any, sandbox: Store, is_done: bool
) -> None:
    update = KIND["update_company"]
    assert not call_again(start, update).get("isError")
    [updated] = changes()
    undoing = Write("update_company", "undo_change", {"change": updated.id}, "")
    crm.on_write = held = Held(Exchange.done if is_done else lambda _: None)
    kill_during(start, undoing, held)
    assert outcomes(changes()) == ["applied", "unknown"]
    assert sandbox.number(update.effects) == (not is_done)
    crm.behave()
    again = call_again(start, undoing)
    assert ("repeat" in again["structuredContent"], sandbox.number(update.effects)) == (is_done, 0)
    assert outcomes(changes()) == ["undone", *([] if is_done else ["unknown"]), "applied"]
    assert len(crm.written) == 2
