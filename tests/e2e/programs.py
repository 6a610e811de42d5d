"""The program as its users start it: a real subprocess in a home directory of its own."""

import json
import os
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from queue import Queue
from threading import Thread
from types import TracebackType
from typing import IO, Any, Self

from mcp import StdioServerParameters

SECONDS = 20  # for whatever takes a moment; a loaded machine needs many of them
INHERITED = ("PATH", "PYTHONPATH", "LANG", "SYSTEMROOT", "TEMP")


def environment(home: Path, variables: Mapping[str, str]) -> dict[str, str]:
    """Nothing of this machine but what a process needs to run, and a home directory for it alone."""
    kept = {name: os.environ[name] for name in INHERITED if name in os.environ}
    places = dict.fromkeys(("HOME", "USERPROFILE", "APPDATA", "LOCALAPPDATA"), str(home))
    xdg = {f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("DATA", "CONFIG", "CACHE", "STATE")}
    return {**kept, **places, **xdg, **variables}


class Lines:
    """What a stream brings, read as it comes so that no pipe fills up."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._read_so_far: list[bytes] = []
        self._unseen: Queue[bytes | None] = Queue()
        self._thread = Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: IO[bytes]) -> None:
        with stream:
            for line in stream:
                self._read_so_far.append(line)
                self._unseen.put(line)
        self._unseen.put(None)

    def next(self) -> str:
        """The next line; fails where the stream ends or nothing comes."""
        line = self._unseen.get(timeout=SECONDS)
        assert line is not None, f"the stream has ended after {self.all()}"
        return line.decode()

    def all(self) -> list[str]:
        """Every line until now, and until the end where the process has ended."""
        return [line.decode() for line in self._read_so_far]

    def to_the_end(self) -> str:
        self._thread.join(SECONDS)
        return "".join(self.all())


class Program:
    """A running `crm-mcp`, killed at the end of its `with` block if it has not ended before."""

    def __init__(
        self, *arguments: str, home: Path, python: str | Path = sys.executable, **variables: str
    ) -> None:
        self.process = subprocess.Popen(
            [str(python), "-m", "crm_mcp", *arguments],
            env=environment(home, variables),
            cwd=home,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert self.process.stdin
        assert self.process.stdout
        assert self.process.stderr
        self.stdin = self.process.stdin
        self.stdout, self.stderr = Lines(self.process.stdout), Lines(self.process.stderr)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait(SECONDS)
        for lines in (self.stdout, self.stderr):
            lines.to_the_end()
        self.stdin.close()

    def url(self) -> str:
        """Where it serves, as it says on stderr."""
        while not (found := re.search(r"Serving on (\S+)", self.stderr.next())):
            pass
        return found[1]

    def tell(self, **message: Any) -> None:
        """Write one JSON-RPC message."""
        self.stdin.write(json.dumps({"jsonrpc": "2.0", **message}).encode() + b"\n")
        self.stdin.flush()

    def ask(self, number: int, method: str, **params: Any) -> dict[str, Any]:
        """Write one JSON-RPC request, and read on until its answer."""
        self.tell(id=number, method=method, params=params)
        while (message := json.loads(self.stdout.next())).get("id") != number:
            pass
        answer: dict[str, Any] = message
        return answer

    def shake_hands(self) -> None:
        """The handshake of the older protocol."""
        client = {"name": "test", "version": "1"}
        self.ask(0, "initialize", protocolVersion="2025-11-25", capabilities={}, clientInfo=client)
        self.tell(method="notifications/initialized")

    def exit_code(self, within: float = SECONDS) -> int:
        """The exit code, once it has ended by itself."""
        return self.process.wait(within)


def over_stdio(*arguments: str, home: Path, **variables: str) -> StdioServerParameters:
    """`Client(over_stdio(*arguments, home=directory, CRM_BASE_URL=...))`."""
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "crm_mcp", *arguments],
        env=environment(home, variables),
        cwd=home,
    )
