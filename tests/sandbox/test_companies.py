from typing import Any

import httpx2
import pytest

from crm_mcp.sandbox.store import Store


async def listed(crm: httpx2.AsyncClient, **params: Any) -> dict[str, Any]:
    answer = await crm.get("/companies", params=params)
    assert answer.status_code == 200
    return answer.json()


async def everything(crm: httpx2.AsyncClient) -> list[dict[str, Any]]:
    return (await listed(crm, pageSize=100))["companies"]


async def test_a_company_needs_a_name_only(crm: httpx2.AsyncClient) -> None:
    answer = await crm.post("/companies", json={"name": "Acme"})
    company = answer.json()
    assert answer.status_code == 201
    assert company == {
        "id": company["id"],
        "name": "Acme",
        "role": "prospect",
        "status": "active",
        "ownerUserId": None,
        "website": None,
        "industry": None,
        "email": None,
        "phone": None,
        "notes": None,
        "createdAt": company["createdAt"],
        "updatedAt": company["createdAt"],
    }
    assert (await crm.get(f"/companies/{company['id']}")).json() == company


async def test_a_patch_clears_with_null_and_keeps_what_is_absent(crm: httpx2.AsyncClient) -> None:
    created = (
        await crm.post("/companies", json={"name": "Acme", "phone": "1", "notes": "n", "role": "vendor"})
    ).json()
    path = f"/companies/{created['id']}"
    patched = (await crm.patch(path, json={"phone": None, "name": "Acme AG"})).json()
    assert patched == {**created, "name": "Acme AG", "phone": None, "updatedAt": patched["updatedAt"]}
    assert patched["updatedAt"] > created["updatedAt"]
    assert (await crm.get(path)).json() == patched
    assert (await listed(crm, q="acme ag"))["companies"] == [patched]


async def test_an_empty_patch_changes_nothing(crm: httpx2.AsyncClient) -> None:
    created = (await crm.post("/companies", json={"name": "Acme"})).json()
    answer = await crm.patch(f"/companies/{created['id']}", json={})
    assert (answer.status_code, answer.json()) == (200, created)


@pytest.mark.parametrize("field", ["name", "role", "status"])
async def test_a_required_field_cannot_be_cleared(crm: httpx2.AsyncClient, field: str) -> None:
    created = (await crm.post("/companies", json={"name": "Acme"})).json()
    assert (await crm.patch(f"/companies/{created['id']}", json={field: None})).status_code == 400
    assert (await crm.get(f"/companies/{created['id']}")).json() == created


async def test_ids_are_found_whatever_their_case(crm: httpx2.AsyncClient) -> None:
    created = (await crm.post("/companies", json={"name": "Acme"})).json()
    assert (await crm.get(f"/companies/{created['id'].upper()}")).json() == created


async def test_me_is_the_user_of_the_key(store: Store, crm: httpx2.AsyncClient) -> None:
    mine = (await crm.post("/companies", json={"name": "Mine", "ownerUserId": "me"})).json()
    free = (await crm.post("/companies", json={"name": "Nobody's"})).json()
    assert mine["ownerUserId"] == store.caller(store.credentials.api_key).user_id
    assert (await listed(crm, ownerUserId="me"))["companies"] == [mine]
    assert (await listed(crm, ownerUserId=mine["ownerUserId"].upper()))["companies"] == [mine]
    assert (await listed(crm, ownerUserId="unassigned"))["companies"] == [free]


@pytest.mark.parametrize(
    ("role", "roles"),
    [
        ("prospect", {"prospect"}),
        ("customer", {"customer", "both"}),
        ("vendor", {"vendor", "both"}),
        ("both", {"both"}),
    ],
)
async def test_both_counts_as_customer_and_as_vendor(
    demo: httpx2.AsyncClient, role: str, roles: set[str]
) -> None:
    expected = [company for company in await everything(demo) if company["role"] in roles]
    found = await listed(demo, role=role, pageSize=100)
    assert (found["companies"], found["total"]) == (expected, len(expected))
    assert expected


async def test_filters_and_search_combine(demo: httpx2.AsyncClient) -> None:
    expected = [
        company
        for company in await everything(demo)
        if company["status"] == "active"
        and company["ownerUserId"] is None
        and "ag" in company["name"].lower()
    ]
    found = await listed(demo, status="active", ownerUserId="unassigned", q="AG", pageSize=100)
    assert (found["companies"], found["total"]) == (expected, len(expected))


@pytest.mark.parametrize(
    "term", ["a", "ag", "GmbH", "MÜLLER", "e inc", "acme", "zzz", '"', "%", "_", "*", "a*b"]
)
async def test_a_search_is_a_substring_of_the_name_whatever_its_case(
    demo: httpx2.AsyncClient, term: str
) -> None:
    expected = [company for company in await everything(demo) if term.lower() in company["name"].lower()]
    found = await listed(demo, q=term, pageSize=100)
    assert (found["companies"], found["total"]) == (expected, len(expected))


async def test_pages_follow_each_other_in_the_order_of_names(demo: httpx2.AsyncClient) -> None:
    companies = await everything(demo)
    assert companies == sorted(companies, key=lambda company: (company["name"].casefold(), company["id"]))
    pages = [await listed(demo, page=number, pageSize=15) for number in (1, 2, 3, 4)]
    assert [company for page in pages for company in page["companies"]] == companies
    assert [(page["page"], page["pageSize"], page["total"]) for page in pages] == [
        (number, 15, 40) for number in (1, 2, 3, 4)
    ]


@pytest.mark.parametrize(
    ("params", "size"),
    [
        ({}, 25),
        ({"pageSize": 1000}, 100),
        ({"limit": 3}, 3),
        ({"limit": 3, "page": 1}, 25),
        ({"limit": 3, "pageSize": 2}, 2),
        ({"limit": 1000}, 100),
    ],
)
async def test_a_page_has_25_records_unless_told(
    demo: httpx2.AsyncClient, params: dict[str, int], size: int
) -> None:
    found = await listed(demo, **params)
    assert found["pageSize"] == size
    assert len(found["companies"]) == min(size, 40)


async def test_totals_follow_changes(crm: httpx2.AsyncClient) -> None:
    created = (await crm.post("/companies", json={"name": "Acme"})).json()
    await crm.patch(f"/companies/{created['id']}", json={"role": "vendor", "ownerUserId": "me"})
    totals = [
        (await listed(crm, **params))["total"]
        for params in ({}, {"role": "vendor"}, {"role": "prospect"}, {"ownerUserId": "unassigned"})
    ]
    assert totals == [1, 1, 0, 0]
