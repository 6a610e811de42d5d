"""Our server beside a bare one of the same SDK, on the same CRM: start-up, calls, memory. See README.md."""

import argparse
import http.client
import json
import os
import platform
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from report import COMPARISON_HEAD, Comparison, table
from wire import HANDSHAKE, MODERN, Connection, HttpConnection, Server, StdioConnection, resident_mib, running

HERE = Path(__file__).parent
START_UP_AIM, CALL_AIM, MEMORY_AIM = 1.0, 1.25, 1.3
IN_FLIGHT = 16
# With their contacts and leads 10,000 records, of which names are completed with every key that is hit.
COMPANIES, QUICK_COMPANIES = 2_105, 40
TYPED = {
    "company": ("acme industries", "müller", "muller", "zzz"),
    "contact": ("anna müller", "lefevre", "zzz"),
    "lead": ("acme annual", "muller maintenance", "zzz"),
    "stage": ("qualified",),
}
START_SECONDS = 30

T = TypeVar("T")
Both = tuple[list[T], list[T]]


@dataclass(frozen=True)
class Size:
    """How much is measured: processes started; blocks of calls, and calls in each; companies to complete."""

    starts: int
    blocks: int
    calls: int
    companies: int


FULL = Size(starts=15, blocks=10, calls=96, companies=COMPANIES)
QUICK = Size(starts=2, blocks=2, calls=16, companies=QUICK_COMPANIES)


@dataclass(frozen=True)
class Start:
    """What one start took, in milliseconds and MiB."""

    listed: float
    called: float
    resident: list[float]


@dataclass(frozen=True)
class Block:
    """What the calls of one block took, in milliseconds, and calls per second with many in flight."""

    median: float
    slow: float
    rate: float


def main() -> None:
    options = _options()
    size = QUICK if options.quick else FULL
    with tempfile.TemporaryDirectory() as folder:
        python = options.python or clean_python(Path(folder))
        with sandbox(python) as crm:
            rows = [*starts(python, crm, size), *calls(python, crm, size)]
        rows += completions(python, Path(folder) / "large.db", size)
    if options.json:
        print(json.dumps([row.as_json() for row in rows], indent=2))
    else:
        print(f"{platform.platform()}, Python {platform.python_version()}, {os.cpu_count()} CPUs, {size}")
        print(table(COMPARISON_HEAD, [row.as_row() for row in rows]))


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--python", help="of an environment with the server (default: a new, clean one)")
    which.add_argument("--here", dest="python", action="store_const", const=sys.executable, help="this one")
    parser.add_argument("--quick", action="store_true", help="to see that it runs; the numbers mean little")
    parser.add_argument("--json", action="store_true")
    return parser.parse_args()


def clean_python(folder: Path) -> str:
    """The Python of a new environment, with nothing but the server and what it needs."""
    subprocess.run([sys.executable, "-m", "venv", folder], check=True)
    python = str(folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python"))
    pip = [python, "-m", "pip", "--quiet", "--disable-pip-version-check"]
    subprocess.run([*pip, "install", str(HERE.parent)], check=True)
    return python


# The two servers and their CRM


def ours(python: str, crm: dict[str, str]) -> Server:
    return Server([python, "-m", "crm_mcp"], environ(crm))


def bare(python: str, crm: dict[str, str]) -> Server:
    return Server([python, str(HERE / "bare.py")], environ(crm))


def environ(crm: dict[str, str]) -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("CRM_")} | crm


@contextmanager
def sandbox(python: str) -> Iterator[dict[str, str]]:
    """The embedded CRM as a process of its own; the settings of a client of it."""
    port = free_port()
    command = [python, "-m", "crm_mcp", "sandbox", "--memory", "--port", str(port)]
    with running(Server(command, environ({}))) as process:
        assert process.stdout
        credentials = [process.stdout.readline().decode().strip().split("=", 1) for _ in range(2)]
        await_port(port)
        yield {"CRM_BASE_URL": f"http://127.0.0.1:{port}", **dict(credentials)}


def some_company(crm: dict[str, str]) -> str:
    connection = http.client.HTTPConnection(
        crm["CRM_BASE_URL"].removeprefix("http://"), timeout=START_SECONDS
    )
    path = f"/api/crm/companies?entityId={crm['CRM_ENTITY_ID']}"
    connection.request("GET", path, headers={"Authorization": f"Bearer {crm['CRM_API_KEY']}"})
    return str(json.load(connection.getresponse())["companies"][0]["id"])


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return int(listener.getsockname()[1])


def await_port(port: int) -> None:
    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            return socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.02)


# Starting


def starts(python: str, crm: dict[str, str], size: Size) -> Iterator[Comparison]:
    # Brief: the one GET that the bare server does, without what belongs to the company.
    arguments = {"company": some_company(crm), "detail": "brief"}

    def start(version: str) -> Callable[[Server], Start]:
        return lambda server: start_once(server, version, "get_company", arguments)

    both = ours(python, crm), bare(python, crm)
    for version in (MODERN, HANDSHAKE):
        our_starts, bare_starts = alternately(start(version), both, size.starts)
        yield Comparison(
            f"start to tools/list, stdio, {version}",
            "ms",
            [one.listed for one in our_starts],
            [one.listed for one in bare_starts],
            START_UP_AIM,
        )
        yield Comparison(
            f"start to first answer of the CRM, {version}",
            "ms",
            [one.listed + one.called for one in our_starts],
            [one.listed + one.called for one in bare_starts],
        )
    yield Comparison(
        "memory after tools/list",
        "MiB",
        [mib for one in our_starts for mib in one.resident],
        [mib for one in bare_starts for mib in one.resident],
        MEMORY_AIM,
    )
    yield from embedded_starts(python, size)


