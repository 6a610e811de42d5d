"""Every list of the CRM's API and of the tools, in a small and in a large embedded CRM. See README.md."""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager, closing
from functools import partial
from pathlib import Path
from typing import Any

import anyio
import httpx2
from mcp import Client
from mcp.types import CallToolRequest, CallToolRequestParams, CallToolResult

from crm_mcp import backend
from crm_mcp.access import CrmAccess
from crm_mcp.sandbox.app import create_app
from crm_mcp.sandbox.demo_data import seed
from crm_mcp.sandbox.store import Store
from crm_mcp.server import build_server
from crm_mcp.settings import load_settings
from report import table

SIZES, QUICK_SIZES = (1_000, 100_000), (100, 1_000)
ROUNDS, QUICK_ROUNDS = 15, 3

API_LISTS = [
    *(
        f"/{family}?page={page}"
        for family in ("companies", "contacts", "leads", "activities", "tasks")
        for page in (1, 10)
    ),
    "/companies?role=customer",
    "/companies?status=inactive",
    "/companies?ownerUserId=me",
    "/companies?ownerUserId=unassigned",
    "/companies?q=acme",
    "/companies?q=gmbh",
    "/companies?q=ac",
    "/companies/{company}/contacts",
    "/contacts?companyId={company}",
    "/contacts?q=anna",
    "/contacts/{contact}/company-memberships",
    "/leads?stageId={stage}",
    "/leads?stage=Qualified",
    "/leads?companyId={company}",
    "/leads?contactId={contact}",
    "/leads?q=licence",
    "/leads/{lead}/timeline",
    "/activities?leadId={lead}",
    "/activities?companyId={company}",
    "/tasks?leadId={lead}",
    "/pipeline-stages",
    "/outbound-email-connections",
    "/dashboard",
]
TOOL_LISTS: list[tuple[str, dict[str, Any]]] = [
    ("search_companies", {}),
    ("search_companies", {"page": 10}),
    ("search_companies", {"query": "acme"}),
    ("search_companies", {"role": "customer"}),
    ("search_leads", {}),
    ("search_leads", {"page": 10}),
    ("search_leads", {"stage": "Qualified"}),
    ("search_contacts", {}),
    ("search_contacts", {"page": 10}),
    ("search_contacts", {"query": "anna"}),
    ("list_activities", {}),
    ("list_activities", {"page": 10}),
]

Ask = Callable[[], Awaitable[Any]]
Asks = dict[str, Ask]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="to see that it runs: small CRMs, few rounds")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    sizes, rounds = (QUICK_SIZES, QUICK_ROUNDS) if options.quick else (SIZES, ROUNDS)
    results = anyio.run(measure, sizes, rounds)
    if options.json:
        print(json.dumps(results, indent=2))
    else:
        head = ["median, ms", *(f"{companies:,} companies" for companies in sizes), "ratio"]
        rows = [[name, f"{a:.2f}", f"{b:.2f}", f"{b / a:.1f}"] for name, (a, b) in results.items()]
        print(table(head, rows))


async def measure(sizes: tuple[int, int], rounds: int) -> dict[str, list[float]]:
    """By list, the median in each of the CRMs, and the time that it took to make them; milliseconds."""
    async with AsyncExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        paths = [folder / f"{companies}.db" for companies in sizes]
        made = [make(path, companies) for path, companies in zip(paths, sizes, strict=True)]
        api = [await stack.enter_async_context(api_lists(path)) for path in paths]
        tools = [await stack.enter_async_context(tool_lists(path)) for path in paths]
        medians = {
            name: await medians_of([asks[name] for asks in both], rounds)
            for both in (api, tools)
            for name in both[0]
        }
        return {"making the CRM, once": made, **medians}


def make(path: Path, companies: int) -> float:
    begun = time.perf_counter()
    store = Store.open(path)
    seed(store, companies)
    store.close()
    return _milliseconds_since(begun)


@asynccontextmanager
async def api_lists(path: Path) -> AsyncIterator[Asks]:
    """The lists of the HTTP API, asked without a socket in between."""
    with closing(Store.open(path)) as store:
        key = store.credentials
        async with httpx2.AsyncClient(
            transport=httpx2.ASGITransport(create_app(store)),
            base_url="http://localhost/api/crm",
            headers={"Authorization": f"Bearer {key.api_key}"},
        ) as crm:

            async def get(path: str) -> Any:
                # `params` would replace what stands in the path.
                url = f"{path}{'&' if '?' in path else '?'}entityId={key.entity_id}"
                return (await crm.get(url)).raise_for_status().json()

            lead = (await get("/leads"))["leads"][0]
            ids = {
                "lead": lead["id"],
                "company": lead["companyId"],
                "contact": lead["contactId"],
                "stage": lead["stageId"],
            }
            yield {f"GET {path}": partial(get, path.format(**ids)) for path in API_LISTS}


@asynccontextmanager
async def tool_lists(path: Path) -> AsyncIterator[Asks]:
    """The tools that list, called through MCP in this process."""
    settings = load_settings({"CRM_MCP_SANDBOX": str(path)}, environ={})
    access = CrmAccess(backend.opener(settings))
    server = build_server(access, settings.toolsets, read_only=True, sandbox=True)
    async with Client(server) as client:

        async def call(tool: str, arguments: dict[str, Any]) -> None:
            request = CallToolRequest(params=CallToolRequestParams(name=tool, arguments=arguments))
            # Not `call_tool`: it checks the result against its schema, which takes as long as the call.
            result = await client.session.send_request(request, CallToolResult)
            if result.is_error:
                raise RuntimeError(f"{tool} answered {result.content}")

        yield {
            f"{tool} {json.dumps(arguments)}": partial(call, tool, arguments)
            for tool, arguments in TOOL_LISTS
        }


async def medians_of(asks: list[Ask], rounds: int) -> list[float]:
    """The median of each, in milliseconds, taken in turn so that the machine's moods meet all."""
    times = [[await timed(ask) for ask in asks] for _ in range(rounds + 1)][1:]
    return [statistics.median(column) for column in zip(*times, strict=True)]


async def timed(ask: Ask) -> float:
    begun = time.perf_counter()
    await ask()
    return _milliseconds_since(begun)


def _milliseconds_since(begun: float) -> float:
    return (time.perf_counter() - begun) * 1000


if __name__ == "__main__":
    main()
