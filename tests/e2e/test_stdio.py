"""Stdio without a client library: what is on the wire, and how the process ends."""

import json
import os
import re
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import httpx2
import pytest

from .programs import SECONDS, Program

CANARY_KEY = "ak_canary-7f3a"
ENTITY_ID = "6f1d9b52-4a0e-4c1b-9d27-2f6c0d4f8a11"
MODERN = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}
UNREACHABLE = {"CRM_BASE_URL": "http://127.0.0.1:9", "CRM_API_KEY": CANARY_KEY, "CRM_ENTITY_ID": ENTITY_ID}

signals = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send these signals")


def call(server: Program, number: int, tool: str, **arguments: Any) -> dict[str, Any]:
    result: dict[str, Any] = server.ask(number, "tools/call", name=tool, arguments=arguments)["result"]
    return result


def create_company(server: Program, number: int, name: str) -> str:
    return str(call(server, number, "create_company", name=name)["structuredContent"]["company"]["id"])


def company_name(server: Program, number: int, company: str) -> str:
    return str(call(server, number, "get_company", company=company)["structuredContent"]["company"]["name"])


def messages(server: Program) -> list[dict[str, Any]]:
    """All that came on stdout, which must be JSON-RPC, one message a line."""
    found = [json.loads(line) for line in server.stdout.to_the_end().splitlines()]
    assert all(message["jsonrpc"] == "2.0" for message in found)
    return found


@pytest.mark.parametrize(
    ("crm", "error"),
    [({"CRM_MCP_SANDBOX": ":memory:"}, False), ({**UNREACHABLE, "CRM_MCP_TOTAL_TIMEOUT": "1"}, True)],
    ids=["sandbox", "failing CRM"],
)
def test_stdout_carries_the_protocol_only(tmp_path: Path, crm: dict[str, str], error: bool) -> None:
    with Program("--log-level", "DEBUG", home=tmp_path, **crm) as server:
        server.shake_hands()
        assert len(server.ask(1, "tools/list")["result"]["tools"]) == 24
        assert call(server, 2, "list_pipeline_stages")["isError"] is error
        assert call(server, 3, "move_lead_stage", lead="No such deal", stage="Won")["isError"]
        assert call(server, 4, "no_such_tool")["isError"]
        server.stdin.write(b"this is no JSON\n")
        assert "error" in server.ask(5, "no/such/method")
        server.stdin.close()
        assert server.exit_code() == 0
        answered = [message["id"] for message in messages(server) if "id" in message]
        assert answered == [0, 1, 2, 3, 4, 5]
        logged = server.stderr.to_the_end()
    assert "DEBUG" in logged
    assert "Traceback" not in logged
    assert CANARY_KEY not in logged


def test_stdout_carries_the_protocol_only_in_the_newest_era(tmp_path: Path) -> None:
    with Program("--sandbox", ":memory:", home=tmp_path) as server:
        assert server.ask(1, "server/discover", _meta=MODERN)["result"]["supportedVersions"] == ["2026-07-28"]
        result = server.ask(2, "tools/call", name="list_pipeline_stages", arguments={}, _meta=MODERN)[
            "result"
        ]
        assert not result.get("isError")
        server.stdin.close()
        assert server.exit_code() == 0
        assert [message["id"] for message in messages(server)] == [1, 2]
        assert server.stderr.to_the_end() == ""


def test_eof_before_any_message_ends_it_and_leaves_nothing_behind(tmp_path: Path) -> None:
    with Program(home=tmp_path) as server:
        server.stdin.close()
        assert server.exit_code() == 0
        assert (server.stdout.to_the_end(), server.stderr.to_the_end()) == ("", "")
    assert list(tmp_path.iterdir()) == []


@on_posix
@signals
def test_signal_ends_it_and_what_was_written_stays(tmp_path: Path, number: int) -> None:
    with Program(home=tmp_path) as server:
        server.shake_hands()
        company = create_company(server, 1, "Written before the signal")
        server.process.send_signal(number)
        assert server.exit_code(within=3) == 0
        assert server.stderr.to_the_end() == ""

    databases = {database.name: database.stat().st_mode & 0o777 for database in tmp_path.rglob("*.db")}
    assert databases == {"sandbox.db": 0o600, "ledger.db": 0o600}
    with Program(home=tmp_path) as again:
        again.shake_hands()
        assert company_name(again, 1, company) == "Written before the signal"


@on_posix
@signals
def test_what_is_in_memory_is_approved_on_the_page_and_leaves_nothing_behind(
    tmp_path: Path, number: int
) -> None:
    email = {"lead": "Acme annual licence", "subject": "Our offer", "body": "Dear Anna"}
    with Program("--sandbox", ":memory:", home=tmp_path, TMPDIR=str(tmp_path)) as server:
        server.shake_hands()
        refused = call(server, 1, "send_outbound_email", **email)["content"][0]["text"]
        told = re.search(
            r"\nThey can approve it at (http\S+), until .* UTC; then make the same call", refused
        )
        assert told, refused
        approve(told[1])
        assert not call(server, 2, "send_outbound_email", **email)["isError"]
        changes = call(server, 3, "list_changes")["structuredContent"]["changes"]
        assert [change["outcome"] for change in changes] == ["applied", "refused"]
        server.process.send_signal(number)
        assert server.exit_code(within=3) == 0
        assert server.stderr.to_the_end() == ""
    assert list(tmp_path.iterdir()) == []


