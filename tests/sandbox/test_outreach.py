import uuid
from typing import Any

import httpx2
import pytest

from crm_mcp.sandbox.store import Store


@pytest.fixture
async def connections(demo: httpx2.AsyncClient) -> dict[str, dict[str, Any]]:
    rows = (await demo.get("/outbound-email-connections")).json()["connections"]
    return {row["channel"]: row for row in rows}


@pytest.fixture
async def lead(demo: httpx2.AsyncClient) -> dict[str, Any]:
    return (await demo.get("/leads", params={"q": "Acme annual licence"})).json()["leads"][0]


@pytest.fixture
def email(connections: dict[str, dict[str, Any]], lead: dict[str, Any]) -> dict[str, Any]:
    return {
        "leadId": lead["id"],
        "connectionId": connections["gmail"]["id"],
        "channel": "gmail",
        "subject": "Our offer",
        "htmlBody": "<p>Hello</p>",
    }


async def test_there_is_a_connection_that_works_and_one_that_does_not(
    connections: dict[str, dict[str, Any]],
) -> None:
    assert connections == {
        "gmail": {
            "id": connections["gmail"]["id"],
            "channel": "gmail",
            "email": "sales@nordwind.example",
            "status": "active",
        },
        "outlook": {
            "id": connections["outlook"]["id"],
            "channel": "outlook",
            "email": "office@nordwind.example",
            "status": "disconnected",
        },
    }


async def test_an_email_goes_to_the_contact_of_the_lead(
    seeded: Store, demo: httpx2.AsyncClient, lead: dict[str, Any], email: dict[str, Any]
) -> None:
    contact = (await demo.get(f"/contacts/{lead['contactId']}")).json()
    answer = await demo.post("/outbound-email", json=email)
    sent = answer.json()
    assert answer.status_code == 201
    assert sent == {
        "id": sent["id"],
        "to": contact["email"],
        "subject": "Our offer",
        "sentAt": sent["sentAt"],
        "status": "sent",
    }
    assert seeded.all("SELECT id, lead_id, recipient, html_body, sent_at FROM outbox") == [
        {
            "id": sent["id"],
            "lead_id": lead["id"],
            "recipient": contact["email"],
            "html_body": "<p>Hello</p>",
            "sent_at": sent["sentAt"],
        }
    ]
    newest = (await demo.get(f"/leads/{lead['id']}/timeline")).json()["timeline"][0]
    assert newest == {
        "id": newest["id"],
        "type": "email",
        "subject": "Our offer",
        "occurredAt": sent["sentAt"],
        "body": "<p>Hello</p>",
    }
    assert (await demo.get(f"/leads/{lead['id']}")).json()["lastActivityAt"] == sent["sentAt"]
    activity = (await demo.get("/activities", params={"leadId": lead["id"]})).json()["activities"][0]
    assert (activity["id"], activity["type"]) == (newest["id"], "email")


async def refusal(demo: httpx2.AsyncClient, store: Store, email: dict[str, Any]) -> str:
    answer = await demo.post("/outbound-email", json=email)
    assert answer.status_code == 400
    assert store.all("SELECT * FROM outbox") == []
    return answer.json()["error"]


async def test_the_connection_has_to_be_active_and_of_the_channel(
    seeded: Store,
    demo: httpx2.AsyncClient,
    email: dict[str, Any],
    connections: dict[str, dict[str, Any]],
) -> None:
    outlook = {**email, "connectionId": connections["outlook"]["id"], "channel": "outlook"}
    assert await refusal(demo, seeded, outlook) == "connectionId: office@nordwind.example is disconnected."
    assert (
        await refusal(demo, seeded, {**email, "channel": "outlook"})
        == "channel: sales@nordwind.example is a connection of gmail."
    )
    unknown = str(uuid.uuid4())
    assert (
        await refusal(demo, seeded, {**email, "connectionId": unknown})
        == f"connectionId: there is no connection {unknown}."
    )


async def test_the_lead_has_to_have_a_contact_with_an_address(
    seeded: Store, demo: httpx2.AsyncClient, email: dict[str, Any], lead: dict[str, Any]
) -> None:
    await demo.patch(f"/contacts/{lead['contactId']}", json={"email": None})
    assert await refusal(demo, seeded, email) == "This lead's contact has no e-mail address."
    await demo.delete(f"/contacts/{lead['contactId']}")
    assert await refusal(demo, seeded, email) == "This lead has no contact."


async def test_companies_go_on_a_list_once(crm: httpx2.AsyncClient) -> None:
    ids = [(await crm.post("/companies", json={"name": name})).json()["id"] for name in "AB"]
    body = {"listId": str(uuid.uuid4()), "companyIds": [ids[0], ids[0].upper()]}
    path = "/prospecting/add-to-marketing-list"
    for company_ids, added, already in [(body["companyIds"], 1, 0), (ids, 1, 1), ([], 0, 0)]:
        answer = await crm.post(path, json={**body, "companyIds": company_ids})
        assert answer.status_code == 200
        assert answer.json() == {"listId": body["listId"], "added": added, "alreadyOnList": already}


async def test_an_unknown_company_keeps_the_others_off_the_list(
    store: Store, crm: httpx2.AsyncClient
) -> None:
    company = (await crm.post("/companies", json={"name": "A"})).json()
    unknown = str(uuid.uuid4())
    body = {"listId": str(uuid.uuid4()), "companyIds": [company["id"], unknown]}
    answer = await crm.post("/prospecting/add-to-marketing-list", json=body)
    assert (answer.status_code, answer.json()) == (
        400,
        {"error": f"companyIds: there is no company {unknown}."},
    )
    assert store.all("SELECT * FROM marketing_lists") == []


async def test_the_companies_of_a_list_are_optional(crm: httpx2.AsyncClient) -> None:
    list_id = str(uuid.uuid4())
    answer = await crm.post("/prospecting/add-to-marketing-list", json={"listId": list_id})
    assert answer.json() == {"listId": list_id, "added": 0, "alreadyOnList": 0}
