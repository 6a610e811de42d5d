"""How many requests to the CRM a call costs: each is time that a person waits, and counts against a limit."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx2
import pytest

from crm_mcp.crm.contract import UUID_PATTERN

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]
Find = Callable[..., dict[str, Any]]


def requests(wire: Any) -> list[str]:
    """What was sent since the last look, ids as `*`."""
    sent = [
        f"{request.method} {UUID_PATTERN.sub('*', request.path.removeprefix('/api/crm/'))}"
        for request in wire.sent
    ]
    wire.sent.clear()
    return sent


async def test_moving_a_deal_by_its_company_costs_four_requests_and_one_for_safety(
    call: Call, wire: Any
) -> None:
    text, _ = await call("move_lead_stage", lead="Acme", stage="Qualified")
    assert text.startswith("Moved to Qualified.\n- Acme annual licence · Acme Inc. · Qualified · ")
    # The last read is the record before the write, as undo needs it.
    assert requests(wire) == [
        "GET pipeline-stages",
        "GET companies",
        "GET leads",
        "GET leads/*",
        "PATCH leads/*/stage",
    ]


async def test_moving_another_deal_costs_no_new_look_at_companies_and_stages(call: Call, wire: Any) -> None:
    await call("move_lead_stage", lead="Acme", stage="Qualified")
    requests(wire)
    await call("move_lead_stage", lead="Quint Medica", stage="Proposal")
    assert requests(wire) == ["GET leads", "GET leads/*", "PATCH leads/*/stage"]


async def test_what_a_company_is_called_is_looked_at_anew_after_it_was_changed(
    call: Call, find: Find
) -> None:
    acme = find("companies", name="Acme Inc.")["id"]
    await call("get_lead", lead="Acme")
    await call("update_company", company=acme, name="Zeta Corp.")
    text, _ = await call("move_lead_stage", lead="Zeta", stage="Qualified")
    assert text.startswith("Moved to Qualified.\n- Acme annual licence · Zeta Corp. · ")


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [("get_lead", {"lead": "Acme"}), ("search_leads", {"query": "Acme annual"})],
)
async def test_moving_a_deal_that_was_just_read_costs_two_at_most(
    call: Call, wire: Any, find: Find, tool: str, arguments: dict[str, Any]
) -> None:
    await call(tool, **arguments)
    requests(wire)
    short = find("leads", title="Acme annual licence")["id"][:8]
    await call("move_lead_stage", lead=short, stage="Proposal")
    assert requests(wire) == ["GET leads/*", "PATCH leads/*/stage"]


async def test_moving_a_deal_by_its_company_after_reading_it_costs_two_and_one_for_safety(
    call: Call, wire: Any
) -> None:
    await call("get_lead", lead="Acme")
    requests(wire)
    await call("move_lead_stage", lead="Acme", stage="Proposal")
    # Which lead is the open one is asked anew.
    assert requests(wire) == ["GET leads", "GET leads/*", "PATCH leads/*/stage"]


@pytest.mark.parametrize(
    ("tool", "arguments", "sent"),
    [
        (
            "get_company",
            {"company": "Acme Inc."},
            [
                "companies",
                "companies/*",
                "companies/*/contacts",
                "leads",
                "activities",
                "pipeline-stages",
                # The activities' leads, which are not known yet: all of this goes out at once.
                "leads/*",
                "leads/*",
            ],
        ),
        # What has other accents is looked for on the first page of all, which is kept.
        ("search_companies", {"query": "acme"}, ["companies", "companies"]),
        ("search_leads", {"query": "Quint"}, ["leads", "leads", "pipeline-stages", "companies/*"]),
        ("search_leads", {}, ["leads", "pipeline-stages", "companies"]),
        ("search_contacts", {}, ["contacts", "companies"]),
        ("search_contacts", {"company": "Acme Inc."}, ["companies", "companies/*/contacts"]),
        (
            "get_contact",
            {"contact": "Luc Lefèvre"},
            ["contacts", "contacts/*", "contacts/*/company-memberships", "leads"],
        ),
        (
            "get_lead",
            {"lead": "Acme"},
            ["companies", "leads", "leads/*", "pipeline-stages", "contacts/*", "leads/*/timeline"],
        ),
        ("list_tasks", {}, ["tasks", "leads"]),
        ("list_activities", {}, ["activities", "leads"]),
        ("list_pipeline_stages", {}, ["pipeline-stages"]),
    ],
)
async def test_a_read_costs_what_it_must(
    call: Call, wire: Any, tool: str, arguments: dict[str, Any], sent: list[str]
) -> None:
    await call(tool, **arguments)
    assert sorted(requests(wire)) == sorted(f"GET {path}" for path in sent)


@pytest.mark.parametrize(
    ("tool", "arguments", "sent"),
    [
        (
            "log_activity",
            {"type": "call", "subject": "Hi", "lead": "Acme"},
            ["GET companies", "GET pipeline-stages", "GET leads", "POST leads/*/activities"],
        ),
        (
            "update_company",
            {"company": "Acme Inc.", "phone": "1"},
            ["GET companies", "GET companies/*", "PATCH companies/*"],
        ),
        ("create_company", {"name": "New"}, ["GET companies", "POST companies"]),
        (
            "create_lead",
            {"title": "Deal", "company": "Acme Inc.", "stage": "New"},
            ["GET pipeline-stages", "GET companies", "GET leads", "POST leads"],
        ),
        (
            "send_outbound_email",
            {"lead": "Acme", "subject": "Hi", "body": "Hello"},
            [
                "GET outbound-email-connections",
                "GET companies",
                "GET pipeline-stages",
                "GET leads",
                "GET leads/*",
                "GET contacts/*",
                # The e-mails that are there already: where no answer comes, a new one tells.
                "GET leads/*/timeline",
                "POST outbound-email",
            ],
        ),
    ],
)
async def test_a_write_costs_what_it_must(
    call: Call, wire: Any, tool: str, arguments: dict[str, Any], sent: list[str]
) -> None:
    await call(tool, **arguments)
    assert requests(wire) == sent


async def test_a_summary_costs_a_page_of_each_and_a_few_names(call: Call, wire: Any) -> None:
    await call("summarize_pipeline")
    sent = requests(wire)
    names = [request for request in sent if "*" in request]
    assert sorted(set(sent) - set(names)) == ["GET leads", "GET pipeline-stages", "GET tasks"]
    assert len(names) <= 10


class InRounds:
    """A CRM that answers once all that is asked for at once has arrived, and counts how often that is."""

    def __init__(self, crm: httpx2.AsyncBaseTransport) -> None:
        self.rounds = 0
        self._crm = crm
        self._all_are_here: anyio.Event | None = None

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        if self._all_are_here:
            await self._all_are_here.wait()
        else:
            await self._first_of_a_round()
        return await self._crm.handle_async_request(request)

    async def _first_of_a_round(self) -> None:
        self.rounds += 1
        here = self._all_are_here = anyio.Event()
        # Whoever is still to ask for something does so before they wait for an answer.
        await anyio.wait_all_tasks_blocked()
        self._all_are_here = None
        here.set()


async def test_a_lead_by_its_id_is_two_round_trips_deep(call: Call, wire: Any, find: Find) -> None:
    lead = find("leads", title="Quint annual licence")
    crm = InRounds(wire.inner)
    wire.inner = httpx2.MockTransport(crm)
    with anyio.fail_after(20):
        await call("get_lead", lead=lead["id"])
    assert (len(wire.sent), crm.rounds) == (5, 2)
