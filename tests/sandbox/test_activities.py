from operator import itemgetter
from typing import Any

import httpx2
import pytest


@pytest.fixture
async def lead(crm: httpx2.AsyncClient) -> dict[str, Any]:
    company = (await crm.post("/companies", json={"name": "Acme"})).json()
    contact = (await crm.post("/contacts", json={"lastName": "Berg"})).json()
    body = {"title": "Licence", "companyId": company["id"], "contactId": contact["id"]}
    return (await crm.post("/leads", json=body)).json()


async def test_an_activity_takes_company_and_contact_from_its_lead(
    crm: httpx2.AsyncClient, lead: dict[str, Any]
) -> None:
    answer = await crm.post(
        f"/leads/{lead['id']}/activities", json={"type": "call", "subject": "Hello", "durationMinutes": 15}
    )
    created = answer.json()
    assert answer.status_code == 201
    assert created == {
        "id": created["id"],
        "type": "call",
        "subject": "Hello",
        "body": None,
        "occurredAt": created["createdAt"],
        "dueAt": None,
        "completedAt": None,
        "durationMinutes": 15,
        "leadId": lead["id"],
        "companyId": lead["companyId"],
        "contactId": lead["contactId"],
        "createdAt": created["createdAt"],
    }
    assert (await crm.get("/activities")).json()["activities"] == [created]
    assert (await crm.get(f"/leads/{lead['id']}")).json() == {
        **lead,
        "lastActivityAt": created["occurredAt"],
    }


async def test_an_activity_may_name_another_contact(crm: httpx2.AsyncClient, lead: dict[str, Any]) -> None:
    other = (await crm.post("/contacts", json={"lastName": "Doyle"})).json()
    body = {"type": "note", "subject": "Hello", "leadId": lead["id"], "contactId": other["id"]}
    created = (await crm.post("/activities", json=body)).json()
    assert (created["contactId"], created["companyId"]) == (other["id"], lead["companyId"])


async def test_an_old_activity_is_not_the_last_one(crm: httpx2.AsyncClient, lead: dict[str, Any]) -> None:
    path = f"/leads/{lead['id']}/activities"
    last = (await crm.post(path, json={"type": "call", "subject": "Now"})).json()
    await crm.post(path, json={"type": "call", "subject": "Then", "occurredAt": "2020-01-01T00:00:00Z"})
    assert (await crm.get(f"/leads/{lead['id']}")).json()["lastActivityAt"] == last["occurredAt"]


async def test_an_activity_needs_no_lead(crm: httpx2.AsyncClient) -> None:
    created = (await crm.post("/activities", json={"type": "note", "subject": "Hello"})).json()
    assert (created["leadId"], created["companyId"], created["contactId"]) == (None, None, None)


@pytest.mark.parametrize("field", ["leadId", "companyId"])
async def test_activities_are_filtered_and_newest_first(demo: httpx2.AsyncClient, field: str) -> None:
    pages = [(await demo.get("/activities", params={"page": n, "pageSize": 100})).json() for n in (1, 2, 3)]
    activities = [activity for page in pages for activity in page["activities"]]
    assert len(activities) == pages[0]["total"] == 240
    newest_first = sorted(
        sorted(activities, key=itemgetter("id")), key=itemgetter("occurredAt"), reverse=True
    )
    assert activities == newest_first
    expected = [row for row in activities if row[field] == activities[0][field]]
    found = (await demo.get("/activities", params={field: activities[0][field]})).json()
    assert (found["activities"], found["total"]) == (expected, len(expected))


async def test_tasks_are_open_first_and_then_by_due_date(demo: httpx2.AsyncClient) -> None:
    found = (await demo.get("/tasks", params={"pageSize": 100})).json()
    tasks = found["tasks"]
    assert {task["type"] for task in tasks} == {"task"}
    assert tasks == sorted(
        tasks, key=lambda task: (task["completedAt"] is not None, task["dueAt"], task["id"])
    )
    assert found["total"] == len(tasks)
    of_lead = (await demo.get("/tasks", params={"leadId": tasks[0]["leadId"]})).json()
    assert of_lead["tasks"] == [task for task in tasks if task["leadId"] == tasks[0]["leadId"]]


async def test_a_task_without_a_due_date_comes_after_the_others(
    crm: httpx2.AsyncClient, lead: dict[str, Any]
) -> None:
    path = f"/leads/{lead['id']}/activities"
    for subject, due_at in [("whenever", None), ("later", "2030-01-02"), ("soon", "2030-01-01")]:
        await crm.post(path, json={"type": "task", "subject": subject, "dueAt": due_at})
    await crm.post(path, json={"type": "call", "subject": "no task"})
    tasks = (await crm.get("/tasks")).json()["tasks"]
    assert [task["subject"] for task in tasks] == ["soon", "later", "whenever"]


async def test_the_timeline_is_newest_first_and_has_a_body_only_where_there_is_one(
    crm: httpx2.AsyncClient, lead: dict[str, Any]
) -> None:
    path = f"/leads/{lead['id']}"
    call = (await crm.post(f"{path}/activities", json={"type": "call", "subject": "Hello"})).json()
    await crm.patch(f"{path}/stage", json={"stage": "lost", "lostReason": "Price"})
    note = (await crm.post(f"{path}/activities", json={"type": "note", "subject": "Why", "body": "b"})).json()
    entries = (await crm.get(f"{path}/timeline")).json()["timeline"]
    assert entries == [
        {
            "id": note["id"],
            "type": "note",
            "subject": "Why",
            "occurredAt": note["occurredAt"],
            "body": "b",
        },
        {
            "id": entries[1]["id"],
            "type": "stage_change",
            "subject": "Stage: New → Lost",
            "occurredAt": entries[1]["occurredAt"],
            "body": "Price",
        },
        {"id": call["id"], "type": "call", "subject": "Hello", "occurredAt": call["occurredAt"]},
    ]
