"""The command line: its commands, its exit codes, what it prints for clients, and what it does not import."""

import json
import logging
import os
import shlex
import sqlite3
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from crm_mcp import __version__, cli, doctor
from crm_mcp.clients import WHERE
from crm_mcp.crm import CrmClient
from crm_mcp.crm.companies import NewCompany
from crm_mcp.crm.errors import ReadOnlyError
from crm_mcp.tools.catalogue import Toolset
from crm_mcp.tools.published import COUNTED

CLIENTS = ["claude-desktop", "claude-code", "cursor", "vscode"]
COMMANDS = ["demo", "doctor", "sandbox", "config", "tools", "changes", "approvals", "approve", "undo"]
CANARY_KEY = "ak_canary-7f3a"
CRM = {
    "CRM_BASE_URL": "https://crm.example.com",
    "CRM_API_KEY": CANARY_KEY,
    "CRM_ENTITY_ID": "6f1d9b52-4a0e-4c1b-9d27-2f6c0d4f8a11",
}
INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {
        "protocolVersion": "2025-11-25",
        "capabilities": {},
        "clientInfo": {"name": "test", "version": "1"},
    },
}
MEASURED = ["mcp", "pydantic", "httpx2", "uvicorn", "anyio"]
UNUSED_UNTIL_A_CALL = [
    "crm_mcp.crm.client",
    "crm_mcp.kinds",
    "crm_mcp.ledger",
    "crm_mcp.lost",
    "crm_mcp.sandbox.app",
    "crm_mcp.undo",
    "crm_mcp.writes",
    "markdown_it",
    "nh3",
    "sqlite3",
    "stamina",
]


@pytest.fixture(autouse=True)
def a_home_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No settings but the test's own, for this process and for those that it starts."""
    for name in [name for name in os.environ if name.upper().startswith("CRM")]:
        monkeypatch.delenv(name)
    for name in ("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA", "XDG_DATA_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.setenv(name, str(tmp_path))
    monkeypatch.chdir(tmp_path)
    # A command sets up logging for its process, which here is the tests'.
    monkeypatch.setattr(logging.root, "handlers", [*logging.root.handlers])
    monkeypatch.setattr(logging.root, "level", logging.root.level)


def started(command: Sequence[str], said: str = "", **variables: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command,
        input=said,
        env=os.environ | variables,
        capture_output=True,
        text=True,
        encoding="utf-8",
        timeout=60,
        check=False,
    )


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """What argparse says before it gives up."""
    with pytest.raises(SystemExit) as caught:
        cli.main(arguments)
    assert caught.value.code == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    return printed.err.splitlines()[-1]


@pytest.mark.parametrize("command", [[], *([name] for name in COMMANDS)])
def test_help_of_every_command(capsys: pytest.CaptureFixture[str], command: list[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main([*command, "--help"])
    assert caught.value.code == 0
    assert capsys.readouterr().out.startswith(" ".join(["usage: crm-mcp", *command, "[-h]"]))


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        cli.main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"crm-mcp {__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--frobnicate"], "crm-mcp: error: unrecognized arguments: --frobnicate"),
        (["tools", "--http", "1"], "crm-mcp: error: unrecognized arguments: --http 1"),
        (["--toolsets"], "crm-mcp: error: argument --toolsets: expected one argument"),
        *(
            (
                ["sandbox", "--port", port],
                "crm-mcp sandbox: error: argument --port: must be a number from 0 to 65535",
            )
            for port in ("x", "-1", "65536", "99999")
        ),
        *(
            (
                ["sandbox", "--companies", companies],
                "crm-mcp sandbox: error: argument --companies: must be a number from 1 on",
            )
            for companies in ("x", "-5", "0", "1.5")
        ),
        (["demo", "--toolsets", "all"], "crm-mcp: error: unrecognized arguments: --toolsets all"),
        (["sandbox", "--read-only"], "crm-mcp: error: unrecognized arguments: --read-only"),
        (["tools", "--api-key", CANARY_KEY], "crm-mcp: error: unrecognized arguments: --api-key ak_..."),
        ([f"--api-key={CANARY_KEY}"], "crm-mcp: error: unrecognized arguments: --api-key=ak_..."),
        (["config"], "crm-mcp config: error: the following arguments are required: client"),
    ],
)
def test_wrong_use_is_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert refused(capsys, *arguments) == told


