"""What the gate costs: the same calls with it and without it, on the embedded CRM. See README.md."""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
from mcp import Client

from crm_mcp import backend
from crm_mcp.access import CrmAccess
from crm_mcp.calls import Policy
from crm_mcp.ledger import Ledger
from crm_mcp.server import build_server
from crm_mcp.settings import Settings
from crm_mcp.tenant import Tenant
from crm_mcp.tools.catalogue import Toolset
from report import COMPARISON_HEAD, Comparison, table

EMAILS = Policy().emails_per_day


class Ungated(CrmAccess):
    """The same server, whose writes go straight to the CRM."""

    async def writing_tenant(self) -> Tenant:
        return await self.tenant()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few calls, to see that it works")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    rows = anyio.run(measure, *((2, 8) if options.quick else (10, 32)))
    if options.json:
        print(json.dumps([row.as_json() for row in rows], indent=2))
    else:
        print(table(COMPARISON_HEAD, [row.as_row() for row in rows]))


async def measure(blocks: int, calls: int) -> list[Comparison]:
    with tempfile.TemporaryDirectory() as folder:
        async with AsyncExitStack() as stack:
            for kind in (CrmAccess, Ungated):
                (Path(folder) / kind.__name__).mkdir()
            pair = [
                await stack.enter_async_context(connected(kind, Path(folder) / kind.__name__))
                for kind in (CrmAccess, Ungated)
            ]
            return [await compared(name, tool, said, pair, blocks, calls) for name, tool, said in TASKS]


@asynccontextmanager
async def connected(kind: type[CrmAccess], folder: Path) -> AsyncIterator[Client]:
    settings = Settings(sandbox=str(folder / "sandbox.db"))
    access = kind(
        backend.opener(settings),
        open_ledger=lambda: Ledger.open(folder / "ledger.db"),
        policy=Policy(
            approval="client", emails_per_hour=EMAILS, emails_per_day=EMAILS, emails_per_recipient=EMAILS
        ),
    )
    server = build_server(access, frozenset(Toolset), read_only=False, sandbox=True)
    async with Client(server) as client:
        yield client


async def compared(
    name: str,
    tool: str,
    said: Callable[[int], dict[str, Any]],
    pair: list[Client],
    blocks: int,
    calls: int,
) -> Comparison:
    """Medians of blocks of calls; the two take turns, block by block, each in a CRM of its own."""
    medians: tuple[list[float], list[float]] = ([], [])
    if tool == "send_outbound_email":
        # No more than may be sent in a day: the ledger is asked how many there were.
        calls = min(calls, EMAILS // blocks)
    for block in range(blocks):
        for client, kept in zip(pair, medians, strict=True):
            times = []
            for number in range(block * calls, (block + 1) * calls):
                start = time.perf_counter()
                result = await client.call_tool(tool, said(number))
                times.append((time.perf_counter() - start) * 1000)
                assert not result.is_error, result.content
            kept.append(statistics.median(times))
    return Comparison(name, "ms", *medians)


TASKS: list[tuple[str, str, Callable[[int], dict[str, Any]]]] = [
    ("update_company", "update_company", lambda n: {"company": "Acme Inc.", "phone": str(n)}),
    (
        "log_activity",
        "log_activity",
        lambda n: {"type": "call", "subject": f"Call {n}", "company": "Acme Inc."},
    ),
    ("create_company", "create_company", lambda n: {"name": f"firm{n}", "website": f"firm{n}.example"}),
    (
        "create_contact",
        "create_contact",
        lambda n: {"first_name": f"ada{n}", "last_name": "Comer", "email": f"ada{n}@comer.example"},
    ),
    ("create_lead", "create_lead", lambda n: {"title": f"deal{n}", "contact": "Anna Müller"}),
    # Of those, each moves once and has one e-mail.
    ("move_lead_stage", "move_lead_stage", lambda n: {"lead": f"deal{n}", "stage": "Proposal"}),
    (
        "send_outbound_email",
        "send_outbound_email",
        lambda n: {"lead": f"deal{n}", "subject": f"Offer {n}", "body": "Dear Anna"},
    ),
    ("get_company, a read", "get_company", lambda _: {"company": "Acme Inc.", "detail": "brief"}),
]


if __name__ == "__main__":
    main()
