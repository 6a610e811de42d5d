"""The ledger on real files, from real processes; time is moved by leases and windows, never waited for."""

import os
import signal
import sqlite3
import stat
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_mcp.calls import made_before
from crm_mcp.journal import LedgerError, Verification
from crm_mcp.ledger import (
    Approval,
    ApprovalError,
    Attempt,
    Change,
    Ledger,
    NeverSent,
    Outcome,
    Question,
    Subject,
)

LEAD = Subject("lead", "b2b0c0de-0000-4000-8000-000000000001")
COMPANY = Subject("company", "c0c0c0de-0000-4000-8000-000000000001")
MOVE = Attempt(
    principal="anna",
    entity="e1",
    tool="move_lead_stage",
    arguments={"lead": "Rollout", "stage": "Won"},
    operation="patch_lead",
    targets=[LEAD.id],
    body={"stageId": "s-won"},
    title="Move lead Rollout to Won",
    key="k-move",
    subject=LEAD,
    before={"stageId": "s-new"},
)
CREATE = replace(
    MOVE, tool="create_company", key="k-create", subject=None, before=None, claim="company acme", undoes=None
)
QUESTION = Question(
    digest="d1",
    principal="anna",
    entity="e1",
    tool="delete_lead",
    preview="Delete lead Rollout, and its 3 activities.",
    plan={"targets": [LEAD.id], "before": {LEAD.id: "0f0f"}},
)
# A process that begins, says whether its change is new, and lives until its input ends.
BEGIN = """
import sys
from pathlib import Path
from crm_mcp.ledger import Attempt, Ledger
ledger = Ledger.open(Path(sys.argv[1]))
attempt = Attempt(**{name: sys.argv[2] for name in (
    "principal", "entity", "tool", "arguments", "operation", "targets", "body", "title", "key")})
print("ready", flush=True)
sys.stdin.readline()
change, is_new = ledger.begin(attempt, window_seconds=600, lease_seconds=600)
if sys.argv[2] == "killed":
    ledger.renew(change.id, lease_seconds=600, before=None, title="x")
print(is_new, change.id, flush=True)
sys.stdin.readline()
"""
WRITE_MANY = """
import sys
from pathlib import Path
from crm_mcp.ledger import Attempt, Ledger
ledger = Ledger.open(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
for number in range(25):
    attempt = Attempt(**dict.fromkeys((
        "principal", "entity", "tool", "arguments", "operation", "targets", "body", "title"), "x"),
        key=f"{sys.argv[2]} {number}")
    change, _ = ledger.begin(attempt, window_seconds=600, lease_seconds=600)
    ledger.close(change.id, "applied", after={"n": number})
print("done")
"""
CONSUME = """
import sys
from pathlib import Path
from crm_mcp.ledger import ApprovalError, Ledger
ledger = Ledger.open(Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
try:
    print(ledger.consume(sys.argv[2], digest="d1", principal="anna", entity="e1").state)
except ApprovalError as error:
    print(error)
"""
# The process that replaces itself keeps its number, as the first process of a restarted container does.
BEGIN_AND_BECOME_ANOTHER = """
import os, sys
from pathlib import Path
from crm_mcp.ledger import Attempt, Ledger
ledger = Ledger.open(Path(sys.argv[1]))
if sys.argv[2] == "first":
    names = ("principal", "entity", "tool", "arguments", "operation", "targets", "body", "title", "key")
    change, _ = ledger.begin(Attempt(**dict.fromkeys(names, "x")), window_seconds=600, lease_seconds=600)
    ledger.renew(change.id, lease_seconds=600, before=None, title="x")
    print(os.getpid(), ledger.changes()[0].outcome, flush=True)
    os.execv(sys.executable, [sys.executable, "-c", sys.argv[3], sys.argv[1], "second", ""])
print(os.getpid(), ledger.changes()[0].outcome)
"""
# Root may write anywhere, so it becomes nobody first.
OPEN_AS_NOBODY = """
import os, sys
from pathlib import Path
from crm_mcp.journal import LedgerError
from crm_mcp.ledger import Ledger
if os.getuid() == 0:
    os.setuid(65534)
try:
    Ledger.open(Path(sys.argv[1]))
except LedgerError as error:
    print(error)
"""

posix_only = pytest.mark.skipif(os.name == "nt", reason="Windows has no such modes or signals")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "ledger.db"


@pytest.fixture
def ledger(path: Path) -> Iterator[Ledger]:
    ledger = Ledger.open(path)
    yield ledger
    ledger.shut()


def begun(ledger: Ledger, attempt: Attempt = MOVE, lease_seconds: float = 60) -> Change:
    change, is_new = ledger.begin(attempt, window_seconds=600, lease_seconds=lease_seconds)
    assert is_new
    return change


def lapsed_after(ledger: Ledger, attempt: Attempt) -> Change:
    """One that may have been sent, and of which nothing is known."""
    change = begun(ledger, attempt)
    assert ledger.renew(change.id, lease_seconds=0, before=None, title=change.title)
    return ledger.get(change.id)


def applied(ledger: Ledger, attempt: Attempt = MOVE) -> Change:
    return ledger.close(begun(ledger, attempt).id, "applied")