def test_unknown_command_and_client_are_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    # What follows differs between versions of argparse.
    assert refused(capsys, "frobnicate").startswith("crm-mcp: error: argument : invalid choice: 'frobnicate'")
    told = refused(capsys, "--api-key", CANARY_KEY)
    assert told.startswith("crm-mcp: error: argument : invalid choice: 'ak_... ")
    told = refused(capsys, "config", "netscape")
    assert told.startswith("crm-mcp config: error: argument client: invalid choice: 'netscape'")
    assert [client for client in CLIENTS if client not in told] == []


@pytest.mark.parametrize("command", [[], ["doctor"], ["config", "cursor"], ["tools"]])
def test_wrong_setting_is_one_sentence_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], command: list[str]
) -> None:
    assert cli.main([*command, "--toolsets", "sails"]) == 2
    assert capsys.readouterr() == (
        "",
        "crm-mcp: CRM_MCP_TOOLSETS: there is no toolset 'sails'; did you mean sales? "
        "Toolsets: read, sales, email, lists, delete, pipeline, all\n",
    )


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (
            ["--http", "0.0.0.0:0"],
            "serving on 0.0.0.0, which others can reach, needs CRM_MCP_HTTP_TOKEN (32 characters or more)",
        ),
        (["--env-file", "no.env"], "the settings file cannot be read: no.env: No such file or directory"),
        (["--ledger", "."], "the ledger cannot be .: it is no file"),
        (["--ledger", __file__], f"the ledger cannot be {__file__}: file is not a database"),
        (["doctor", "--ledger", __file__], f"the ledger cannot be {__file__}: file is not a database"),
        (
            ["--ledger", f"{__file__}/ledger.db"],
            f"the ledger cannot be {__file__}/ledger.db: {__file__} cannot be written to",
        ),
        (
            ["sandbox", "--sandbox", "."],
            "The embedded CRM cannot use .: unable to open database file. Choose another file, or move this "
            "one away to start again with fresh demo data.",
        ),
        (
            ["doctor", "--sandbox", "."],
            "The embedded CRM cannot use .: unable to open database file. Choose another file, or move this "
            "one away to start again with fresh demo data.",
        ),
    ],
)
def test_what_cannot_be_served_is_one_sentence_and_exit_code_2(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert cli.main(arguments) == 2
    assert capsys.readouterr() == ("", f"crm-mcp: {told}\n")


@pytest.mark.parametrize("command", [[], ["doctor"]])
def test_the_database_of_another_program_is_no_ledger(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: list[str]
) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    assert cli.main([*command, "--ledger", str(other)]) == 2
    problem = f"the ledger cannot be {other}: it is the database of another program"
    assert capsys.readouterr() == ("", f"crm-mcp: {problem}\n")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["--toolsets", "nonsense", "demo"], "demo takes no --toolsets"),
        (["--env-file", "no.env", "demo"], "demo takes no --env-file"),
        (["--read-only", "sandbox", "--memory"], "sandbox takes no --read-only"),
        (["--http", "8000", "tools"], "tools takes no --http"),
        (["--sandbox", "x.db", "tools"], "tools takes no --sandbox"),
        (["--http", "8000", "config", "cursor"], "config takes no --http"),
        (["--sandbox", "x.db", "changes"], "changes takes no --sandbox"),
        (["--approval", "client", "approve", "abcdefgh"], "approve takes no --approval"),
        (["--approval", "client", "undo", "abcd"], "undo takes no --approval"),
    ],
)
def test_setting_that_a_command_has_no_use_for_is_refused(
    capsys: pytest.CaptureFixture[str], arguments: list[str], told: str
) -> None:
    assert cli.main(arguments) == 2
    assert capsys.readouterr() == ("", f"crm-mcp: {told}\n")


