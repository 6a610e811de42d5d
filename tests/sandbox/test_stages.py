from typing import Any

import httpx2


async def stages(crm: httpx2.AsyncClient) -> dict[str, dict[str, Any]]:
    rows = (await crm.get("/pipeline-stages")).json()["stages"]
    assert [row["sortOrder"] for row in rows] == list(range(len(rows)))
    return {row["name"]: row for row in rows}


async def add_lead(crm: httpx2.AsyncClient, stage: dict[str, Any]) -> dict[str, Any]:
    return (await crm.post("/leads", json={"title": "Licence", "stageId": stage["id"]})).json()


async def test_a_new_entity_has_the_standard_stages(crm: httpx2.AsyncClient) -> None:
    rows = await stages(crm)
    assert rows["Qualified"] == {
        "id": rows["Qualified"]["id"],
        "name": "Qualified",
        "kind": "open",
        "sortOrder": 1,
        "defaultProbabilityPct": 25,
        "colorKey": "blue",
        "systemKey": "qualified",
        "leadCount": 0,
    }
    assert [(row["systemKey"], row["kind"], row["defaultProbabilityPct"]) for row in rows.values()] == [
        ("new", "open", 10),
        ("qualified", "open", 25),
        ("proposal", "open", 50),
        ("negotiation", "open", 75),
        ("won", "won", 100),
        ("lost", "lost", 0),
    ]


async def test_a_new_stage_comes_last(crm: httpx2.AsyncClient) -> None:
    answer = await crm.post("/pipeline-stages", json={"name": "Trial", "defaultProbabilityPct": 33})
    created = answer.json()
    assert answer.status_code == 201
    assert created == {
        "id": created["id"],
        "name": "Trial",
        "kind": "open",
        "sortOrder": 6,
        "defaultProbabilityPct": 33,
        "colorKey": None,
        "systemKey": None,
        "leadCount": 0,
    }
    assert (await stages(crm))["Trial"] == created


async def test_names_are_unique_whatever_their_case(crm: httpx2.AsyncClient) -> None:
    rows = await stages(crm)
    assert (await crm.post("/pipeline-stages", json={"name": "NEW"})).status_code == 409
    path = f"/pipeline-stages/{rows['New']['id']}"
    assert (await crm.patch(path, json={"name": "won"})).status_code == 409
    assert (await crm.patch(path, json={"name": "NEW"})).json() == {**rows["New"], "name": "NEW"}


async def test_a_patch_clears_with_null_and_keeps_what_is_absent(crm: httpx2.AsyncClient) -> None:
    created = (await stages(crm))["Proposal"]
    path = f"/pipeline-stages/{created['id']}"
    assert (await crm.patch(path, json={})).json() == created
    patched = (await crm.patch(path, json={"name": "Offer", "colorKey": None})).json()
    assert patched == {**created, "name": "Offer", "colorKey": None}
    assert (await stages(crm))["Offer"] == patched
    assert (await crm.patch(path, json={"name": None})).status_code == 400


async def test_the_kind_of_a_stage_with_leads_is_fixed(crm: httpx2.AsyncClient) -> None:
    rows = await stages(crm)
    lead = await add_lead(crm, rows["Proposal"])
    path = f"/pipeline-stages/{rows['Proposal']['id']}"
    assert (await crm.patch(path, json={"kind": "won"})).status_code == 409
    await crm.delete(f"/leads/{lead['id']}")
    assert (await crm.patch(path, json={"kind": "won"})).json() == {**rows["Proposal"], "kind": "won"}


async def test_reordering_needs_every_stage_exactly_once(crm: httpx2.AsyncClient) -> None:
    ids = [row["id"] for row in (await stages(crm)).values()]
    for wrong in (ids[1:], [*ids, ids[0]], [*ids[1:], ids[1]]):
        answer = await crm.post("/pipeline-stages/reorder", json={"stageIds": wrong})
        assert answer.status_code == 400
    answer = await crm.post("/pipeline-stages/reorder", json={"stageIds": ids[::-1]})
    assert answer.status_code == 200
    assert [row["id"] for row in answer.json()["stages"]] == ids[::-1]
    assert answer.json() == (await crm.get("/pipeline-stages")).json()


async def test_an_empty_stage_can_go(crm: httpx2.AsyncClient) -> None:
    row = (await stages(crm))["Qualified"]
    answer = await crm.request("DELETE", f"/pipeline-stages/{row['id']}", json={})
    assert (answer.status_code, answer.content) == (204, b"")
    assert list(await stages(crm)) == ["New", "Proposal", "Negotiation", "Won", "Lost"]


async def test_a_stage_with_leads_goes_only_when_they_have_where_to_go(crm: httpx2.AsyncClient) -> None:
    rows = await stages(crm)
    lead = await add_lead(crm, rows["Qualified"])
    path = f"/pipeline-stages/{rows['Qualified']['id']}"
    assert (await crm.delete(path)).status_code == 409
    for wrong in (rows["Qualified"]["id"], lead["id"], "x"):
        answer = await crm.request("DELETE", path, json={"reassignToStageId": wrong})
        assert answer.status_code == 400
    assert (await stages(crm))["Qualified"]["leadCount"] == 1

    answer = await crm.request("DELETE", path, json={"reassignToStageId": rows["Won"]["id"]})
    assert answer.status_code == 204
    moved = (await crm.get(f"/leads/{lead['id']}")).json()
    assert (moved["stageId"], moved["probabilityPct"]) == (rows["Won"]["id"], 100)
    [entry] = (await crm.get(f"/leads/{lead['id']}/timeline")).json()["timeline"]
    assert (entry["type"], entry["subject"]) == ("stage_change", "Stage: Qualified → Won")
    assert (await stages(crm))["Won"]["leadCount"] == 1


async def test_the_last_open_stage_stays(crm: httpx2.AsyncClient) -> None:
    rows = await stages(crm)
    for name in ("Qualified", "Proposal", "Negotiation"):
        assert (await crm.delete(f"/pipeline-stages/{rows[name]['id']}")).status_code == 204
    path = f"/pipeline-stages/{rows['New']['id']}"
    assert (
        await crm.request("DELETE", path, json={"reassignToStageId": rows["Won"]["id"]})
    ).status_code == 409
    assert (await crm.patch(path, json={"kind": "lost"})).status_code == 409
    assert list(await stages(crm)) == ["New", "Won", "Lost"]
