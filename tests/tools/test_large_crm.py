"""What a name costs where companies, contacts and leads fill many pages."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from crm_mcp.crm.contract import UUID_PATTERN
from crm_mcp.sandbox.demo_data import seed
from crm_mcp.sandbox.store import Store

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]


@pytest.fixture(scope="module")
def demo_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("large") / "sandbox.db"
    store = Store.open(path)
    seed(store, 300)
    store.close()
    return path


def requests(wire: Any) -> list[str]:
    """What was sent since the last look, in any order, ids as `*`, and what was searched for."""
    sent = []
    for one in wire.sent:
        query = "?q=" + one.query["q"] if "q" in one.query else ""
        sent.append(f"{one.method} {UUID_PATTERN.sub('*', one.path.removeprefix('/api/crm/'))}{query}")
    wire.sent.clear()
    return sorted(sent)


@pytest.mark.parametrize(
    ("tool", "arguments", "sent"),
    [
        (
            "move_lead_stage",
            {"lead": "Acme", "stage": "Qualified"},
            [
                "GET companies",
                "GET companies?q=Acme",
                # Of the company; and those that are called so.
                "GET leads",
                "GET leads/*",
                "GET leads?q=Acme",
                "GET pipeline-stages",
                "PATCH leads/*/stage",
            ],
        ),
        (
            "update_company",
            {"company": "Acme", "phone": "1"},
            ["GET companies", "GET companies/*", "GET companies?q=Acme", "PATCH companies/*"],
        ),
        (
            "create_lead",
            {"title": "Deal", "company": "Acme", "stage": "New"},
            ["GET companies", "GET companies?q=Acme", "GET leads", "GET pipeline-stages", "POST leads"],
        ),
        (
            "update_contact",
            {"contact": "Anna at Acme", "job_title": "CTO"},
            [
                "GET companies",
                "GET companies/*/contacts",
                "GET companies?q=Acme",
                "GET contacts",
                "GET contacts/*",
                # Somebody may be called so, company and all.
                "GET contacts?q=Anna at Acme",
                "PATCH contacts/*",
            ],
        ),
    ],
)
async def test_a_write_by_a_companys_name_costs_no_more_than_a_search_of_each_kind(
    call: Call, wire: Any, tool: str, arguments: dict[str, Any], sent: list[str]
) -> None:
    await call(tool, **arguments)
    assert requests(wire) == sent


async def test_moving_the_deal_again_costs_no_look_at_companies(call: Call, wire: Any) -> None:
    await call("move_lead_stage", lead="Acme", stage="Qualified")
    requests(wire)
    await call("move_lead_stage", lead="Acme", stage="Proposal")
    assert requests(wire) == ["GET leads", "GET leads/*", "GET leads?q=Acme", "PATCH leads/*/stage"]
