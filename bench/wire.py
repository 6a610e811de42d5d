"""Server processes, and MCP spoken to them in raw JSON-RPC, so that no client library's time is measured."""

import http.client
import json
import subprocess
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any, Protocol

MODERN, HANDSHAKE = "2026-07-28", "2025-11-25"
CLIENT = {"name": "bench", "version": "1"}
MODERN_META = {
    "io.modelcontextprotocol/protocolVersion": MODERN,
    "io.modelcontextprotocol/clientInfo": CLIENT,
    "io.modelcontextprotocol/clientCapabilities": {},
}

LIFE_SECONDS = 1200
ANSWER_SECONDS = 30


@dataclass(frozen=True)
class Server:
    """How a server is started."""

    command: list[str]
    environ: dict[str, str]


@contextmanager
def running(server: Server, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """The server as a process, which ends with the block, and in any case after LIFE_SECONDS."""
    command = [*server.command, *arguments]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=server.environ
    ) as process:
        watchdog = threading.Timer(LIFE_SECONDS, process.kill)
        watchdog.daemon = True
        watchdog.start()
        try:
            yield process
        finally:
            watchdog.cancel()
            process.kill()


def resident_mib(process: subprocess.Popen[bytes]) -> list[float]:
    """The process's resident memory; empty where the system does not tell it in /proc."""
    try:
        status = Path(f"/proc/{process.pid}/status").read_text("ascii")
    except FileNotFoundError:
        return []
    return [int(line.split()[1]) / 1024 for line in status.splitlines() if line.startswith("VmRSS:")]


class Connection(Protocol):
    """A client's side of MCP."""

    def request(self, method: str, **params: Any) -> dict[str, Any]:
        """Ask, wait, and give the result."""

    def call_many(self, calls: int, in_flight: int, **params: Any) -> None:
        """Call a tool again and again, so many calls at a time."""


@dataclass
class StdioConnection:
    """MCP over the pipes of a process, in one of the protocol's two eras."""

    process: subprocess.Popen[bytes]
    version: str = MODERN
    _numbers: Iterator[int] = field(default_factory=count)

    def __post_init__(self) -> None:
        if self.version == HANDSHAKE:
            hello = {"protocolVersion": HANDSHAKE, "clientInfo": CLIENT, "capabilities": {}}
            self.request("initialize", **hello)
            self._write({"jsonrpc": "2.0", "method": "notifications/initialized"})

    def request(self, method: str, **params: Any) -> dict[str, Any]:
        self._send(method, params)
        return self._receive()

    def call_many(self, calls: int, in_flight: int, **params: Any) -> None:
        for number in range(calls):
            if number >= in_flight:
                self._receive()
            self._send("tools/call", params)
        for _ in range(min(calls, in_flight)):
            self._receive()

    def _send(self, method: str, params: dict[str, Any]) -> None:
        if self.version == MODERN:
            params = {**params, "_meta": MODERN_META}
        self._write({"jsonrpc": "2.0", "id": next(self._numbers), "method": method, "params": params})

    def _write(self, message: dict[str, Any]) -> None:
        assert self.process.stdin
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def _receive(self) -> dict[str, Any]:
        assert self.process.stdout
        return _result(self.process.stdout.readline())


@dataclass
class HttpConnection:
    """MCP over streamable HTTP, on one connection that is kept open."""

    port: int

    def __post_init__(self) -> None:
        self._http = http.client.HTTPConnection("127.0.0.1", self.port, timeout=ANSWER_SECONDS)

    def request(self, method: str, **params: Any) -> dict[str, Any]:
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": MODERN_META}}
        headers = {
            "Accept": "application/json, text/event-stream",
            "Content-Type": "application/json",
            "MCP-Protocol-Version": MODERN,
            "Mcp-Method": method,
            **({"Mcp-Name": params["name"]} if "name" in params else {}),
        }
        self._http.request("POST", "/mcp", json.dumps(body).encode(), headers)
        return _result(self._http.getresponse().read())

    def call_many(self, calls: int, in_flight: int, **params: Any) -> None:
        def call_some(connection: HttpConnection) -> None:
            for _ in range(calls // in_flight):
                connection.request("tools/call", **params)

        with ThreadPoolExecutor(in_flight) as threads:
            list(threads.map(call_some, [HttpConnection(self.port) for _ in range(in_flight)]))
        # Left idle for some seconds it would be closed by the server; the next request opens it again.
        self._http.close()


def _result(answer: bytes) -> dict[str, Any]:
    """The result in a JSON-RPC answer; a measurement of errors would be none."""
    message = json.loads(answer or b"{}")
    if "result" not in message or message["result"].get("isError"):
        raise RuntimeError(f"the server answered {answer[:500]!r}")
    result: dict[str, Any] = message["result"]
    return result