def numbered(number: int) -> Attempt:
    return replace(MOVE, key=f"k{number}", subject=Subject("lead", f"lead {number}"))


def started(script: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def tell_to_go(processes: list[subprocess.Popen[str]]) -> None:
    assert [line(process) for process in processes] == ["ready"] * len(processes)
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()


def altered(path: Path, *statements: str) -> Verification:
    """What verification finds after somebody worked on the file."""
    with sqlite3.connect(path) as connection:
        for statement in statements:
            assert connection.execute(statement).rowcount, statement
    connection.close()
    ledger = Ledger.open(path)
    verified = ledger.verify()
    ledger.shut()
    return verified


# What a change is


def test_a_change_holds_what_was_sent_and_what_came_of_it(ledger: Ledger) -> None:
    earliest = datetime.now(UTC)
    change = begun(ledger, replace(CREATE, approval="a1"))
    closed = ledger.close(change.id, "applied", after={"id": COMPANY.id}, subject=COMPANY, detail="New.")
    assert closed.closed_at is not None
    assert change.expires_at == change.opened_at + timedelta(seconds=60)
    assert earliest <= change.opened_at <= closed.closed_at <= datetime.now(UTC)
    assert closed == Change(
        id=change.id,
        principal="anna",
        entity="e1",
        tool="create_company",
        arguments={"lead": "Rollout", "stage": "Won"},
        operation="patch_lead",
        targets=[LEAD.id],
        body={"stageId": "s-won"},
        title="Move lead Rollout to Won",
        key="k-create",
        claim="company acme",
        approval="a1",
        opened_at=change.opened_at,
        expires_at=change.expires_at,
        closed_at=closed.closed_at,
        outcome="applied",
        detail="New.",
        after={"id": COMPANY.id},
        subject=COMPANY,
    )
    assert ledger.get(change.id) == closed


def test_a_change_outlives_the_process_that_closed_it(path: Path) -> None:
    ledger = Ledger.open(path)
    change = applied(ledger)
    ledger.shut()
    ledger = Ledger.open(path)
    assert ledger.changes() == [change]
    ledger.shut()


def test_a_ledger_in_memory_works_alike_and_is_its_own() -> None:
    first, second = Ledger.open(None), Ledger.open(None)
    change = applied(first)
    assert (first.changes(), second.changes()) == ([change], [])
    assert first.verify() == Verification(2)
    first.shut()
    second.shut()


@pytest.mark.parametrize("place", ["file", "memory"])
def test_threads_may_share_a_ledger(path: Path, place: str) -> None:
    ledger = Ledger.open(path if place == "file" else None)

    def work(thread: int) -> None:
        for number in range(20):
            asked = ledger.ask_for_approval(replace(QUESTION, digest=f"{thread} {number}"), seconds=60)
            assert asked in ledger.waiting()
            ledger.decide(asked.id, approved=True, by="page")
            applied(ledger, numbered(100 * thread + number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))
    assert (ledger.waiting(), len(ledger.changes()), ledger.verify()) == ([], 160, Verification(640))
    ledger.shut()


@pytest.mark.parametrize("outcome", ["refused", "declined", "expired"])
def test_an_attempt_that_was_not_sent_is_recorded(ledger: Ledger, outcome: NeverSent) -> None:
    change = ledger.never_sent(MOVE, outcome, "Nobody approved it.")
    assert (change.outcome, change.detail, change.closed_at) == (
        outcome,
        "Nobody approved it.",
        change.opened_at,
    )
    assert ledger.get(change.id) == change
    assert begun(ledger).outcome == "pending"


def test_a_change_is_got_by_the_start_of_its_id(ledger: Ledger) -> None:
    changes = [applied(ledger, numbered(number)) for number in range(20)]
    assert [ledger.get(f" {change.id[:6].upper()} ") for change in changes] == changes


@pytest.mark.parametrize("start", ["", "abc", "zzzz", "0000000000", "%", "~~~~"])
def test_a_start_that_means_no_change_is_an_error(ledger: Ledger, start: str) -> None:
    applied(ledger)
    with pytest.raises(LedgerError, match=rf'^There is no change "{start}" in the ledger\.$'):
        ledger.get(start)


def test_a_start_that_means_several_changes_is_an_error(path: Path, ledger: Ledger) -> None:
    applied(ledger)
    applied(ledger, numbered(1))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE changes SET id = 'same' || id")
    connection.close()
    with pytest.raises(
        LedgerError, match=r'^The ids of several changes begin with "same": give more of it\.$'
    ):
        ledger.get("same")


# Nothing doubled


def test_an_equal_change_in_flight_stands_in_the_way_even_of_a_repeat(ledger: Ledger) -> None:
    first = begun(ledger)
    assert ledger.begin(MOVE, window_seconds=600, lease_seconds=60) == (first, False)
    assert ledger.begin(MOVE, window_seconds=0, lease_seconds=60) == (first, False)


def test_an_equal_change_within_the_window_is_answered_and_an_older_one_not(
    ledger: Ledger,
) -> None:
    first = applied(ledger)
    assert ledger.begin(MOVE, window_seconds=600, lease_seconds=60) == (first, False)
    again, is_new = ledger.begin(MOVE, window_seconds=0, lease_seconds=60)
    assert is_new
    assert ledger.changes() == [again, first]


def test_what_was_done_since_tells_more_than_what_nobody_knows_of_before(ledger: Ledger) -> None:
    lost = lapsed_after(ledger, MOVE)
    on_purpose = ledger.begin(MOVE, window_seconds=600, lease_seconds=60, despite=lost.id)
    ledger.close(on_purpose.change.id, "applied")
    for _ in range(2):
        # After the window, each time.
        begun_again = ledger.begin(MOVE, window_seconds=0, lease_seconds=60)
        assert begun_again.is_new
        ledger.close(begun_again.change.id, "applied")
    assert {one.id for one in made_before(ledger, MOVE)} == {one.id for one in ledger.changes()} - {lost.id}


def test_an_equal_change_of_which_nobody_knows_stands_however_long_ago_it_was(ledger: Ledger) -> None:
    first = ledger.close(begun(ledger).id, "unknown")
    assert ledger.begin(MOVE, window_seconds=0, lease_seconds=60) == (first, False)


@pytest.mark.parametrize("outcome", ["applied", "unknown"])
def test_a_repeat_on_purpose_is_begun_despite_the_one_before_and_no_other(
    ledger: Ledger, outcome: Outcome
) -> None:
    first = ledger.close(begun(ledger).id, outcome)
    second, is_new = ledger.begin(MOVE, window_seconds=600, lease_seconds=60, despite=first.id)
    assert is_new
    assert ledger.begin(MOVE, window_seconds=600, lease_seconds=60, despite=first.id) == (second, False)
    ledger.close(second.id, "applied")
    assert ledger.begin(MOVE, window_seconds=600, lease_seconds=60, despite=first.id) == (
        ledger.get(second.id),
        False,
    )


def test_what_the_crm_may_still_do_holds_its_claim_until_it_cannot_be_late_any_more(ledger: Ledger) -> None:
    late = ledger.close(begun(ledger, CREATE).id, "unknown", late_seconds=60)
    assert ledger.may_be_late(replace(CREATE, key="k2", principal="ben")) == [late]
    assert ledger.may_be_late(replace(CREATE, claim="another")) == []
    assert ledger.may_be_late(replace(CREATE, entity="e2")) == []
    ledger.close(late.id, "applied")
    ledger.close(begun(ledger, replace(CREATE, key="k3")).id, "unknown", late_seconds=0)
    assert ledger.may_be_late(CREATE) == []


@pytest.mark.parametrize("outcome", ["refused", "declined", "expired", "failed"])
def test_what_was_not_applied_may_be_tried_again(ledger: Ledger, outcome: Outcome) -> None:
    ledger.close(begun(ledger).id, outcome)
    assert begun(ledger).outcome == "pending"


@pytest.mark.parametrize("other", [{"key": "k2"}, {"principal": "ben"}, {"entity": "e2"}])
def test_another_write_or_anothers_write_is_not_equal(ledger: Ledger, other: dict[str, str]) -> None:
    begun(ledger)
    assert begun(ledger, replace(MOVE, **other)).outcome == "pending"


def test_a_claim_is_held_by_one_change_at_a_time(ledger: Ledger) -> None:
    first = begun(ledger, CREATE)
    similar = replace(CREATE, key="k-similar", principal="ben")
    assert ledger.begin(similar, window_seconds=600, lease_seconds=60) == (first, False)
    assert ledger.begin(replace(similar, entity="e2"), window_seconds=600, lease_seconds=60).is_new
    ledger.close(first.id, "applied", subject=COMPANY)
    assert ledger.begin(similar, window_seconds=600, lease_seconds=60).is_new


def test_past_its_lease_a_change_reads_as_unknown_and_holds_no_claim(ledger: Ledger) -> None:
    lapsed = lapsed_after(ledger, CREATE)
    assert lapsed.outcome == "unknown"
    assert ledger.begin(CREATE, window_seconds=600, lease_seconds=60) == (ledger.get(lapsed.id), False)
    assert ledger.begin(replace(CREATE, key="k2"), window_seconds=600, lease_seconds=60).is_new


def test_what_was_not_renewed_was_not_sent(ledger: Ledger) -> None:
    lapsed = ledger.get(begun(ledger, CREATE, lease_seconds=0).id)
    assert (lapsed.outcome, lapsed.detail) == ("failed", "It ended before it was sent.")
    assert ledger.changes(outcomes=["failed"]) == [lapsed]
    assert ledger.changes(outcomes=["unknown"]) == []
    assert ledger.renew(lapsed.id, lease_seconds=60, before=None, title="") is None
    assert ledger.begin(CREATE, window_seconds=600, lease_seconds=60).is_new
    assert ledger.verify() == Verification(2)


def test_what_nobody_closed_may_be_late_for_as_long_after_its_lease(ledger: Ledger) -> None:
    change = begun(ledger, CREATE)
    renewed = ledger.renew(change.id, lease_seconds=0, late_seconds=60, before=None, title="x")
    lapsed = ledger.get(change.id)
    assert (renewed, lapsed.outcome) == (lapsed, "unknown")
    assert lapsed.expires_at is not None
    assert lapsed.expires_at > lapsed.opened_at + timedelta(seconds=60)
    assert ledger.may_be_late(CREATE) == [lapsed]


def test_what_was_lost_is_not_begun_again_where_it_is_known_as_applied_by_now(ledger: Ledger) -> None:
    lost = lapsed_after(ledger, MOVE)
    ledger.close(lost.id, "applied")
    again = {"window_seconds": 600.0, "lease_seconds": 60.0, "despite": lost.id}
    assert ledger.begin(MOVE, **again, though_applied=False) == (ledger.get(lost.id), False)
    assert ledger.begin(MOVE, **again).is_new


def test_a_lease_is_renewed_while_it_lasts_and_not_after(ledger: Ledger) -> None:
    change = begun(ledger, CREATE, lease_seconds=60)
    assert ledger.renew(change.id, lease_seconds=0, before={"a": 1}, title="Known by now")
    assert ledger.get(change.id).outcome == "unknown"
    assert ledger.renew(change.id, lease_seconds=60, before=None, title="") is None
    assert ledger.get(change.id).outcome == "unknown"


def test_processes_that_begin_the_same_at_once_open_one_change(path: Path) -> None:
    processes = [started(BEGIN, path, "same") for _ in range(6)]
    tell_to_go(processes)
    said = [line(process).split() for process in processes]
    for process in processes:
        process.communicate("", timeout=60)
    assert sorted(is_new for is_new, _ in said) == ["False"] * 5 + ["True"]
    assert len({change_id for _, change_id in said}) == 1


@posix_only
def test_a_change_of_a_killed_process_reads_as_unknown_at_once(ledger: Ledger, path: Path) -> None:
    process = started(BEGIN, path, "killed")
    tell_to_go([process])
    _, change_id = line(process).split()
    assert ledger.get(change_id).outcome == "pending"
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert ledger.get(change_id).outcome == "unknown"
    assert ledger.changes(outcomes=["pending"]) == []
    assert [change.id for change in ledger.changes(outcomes=["unknown"])] == [change_id]
    assert ledger.verify() == Verification(2)


@posix_only
def test_a_change_of_an_earlier_process_of_the_same_number_reads_as_unknown(path: Path) -> None:
    process = started(BEGIN_AND_BECOME_ANOTHER, path, "first", BEGIN_AND_BECOME_ANOTHER)
    output, _ = process.communicate(timeout=60)
    assert output == f"{process.pid} pending\n{process.pid} unknown\n"


# What is learnt later


def known_after(known: Outcome, outcome: Outcome) -> Outcome | None:
    """What is known after one more outcome was told; None where it contradicts what was known."""
    if outcome == known or (outcome == "unknown" and known != "pending"):
        return known
    learns = {
        "pending": {"applied", "refused", "declined", "expired", "failed", "unknown"},
        "unknown": {"applied", "failed"},
        "failed": {"applied"},
    }
    return outcome if outcome in learns.get(known, set()) else None


@given(st.lists(st.sampled_from(get_args(Outcome)), max_size=5))
def test_outcomes_follow_only_what_was_less_known(outcomes: list[Outcome]) -> None:
    ledger = Ledger.open(None)
    change = begun(ledger)
    known, events = change.outcome, 1
    for outcome in outcomes:
        after = known_after(known, outcome)
        if after is None:
            with pytest.raises(LedgerError) as caught:
                ledger.close(change.id, outcome)
            assert str(caught.value) == f"Change {change.id} is {known}: it cannot become {outcome}."
        else:
            assert ledger.close(change.id, outcome).outcome == after
            known, events = after, events + (after != known)
    assert ledger.get(change.id).outcome == known
    assert ledger.verify() == Verification(events)
    ledger.shut()


def test_a_slow_process_may_close_after_its_lease(ledger: Ledger) -> None:
    change = begun(ledger, lease_seconds=0)
    assert ledger.close(change.id, "applied", after={"stageId": "s-won"}).outcome == "applied"


def test_a_slow_process_learns_what_others_found_out(ledger: Ledger) -> None:
    change = begun(ledger, CREATE, lease_seconds=0)
    found = ledger.close(change.id, "applied", subject=COMPANY, detail="Found by its name.")
    assert ledger.close(change.id, "unknown", detail="Timed out.") == found
    assert ledger.close(change.id, "applied", detail="Late.") == found
    with pytest.raises(LedgerError, match=rf"^Change {change.id} is applied: it cannot become failed\.$"):
        ledger.close(change.id, "failed")
    assert ledger.get(change.id) == found


def test_what_undoes_a_change_marks_it_undone_once_applied(ledger: Ledger) -> None:
    original = applied(ledger)
    undo = begun(ledger, replace(MOVE, key="k-undo", undoes=original.id))
    assert ledger.get(original.id) == original
    ledger.close(undo.id, "unknown")
    assert ledger.get(original.id) == original
    ledger.close(undo.id, "applied")
    assert ledger.get(original.id) == replace(original, outcome="undone", undone_by=undo.id)
    applied(ledger, replace(MOVE, key="k-redo", undoes=undo.id))
    assert [change.outcome for change in ledger.changes()] == ["applied", "undone", "undone"]
    assert begun(ledger, MOVE).outcome == "pending"


# Looking at changes


def test_changes_come_newest_first_in_pages(ledger: Ledger) -> None:
    changes = [applied(ledger, numbered(number)) for number in range(5)][::-1]
    assert ledger.changes() == changes
    assert ledger.changes(limit=2) == changes[:2]
    assert ledger.changes(limit=2, before=changes[1].id) == changes[2:4]
    assert ledger.changes(before=changes[4].id) == []


def test_changes_are_filtered(ledger: Ledger) -> None:
    move = applied(ledger)
    create = ledger.close(begun(ledger, CREATE).id, "failed")
    other = begun(ledger, replace(MOVE, principal="ben", entity="e2"))
    lapsed = lapsed_after(ledger, numbered(1))
    assert ledger.changes(tool="create_company") == [create]
    assert ledger.changes(principal="ben") == [other]
    assert ledger.changes(entity="e1") == [lapsed, create, move]
    assert ledger.changes(subject=LEAD) == [other, move]
    assert ledger.changes(subject=LEAD, entity="e1") == [move]
    assert ledger.changes(outcomes=["applied", "failed"]) == [create, move]
    assert ledger.changes(outcomes=["pending"]) == [other]
    assert ledger.changes(outcomes=["unknown"], limit=1) == [lapsed]
    assert ledger.changes(since=create.opened_at) == [lapsed, other, create]


def test_changes_are_found_by_their_arguments(ledger: Ledger) -> None:
    said = {"lead": 'Müller "A"', "leads": ["a", {"b": None}], "n": 1.5}
    wanted = applied(ledger, replace(numbered(1), arguments=said))
    # The same text elsewhere, and more of the same.
    applied(ledger, replace(numbered(2), body={"arguments": said}, arguments={}))
    applied(ledger, replace(numbered(3), arguments=said | {"more": 1}))
    none = applied(ledger, replace(numbered(4), arguments={}))
    assert ledger.changes(arguments=said) == [wanted]
    assert none in ledger.changes(arguments={})
    assert wanted not in ledger.changes(arguments={})


# Nothing altered unseen


def test_events_of_several_processes_make_one_chain(path: Path) -> None:
    processes = [started(WRITE_MANY, path, number) for number in range(4)]
    tell_to_go(processes)
    assert [process.communicate(timeout=120)[0] for process in processes] == ["done\n"] * 4
    ledger = Ledger.open(path)
    assert ledger.verify() == Verification(200)
    assert {change.outcome for change in ledger.changes()} == {"applied"}
    ledger.shut()


@pytest.mark.parametrize("seq", [1, 3, 6])
@pytest.mark.parametrize(
    "news",
    [
        "at = '2020-01-01T00:00:00.000000+00:00'",
        "kind = 'pruned'",
        "about = 'zzzzzzzzzz'",
        "about = NULL",
        "data = json_set(data, '$.outcome', 'failed')",
        "data = x'00'",
        "digest = replace(digest, substr(digest, 1, 1), 'x')",
    ],
)
def test_an_altered_event_is_found(path: Path, ledger: Ledger, seq: int, news: str) -> None:
    for number in range(3):
        applied(ledger, numbered(number))
    assert ledger.verify() == Verification(6)
    found = altered(path, f"UPDATE events SET {news} WHERE seq = {seq}")  # noqa: S608
    assert found == Verification(seq - 1, seq, f"Event {seq} was altered.")


@pytest.mark.parametrize(
    ("statement", "missing"),
    [
        ("DELETE FROM events WHERE seq = 1", 1),
        ("DELETE FROM events WHERE seq = 3", 3),
        ("DELETE FROM events WHERE seq = 6", 6),
        ("DELETE FROM events", 1),
        ("UPDATE events SET seq = 9 WHERE seq = 3", 3),
        ("UPDATE events SET seq = 9 WHERE seq = 6", 6),
    ],
)
def test_a_removed_event_is_found(path: Path, ledger: Ledger, statement: str, missing: int) -> None:
    for number in range(3):
        applied(ledger, numbered(number))
    assert altered(path, statement) == Verification(missing - 1, missing, f"Event {missing} is missing.")


@pytest.mark.parametrize(
    "statement",
    [
        "DELETE FROM events",
        "DELETE FROM events WHERE seq = 1",
        "UPDATE events SET data = '{}'",
        "UPDATE events SET data = json_remove(data, '$.title')",
        "UPDATE events SET data = 'x'",
        "UPDATE changes SET id = 'same' || id",
    ],
)
def test_what_cannot_be_read_any_more_is_said_to_be_altered(
    path: Path, ledger: Ledger, statement: str
) -> None:
    applied(ledger)
    altered(path, statement)
    with pytest.raises(LedgerError, match="altered"):
        ledger.changes()


def test_a_removed_tail_is_found_after_more_was_written(path: Path, ledger: Ledger) -> None:
    applied(ledger)
    altered(path, "DELETE FROM events WHERE seq = 2")
    begun(ledger, CREATE)
    assert ledger.verify() == Verification(1, 2, "Event 2 is missing.")


def test_a_tail_and_an_end_that_were_moved_together_miss_their_digest(path: Path, ledger: Ledger) -> None:
    applied(ledger)
    found = altered(path, "DELETE FROM events WHERE seq = 2", "UPDATE ends SET head = 1")
    assert found == Verification(1, 1, "Event 1 is not the one that was written last.")


def test_a_beginning_that_was_removed_without_pruning_is_found(path: Path, ledger: Ledger) -> None:
    applied(ledger)
    applied(ledger, CREATE)
    found = altered(
        path,
        "UPDATE ends SET anchor = 2, anchor_digest = (SELECT digest FROM events WHERE seq = 2)",
        "DELETE FROM events WHERE seq <= 2",
        "DELETE FROM changes WHERE seq <= 2",
    )
    assert found == Verification(2, 2, "Events up to 2 were not removed by pruning.")


@pytest.mark.parametrize(
    "news",
    ["key = 'k'", "outcome = 'failed'", "subject_id = NULL", "at = '2020'", "seq = 9"],
)
def test_an_altered_row_of_a_change_is_found(path: Path, ledger: Ledger, news: str) -> None:
    change = applied(ledger)
    seq = 9 if news == "seq = 9" else 1
    found = altered(path, f"UPDATE changes SET {news}")  # noqa: S608
    assert found == Verification(2, seq, f"The row of {change.id} in changes was altered.")


def test_a_removed_and_an_invented_row_are_found(path: Path, ledger: Ledger) -> None:
    applied(ledger)
    asked = ledger.ask_for_approval(QUESTION, seconds=600)
    found = altered(path, "DELETE FROM approvals")
    assert found == Verification(3, 3, "The record of event 3 is missing.")
    invented = "INSERT INTO approvals (seq, id, at, state) VALUES (3, 'mine', '2020', 'approved')"
    assert altered(path, invented) == Verification(3, 3, "The row of mine in approvals was altered.")
    with pytest.raises(ApprovalError, match=rf'^There is no approval "{asked.id}"\. Nothing was done\.$'):
        ledger.approval(asked.id)


def test_a_chain_without_its_ends_takes_no_more_events(path: Path, ledger: Ledger) -> None:
    applied(ledger)
    with sqlite3.connect(path) as connection:
        connection.execute("DELETE FROM ends")
    connection.close()
    with pytest.raises(LedgerError) as caught:
        begun(ledger, CREATE)
    assert str(caught.value) == f"The ledger cannot use {path}: the ends of its chain were removed."


# Retention


def test_pruning_removes_only_a_beginning_of_whole_old_changes(ledger: Ledger) -> None:
    old, late, after_late = begun(ledger), begun(ledger, numbered(1)), begun(ledger, numbered(2))
    ledger.close(old.id, "applied")
    ledger.close(after_late.id, "applied")
    ledger.close(late.id, "unknown")
    cutoff = datetime.now(UTC)
    ledger.close(late.id, "applied")
    young = applied(ledger, numbered(3))
    assert ledger.prune(cutoff) == 0  # the first change ends within one that has a younger event
    assert [change.id for change in ledger.changes()] == [young.id, after_late.id, late.id, old.id]
    cutoff = datetime.now(UTC)
    youngest = applied(ledger, numbered(4))
    assert ledger.prune(cutoff) == 9
    assert ledger.changes() == [youngest]
    assert ledger.verify() == Verification(3)


def test_pruning_again_and_writing_on_keep_the_chain(path: Path, ledger: Ledger) -> None:
    for number in range(3):
        applied(ledger, numbered(number))
        assert ledger.prune(datetime.now(UTC)) == 2 + (number > 0)
        assert ledger.verify() == Verification(1)
    last = applied(ledger)
    assert ledger.changes() == [last]
    assert ledger.verify() == Verification(3)
    found = altered(path, "UPDATE events SET at = 'never' WHERE kind = 'pruned'")
    assert found == Verification(0, 9, "Event 9 was altered.")


def test_pruning_spares_what_is_in_flight_and_takes_what_lapsed(ledger: Ledger) -> None:
    begun(ledger, numbered(1), lease_seconds=0)
    in_flight = begun(ledger)
    assert ledger.prune(datetime.now(UTC)) == 1
    assert ledger.changes() == [in_flight]
    assert ledger.close(in_flight.id, "applied").outcome == "applied"


def test_what_is_not_to_be_kept_is_forgotten_on_opening_and_by_what_is_written(path: Path) -> None:
    ledger = Ledger.open(path)
    applied(ledger, numbered(1))
    in_flight = begun(ledger, numbered(2))
    ledger.shut()
    ledger = Ledger.open(path, keep=timedelta(0))
    assert ledger.changes() == [in_flight]
    ledger.close(in_flight.id, "applied")
    refused = ledger.never_sent(MOVE, "refused", "Nobody approved it.")
    assert ledger.changes() == [refused]
    last = applied(ledger, numbered(3))
    assert ledger.changes() == [last]
    assert ledger.verify().problem == ""
    ledger.shut()
    ledger = Ledger.open(path, keep=timedelta(days=1))
    assert ledger.changes() == [last]
    ledger.shut()


def test_what_was_pruned_is_no_longer_in_the_file(path: Path) -> None:
    ledger = Ledger.open(path)
    applied(ledger, replace(MOVE, body={"note": "a secret of somebody"}))
    ledger.prune(datetime.now(UTC))
    ledger.shut()
    assert b"secret of somebody" not in path.read_bytes()


# Approvals


def test_an_approval_is_asked_for_given_and_used(ledger: Ledger) -> None:
    asked = ledger.ask_for_approval(QUESTION, seconds=600)
    assert asked == Approval(
        id=asked.id,
        digest="d1",
        principal="anna",
        entity="e1",
        tool="delete_lead",
        preview="Delete lead Rollout, and its 3 activities.",
        plan={"targets": [LEAD.id], "before": {LEAD.id: "0f0f"}},
        state="waiting",
        created_at=asked.created_at,
        expires_at=asked.created_at + timedelta(seconds=600),
    )
    assert ledger.waiting() == [asked]
    given = ledger.decide(asked.id, approved=True, by="page")
    assert given.decided_at is not None
    assert given == replace(asked, state="approved", decided_at=given.decided_at, decided_by="page")
    assert ledger.waiting() == []
    used = ledger.consume(asked.id, digest="d1", principal="anna", entity="e1")
    assert used == ledger.approval(asked.id) == replace(given, state="used")
    assert ledger.verify() == Verification(3)


def test_an_approval_outlives_the_process_that_asked(path: Path) -> None:
    ledger = Ledger.open(path)
    asked = ledger.ask_for_approval(QUESTION, seconds=600)
    ledger.shut()
    ledger = Ledger.open(path)
    assert ledger.waiting() == [asked]
    ledger.shut()


def test_the_same_question_is_asked_once_while_it_stands(ledger: Ledger) -> None:
    asked = ledger.ask_for_approval(QUESTION, seconds=600)
    assert ledger.ask_for_approval(QUESTION, seconds=600) == asked
    given = ledger.decide(asked.id, approved=True, by="terminal")
    assert ledger.ask_for_approval(QUESTION, seconds=600) == given
    ledger.consume(asked.id, digest="d1", principal="anna", entity="e1")
    again = ledger.ask_for_approval(QUESTION, seconds=600)
    assert (again.state, again.id == asked.id) == ("waiting", False)


@pytest.mark.parametrize("other", [{"digest": "d2"}, {"principal": "ben"}, {"entity": "e2"}])
def test_another_question_or_anothers_is_asked_apart(ledger: Ledger, other: dict[str, str]) -> None:
    first = ledger.ask_for_approval(QUESTION, seconds=600)
    second = ledger.ask_for_approval(replace(QUESTION, **other), seconds=600)
    assert ledger.waiting() == [first, second]


def test_an_expired_approval_can_neither_be_decided_nor_used_nor_waits(ledger: Ledger) -> None:
    expired = ledger.ask_for_approval(QUESTION, seconds=0)
    assert ledger.waiting() == []
    assert ledger.approval(expired.id).state == "expired"
    for approved in (True, False):
        with pytest.raises(ApprovalError) as caught:
            ledger.decide(expired.id, approved=approved, by="page")
        assert str(caught.value) == f"Approval {expired.id} has expired. Nothing was decided."
    with pytest.raises(ApprovalError) as caught:
        ledger.consume(expired.id, digest="d1", principal="anna", entity="e1")
    assert str(caught.value) == f"Approval {expired.id} has expired. Nothing was sent."
    assert ledger.ask_for_approval(QUESTION, seconds=600).id != expired.id
    assert ledger.verify() == Verification(2)


@pytest.mark.parametrize(
    ("stolen", "why"),
    [
        ({"digest": "d2"}, "is for another operation"),
        ({"principal": "ben"}, "is somebody else's"),
        ({"entity": "e2"}, "is somebody else's"),
    ],
)
def test_an_approval_holds_for_its_own_operation_only(
    ledger: Ledger, stolen: dict[str, str], why: str
) -> None:
    given = ledger.decide(ledger.ask_for_approval(QUESTION, seconds=600).id, approved=True, by="page")
    with pytest.raises(ApprovalError) as caught:
        ledger.consume(given.id, **{"digest": "d1", "principal": "anna", "entity": "e1"} | stolen)
    assert str(caught.value) == f"Approval {given.id} {why}. Nothing was sent."
    assert ledger.approval(given.id) == given


def test_an_approval_that_was_not_given_or_no_longer_holds_is_not_used(ledger: Ledger) -> None:
    def why_not(approval: Approval) -> str:
        with pytest.raises(ApprovalError) as caught:
            ledger.consume(approval.id, digest="d1", principal="anna", entity="e1")
        return str(caught.value).removeprefix(f"Approval {approval.id} ")

    waiting = ledger.ask_for_approval(QUESTION, seconds=600)
    assert why_not(waiting) == "has not been decided by a person yet. Nothing was sent."
    declined = ledger.decide(waiting.id, approved=False, by="page")
    assert why_not(declined) == "was declined. Nothing was sent."
    void = ledger.void(ledger.ask_for_approval(QUESTION, seconds=600).id)
    assert why_not(void) == "no longer holds. Nothing was sent."
    used = ledger.decide(ledger.ask_for_approval(QUESTION, seconds=600).id, approved=True, by="page")
    ledger.consume(used.id, digest="d1", principal="anna", entity="e1")
    assert why_not(used) == "was already used. Nothing was sent."


def test_a_decision_stands(ledger: Ledger) -> None:
    given = ledger.decide(ledger.ask_for_approval(QUESTION, seconds=600).id, approved=True, by="page")
    with pytest.raises(ApprovalError) as caught:
        ledger.decide(given.id, approved=False, by="terminal")
    assert str(caught.value) == f"Approval {given.id} was already approved. Nothing was decided."
    assert ledger.approval(given.id) == given


def test_an_approval_is_void_unless_it_was_settled_before(ledger: Ledger) -> None:
    given = ledger.decide(ledger.ask_for_approval(QUESTION, seconds=600).id, approved=True, by="page")
    assert ledger.void(given.id) == replace(given, state="void")
    declined = ledger.decide(ledger.ask_for_approval(QUESTION, seconds=600).id, approved=False, by="page")
    assert ledger.void(declined.id) == declined


def test_an_approval_is_used_by_one_of_two_processes(path: Path, ledger: Ledger) -> None:
    given = ledger.decide(ledger.ask_for_approval(QUESTION, seconds=600).id, approved=True, by="page")
    processes = [started(CONSUME, path, given.id) for _ in range(2)]
    tell_to_go(processes)
    said = sorted(process.communicate(timeout=60)[0] for process in processes)
    assert said == [f"Approval {given.id} was already used. Nothing was sent.\n", "used\n"]


def test_the_id_of_a_change_is_no_approval(ledger: Ledger) -> None:
    with pytest.raises(ApprovalError):
        ledger.approval(applied(ledger).id)


# The file


@posix_only
def test_the_file_and_its_directory_are_their_owners_alone(tmp_path: Path) -> None:
    ledger = Ledger.open(tmp_path / "new" / "ledger.db")
    applied(ledger)
    modes = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "new").iterdir()}
    assert modes == dict.fromkeys(["ledger.db", "ledger.db-wal", "ledger.db-shm"], 0o600)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o700
    ledger.shut()


