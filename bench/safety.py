"""What the gate costs: the same calls with it and without it, on the embedded CRM. See README.md."""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio
import httpx2
from mcp import Client

from crm_mcp import backend
from crm_mcp.access import CrmAccess
from crm_mcp.calls import Call, Policy
from crm_mcp.crm import CrmClient
from crm_mcp.ledger import Attempt, Ledger
from crm_mcp.sandbox.app import create_app
from crm_mcp.sandbox.store import Store
from crm_mcp.server import build_server
from crm_mcp.tenant import Tenant
from crm_mcp.tools.catalogue import Toolset
from report import table

WRITE_AIM_MS = 3.0
# No more than may be sent in a day: the ledger is asked how many there were.
EMAILS = Policy().emails_per_day
HEAD = ["", "with", "without", "added", "min", "quartiles", "requests", "aim"]


class Ungated(CrmAccess):
    """The same server, whose writes go straight to the CRM; it has no ledger that could be asked."""

    async def writing_tenant(self) -> Tenant:
        return await self.tenant()

    async def recall(self, call: Call) -> None:
        pass


class Counting(httpx2.ASGITransport):
    """The way to the embedded CRM, and how many requests took it."""

    requests = 0

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        self.requests += 1
        return await super().handle_async_request(request)


@dataclass(frozen=True)
class Task:
    """A call of a tool that is measured: what it says each time, and how often at most."""

    name: str
    tool: str
    said: Callable[[int], dict[str, Any]]
    most: int = 320
    aim: float = WRITE_AIM_MS