def test_sandbox_is_not_served_beside_another_crm(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in CRM.items():
        monkeypatch.setenv(name, value)
    assert cli.main(["sandbox"]) == 2
    assert capsys.readouterr() == (
        "",
        "crm-mcp: sandbox serves the embedded CRM, but CRM_BASE_URL names another one\n",
    )


def test_key_in_the_place_of_a_setting_is_not_shown(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["--env-file", CANARY_KEY]) == 2
    assert capsys.readouterr() == (
        "",
        "crm-mcp: the settings file cannot be read: ak_... No such file or directory\n",
    )


def test_doctor_could_not_write_if_it_tried(monkeypatch: pytest.MonkeyPatch) -> None:
    async def examine(crm: CrmClient) -> None:
        await crm.companies.create(NewCompany(name="Nobody Ltd"))

    monkeypatch.setattr(doctor, "examine", examine)
    with pytest.raises(ReadOnlyError):
        cli.main(["doctor", "--sandbox", ":memory:"])


def test_settings_may_stand_before_and_after_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    printed = []
    for arguments in (["--read-only", "tools"], ["tools", "--read-only"]):
        assert cli.main(arguments) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1]
    assert {line.split()[2] for line in printed[0].splitlines()[1:-2]} == {"read"}


def test_tools_lists_all_with_totals(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["tools", "--toolsets", "all"]) == 0
    *lines, counted = capsys.readouterr().out.splitlines()
    head, *rows, total = [line.split() for line in lines]
    assert counted == COUNTED
    surface = Path(cli.__file__).parent / "tools" / "surface"
    assert head == ["tool", "toolset", "effect", "bytes", "~tokens"]
    assert sorted(row[0] for row in rows) == sorted(file.stem for file in surface.glob("*.json"))
    assert {row[1] for row in rows} == {toolset.value for toolset in Toolset}
    sizes = [(int(row[-2]), int(row[-1])) for row in rows]
    assert total == [
        "total",
        str(len(rows)),
        "tools",
        *(str(sum(column)) for column in zip(*sizes, strict=True)),
    ]


def configuration(capsys: pytest.CaptureFixture[str], client: str, *arguments: str) -> tuple[list[str], Any]:
    """The command and the environment that a client would read from what is printed for it."""
    assert cli.main(["config", client, *arguments]) == 0
    printed = capsys.readouterr()
    assert printed.err.startswith(WHERE[client])
    if client == "claude-code":
        before, command = printed.out.strip().split(" -- ")
        words = shlex.split(before)
        assert words[:4] == ["claude", "mcp", "add", "crm"]
        assert set(words[4::2]) <= {"--env"}
        return shlex.split(command), dict(word.split("=", 1) for word in words[5::2])
    parsed = json.loads(printed.out)
    root = "servers" if client == "vscode" else "mcpServers"
    server = parsed.pop(root).pop("crm")
    assert parsed == {}
    assert server.pop("type", "stdio") == "stdio"
    command = [server.pop("command"), *server.pop("args")]
    environment = server.pop("env")
    assert server == {}
    return command, environment


def test_config_starts_a_server(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as operator:
        for name, value in CRM.items():
            operator.setenv(name, value)
        command, environment = configuration(capsys, CLIENTS[0])
        others = [configuration(capsys, client) for client in CLIENTS[1:]]
    assert environment == {**CRM, "CRM_API_KEY": "ak_..."}
    assert others == [(command, environment)] * 3

    done = started(command, json.dumps(INITIALIZE) + "\n", **environment)
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)["result"]["serverInfo"] == {
        "name": "crm-mcp",
        "title": "CRM",
        "version": __version__,
    }


