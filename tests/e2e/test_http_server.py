"""The HTTP server as a process: addresses, who is let in over a real socket, and how it ends."""

import json
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from .programs import SECONDS, Program

TOKEN = "t0ken-" + "x" * 32
LISTEN = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "subscriptions/listen",
    "params": {
        "notifications": {"resourceSubscriptions": ["crm://pipeline-stages"]},
        "_meta": {
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientCapabilities": {},
        },
    },
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
ACCEPT = {"Accept": "application/json, text/event-stream"}
MODERN = {**ACCEPT, "MCP-Protocol-Version": "2026-07-28", "Mcp-Method": "subscriptions/listen"}

signals = pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=["SIGTERM", "SIGINT"])
on_posix = pytest.mark.skipif(sys.platform == "win32", reason="Windows cannot send these signals")


@pytest.fixture
def http() -> Iterator[httpx2.Client]:
    with httpx2.Client(timeout=SECONDS) as client:
        yield client


@on_posix
@signals
def test_signal_ends_it(tmp_path: Path, http: httpx2.Client, number: int) -> None:
    with Program("--http", "127.0.0.1:0", home=tmp_path) as server:
        url = server.url()
        assert http.get(url.replace("/mcp", "/healthz")).is_success
        server.process.send_signal(number)
        assert server.exit_code(within=3) == 0
        assert server.stderr.to_the_end() == f"Serving on {url}\n"
        assert server.stdout.to_the_end() == ""


@on_posix
def test_signal_ends_it_with_a_legacy_stream_open(tmp_path: Path, http: httpx2.Client) -> None:
    with Program("--http", "127.0.0.1:0", home=tmp_path) as server:
        url = server.url()
        session = http.post(url, json=INITIALIZE, headers=ACCEPT).headers["Mcp-Session-Id"]
        headers = {**ACCEPT, "Mcp-Session-Id": session, "MCP-Protocol-Version": "2025-11-25"}
        with http.stream("GET", url, headers=headers) as stream:
            assert stream.status_code == 200
            server.process.send_signal(signal.SIGTERM)
            assert server.exit_code(within=3) == 0
        assert "Traceback" not in server.stderr.to_the_end()


@on_posix
@signals
def test_signal_tells_those_who_listen_and_ends_it(tmp_path: Path, http: httpx2.Client, number: int) -> None:
    with Program("--http", "127.0.0.1:0", home=tmp_path) as server:
        url = server.url()
        with http.stream("POST", url, json=LISTEN, headers=MODERN) as stream:
            told = (json.loads(line[6:]) for line in stream.iter_lines() if line.startswith("data: "))
            assert next(told)["method"] == "notifications/subscriptions/acknowledged"
            server.process.send_signal(number)
            (end,) = told
            assert (end["id"], end["result"]["resultType"]) == (1, "complete")
        assert server.exit_code(within=3) == 0
        assert server.stderr.to_the_end() == f"Serving on {url}\n"


def test_port_in_use_is_one_sentence(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with Program("--http", str(port), home=tmp_path) as server:
            assert server.exit_code() == 2
            said = server.stderr.to_the_end()
    assert said == f"crm-mcp: cannot serve on 127.0.0.1:{port}: Address already in use\n"


def test_serves_on_ipv6_loopback(tmp_path: Path, http: httpx2.Client) -> None:
    with Program("--http", "[::1]:0", home=tmp_path) as server:
        url = server.url()
        assert url.startswith("http://[::1]:")
        assert http.post(url, json=INITIALIZE, headers=ACCEPT).status_code == 200


def test_serves_others_with_a_token_and_the_names_they_use(tmp_path: Path, http: httpx2.Client) -> None:
    settings = {"CRM_MCP_HTTP_TOKEN": TOKEN, "CRM_MCP_HTTP_ALLOWED_HOSTS": "mcp.example.com"}
    with Program("--http", "0.0.0.0:0", "--log-level", "DEBUG", home=tmp_path, **settings) as server:
        port = server.url().rpartition(":")[2].removesuffix("/mcp")
        url = f"http://127.0.0.1:{port}/mcp"
        bearer = {**ACCEPT, "Authorization": f"Bearer {TOKEN}"}
        statuses = {
            host: http.post(url, json=INITIALIZE, headers={**bearer, "Host": host}).status_code
            for host in ("mcp.example.com", f"mcp.example.com:{port}", "evil.example", "xmcp.example.com")
        }
        server.process.kill()
        assert TOKEN not in server.stderr.to_the_end()
    assert statuses == {
        "mcp.example.com": 200,
        f"mcp.example.com:{port}": 200,
        "evil.example": 421,
        "xmcp.example.com": 421,
    }