@dataclass(frozen=True)
class Cost:
    """Each call's milliseconds with the gate and without, and the requests to the CRM of the last one."""

    task: Task
    gated: Sequence[float]
    ungated: Sequence[float]
    requests: tuple[int, int]

    @property
    def added(self) -> list[float]:
        """Call by call, right after one another: what disturbs the machine disturbs both."""
        return [one - other for one, other in zip(self.gated, self.ungated, strict=True)]

    def as_json(self) -> dict[str, Any]:
        low, middle, high = statistics.quantiles(self.added, n=4)
        return {
            "name": self.task.name,
            "with": statistics.median(self.gated),
            "without": statistics.median(self.ungated),
            "added": middle,
            "min": min(self.gated) - min(self.ungated),
            "quartiles": [low, high],
            "requests": self.requests,
            "calls": len(self.gated),
            "aim": self.task.aim,
        }

    def as_row(self) -> list[str]:
        told = self.as_json()
        low, high = told["quartiles"]
        times = [f"{told[name]:.2f}" for name in ("with", "without", "added", "min")]
        requests = "{} / {}".format(*self.requests)
        return [self.task.name, *times, f"{low:.2f}-{high:.2f}", requests, f"<= {self.task.aim:.2f}"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few calls, to see that it works")
    parser.add_argument("--entries", type=int, default=0, help="how many changes the ledger has before")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        before = disk_ms(Path(folder))
        costs = anyio.run(measure, Path(folder), 8 if options.quick else 320, options.entries)
        after = disk_ms(Path(folder))
    if options.json:
        print(json.dumps([cost.as_json() for cost in costs], indent=2))
    else:
        print(f"ms; to flush 4 KiB takes this disk {before:.2f} ms, and {after:.2f} ms after all")
        print(table(HEAD, [cost.as_row() for cost in costs]))
        writes = [statistics.median(cost.added) for cost in costs if cost.task.aim]
        print(f"of the {len(writes)} kinds of write the median adds {statistics.median(writes):.2f} ms")


def disk_ms(folder: Path) -> float:
    """How long it takes until what is written is on the disk, as each gated write waits for once."""
    times = []
    with (folder / "flushed").open("wb", buffering=0) as file:
        for _ in range(100):
            file.write(bytes(4096))
            start = time.perf_counter()
            os.fsync(file.fileno())
            times.append((time.perf_counter() - start) * 1000)
    return statistics.median(times)


async def measure(folder: Path, calls: int, entries: int) -> list[Cost]:
    both = [folder / kind.__name__ for kind in (CrmAccess, Ungated)]
    for place in both:
        place.mkdir()
    async with (
        connected(CrmAccess, both[0], entries) as gated,
        connected(Ungated, both[1], 0) as ungated,
    ):
        return [await compared(task, (gated, ungated), min(calls, task.most)) for task in TASKS]


Connected = tuple[Client, Counting]


@asynccontextmanager
async def connected(kind: type[CrmAccess], folder: Path, entries: int) -> AsyncIterator[Connected]:
    with backend.sandbox_store(str(folder / "sandbox.db")) as store:
        counting = Counting(create_app(store))
        if entries:
            fill(folder / "ledger.db", store.credentials.installation_id, entries)
        access = kind(
            lambda: crm_over(counting, store),
            open_ledger=lambda: Ledger.open(folder / "ledger.db"),
            policy=Policy(
                approval="client", emails_per_hour=EMAILS, emails_per_day=EMAILS, emails_per_recipient=EMAILS
            ),
        )
        server = build_server(access, frozenset(Toolset), read_only=False, sandbox=True)
        async with Client(server) as client:
            yield client, counting


def crm_over(transport: Counting, store: Store) -> CrmClient:
    key = store.credentials
    return CrmClient(
        "http://localhost",
        key.api_key,
        key.entity_id,
        transport=transport,
        identity=key.installation_id,
    )


def fill(path: Path, entity: str, entries: int) -> None:
    """Changes of before, as the server keeps them; e-mails are none, for of those there may be few a day."""
    tools = [task.tool for task in TASKS if task.aim and task.tool != "send_outbound_email"]
    ledger = Ledger.open(path)
    for number in range(entries):
        tool = tools[number % len(tools)]
        attempt = Attempt(
            principal="local",
            entity=entity,
            tool=tool,
            arguments={"number": number},
            operation=tool,
            targets={},
            body={"phone": str(number)},
            title=f"Change {number}",
            key=f"{number:064x}",
            claim=f"{tool} {number % 1000}",
        )
        begun = ledger.begin(attempt, window_seconds=0, lease_seconds=60)
        ledger.close(begun.change.id, "applied", after={"id": str(number), "notes": "x" * 300})
    ledger.shut()


async def compared(task: Task, both: tuple[Connected, Connected], calls: int) -> Cost:
    """The two take turns, call by call, and in who is first, each in a CRM of its own."""
    times: tuple[list[float], list[float]] = ([], [])
    requests = [0, 0]
    for number in range(calls):
        for which in (0, 1) if number % 2 else (1, 0):
            client, counting = both[which]
            before = counting.requests
            start = time.perf_counter()
            result = await client.call_tool(task.tool, task.said(number))
            times[which].append((time.perf_counter() - start) * 1000)
            assert not result.is_error, result.content
            requests[which] = counting.requests - before
    return Cost(task, *times, requests=(requests[0], requests[1]))


STAGES = ["New", "Qualified", "Proposal", "Negotiation", "Won", "Lost"]
ORDERS = (["Qualified", "New", *STAGES[2:]], STAGES)
TASKS = [
    Task("update_company", "update_company", lambda n: {"company": "Acme Inc.", "phone": str(n)}),
    Task(
        "log_activity",
        "log_activity",
        lambda n: {"type": "call", "subject": f"Call {n}", "company": "Acme Inc."},
    ),
    # Of a website it is looked for among all companies: of those there are 40 and then one more each time.
    Task(
        "create_company, of 40 to 95",
        "create_company",
        lambda n: {"name": f"shop{n}", "website": f"shop{n}.example"},
        most=55,
    ),
    Task(
        "create_company, of 95 to 415",
        "create_company",
        lambda n: {"name": f"firm{n}", "website": f"firm{n}.example"},
    ),
    Task("create_company, no website", "create_company", lambda n: {"name": f"works{n}"}),
    Task(
        "create_contact",
        "create_contact",
        lambda n: {"first_name": f"ada{n}", "last_name": "Comer", "email": f"ada{n}@comer.example"},
    ),
    Task("create_lead", "create_lead", lambda n: {"title": f"deal{n}", "contact": "Anna Müller"}),
    # Of those, each moves once and has one e-mail.
    Task("move_lead_stage", "move_lead_stage", lambda n: {"lead": f"deal{n}", "stage": "Proposal"}),
    Task(
        "send_outbound_email",
        "send_outbound_email",
        lambda n: {"lead": f"deal{n}", "subject": f"Offer {n}", "body": "Dear Anna"},
        most=EMAILS,
    ),
    Task("delete_lead", "delete_lead", lambda n: {"lead": f"deal{n}"}),
    Task(
        "link_contact_to_company",
        "link_contact_to_company",
        lambda n: {"contact": f"ada{n} Comer", "company": "Acme Inc."},
    ),
    Task(
        "unlink_contact_from_company",
        "unlink_contact_from_company",
        lambda n: {"contact": f"ada{n} Comer", "company": "Acme Inc."},
    ),
    Task("delete_contact", "delete_contact", lambda n: {"contact": f"ada{n} Comer"}),
    Task("reorder_pipeline_stages", "reorder_pipeline_stages", lambda n: {"stages": ORDERS[n % 2]}),
    Task(
        "add_to_marketing_list",
        "add_to_marketing_list",
        lambda n: {"list_id": str(UUID(int=n)), "companies": ["Acme Inc."]},
    ),
    Task("get_company, a read", "get_company", lambda _: {"company": "Acme Inc.", "detail": "brief"}, aim=0),
]


if __name__ == "__main__":
    main()
