"""What a person does on the command line, at a real terminal: reading the record, approving, taking back."""

import json
import os
import pwd
import select
import shlex
import sqlite3
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import pytest
from mcp import Client

from crm_mcp.calls import Policy
from crm_mcp.ledger import Approval, Ledger, Question
from crm_mcp.sandbox.store import Store

from .programs import SECONDS, environment, over_stdio

pty = pytest.importorskip("pty", reason="Windows has other terminals", exc_type=ImportError)
pytestmark = pytest.mark.anyio

OpenClient = Callable[..., Awaitable[Client]]
Find = Callable[..., dict[str, Any]]

# A process of its own session, whose terminal is the one named first.
AT_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(os.open(sys.argv[1], os.O_RDWR), termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "crm_mcp", *sys.argv[2:]])
"""
NO_TERMINAL = (
    "crm-mcp: this needs a terminal: a person answers there, and nothing else does. Nothing was done.\n"
)
APPROVE, UNDO, AGAIN = "Approve it? Type yes or no: ", "Do it? Type yes or no: ", "Please type yes or no: "
MAIL = {"lead": "Acme annual licence", "subject": "Our offer", "body": "Dear Anna"}


@dataclass(frozen=True)
class Ended:
    code: int
    stdout: str
    stderr: str


class Person:
    """A command at a terminal, whose keys and screen are ours."""

    def __init__(self, *arguments: str, home: Path, **variables: str) -> None:
        self._keys, self._tty = pty.openpty()
        self._process = subprocess.Popen(
            [sys.executable, "-c", AT_TERMINAL, os.ttyname(self._tty), *arguments],
            env=environment(home, variables),
            cwd=home,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            start_new_session=True,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate(timeout=SECONDS)
        os.close(self._keys)
        os.close(self._tty)

    def sees(self, ending: str) -> str:
        """What the terminal shows, up to this."""
        seen, until = b"", time.monotonic() + SECONDS
        while not seen.decode(errors="ignore").endswith(ending):
            left = until - time.monotonic()
            ready, _, _ = select.select([self._keys], [], [], max(0, left))
            assert ready, f"the terminal shows {seen!r} only; stderr: {self._stderr()}"
            seen += os.read(self._keys, 65536)
        return seen.decode().replace("\r\n", "\n")

    def _stderr(self) -> str:
        self._process.kill()
        return self._process.communicate(timeout=SECONDS)[1]

    def types(self, text: str) -> None:
        os.write(self._keys, text.encode())

    def is_waited_for(self) -> None:
        """Until the command reads: in the moment between its question and that, Python misses a signal."""
        state, deadline = Path(f"/proc/{self._process.pid}/stat"), time.monotonic() + SECONDS
        while state.exists() and state.read_text().rpartition(")")[2].split()[0] != "S":
            assert time.monotonic() < deadline
            time.sleep(0.01)

    def ends(self) -> Ended:
        out, err = self._process.communicate(timeout=SECONDS)
        return Ended(self._process.returncode, out, err)


def run(*arguments: str, home: Path, said: str = "", **variables: str) -> Ended:
    """The command where there is no terminal at all."""
    done = subprocess.run(
        [sys.executable, "-m", "crm_mcp", *arguments],
        input=said,
        env=environment(home, variables),
        cwd=home,
        capture_output=True,
        start_new_session=True,
        encoding="utf-8",
        timeout=SECONDS,
        check=False,
    )
    return Ended(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def here(tmp_path: Path, ledger_file: Path) -> dict[str, Any]:
    """Where commands find the ledger and the embedded CRM of the test."""
    return {
        "home": tmp_path,
        "CRM_MCP_LEDGER": str(ledger_file),
        "CRM_MCP_SANDBOX": str(tmp_path / "sandbox.db"),
    }


def ask(ledger: Ledger, preview: str = "Delete lead Big deal", seconds: float = 600) -> Approval:
    """What an assistant has asked for."""
    question = Question(
        digest=preview,
        principal="max",
        entity="e",
        tool="delete_lead",
        preview=preview,
        plan={"key": "before"},
    )
    return ledger.ask_for_approval(question, seconds=seconds)


def local(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M:%S}"


async def update_acme(open_client: OpenClient, **changed: str) -> None:
    client = await open_client()
    result = await client.call_tool("update_company", {"company": "Acme Inc.", **changed})
    assert not result.is_error


# Approvals


def test_what_waits_is_listed(here: dict[str, Any], ledger: Ledger) -> None:
    assert run("approvals", **here) == Ended(0, "Nothing waits for approval.\n", "")
    assert run("approvals", "--json", **here) == Ended(0, "[]\n", "")
    first, second = ask(ledger), ask(ledger, "Send e-mail to Anna\n  Subject: Hi")
    ledger.decide(ask(ledger, "Delete lead Small deal").id, approved=True, by="page")
    assert run("approvals", **here) == Ended(
        0,
        f"{first.id}  delete_lead for max in the embedded CRM, until {local(first.expires_at)}\n"
        "  Delete lead Big deal\n\n"
        f"{second.id}  delete_lead for max in the embedded CRM, until {local(second.expires_at)}\n"
        "  Send e-mail to Anna\n    Subject: Hi\n",
        "",
    )
    assert json.loads(run("approvals", "--json", **here).stdout) == [
        {
            "id": one.id,
            "tool": "delete_lead",
            "preview": one.preview,
            "expires_at": one.expires_at.isoformat(),
        }
        for one in (first, second)
    ]


@pytest.mark.parametrize("said", [lambda one: one.id, lambda one: one.id[:8].upper()], ids=["id", "start"])
def test_a_yes_at_the_terminal_approves(
    here: dict[str, Any], ledger: Ledger, said: Callable[[Approval], str]
) -> None:
    asked = ask(ledger)
    with Person("approve", said(asked), **here) as person:
        assert person.sees(APPROVE) == (
            "An assistant wants to do this in the embedded CRM:\n\nDelete lead Big deal\n\n"
            f"Asked for by max with delete_lead; approval {asked.id[:8]}, until {local(asked.expires_at)}."
            f"\n\n{APPROVE}"
        )
        person.types("yes\n")
        assert person.ends() == Ended(
            0, "Approved, for once. Tell the assistant to go on: it makes the same call again.\n", ""
        )
    decided = ledger.approval(asked.id)
    assert (decided.state, decided.decided_by) == ("approved", "terminal")


def test_a_no_declines_for_good(here: dict[str, Any], ledger: Ledger) -> None:
    asked = ask(ledger)
    with Person("approve", asked.id, **here) as person:
        person.sees(APPROVE)
        person.types("no\n")
        assert person.ends() == Ended(1, "Declined. Nothing will be sent.\n", "")
    decided = ledger.approval(asked.id)
    assert (decided.state, decided.decided_by) == ("declined", "terminal")
    assert run("approve", asked.id, **here) == Ended(
        1,
        "",
        f"crm-mcp: Approval {asked.id} does not wait any more: it is declined. Nothing was decided.\n",
    )


def test_another_word_is_asked_about_once(here: dict[str, Any], ledger: Ledger) -> None:
    asked = ask(ledger)
    with Person("approve", asked.id, **here) as person:
        person.sees(APPROVE)
        person.types("y\n")
        person.sees(AGAIN)
        person.types("Yes\n")
        assert person.ends().code == 0
    assert ledger.approval(asked.id).state == "approved"


@pytest.mark.parametrize("typed", [["y\n", "ok\n"], ["\n", "\n"], ["\4"], ["yes\4\4"], ["\3"]])
def test_what_is_neither_leaves_it_waiting(here: dict[str, Any], ledger: Ledger, typed: list[str]) -> None:
    asked = ask(ledger)
    with Person("approve", asked.id, **here) as person:
        for prompt, text in zip((APPROVE, AGAIN), typed, strict=False):
            person.sees(prompt)
            person.is_waited_for()
            person.types(text)
        assert person.ends() == Ended(
            1, f"Nothing was decided: it still waits, until {local(asked.expires_at)}.\n", ""
        )
    assert ledger.waiting() == [asked]


def test_what_was_typed_before_the_question_does_not_answer_it(here: dict[str, Any], ledger: Ledger) -> None:
    asked = ask(ledger)
    with Person("approve", asked.id, **here) as person:
        person.types("yes\n")
        person.sees(APPROVE)
        person.types("no\n")
        assert person.ends().code == 1
    assert ledger.approval(asked.id).state == "declined"


def test_without_a_terminal_nothing_approves(here: dict[str, Any], ledger: Ledger) -> None:
    asked = ask(ledger)
    answers = dict.fromkeys(("APPROVE", "YES", "CI", "ANSWER"), "yes") | {"DEBIAN_FRONTEND": "noninteractive"}
    assert run("approve", asked.id, said="yes\n" * 3, **here, **answers) == Ended(2, "", NO_TERMINAL)
    for flag in ("--yes", "-y", "--force", "--json"):
        assert run("approve", asked.id, flag, said="yes\n", **here).code == 2
    assert ledger.waiting() == [asked]


def test_what_does_not_wait_is_one_sentence(here: dict[str, Any], ledger: Ledger) -> None:
    expired, void = ask(ledger, seconds=0), ask(ledger, "Delete lead Small deal")
    ledger.void(void.id)
    for said, told in {
        "abcdefgh": 'There is no approval "abcdefgh". Nothing was done.',
        ask(ledger).id[:7]: f'There is no approval "{ask(ledger).id[:7]}". Nothing was done.',
        "\33[2J": 'There is no approval "[2j". Nothing was done.',
        expired.id: f"Approval {expired.id} does not wait any more: it is expired. Nothing was decided.",
        void.id: f"Approval {void.id} does not wait any more: it is void. Nothing was decided.",
    }.items():
        assert run("approve", said, **here) == Ended(1, "", f"crm-mcp: {told}\n")


def test_no_text_of_others_acts_on_the_terminal(here: dict[str, Any], ledger: Ledger) -> None:
    hostile = "Delete lead \33[2J\33]0;x\7Big\r\b\x9b31m deal\u202e\u200b\n  \33[8mhidden\u2028Approve"
    asked = ask(ledger, hostile)
    shown = "Delete lead [2J]0;xBig 31m deal\n  [8mhidden Approve"
    with Person("approve", asked.id, **here) as person:
        assert person.sees(APPROVE).splitlines()[2:4] == shown.splitlines()
        person.types("no\n")
        person.ends()
    again = ask(ledger, hostile)
    assert run("approvals", **here).stdout.splitlines()[1:] == [f"  {line}" for line in shown.splitlines()]
    printed = run("approvals", "--json", **here).stdout
    assert json.loads(printed)[0]["preview"] == again.preview
    assert printed.replace("\n", "").isprintable()


async def test_a_guarded_call_goes_through_once_a_person_has_approved(
    here: dict[str, Any], ledger: Ledger, sandbox: Store
) -> None:
    emails = "SELECT * FROM activities WHERE subject = 'Our offer'"
    async with Client(over_stdio(**here)) as client:
        refused = await client.call_tool("send_outbound_email", MAIL)
        [waiting] = ledger.waiting()
        assert refused.is_error
        assert waiting.id in refused.content[0].text  # type: ignore[union-attr]
        with Person("approve", waiting.id, **here) as person:
            assert waiting.preview in person.sees(APPROVE)
            person.types("yes\n")
            assert person.ends().code == 0
        assert sandbox.all(emails) == []
        sent = await client.call_tool("send_outbound_email", MAIL)
        assert not sent.is_error
        assert len(sandbox.all(emails)) == 1
        again = await client.call_tool("send_outbound_email", MAIL)
        assert again.content[0].text == (  # type: ignore[union-attr]
            f"Done before, so that nothing was sent again. {sent.content[0].text}"  # type: ignore[union-attr]
        )
    assert len(sandbox.all(emails)) == 1
    assert [change.outcome for change in ledger.changes()] == ["applied", "refused"]
    assert (ledger.changes()[0].approval, ledger.approval(waiting.id).state) == (waiting.id, "used")


@pytest.mark.parametrize("flags", [[], ["--ledger", "Max's ledger.db"]], ids=["default", "named"])
async def test_what_a_refusal_says_to_type_approves_in_any_terminal(tmp_path: Path, flags: list[str]) -> None:
    async with Client(over_stdio(*flags, home=tmp_path)) as client:
        refused = await client.call_tool("send_outbound_email", MAIL)
        command = refused.content[0].text.split("`")[1]  # type: ignore[union-attr]
        assert command.count("ledger.db") == len(flags[1:])
        program, *arguments = shlex.split(command)
        data = {"XDG_DATA_HOME": str(tmp_path / "data")}
        (tmp_path / "elsewhere").mkdir()
        with Person(*arguments, home=tmp_path / "elsewhere", **data) as person:
            person.sees(APPROVE)
            person.types("yes\n")
            assert (program, person.ends().code) == ("crm-mcp", 0)
        assert not (await client.call_tool("send_outbound_email", MAIL)).is_error


# Changes


async def test_changes_are_listed_newest_first(
    open_client: OpenClient, here: dict[str, Any], ledger: Ledger
) -> None:
    assert run("changes", **here) == Ended(0, "There is no such change on record.\n", "")
    await update_acme(open_client, phone="1")
    client = await open_client(policy=Policy(approval="never"))
    assert (await client.call_tool("delete_lead", {"lead": "Acme annual licence"})).is_error
    refused, applied = ledger.changes()
    lines = run("changes", **here).stdout.splitlines()
    assert lines[0].split("  ")[:3] == [local(refused.opened_at), refused.id, "refused"]
    assert lines[-1] == (
        f"{local(applied.opened_at)}  {applied.id}  applied  local  update_company  Update company "
        "Acme Inc.: phone → 1"
    )
    printed = json.loads(run("changes", "--json", **here).stdout)
    assert [one["id"] for one in printed] == [refused.id, applied.id]
    assert printed[1] == {
        "id": applied.id,
        "at": applied.opened_at.isoformat(),
        "principal": "local",
        "entity": applied.entity,
        "tool": "update_company",
        "arguments": applied.arguments,
        "operation": "update_company",
        "targets": applied.targets,
        "body": {"phone": "1"},
        "title": "Update company Acme Inc.: phone → 1",
        "meant": {"company": {"Acme Inc.": applied.subject.id}},
        "key": applied.key,
        "call": applied.call,
        "lost": False,
        "record": {"kind": "company", "id": applied.targets["company_id"]},
        "before": applied.before,
        "after": applied.after,
        "approval": None,
        "undoes": None,
        "undone_by": None,
        "claim": f"company {applied.targets['company_id']}",
        "approved_by": None,
        "expires_at": str(applied.expires_at and applied.expires_at.isoformat()),
        "closed_at": str(applied.closed_at and applied.closed_at.isoformat()),
        "outcome": "applied",
        "detail": "",
    }


async def test_changes_are_filtered(open_client: OpenClient, here: dict[str, Any], ledger: Ledger) -> None:
    for phone in "123":
        await update_acme(open_client, phone=phone)
    client = await open_client(policy=Policy(approval="never"))
    await client.call_tool("delete_lead", {"lead": "Acme annual licence"})
    refused, *applied = [change.id for change in ledger.changes()]
    today = datetime.now().astimezone().date()
    for flags, ids in {
        ("--limit", "2"): [refused, applied[0]],
        ("--tool", "update_company"): applied,
        ("--outcome", "refused"): [refused],
        ("--outcome", "applied", "--limit", "1"): applied[:1],
        ("--since", str(today - timedelta(days=1))): [refused, *applied],
        ("--since", str(today + timedelta(days=1))): [],
        ("--tool", "no_such_tool"): [],
    }.items():
        assert [one["id"] for one in json.loads(run("changes", "--json", *flags, **here).stdout)] == ids


async def test_the_record_is_verified_and_an_altered_one_named(
    open_client: OpenClient, here: dict[str, Any], ledger_file: Path
) -> None:
    await update_acme(open_client, phone="1")
    assert run("changes", "--verify", **here) == Ended(0, "Nothing was altered; events: 3.\n", "")
    whole = {"events": 3, "broken": None, "problem": ""}
    assert json.loads(run("changes", "--verify", "--json", **here).stdout) == whole
    with closing(sqlite3.connect(ledger_file)) as file, file:
        file.execute("UPDATE events SET data = '{}' WHERE seq = 2")
    assert run("changes", "--verify", **here) == Ended(
        1, "The record is broken at event 2: Event 2 was altered.\n", ""
    )
    assert run("changes", "--verify", "--tool", "x", **here) == Ended(
        2, "", "crm-mcp: changes --verify takes no --tool: it checks everything\n"
    )


def test_looking_forgets_nothing_however_old(here: dict[str, Any], ledger: Ledger) -> None:
    ask(ledger, seconds=0)
    ledger.prune(datetime.now(UTC))
    for command in (["changes"], ["approvals"], ["changes", "--verify"]):
        run(*command, **here, CRM_MCP_LEDGER_DAYS="1")
    assert run("changes", "--verify", **here).stdout == "Nothing was altered; events: 1.\n"


def test_reading_needs_no_crm(ledger: Ledger, ledger_file: Path, tmp_path: Path) -> None:
    crm = {"CRM_BASE_URL": "http://127.0.0.1:9", "CRM_API_KEY": "ak_x", "CRM_ENTITY_ID": "0" * 32}
    asked = ask(ledger)
    for command in (["changes"], ["approvals"], ["changes", "--verify"]):
        assert run(*command, "--ledger", str(ledger_file), home=tmp_path, **crm).code == 0
    assert run("approve", asked.id, "--ledger", str(ledger_file), home=tmp_path, **crm).stderr == NO_TERMINAL


@pytest.mark.parametrize(
    ("command", "listed"),
    [
        (["changes"], "There is no such change on record."),
        (["changes", "--json"], "[]"),
        (["approvals"], "Nothing waits for approval."),
        (["approvals", "--json"], "[]"),
        (["changes", "--verify"], None),
        (["approve", "abcdefgh"], None),
        (["undo", "abcd"], None),
    ],
)
def test_before_the_first_write_there_is_no_ledger_and_no_command_of_a_person_makes_one(
    tmp_path: Path, command: list[str], listed: str | None
) -> None:
    def no_ledger(path: Path) -> str:
        return f"crm-mcp: There is no ledger at {path} yet: the first write makes it.\n"

    default, typo = tmp_path / "data" / "crm-mcp" / "ledger.db", tmp_path / "legder.db"
    wanted = Ended(0, f"{listed}\n", no_ledger(default)) if listed else Ended(2, "", no_ledger(default))
    assert run(*command, home=tmp_path) == wanted
    assert run(*command, "--ledger", str(typo), home=tmp_path) == Ended(2, "", no_ledger(typo))
    assert run(*command, home=tmp_path, CRM_MCP_LEDGER=str(typo)) == Ended(2, "", no_ledger(typo))
    assert list(tmp_path.rglob("*.db")) == []


@pytest.mark.parametrize("command", [["changes"], ["approvals"], ["approve", "abcdefgh"], ["undo", "abcd"]])
def test_the_ledger_of_a_crm_in_memory_is_for_no_command(tmp_path: Path, command: list[str]) -> None:
    assert run(*command, home=tmp_path, CRM_MCP_SANDBOX=":memory:") == Ended(
        2, "", "crm-mcp: an embedded CRM in memory has its ledger there too: only its server can read it\n"
    )


@pytest.mark.parametrize("command", [["changes"], ["approvals"], ["approve", "abcdefgh"], ["undo", "abcd"]])
def test_a_ledger_that_cannot_be_used_is_exit_code_2(tmp_path: Path, command: list[str]) -> None:
    (tmp_path / "notes.db").write_text("These are my notes, and no database.")
    assert run(*command, "--ledger", "notes.db", home=tmp_path) == Ended(
        2, "", "crm-mcp: The ledger cannot use notes.db: file is not a database.\n"
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--since", "yesterday"], "argument --since: must be a day, YYYY-MM-DD"),
        (
            ["--outcome", "done"],
            "argument --outcome: must be one of pending, applied, refused, declined, expired, failed, "
            "unknown, undone",
        ),
        (["--limit", "0"], "argument --limit: must be a number from 1 on"),
    ],
)
def test_a_filter_that_means_nothing_is_exit_code_2(tmp_path: Path, arguments: list[str], told: str) -> None:
    ended = run("changes", *arguments, home=tmp_path)
    assert (ended.code, ended.stdout) == (2, "")
    assert ended.stderr.splitlines()[-1] == f"crm-mcp changes: error: {told}"


async def test_names_that_a_pipe_cannot_carry_are_spelt_out(
    open_client: OpenClient, here: dict[str, Any]
) -> None:
    client = await open_client()
    assert not (await client.call_tool("create_company", {"name": "Łódź → Köln"})).is_error
    printed = run("changes", **here, PYTHONIOENCODING="ascii").stdout
    assert printed.endswith("Create company \\u0141\\xf3d\\u017a \\u2192 K\\xf6ln\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="nothing here is always full")
def test_what_cannot_be_written_out_is_said(here: dict[str, Any]) -> None:
    variables = dict(here)
    with Path("/dev/full").open("w") as full:
        ended = subprocess.run(
            [sys.executable, "-m", "crm_mcp", "tools"],
            env=environment(variables.pop("home"), variables),
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            check=False,
        )
    assert (ended.returncode, ended.stderr) == (
        1,
        "crm-mcp: cannot write the output: No space left on device\n",
    )


# Taking back


async def test_a_change_is_taken_back_after_a_yes(
    open_client: OpenClient, here: dict[str, Any], ledger: Ledger, find: Find
) -> None:
    before = find("companies", name="Acme Inc.")["phone"]
    await update_acme(open_client, phone="1")
    [change] = ledger.changes()
    with Person("undo", change.id[:6], **here, LOGNAME="max") as person:
        assert person.sees(UNDO) == (
            f"Update company Acme Inc.: phone → {before or 'nothing'}\n"
            f'  Takes back "{change.title}" (change {change.id}, {change.opened_at:%H:%M} UTC).\n'
            f"  phone: 1 → {before or 'nothing'}\n\n{UNDO}"
        )
        assert find("companies", name="Acme Inc.")["phone"] == "1"
        person.types("yes\n")
        ended = person.ends()
    undoing, undone = ledger.changes()
    assert ended == Ended(0, f'"{change.title}" is undone, by change {undoing.id}.\n', "")
    told = json.loads(run("changes", "--json", **here).stdout)
    assert [(one["id"], one["approved_by"]) for one in told] == [(undoing.id, "terminal"), (undone.id, None)]
    listed = run("changes", "--tool", "update_company", **here).stdout
    assert " ".join(listed.split()) == (
        f"{local(change.opened_at)} {change.id} undone local update_company {change.title} "
        f"(undone by {undoing.id})"
    )
    assert find("companies", name="Acme Inc.")["phone"] == before
    assert (undone.outcome, undone.undone_by) == ("undone", undoing.id)
    # Whose process it is, whatever the environment says.
    me = pwd.getpwuid(os.getuid()).pw_name
    assert (undoing.principal, undoing.tool, undoing.undoes) == (me, "undo_change", change.id)
    approval = ledger.approval(str(undoing.approval))
    assert (approval.state, approval.decided_by, approval.principal) == ("used", "terminal", me)


async def test_whoever_trusts_a_client_does_not_trust_the_terminal(
    open_client: OpenClient, here: dict[str, Any], ledger: Ledger
) -> None:
    await update_acme(open_client, phone="1")
    with Person("undo", ledger.changes()[0].id, **here, CRM_MCP_APPROVAL="client") as person:
        person.sees(UNDO)
        person.types("yes\n")
        assert person.ends().code == 0
    undoing = ledger.changes()[0]
    assert ledger.approval(str(undoing.approval)).state == "used"


async def test_a_move_is_taken_back_by_the_names_of_its_stages(
    open_client: OpenClient, here: dict[str, Any], ledger: Ledger
) -> None:
    client = await open_client()
    await client.call_tool("create_lead", {"title": "New deal", "stage": "Proposal"})
    await client.call_tool("move_lead_stage", {"lead": "New deal", "stage": "Qualified"})
    with Person("undo", ledger.changes()[0].id, **here) as person:
        assert person.sees(UNDO).startswith("Move lead New deal from Qualified to Proposal\n  Takes back ")
        person.types("yes\n")
        assert person.ends().code == 0
    assert ledger.changes()[0].title == "Move lead New deal from Qualified to Proposal"


async def test_undoing_a_create_shows_what_ends_with_it(
    open_client: OpenClient, here: dict[str, Any], ledger: Ledger, sandbox: Store
) -> None:
    client = await open_client()
    lead = {"title": "New deal", "company": "Acme Inc.", "value": 5}
    assert not (await client.call_tool("create_lead", lead)).is_error
    [change] = ledger.changes()
    with Person("undo", change.id, **here) as person:
        shown = person.sees(UNDO).splitlines()
        assert (shown[0], shown[2]) == ("Delete lead New deal", "  This cannot be taken back.")
        assert {"  company: Acme Inc.", "  stage: New"} <= set(shown)
        person.types("yes\n")
        assert person.ends().code == 0
    assert sandbox.all("SELECT * FROM leads WHERE title = 'New deal'") == []


@pytest.mark.parametrize(
    ("typed", "told"),
    [("no\n", "The person said no."), ("\4", "The person was asked and did not answer.")],
)
async def test_without_a_yes_nothing_is_undone(
    open_client: OpenClient, here: dict[str, Any], ledger: Ledger, find: Find, typed: str, told: str
) -> None:
    await update_acme(open_client, phone="1")
    with Person("undo", ledger.changes()[0].id, **here) as person:
        person.sees(UNDO)
        person.types(typed)
        assert person.ends() == Ended(1, "", f"crm-mcp: {told} Nothing was undone.\n")
    assert find("companies", name="Acme Inc.")["phone"] == "1"
    declined = ledger.changes()[0]
    assert (declined.outcome, declined.detail, declined.tool) == (
        "declined",
        f"{told} Nothing was undone.",
        "undo_change",
    )
    assert ledger.waiting() == []


@pytest.mark.parametrize("policy", ["ask", "client"])
async def test_without_a_terminal_nothing_is_undone(
    open_client: OpenClient, here: dict[str, Any], ledger: Ledger, find: Find, policy: str
) -> None:
    await update_acme(open_client, phone="1")
    [change] = ledger.changes()
    answers = {"CRM_MCP_APPROVAL": policy, "YES": "yes"}
    assert run("undo", change.id, said="yes\n" * 3, **here, **answers) == Ended(2, "", NO_TERMINAL)
    assert find("companies", name="Acme Inc.")["phone"] == "1"
    assert [one.outcome for one in ledger.changes()] == ["refused", "applied"]


async def test_what_the_tool_refuses_is_refused_here(
    open_client: OpenClient, here: dict[str, Any], ledger: Ledger, sandbox: Store
) -> None:
    await update_acme(open_client, phone="1")
    [change] = ledger.changes()
    assert run("undo", "zzzz", **here) == Ended(
        1, "", 'crm-mcp: There is no change "zzzz" in the ledger. Nothing was undone.\n'
    )
    assert run("undo", change.id, **here, CRM_MCP_READ_ONLY="true").code == 1
    sandbox.execute("UPDATE companies SET phone = '2' WHERE name = 'Acme Inc.'")
    assert run("undo", change.id, **here) == Ended(
        1, "", "crm-mcp: It was changed since: phone is 2 now. Nothing was undone.\n"
    )
    client = await open_client()
    assert not (await client.call_tool("create_lead", {"title": "New deal"})).is_error
    assert run("undo", ledger.changes()[0].id, **here, CRM_MCP_APPROVAL="never") == Ended(
        1,
        "",
        "crm-mcp: `undo_change` needs a person's approval, and CRM_MCP_APPROVAL is never. "
        "Nothing was sent to the CRM.\n",
    )
    assert ledger.changes()[0].outcome == "refused"


async def test_what_changed_while_the_person_thought_is_not_undone(
    open_client: OpenClient, here: dict[str, Any], ledger: Ledger, sandbox: Store, find: Find
) -> None:
    await update_acme(open_client, phone="1")
    with Person("undo", ledger.changes()[0].id, **here) as person:
        person.sees(UNDO)
        sandbox.execute("UPDATE companies SET website = 'new.example' WHERE name = 'Acme Inc.'")
        person.types("yes\n")
        assert person.ends() == Ended(
            1,
            "",
            "crm-mcp: The record changed since it was shown, so that the approval is void. "
            "Nothing was sent to the CRM.\n",
        )
    assert find("companies", name="Acme Inc.")["phone"] == "1"
    assert [one.outcome for one in ledger.changes()] == ["refused", "applied"]
