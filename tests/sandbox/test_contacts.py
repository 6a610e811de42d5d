from typing import Any

import httpx2
import pytest


async def company(crm: httpx2.AsyncClient, name: str) -> str:
    return (await crm.post("/companies", json={"name": name})).json()["id"]


async def contact(crm: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await crm.post("/contacts", json=fields)
    assert answer.status_code == 201
    return answer.json()


async def memberships(crm: httpx2.AsyncClient, contact_id: str) -> list[tuple[str, bool]]:
    rows = (await crm.get(f"/contacts/{contact_id}/company-memberships")).json()["memberships"]
    return [(row["companyName"], row["isPrimary"]) for row in rows]


async def everything(crm: httpx2.AsyncClient) -> list[dict[str, Any]]:
    return (await crm.get("/contacts", params={"pageSize": 100})).json()["contacts"]


async def test_a_contact_needs_nothing(crm: httpx2.AsyncClient) -> None:
    created = await contact(crm)
    assert created == {
        "id": created["id"],
        "firstName": None,
        "lastName": None,
        "email": None,
        "phone": None,
        "jobTitle": None,
        "companyId": None,
        "notes": None,
        "createdAt": created["createdAt"],
        "updatedAt": created["createdAt"],
    }
    assert (await crm.get(f"/contacts/{created['id']}")).json() == created


async def test_a_patch_clears_with_null_and_keeps_what_is_absent(crm: httpx2.AsyncClient) -> None:
    created = await contact(crm, firstName="Anna", lastName="Berg", email="anna@acme.example")
    path = f"/contacts/{created['id']}"
    patched = (await crm.patch(path, json={"email": None, "jobTitle": "CEO"})).json()
    assert patched == {**created, "email": None, "jobTitle": "CEO", "updatedAt": patched["updatedAt"]}
    assert (await crm.get(path)).json() == patched
    assert (await crm.patch(path, json={})).json() == patched
    assert (await crm.get("/contacts", params={"q": "acme.example"})).json()["total"] == 0


@pytest.mark.parametrize("term", ["anna", "na be", "AALTO", ".example", "ü", "@", "zzz"])
async def test_a_search_looks_into_the_full_name_and_the_address(demo: httpx2.AsyncClient, term: str) -> None:
    expected = [
        row
        for row in await everything(demo)
        if term.lower() in f"{row['firstName']} {row['lastName']}\n{row['email'] or ''}".lower()
    ]
    found = (await demo.get("/contacts", params={"q": term, "pageSize": 100})).json()
    assert (found["contacts"], found["total"]) == (expected, len(expected))


async def test_contacts_are_listed_by_last_and_first_name(demo: httpx2.AsyncClient) -> None:
    contacts = await everything(demo)
    assert contacts == sorted(
        contacts, key=lambda row: (f"{row['lastName']} {row['firstName']}".casefold(), row["id"])
    )
    page = (await demo.get("/contacts", params={"page": 3, "pageSize": 20})).json()
    assert page == {"contacts": contacts[40:60], "total": 90, "page": 3, "pageSize": 20}


async def test_the_company_filter_means_the_field_of_that_name(crm: httpx2.AsyncClient) -> None:
    acme, other = await company(crm, "Acme"), await company(crm, "Other")
    first = await contact(crm, lastName="A", companyId=acme)
    second = await contact(crm, lastName="B", companyId=other)
    await crm.post(f"/contacts/{second['id']}/company-memberships", json={"companyId": acme})
    found = (await crm.get("/contacts", params={"companyId": acme})).json()
    assert (found["contacts"], found["total"]) == ([first], 1)
    assert (await crm.get(f"/companies/{acme}/contacts")).json() == {"contacts": [first, second]}


async def test_the_company_of_a_contact_is_its_primary_membership(crm: httpx2.AsyncClient) -> None:
    acme, other = await company(crm, "Acme"), await company(crm, "Other")
    created = await contact(crm, lastName="Berg", companyId=acme)
    path = f"/contacts/{created['id']}"
    assert created["companyId"] == acme
    assert await memberships(crm, created["id"]) == [("Acme", True)]

    moved = (await crm.patch(path, json={"companyId": other})).json()
    assert moved["companyId"] == other
    assert moved["updatedAt"] > created["updatedAt"]
    assert await memberships(crm, created["id"]) == [("Other", True)]

    assert (await crm.patch(path, json={"companyId": None})).json()["companyId"] is None
    assert await memberships(crm, created["id"]) == []


async def test_a_company_that_is_a_membership_already_becomes_the_primary_one(
    crm: httpx2.AsyncClient,
) -> None:
    acme, other = await company(crm, "Acme"), await company(crm, "Other")
    created = await contact(crm, lastName="Berg", companyId=acme)
    await crm.post(f"/contacts/{created['id']}/company-memberships", json={"companyId": other})
    await crm.patch(f"/contacts/{created['id']}", json={"companyId": other})
    assert await memberships(crm, created["id"]) == [("Other", True), ("Acme", False)]


async def test_a_deleted_contact_leaves_its_leads_and_activities(crm: httpx2.AsyncClient) -> None:
    created = await contact(crm, lastName="Berg", companyId=await company(crm, "Acme"))
    lead = (await crm.post("/leads", json={"title": "Licence", "contactId": created["id"]})).json()
    await crm.post(f"/leads/{lead['id']}/activities", json={"type": "call", "subject": "Hello"})
    answer = await crm.delete(f"/contacts/{created['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await crm.get(f"/contacts/{created['id']}")).status_code == 404
    assert (await crm.get("/contacts")).json()["total"] == 0
    assert (await crm.get(f"/leads/{lead['id']}")).json()["contactId"] is None
    [activity] = (await crm.get("/activities")).json()["activities"]
    assert (activity["leadId"], activity["contactId"]) == (lead["id"], None)