def approve(link: str) -> None:
    """What a browser does when the person reads the page and presses the button."""
    origin = link[: link.index("/", len("http://"))]
    with httpx2.Client(timeout=SECONDS) as http:
        [proof] = re.findall('name="proof" value="(.*?)"', http.get(link).text)
        fields = {"proof": proof, "decision": "approve"}
        assert http.post(link, data=fields, headers={"Origin": origin}).status_code == 200


@on_posix
@signals
def test_signal_ends_it_during_a_call(tmp_path: Path, number: int) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent_crm:
        silent_crm.settimeout(SECONDS)
        url = f"http://127.0.0.1:{silent_crm.getsockname()[1]}"
        with Program(home=tmp_path, **{**UNREACHABLE, "CRM_BASE_URL": url}) as server:
            server.shake_hands()
            server.tell(id=1, method="tools/call", params={"name": "list_pipeline_stages", "arguments": {}})
            connection, _ = silent_crm.accept()
            with connection:
                assert connection.recv(1024).startswith(b"GET /api/crm/pipeline-stages?")
                server.process.send_signal(number)
                assert server.exit_code(within=3) == 0
            assert [message.get("id") for message in messages(server)] == [0]
            assert server.stderr.to_the_end() == ""


def test_a_sandbox_made_anew_has_a_record_of_its_own_in_the_same_ledger(tmp_path: Path) -> None:
    email = {"lead": "Acme annual licence", "subject": "Our offer", "body": "Dear Anna"}

    def sent(server: Program) -> dict[str, Any]:
        server.shake_hands()
        result: dict[str, Any] = call(server, 1, "send_outbound_email", **email)["structuredContent"]
        return result

    with Program("--approval", "client", home=tmp_path) as server:
        first = sent(server)
    with Program("--approval", "client", home=tmp_path) as server:
        assert sent(server)["repeat"]
    for file in tmp_path.rglob("sandbox.db*"):
        file.unlink()
    with Program("--approval", "client", home=tmp_path) as server:
        again = sent(server)
        assert not again.get("repeat")
        listed = call(server, 2, "list_changes")["structuredContent"]["changes"]
        assert [change["id"] for change in listed] == again["change_ids"]
        refused = call(server, 3, "undo_change", change=first["change_ids"][0])
        assert refused["content"][0]["text"] == (
            f"Change {first['change_ids'][0]} is of another CRM. Nothing was undone."
        )


def test_two_servers_share_one_file(tmp_path: Path) -> None:
    with Program(home=tmp_path) as one, Program(home=tmp_path) as other:
        one.shake_hands()
        other.shake_hands()
        # Both make the file and fill it, at the same time; then both write at the same time.
        for server in (one, other):
            for number in range(1, 21):
                company = {"name": f"Company {number} of {server.process.pid}"}
                server.tell(
                    id=number, method="tools/call", params={"name": "create_company", "arguments": company}
                )
        for server in (one, other):
            answers = [json.loads(server.stdout.next()) for _ in range(20)]
            assert [answer for answer in answers if answer["result"].get("isError")] == []
        for server in (one, other):
            found = call(server, 21, "search_companies", limit=1)["structuredContent"]
            assert found["total"] == 40 + 2 * 20


@pytest.mark.parametrize("spoilt", ["parent is a file", "is a directory", "is no database"])
def test_unusable_sandbox_is_told_with_the_first_call(tmp_path: Path, spoilt: str) -> None:
    place = tmp_path / "sandbox.db"
    match spoilt:
        case "parent is a file":
            (tmp_path / "occupied").touch()
            place, reason = tmp_path / "occupied" / "sandbox.db", "File exists"
        case "is a directory":
            place.mkdir()
            reason = "unable to open database file"
        case _:
            place.write_text("It was a dark and stormy night. " * 100)
            reason = "file is not a database"
    with Program("--sandbox", str(place), home=tmp_path) as server:
        server.shake_hands()
        assert len(server.ask(1, "tools/list")["result"]["tools"]) == 24
        result = call(server, 2, "list_pipeline_stages")
        assert result["isError"]
        (block,) = result["content"]
        assert block["text"].startswith(f"The embedded CRM cannot use {place}: ")
        assert reason in block["text"]
        assert block["text"].endswith(
            ". Choose another file, or move this one away to start again with fresh demo data."
        )
        error = server.ask(3, "resources/read", uri="crm://dashboard")["error"]
        assert error["message"] == block["text"]
        server.stdin.close()
        assert server.exit_code() == 0
        assert "Traceback" not in server.stderr.to_the_end()


@on_posix
@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_home_directory_without_write_permission_is_told_with_the_first_call(tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir(mode=0o500)
    with Program(home=home) as server:
        server.shake_hands()
        result = call(server, 1, "list_pipeline_stages")
    assert result["isError"]
    assert "Permission denied" in result["content"][0]["text"]
