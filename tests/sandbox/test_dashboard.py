from collections import defaultdict
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2


async def rows(crm: httpx2.AsyncClient, plural: str) -> list[dict[str, Any]]:
    first = (await crm.get(f"/{plural}", params={"page": 1, "pageSize": 100})).json()
    pages = range(2, -(-first["total"] // 100) + 1)
    rest = [(await crm.get(f"/{plural}", params={"page": n, "pageSize": 100})).json()[plural] for n in pages]
    return [*first[plural], *(row for page in rest for row in page)]


async def expected_dashboard(crm: httpx2.AsyncClient) -> dict[str, Any]:
    """The dashboard, counted from the lists."""
    now = datetime.now(UTC)
    stages = (await crm.get("/pipeline-stages")).json()["stages"]
    kinds = {stage["id"]: stage["kind"] for stage in stages}
    leads = await rows(crm, "leads")
    open_leads = [lead for lead in leads if kinds[lead["stageId"]] == "open"]
    by_currency = defaultdict(list)
    for lead in open_leads:
        if lead["value"] is not None:
            by_currency[lead["currency"]].append(lead)
    month = now.strftime("%Y-%m")
    won = [lead for lead in leads if kinds[lead["stageId"]] == "won" and lead["closedAt"].startswith(month)]
    since = (now - timedelta(days=30)).date().isoformat()
    tasks = await rows(crm, "tasks")
    return {
        "companies": len(await rows(crm, "companies")),
        "contacts": len(await rows(crm, "contacts")),
        "openLeads": len(open_leads),
        "pipelineValue": [
            {
                "currency": currency,
                "value": sum(lead["value"] for lead in of_currency),
                "weightedValue": sum(lead["value"] * lead["probabilityPct"] for lead in of_currency) / 100,
            }
            for currency, of_currency in sorted(by_currency.items())
        ],
        "leadsByStage": [
            {
                "stageId": stage["id"],
                "name": stage["name"],
                "count": stage["leadCount"],
                "value": sum(lead["value"] or 0 for lead in leads if lead["stageId"] == stage["id"]),
            }
            for stage in stages
        ],
        "wonThisMonth": {"count": len(won), "value": sum(lead["value"] for lead in won)},
        "overdueTasks": sum(
            task["completedAt"] is None and task["dueAt"] is not None and task["dueAt"] < now.isoformat()
            for task in tasks
        ),
        "activitiesLast30Days": sum(
            activity["occurredAt"][:10] >= since for activity in await rows(crm, "activities")
        ),
    }


async def test_the_dashboard_of_an_empty_crm_is_all_zero(crm: httpx2.AsyncClient) -> None:
    dashboard = (await crm.get("/dashboard")).json()
    assert dashboard == await expected_dashboard(crm)
    assert (dashboard["companies"], dashboard["pipelineValue"]) == (0, [])


async def test_the_dashboard_agrees_with_the_lists(demo: httpx2.AsyncClient) -> None:
    dashboard = (await demo.get("/dashboard")).json()
    assert dashboard == await expected_dashboard(demo)
    assert min(dashboard["companies"], dashboard["openLeads"], dashboard["overdueTasks"]) > 0


async def test_the_dashboard_follows_changes(demo: httpx2.AsyncClient) -> None:
    leads = (await demo.get("/leads")).json()["leads"]
    contacts = (await demo.get("/contacts")).json()["contacts"]
    await demo.patch(f"/leads/{leads[0]['id']}", json={"value": 0.1, "currency": "CHF", "probabilityPct": 33})
    await demo.patch(f"/leads/{leads[1]['id']}", json={"value": None})
    await demo.patch(f"/leads/{leads[2]['id']}/stage", json={"stage": "won"})
    await demo.patch(f"/leads/{leads[3]['id']}/stage", json={"stage": "new"})
    await demo.delete(f"/leads/{leads[4]['id']}")
    await demo.delete(f"/contacts/{contacts[0]['id']}")
    await demo.post("/activities", json={"type": "task", "subject": "Late", "dueAt": "2020-01-01"})
    assert (await demo.get("/dashboard")).json() == await expected_dashboard(demo)