@pytest.mark.parametrize("token", [f"TOKEN={'t' * 32}", f"TOKENS=anna={'t' * 32}"], ids=["one", "named"])
@pytest.mark.parametrize("client", CLIENTS)
def test_config_hands_on_what_was_said_and_never_the_key(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, client: str, token: str
) -> None:
    (tmp_path / "key").write_text(CANARY_KEY)
    (tmp_path / "crm.env").write_text(
        f"CRM_BASE_URL={CRM['CRM_BASE_URL']}\nCRM_ENTITY_ID={CRM['CRM_ENTITY_ID']}\n"
        f"CRM_MARKETING_LISTS=a={CRM['CRM_ENTITY_ID']},b={CRM['CRM_ENTITY_ID']}\n"
        f"CRM_API_KEY_FILE=key\nCRM_MCP_HTTP=8000\nCRM_MCP_HTTP_{token}\n"
    )
    arguments = ["--env-file", "crm.env", "--read-only", "--toolsets", "sales,read", "--ledger", "l.db"]
    _, environment = configuration(capsys, client, *arguments)
    assert environment == {
        "CRM_BASE_URL": CRM["CRM_BASE_URL"],
        "CRM_ENTITY_ID": CRM["CRM_ENTITY_ID"],
        "CRM_API_KEY_FILE": str(tmp_path / "key"),
        "CRM_MARKETING_LISTS": f"a={CRM['CRM_ENTITY_ID']},b={CRM['CRM_ENTITY_ID']}",
        "CRM_MCP_LEDGER": str(tmp_path / "l.db"),
        "CRM_MCP_READ_ONLY": "true",
        "CRM_MCP_TOOLSETS": "read,sales",
    }


@pytest.mark.parametrize(
    ("arguments", "place"),
    [([], None), (["--sandbox", ":memory:"], ":memory:"), (["--sandbox", "x.db"], "x.db")],
)
def test_config_for_the_embedded_crm_needs_no_key(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: list[str], place: str | None
) -> None:
    _, environment = configuration(capsys, "cursor", *arguments)
    wanted = str(tmp_path / place) if place == "x.db" else place
    assert environment == ({} if place is None else {"CRM_MCP_SANDBOX": wanted})


def test_demo_plays_the_day_ends_with_a_configuration_and_leaves_nothing(tmp_path: Path) -> None:
    done = started([sys.executable, "-m", "crm_mcp", "demo"])
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    assert next(line for line in lines if line.startswith("You: ")) == (
        "You: What do we have going with Acme?"
    )
    assert "   Moved to Qualified." in lines
    config = json.loads("\n".join(lines[lines.index("{") :]))
    assert list(config["mcpServers"]["crm"]) == ["command", "args", "env"]
    assert list(tmp_path.iterdir()) == []


def test_command_line_itself_imports_nothing_heavy() -> None:
    program = f"import sys, crm_mcp.cli; print([name for name in {MEASURED} if name in sys.modules])"
    assert started([sys.executable, "-c", program]).stdout == "[]\n"


def test_server_imports_no_more_than_listing_its_tools_takes() -> None:
    listing = {"jsonrpc": "2.0", "id": 2, "method": "tools/list"}
    initialized = {"jsonrpc": "2.0", "method": "notifications/initialized"}
    said = "".join(json.dumps(message) + "\n" for message in (INITIALIZE, initialized, listing))
    program = (
        "import sys; from crm_mcp import cli; code = cli.main([]); "
        f"print([name for name in {UNUSED_UNTIL_A_CALL} if name in sys.modules]); sys.exit(code)"
    )
    pipe = subprocess.PIPE
    with subprocess.Popen(
        [sys.executable, "-c", program], stdin=pipe, stdout=pipe, stderr=pipe, text=True, encoding="utf-8"
    ) as server:
        assert server.stdin
        assert server.stdout
        server.stdin.write(said)
        server.stdin.flush()
        _, listed = server.stdout.readline(), server.stdout.readline()
        # Only now: a call that is not answered when stdin ends is cancelled.
        rest, errors = server.communicate(timeout=60)
    assert (server.returncode, errors) == (0, "")
    assert len(json.loads(listed)["result"]["tools"]) == 24
    assert rest == "[]\n"
