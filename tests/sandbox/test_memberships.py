from typing import Any

import httpx2
import pytest


@pytest.fixture
async def companies(crm: httpx2.AsyncClient) -> list[str]:
    return [(await crm.post("/companies", json={"name": name})).json()["id"] for name in "ABC"]


@pytest.fixture
async def path(crm: httpx2.AsyncClient) -> str:
    contact = (await crm.post("/contacts", json={"lastName": "Berg"})).json()
    return f"/contacts/{contact['id']}/company-memberships"


async def add(crm: httpx2.AsyncClient, path: str, company_id: str, **fields: Any) -> dict[str, Any]:
    answer = await crm.post(path, json={"companyId": company_id, **fields})
    assert answer.status_code == 201
    return answer.json()


async def primary_of(crm: httpx2.AsyncClient, path: str) -> str | None:
    """The one primary company, which has to be the contact's own too."""
    rows = (await crm.get(path)).json()["memberships"]
    primary = [row["companyId"] for row in rows if row["isPrimary"]]
    contact = (await crm.get(path.removesuffix("/company-memberships"))).json()
    assert primary == ([] if contact["companyId"] is None else [contact["companyId"]])
    return contact["companyId"]


async def test_the_first_membership_is_the_primary_one(
    crm: httpx2.AsyncClient, path: str, companies: list[str]
) -> None:
    first = await add(crm, path, companies[0], title="CEO", isPrimary=False)
    second = await add(crm, path, companies[1])
    assert first == {
        "id": first["id"],
        "contactId": path.split("/")[2],
        "companyId": companies[0],
        "companyName": "A",
        "title": "CEO",
        "isPrimary": True,
    }
    assert second["isPrimary"] is False
    assert (await crm.get(path)).json() == {"memberships": [first, second]}
    assert await primary_of(crm, path) == companies[0]


async def test_a_new_primary_membership_replaces_the_former(
    crm: httpx2.AsyncClient, path: str, companies: list[str]
) -> None:
    first = await add(crm, path, companies[0])
    await add(crm, path, companies[1], isPrimary=True)
    assert await primary_of(crm, path) == companies[1]
    patched = (await crm.patch(f"{path}/{first['id']}", json={"isPrimary": True, "title": "CFO"})).json()
    assert patched == {**first, "title": "CFO"}
    assert await primary_of(crm, path) == companies[0]


async def test_a_patch_clears_the_title_and_keeps_the_rest(
    crm: httpx2.AsyncClient, path: str, companies: list[str]
) -> None:
    created = await add(crm, path, companies[0], title="CEO")
    assert (await crm.patch(f"{path}/{created['id']}", json={})).json() == created
    patched = (await crm.patch(f"{path}/{created['id']}", json={"title": None})).json()
    assert patched == {**created, "title": None}


async def test_the_primary_membership_cannot_be_demoted(
    crm: httpx2.AsyncClient, path: str, companies: list[str]
) -> None:
    created = await add(crm, path, companies[0])
    answer = await crm.patch(f"{path}/{created['id']}", json={"isPrimary": False, "title": "x"})
    assert answer.status_code == 400
    assert (await crm.get(path)).json() == {"memberships": [created]}


async def test_deleting_the_primary_membership_makes_the_oldest_other_primary(
    crm: httpx2.AsyncClient, path: str, companies: list[str]
) -> None:
    ids = [(await add(crm, path, company_id))["id"] for company_id in companies]
    answer = await crm.delete(f"{path}/{ids[0]}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert await primary_of(crm, path) == companies[1]
    await crm.delete(f"{path}/{ids[2]}")
    assert await primary_of(crm, path) == companies[1]
    await crm.delete(f"{path}/{ids[1]}")
    assert await primary_of(crm, path) is None


async def test_a_second_membership_of_the_same_company_is_409(
    crm: httpx2.AsyncClient, path: str, companies: list[str]
) -> None:
    created = await add(crm, path, companies[0])
    answer = await crm.post(path, json={"companyId": companies[0]})
    assert (answer.status_code, answer.json()) == (409, {"error": "This contact is a member of A already."})
    assert (await crm.get(path)).json() == {"memberships": [created]}


async def test_a_membership_is_found_under_its_own_contact_only(
    crm: httpx2.AsyncClient, path: str, companies: list[str]
) -> None:
    created = await add(crm, path, companies[0])
    other = (await crm.post("/contacts", json={})).json()
    elsewhere = f"/contacts/{other['id']}/company-memberships/{created['id']}"
    assert (await crm.patch(elsewhere, json={})).status_code == 404
    assert (await crm.delete(elsewhere)).status_code == 404