def reason_not_to_open(path: Path) -> str:
    with pytest.raises(LedgerError) as caught:
        Ledger.open(path)
    return str(caught.value).replace(str(path), "FILE")


def test_a_file_that_is_no_database_is_refused_untouched(path: Path) -> None:
    path.write_bytes(b"something else entirely " * 100)
    assert reason_not_to_open(path) == "The ledger cannot use FILE: file is not a database."
    assert path.read_bytes() == b"something else entirely " * 100


@pytest.mark.parametrize(
    ("statement", "reason"),
    [
        ("PRAGMA user_version = 3", "it has format 3, this program knows format 2 only"),
        ("PRAGMA application_id = 7", "it is the database of another program"),
    ],
)
def test_a_file_of_a_newer_version_or_another_program_is_refused(
    path: Path, statement: str, reason: str
) -> None:
    Ledger.open(path).shut()
    connection = sqlite3.connect(path)
    connection.execute(statement)
    connection.close()
    assert reason_not_to_open(path) == f"The ledger cannot use FILE: {reason}."


def test_a_file_of_the_format_before_is_taken_on(path: Path) -> None:
    ledger = Ledger.open(path)
    first, second = applied(ledger), begun(ledger, replace(MOVE, key="b" * 64))
    asked = ledger.ask_for_approval(QUESTION, seconds=60)
    ledger.shut()
    connection = sqlite3.connect(path)
    for statement in (
        "DROP INDEX changes_asked",
        "DROP INDEX changes_lost",
        "ALTER TABLE changes DROP COLUMN asked",
        "ALTER TABLE changes DROP COLUMN lost",
        "PRAGMA user_version = 1",
    ):
        connection.execute(statement)
    connection.commit()
    connection.close()

    ledger = Ledger.open(path)
    assert [change.id for change in ledger.changes(arguments=first.arguments)] == [second.id, first.id]
    assert ledger.waiting() == [asked]
    ledger.close(second.id, "applied", lost=True)
    assert [change.id for change in ledger.changes(lost=True)] == [second.id]
    assert ledger.verify().broken is None
    ledger.shut()
    # What a process of that format goes on writing is listed by the next that opens the file.
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE changes SET asked = NULL, lost = NULL WHERE id = ?", (second.id,))
    connection.close()
    ledger = Ledger.open(path)
    assert [change.id for change in ledger.changes(arguments=first.arguments, lost=True)] == [second.id]
    assert ledger.verify().broken is None
    ledger.shut()


def test_a_database_of_another_program_is_refused_untouched(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    before = path.read_bytes()
    assert reason_not_to_open(path) == ("The ledger cannot use FILE: it is the database of another program.")
    assert path.read_bytes() == before


@posix_only
def test_a_place_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert reason_not_to_open(tmp_path / "file" / "ledger.db") == (
        "The ledger cannot use FILE: Not a directory."
    )


@posix_only
@pytest.mark.parametrize("there_is_a_file", [False, True])
def test_a_directory_or_file_that_cannot_be_written_is_refused(there_is_a_file: bool) -> None:
    with tempfile.TemporaryDirectory() as name:  # others may not enter pytest's own directories
        path = Path(name) / "ledger.db"
        if there_is_a_file:
            Ledger.open(path).shut()
            path.chmod(0o444)
        Path(name).chmod(0o555)
        said, _ = started(OPEN_AS_NOBODY, path).communicate(timeout=60)
        Path(name).chmod(0o755)
    assert said == f"The ledger cannot use {path}: Permission denied.\n"