def embedded_starts(python: str, size: Size) -> Iterator[Comparison]:
    """Without a CRM configured: the first call makes the embedded one."""
    server = ours(python, {"CRM_MCP_SANDBOX": ":memory:"})
    starts = [start_once(server, MODERN, "search_companies", {}) for _ in range(size.starts)]
    yield Comparison("embedded CRM: start to tools/list", "ms", [one.listed for one in starts])
    yield Comparison("embedded CRM: first call", "ms", [one.called for one in starts])


def start_once(server: Server, version: str, tool: str, arguments: dict[str, str]) -> Start:
    spawned = time.perf_counter()
    with running(server) as process:
        connection = StdioConnection(process, version)
        connection.request("tools/list")
        listed = time.perf_counter()
        resident = resident_mib(process)
        asked = time.perf_counter()
        connection.request("tools/call", name=tool, arguments=arguments)
        answered = time.perf_counter()
    return Start((listed - spawned) * 1000, (answered - asked) * 1000, resident)


# Calling


def calls(python: str, crm: dict[str, str], size: Size) -> Iterator[Comparison]:
    both = ours(python, crm), bare(python, crm)
    # Brief: the one GET that the bare server does, without what belongs to the company.
    arguments = {"company": some_company(crm), "detail": "brief"}
    for transport, connected in (("stdio", over_stdio), ("HTTP", over_http)):
        with ExitStack() as stack:
            connections, processes = zip(
                *(stack.enter_context(connected(server)) for server in both), strict=True
            )
            our_blocks, bare_blocks = alternately(
                lambda connection: call_block(connection, size.calls, arguments), connections, size.blocks
            )
            our_resident, bare_resident = map(resident_mib, processes)
        name = f"get_company, {transport}"
        for what, unit, aim, value in (
            ("p50", "ms", CALL_AIM, lambda block: block.median),
            ("p95", "ms", CALL_AIM, lambda block: block.slow),
            (f"{IN_FLIGHT} in flight", "calls/s", None, lambda block: block.rate),
        ):
            yield Comparison(
                f"{name}, {what}", unit, [*map(value, our_blocks)], [*map(value, bare_blocks)], aim
            )
        yield Comparison(f"memory after calls, {transport}", "MiB", our_resident, bare_resident, MEMORY_AIM)


Connected = tuple[Connection, "subprocess.Popen[bytes]"]


@contextmanager
def over_stdio(server: Server) -> Iterator[Connected]:
    with running(server) as process:
        yield StdioConnection(process), process


@contextmanager
def over_http(server: Server) -> Iterator[Connected]:
    port = free_port()
    with running(server, "--http", str(port)) as process:
        await_port(port)
        yield HttpConnection(port), process


def call_block(connection: Connection, calls: int, arguments: dict[str, str]) -> Block:
    """One call after the other, then many at a time."""
    times = []
    for _ in range(calls):
        asked = time.perf_counter()
        connection.request("tools/call", name="get_company", arguments=arguments)
        times.append((time.perf_counter() - asked) * 1000)
    begun = time.perf_counter()
    connection.call_many(calls, IN_FLIGHT, name="get_company", arguments=arguments)
    rate = calls / (time.perf_counter() - begun)
    return Block(statistics.median(times), slow(times), rate)


# Completing


def completions(python: str, file: Path, size: Size) -> Iterator[Comparison]:
    """Names completed over stdio with every key that is hit, in an embedded CRM of 10,000 records."""
    port = free_port()
    making = ["sandbox", "--sandbox", str(file), "--companies", str(size.companies), "--port", str(port)]
    with running(Server([python, "-m", "crm_mcp", *making], environ({}))):
        await_port(port)
    with over_stdio(ours(python, {"CRM_MCP_SANDBOX": str(file)})) as (connection, _):
        for argument, words in TYPED.items():
            keys = [word[:end] for word in words for end in range(1, len(word) + 1)]
            blocks = [
                [complete(connection, argument, typed) for typed in keys] for _ in range(size.blocks + 1)
            ]
            for what, of in (("p50", statistics.median), ("p95", slow)):
                yield Comparison(
                    f"completion of a {argument}, {what}", "ms", [of(block) for block in blocks[1:]]
                )


def complete(connection: Connection, argument: str, typed: str) -> float:
    folder = {"company": "companies"}.get(argument, f"{argument}s")
    uri = "crm://pipeline-stages/{stage}" if argument == "stage" else f"crm://{folder}/{{id}}"
    name = argument if argument == "stage" else "id"
    asked = time.perf_counter()
    connection.request(
        "completion/complete",
        ref={"type": "ref/resource", "uri": uri},
        argument={"name": name, "value": typed},
    )
    return (time.perf_counter() - asked) * 1000


def slow(times: Sequence[float]) -> float:
    """The 95th percentile."""
    return statistics.quantiles(times, n=20)[-1]


S = TypeVar("S")


def alternately(measure: Callable[[S], T], both: tuple[S, S], rounds: int) -> Both[T]:
    """Measure both in turn, so that the machine's moods meet both; the first round is warm-up."""
    pairs = [(measure(both[0]), measure(both[1])) for _ in range(rounds + 1)][1:]
    return [ours for ours, _ in pairs], [other for _, other in pairs]


if __name__ == "__main__":
    main()
