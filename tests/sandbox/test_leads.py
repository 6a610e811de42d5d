from typing import Any

import httpx2
import pytest


async def add_lead(crm: httpx2.AsyncClient, **fields: Any) -> dict[str, Any]:
    answer = await crm.post("/leads", json={"title": "Licence", **fields})
    assert answer.status_code == 201
    return answer.json()


async def stage_ids(crm: httpx2.AsyncClient) -> dict[str, str]:
    return {row["systemKey"]: row["id"] for row in (await crm.get("/pipeline-stages")).json()["stages"]}


async def timeline(crm: httpx2.AsyncClient, lead_id: str) -> list[tuple[str, str]]:
    rows = (await crm.get(f"/leads/{lead_id}/timeline")).json()["timeline"]
    return [(row["type"], row["subject"]) for row in rows]


async def everything(crm: httpx2.AsyncClient) -> list[dict[str, Any]]:
    return (await crm.get("/leads", params={"pageSize": 100})).json()["leads"]


async def test_a_lead_needs_a_title_only(crm: httpx2.AsyncClient) -> None:
    created = await add_lead(crm)
    assert created == {
        "id": created["id"],
        "title": "Licence",
        "companyId": None,
        "contactId": None,
        "stageId": (await stage_ids(crm))["new"],
        "ownerUserId": None,
        "value": None,
        "currency": None,
        "probabilityPct": 10,
        "expectedCloseDate": None,
        "source": None,
        "description": None,
        "lostReason": None,
        "closedAt": None,
        "lastActivityAt": None,
        "createdAt": created["createdAt"],
        "updatedAt": created["createdAt"],
    }
    assert (await crm.get(f"/leads/{created['id']}")).json() == created
    assert await timeline(crm, created["id"]) == []


async def test_a_value_without_a_currency_is_in_euros(crm: httpx2.AsyncClient) -> None:
    created = await add_lead(crm, value=1200.5)
    assert (created["value"], created["currency"]) == (1200.5, "EUR")
    created = await add_lead(crm, value=1200, currency="USD", probabilityPct=60)
    assert (created["value"], created["currency"], created["probabilityPct"]) == (1200, "USD", 60)


async def test_a_lead_can_start_closed(crm: httpx2.AsyncClient) -> None:
    created = await add_lead(crm, stageId=(await stage_ids(crm))["won"])
    assert (created["probabilityPct"], created["closedAt"]) == (100, created["createdAt"])


async def test_a_patch_clears_with_null_and_keeps_what_is_absent(crm: httpx2.AsyncClient) -> None:
    created = await add_lead(crm, value=10, source="website", description="d", expectedCloseDate="2026-12-24")
    path = f"/leads/{created['id']}"
    assert (await crm.patch(path, json={})).json() == created
    patched = (await crm.patch(path, json={"value": None, "source": None, "title": "Renewal"})).json()
    assert patched == {
        **created,
        "title": "Renewal",
        "value": None,
        "source": None,
        "updatedAt": patched["updatedAt"],
    }
    assert patched["updatedAt"] > created["updatedAt"]
    assert (await crm.get(path)).json() == patched
    assert (await crm.patch(path, json={"title": None})).status_code == 400


async def test_a_patch_of_the_stage_is_a_move(crm: httpx2.AsyncClient) -> None:
    stages = await stage_ids(crm)
    created = await add_lead(crm)
    patched = (await crm.patch(f"/leads/{created['id']}", json={"stageId": stages["proposal"]})).json()
    assert (patched["stageId"], patched["probabilityPct"]) == (stages["proposal"], 50)
    assert await timeline(crm, created["id"]) == [("stage_change", "Stage: New → Proposal")]


async def test_a_won_lead_is_closed_at_100_percent_and_can_be_reopened(crm: httpx2.AsyncClient) -> None:
    stages = await stage_ids(crm)
    created = await add_lead(crm)
    path = f"/leads/{created['id']}"
    won = (await crm.patch(f"{path}/stage", json={"stageId": stages["won"]})).json()
    assert won == {
        **created,
        "stageId": stages["won"],
        "probabilityPct": 100,
        "closedAt": won["updatedAt"],
        "updatedAt": won["updatedAt"],
    }
    reopened = (await crm.patch(f"{path}/stage", json={"stage": "negotiation"})).json()
    assert reopened == {
        **created,
        "stageId": stages["negotiation"],
        "probabilityPct": 75,
        "updatedAt": reopened["updatedAt"],
    }
    assert (await crm.get(path)).json() == reopened
    assert await timeline(crm, created["id"]) == [
        ("stage_change", "Stage: Won → Negotiation"),
        ("stage_change", "Stage: New → Won"),
    ]


