from collections.abc import Awaitable, Callable
from typing import Any

import pytest

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]
Find = Callable[..., dict[str, Any]]


@pytest.fixture
def licence(find: Find) -> dict[str, Any]:
    """A lead of Acme Inc."""
    return find("leads", title="Acme annual licence")


@pytest.fixture
def harbour(find: Find) -> str:
    """A company that is not the lead's."""
    return find("companies", name="Harbour & Pine Trading Ltd")["id"]


async def test_an_activity_logged_on_a_lead_takes_company_and_contact_from_it(
    call: Call, licence: dict[str, Any]
) -> None:
    text, facts = await call(
        "log_activity",
        type="meeting",
        subject="Demo",
        lead=licence["id"],
        body="Went well.",
        occurred_at="2030-05-06T09:00:00+02:00",
        duration_minutes=45,
    )

    activity = facts["activity"]
    assert activity == {
        "id": activity["id"],
        "type": "meeting",
        "subject": "Demo",
        "body": "Went well.",
        "occurred_at": "2030-05-06T07:00:00Z",
        "duration_minutes": 45,
        "lead_id": licence["id"],
        "company_id": licence["company_id"],
        "contact_id": licence["contact_id"],
        "created_at": activity["created_at"],
    }
    line = f"2030-05-06 07:00 UTC · meeting · Demo · Went well. · lead {licence['id']}"
    assert text == f"Logged as meeting.\n{line}"
    listed = await call("list_activities", lead=licence["id"], limit=1)
    assert listed.text.splitlines()[1:] == [line]
    assert listed.facts["activities"] == [activity]


async def test_an_activity_can_be_logged_on_a_company_or_a_contact(
    call: Call, licence: dict[str, Any], harbour: str
) -> None:
    company = await call("log_activity", type="call", subject="Hello", company=harbour)
    contact = await call("log_activity", type="call", subject="Hello", contact=licence["contact_id"])
    both = await call("log_activity", type="call", subject="Hello", lead=licence["id"], company=harbour)

    about = ("lead_id", "company_id", "contact_id")
    assert [
        {name: value for name, value in answer.facts["activity"].items() if name in about}
        for answer in (company, contact, both)
    ] == [
        {"company_id": harbour},
        {"contact_id": licence["contact_id"]},
        {"lead_id": licence["id"], "company_id": harbour, "contact_id": licence["contact_id"]},
    ]
    _, listed = await call("list_activities", company=harbour, limit=100)
    logged = {answer.facts["activity"]["id"] for answer in (company, both)}
    assert logged <= {activity["id"] for activity in listed["activities"]}


async def test_list_activities_tells_how_many_there_are(call: Call, sandbox: Any) -> None:
    text, facts = await call("list_activities", limit=3)
    total = sandbox.number("SELECT count(*) FROM activities")
    assert text.splitlines()[0] == f"Activities: 3 of {total}; page=2 shows the next"
    assert (facts["shown"], facts["total"], facts["next_page"]) == (3, total, 2)
    newest = sandbox.all("SELECT id FROM activities ORDER BY occurred_at DESC, id LIMIT 3")
    assert [activity["id"] for activity in facts["activities"]] == [row["id"] for row in newest]


async def test_a_logged_task_is_listed_among_the_leads_tasks(call: Call, licence: dict[str, Any]) -> None:
    text, facts = await call(
        "log_activity", type="task", subject="Send offer", lead=licence["id"], due_at="2001-01-01T12:00:00Z"
    )
    task = facts["activity"]
    line = f"due 2001-01-01 12:00 UTC · task · Send offer · lead {licence['id']}"
    assert text == f"Logged as task.\n{line}"

    of_lead = await call("list_tasks", lead=licence["id"])
    of_all = await call("list_tasks", limit=1)

    # The longest overdue one is the first, of its lead and of all.
    assert of_all.text.splitlines()[1] == of_lead.text.splitlines()[1] == line
    assert of_all.facts["tasks"][0] == of_lead.facts["tasks"][0] == task
    assert {one["lead_id"] for one in of_lead.facts["tasks"]} == {licence["id"]}


async def test_a_done_task_says_when_it_was_done(call: Call, find: Find, sandbox: Any) -> None:
    [done] = sandbox.all("SELECT * FROM activities WHERE completed_at IS NOT NULL LIMIT 1")
    text, _ = await call("list_tasks", limit=100)
    at = done["completed_at"]
    line = f"done {at[:10]} {at[11:16]} UTC · task · {done['subject']} · lead {done['lead_id']}"
    assert line in text.splitlines()
