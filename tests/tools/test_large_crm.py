"""What a name costs where companies, contacts and leads fill many pages."""

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest

from crm_mcp.crm import CrmClient
from crm_mcp.crm.companies import CompanyChanges, NewCompany
from crm_mcp.crm.contacts import ContactChanges
from crm_mcp.crm.contract import UUID_PATTERN
from crm_mcp.finding import ODD_WORD
from crm_mcp.sandbox.demo_data import seed
from crm_mcp.sandbox.store import Store

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]
Find = Callable[..., dict[str, Any]]


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
                # Whether the search tells capitals apart; of a process this is asked once.
                "GET companies?q=aCME",
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
            [
                "GET companies",
                "GET companies/*",
                "GET companies?q=Acme",
                "GET companies?q=aCME",
                "PATCH companies/*",
            ],
        ),
        (
            "create_lead",
            {"title": "Deal", "company": "Acme", "stage": "New"},
            [
                "GET companies",
                "GET companies?q=Acme",
                "GET companies?q=aCME",
                "GET leads",
                "GET pipeline-stages",
                "POST leads",
            ],
        ),
        (
            "update_contact",
            {"contact": "Anna at Acme", "job_title": "CTO"},
            [
                "GET companies",
                "GET companies/*/contacts",
                "GET companies?q=Acme",
                "GET companies?q=aCME",
                "GET contacts",
                "GET contacts/*",
                # Another Anna may be at a company of which that is part of the name.
                "GET contacts?q=Anna",
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


async def test_part_of_a_name_is_looked_for_among_the_names_that_are_known(
    call: Call, wire: Any, find: Find
) -> None:
    await call("update_company", company="Societe Generine", phone="1")
    assert len(requests(wire)) == 8
    # The write dropped what was kept of the companies, but for their names.
    await call("update_company", company="Societe Generine", phone="2")
    assert requests(wire) == [
        "GET companies",
        "GET companies/*",
        "GET companies/*",
        "GET companies?q=Generine",
        "GET companies?q=Societe Generine",
        "PATCH companies/*",
    ]
    assert find("companies", name="Société Générine de Lumière")["phone"] == "2"


async def test_a_company_that_was_renamed_since_its_name_was_learnt_is_not_meant(
    call: Call, refusal: Call, crm: CrmClient, find: Find
) -> None:
    company = find("companies", name="Société Générine de Lumière")
    await call("update_company", company="Societe Generine", phone="1")
    await crm.companies.update(company["id"], CompanyChanges(name="Lumen"))
    assert await refusal("update_company", company="Societe Generine", phone="2") == (
        'No company "Societe Generine". search_companies lists what there is. Nothing was sent to the CRM.'
    )
    assert find("companies", name="Lumen")["phone"] == "1"


async def test_where_a_known_name_is_not_so_any_more_all_are_read_again(
    call: Call, crm: CrmClient, find: Find
) -> None:
    company, other = (find("companies", name=name) for name in ("Société Générine de Lumière", "Acme Inc."))
    await call("update_company", company="Societe Generine", phone="1")
    await crm.companies.update(company["id"], CompanyChanges(name="Lumen"))
    # No search for what is said finds this.
    await crm.companies.update(other["id"], CompanyChanges(name="Société Générine Est"))
    await call("update_company", company="Societe Generine", phone="2")
    assert find("companies", name="Société Générine Est")["phone"] == "2"


async def test_of_what_more_have_than_a_search_shows_a_read_says_so_and_a_write_does_not_choose(
    call: Call, refusal: Call, wire: Any
) -> None:
    crm = wire.inner

    async def cut(request: httpx2.Request) -> httpx2.Response:
        response = await crm.handle_async_request(request)
        if "q" not in request.url.params or request.url.params["q"] == ODD_WORD:
            return response  # type: ignore[no-any-return]
        body = json.loads(await response.aread())
        return httpx2.Response(200, json={**body, "total": 500, "page": 1, "pageSize": 1})

    wire.inner = httpx2.MockTransport(cut)
    for tool, arguments, kind in (
        ("get_company", {"company": "acme-inc.example"}, "companies"),
        ("get_contact", {"contact": "luc.lefevre@acme-inc.example"}, "contacts"),
    ):
        facts = (await call(tool, **arguments)).facts
        assert f"More {kind} fit it than were looked at." in facts["notes"]
    said = "luc.lefevre@acme-inc.example"
    assert (await refusal("update_contact", contact=said, phone="1")).startswith(
        f'"{said}" fits one contact. More contacts fit it than were looked at. Say the id'
    )


async def test_a_company_that_came_since_the_names_were_learnt_is_found_by_the_search(
    call: Call, refusal: Call, crm: CrmClient
) -> None:
    await call("update_company", company="Societe Generine", phone="1")
    await crm.companies.create(NewCompany(name="Societe Generine Lyon"))
    problem = await refusal("update_company", company="Societe Generine", phone="2")
    assert problem.startswith('"Societe Generine" fits more than one company. Say the id')
    assert [line.split(" · ")[0] for line in problem.splitlines()[1:-1]] == [
        "- Societe Generine Lyon",
        "- Société Générine de Lumière",
    ]


async def test_a_person_that_was_deleted_since_its_name_was_learnt_is_not_meant(
    call: Call, refusal: Call, wire: Any, crm: CrmClient
) -> None:
    created = await crm.contacts.create(ContactChanges(first_name="Zoë", last_name="Lefèvre-Quint"))
    assert created is not None
    await call("update_contact", contact="zoe quint", job_title="CTO")
    await crm.contacts.delete(created.id)
    for _ in range(2):
        wire.sent.clear()
        problem = await refusal("update_contact", contact="zoe quint", job_title="CEO")
        assert problem.startswith('No contact "zoe quint". Say the id of the one that is meant:\n- Zoë ')
        assert "Lefèvre" not in problem
    # With what has a word of it, to choose from.
    asked = ["GET contacts", *(f"GET contacts?q={said}" for said in ("quint", "quint", "zoe", "zoe quint"))]
    assert requests(wire) == asked


async def test_of_many_that_part_of_a_name_fits_those_the_search_brings_are_candidates(
    refusal: Call, wire: Any, crm: CrmClient
) -> None:
    for number in range(110):
        await crm.companies.create(NewCompany(name=f"Vexallia {number}"))
    await refusal("update_company", company="Vexallia", phone="1")
    wire.sent.clear()
    problem = await refusal("update_company", company="Vexallia", phone="2")
    assert problem.splitlines()[0] == (
        '"Vexallia" fits more than one company. More companies fit it than were looked at. '
        "Say the id of the one that is meant:"
    )
    assert requests(wire) == ["GET companies", "GET companies?q=Vexallia"]