async def test_a_lost_lead_carries_its_reason(crm: httpx2.AsyncClient) -> None:
    created = await add_lead(crm)
    path = f"/leads/{created['id']}/stage"
    lost = (await crm.patch(path, json={"stage": " LOST ", "lostReason": "Price"})).json()
    assert (lost["probabilityPct"], lost["lostReason"], lost["closedAt"]) == (0, "Price", lost["updatedAt"])
    corrected = (await crm.patch(path, json={"stage": "lost", "lostReason": "Budget"})).json()
    assert corrected == {**lost, "lostReason": "Budget", "updatedAt": corrected["updatedAt"]}
    assert await timeline(crm, created["id"]) == [("stage_change", "Stage: New → Lost")]
    assert (await crm.patch(path, json={"stage": "new"})).json()["lostReason"] is None


async def test_a_move_to_the_present_stage_changes_nothing(crm: httpx2.AsyncClient) -> None:
    created = await add_lead(crm)
    assert (await crm.patch(f"/leads/{created['id']}/stage", json={"stage": "new"})).json() == created
    assert await timeline(crm, created["id"]) == []


@pytest.mark.parametrize(
    ("body", "error"),
    [
        ({}, "stageId or stage is required."),
        ({"stage": "Nowhere"}, "stage: there is no stage Nowhere."),
        ({"stageId": "x"}, "stageId: must be a UUID."),
        ({"stage": "won", "lostReason": "Price"}, "lostReason: Won is not a lost stage."),
    ],
)
async def test_a_move_to_nowhere_is_400(crm: httpx2.AsyncClient, body: dict[str, Any], error: str) -> None:
    created = await add_lead(crm)
    answer = await crm.patch(f"/leads/{created['id']}/stage", json=body)
    assert (answer.status_code, answer.json()) == (400, {"error": error})
    assert (await crm.get(f"/leads/{created['id']}")).json() == created


async def test_the_name_of_a_stage_goes_before_a_system_key(crm: httpx2.AsyncClient) -> None:
    stages = await stage_ids(crm)
    await crm.patch(f"/pipeline-stages/{stages['qualified']}", json={"name": "Checked"})
    named = (await crm.post("/pipeline-stages", json={"name": "Qualified"})).json()
    created = await add_lead(crm)
    moved = (await crm.patch(f"/leads/{created['id']}/stage", json={"stage": "qualified"})).json()
    assert moved["stageId"] == named["id"]


async def test_leads_are_listed_by_their_last_change(demo: httpx2.AsyncClient) -> None:
    leads = await everything(demo)
    assert [lead["updatedAt"] for lead in leads] == sorted(
        (lead["updatedAt"] for lead in leads), reverse=True
    )
    await demo.patch(f"/leads/{leads[-1]['id']}", json={"source": "referral"})
    assert [lead["id"] for lead in await everything(demo)] == [
        lead["id"] for lead in [leads[-1], *leads[:-1]]
    ]


@pytest.mark.parametrize("field", ["companyId", "contactId", "stageId"])
async def test_leads_are_filtered_by_what_they_refer_to(demo: httpx2.AsyncClient, field: str) -> None:
    leads = await everything(demo)
    expected = [lead for lead in leads if lead[field] == leads[5][field]]
    found = (await demo.get("/leads", params={field: leads[5][field], "pageSize": 100})).json()
    assert (found["leads"], found["total"]) == (expected, len(expected))


@pytest.mark.parametrize("stage", ["Won", "won", "WON"])
async def test_leads_are_filtered_by_name_or_key_of_the_stage(demo: httpx2.AsyncClient, stage: str) -> None:
    won = (await stage_ids(demo))["won"]
    expected = [lead for lead in await everything(demo) if lead["stageId"] == won]
    found = (await demo.get("/leads", params={"stage": stage, "pageSize": 100})).json()
    assert (found["leads"], found["total"]) == (expected, len(expected))


async def test_no_lead_is_in_an_unknown_stage(demo: httpx2.AsyncClient) -> None:
    found = (await demo.get("/leads", params={"stage": "Nowhere"})).json()
    assert (found["leads"], found["total"]) == ([], 0)


async def test_search_and_stage_combine(demo: httpx2.AsyncClient) -> None:
    new = (await stage_ids(demo))["new"]
    expected = [
        lead for lead in await everything(demo) if "pilot" in lead["title"].lower() and lead["stageId"] == new
    ]
    found = (await demo.get("/leads", params={"q": "PILOT", "stage": "New", "pageSize": 100})).json()
    assert (found["leads"], found["total"]) == (expected, len(expected))


async def test_a_deleted_lead_takes_its_activities_along(crm: httpx2.AsyncClient) -> None:
    created = await add_lead(crm)
    await crm.post(f"/leads/{created['id']}/activities", json={"type": "call", "subject": "Hello"})
    await crm.patch(f"/leads/{created['id']}/stage", json={"stage": "won"})
    answer = await crm.delete(f"/leads/{created['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await crm.get(f"/leads/{created['id']}")).status_code == 404
    assert (await crm.get(f"/leads/{created['id']}/timeline")).status_code == 404
    assert (await crm.get("/activities")).json()["total"] == 0
    assert (await crm.get("/leads", params={"q": "Licence"})).json()["total"] == 0
