import uuid

import httpx2
import pytest

from crm_mcp.sandbox.app import OPERATIONS
from crm_mcp.sandbox.store import Store

OTHER_ENTITY = "0b0e7b0a-0000-4000-8000-00000000000b"
A_COMPANY = {"name": "Acme"}


def test_there_are_34_operations() -> None:
    assert len({(method, path) for method, path, _ in OPERATIONS}) == 34


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer ak_unknown", "Basic ak_unknown", "ak_unknown"]
)
async def test_a_missing_or_unknown_key_is_401(crm: httpx2.AsyncClient, header: str | None) -> None:
    crm.headers.pop("Authorization")
    answer = await crm.get("/companies", headers={"Authorization": header} if header is not None else {})
    assert (answer.status_code, answer.json()) == (401, {"error": "Missing or unknown API key."})


@pytest.mark.parametrize("entity_id", ["", "not-a-uuid"])
async def test_an_entity_that_is_no_uuid_is_400(store: Store, connect, entity_id: str) -> None:
    async with connect(store, entityId=entity_id) as crm:
        answer = await crm.get("/companies")
    assert (answer.status_code, answer.json()) == (400, {"error": "entityId is required, as a UUID."})


async def test_a_missing_entity_is_400(store: Store, connect) -> None:
    async with connect(store, unrelated="x") as crm:
        answer = await crm.get("/companies")
    assert (answer.status_code, answer.json()) == (400, {"error": "entityId is required, as a UUID."})


async def test_the_entity_of_another_key_is_403(store: Store, connect) -> None:
    async with connect(store, entityId=OTHER_ENTITY) as crm:
        answer = await crm.get("/companies")
    assert (answer.status_code, answer.json()) == (403, {"error": "This key belongs to another entity."})


async def test_the_entity_may_be_in_the_body(store: Store, connect) -> None:
    async with connect(store, unrelated="x") as crm:
        answer = await crm.post("/companies", json={**A_COMPANY, "entityId": store.credentials.entity_id})
        refused = await crm.post("/companies", json={**A_COMPANY, "entityId": OTHER_ENTITY})
    assert answer.status_code == 201
    assert refused.status_code == 403


@pytest.mark.parametrize(
    ("scopes", "reading", "writing"),
    [
        ([], 403, 403),
        (["read:crm"], 200, 403),
        (["write:crm"], 200, 201),
        (["read:crm", "write:crm"], 200, 201),
    ],
)
async def test_reading_and_writing_need_their_scope(
    store: Store, connect, scopes: list[str], reading: int, writing: int
) -> None:
    key = store.add_key(scopes, store.credentials.entity_id)
    async with connect(store, key) as crm:
        read = await crm.get("/companies")
        written = await crm.post("/companies", json=A_COMPANY)
    assert (read.status_code, written.status_code) == (reading, writing)
    if writing == 403:
        assert written.json() == {"error": "This key lacks the scope write:crm."}


async def test_entities_see_nothing_of_each_other(seeded: Store, demo: httpx2.AsyncClient, connect) -> None:
    key = seeded.add_key(["read:crm", "write:crm"], OTHER_ENTITY)
    company = (await demo.get("/companies", params={"q": "acme inc."})).json()["companies"][0]
    contact = (await demo.get("/contacts")).json()["contacts"][0]
    lead = (await demo.get("/leads")).json()["leads"][0]
    async with connect(seeded, key, entityId=OTHER_ENTITY) as other:
        for path, plural in [
            ("/companies", "companies"),
            ("/companies?q=acme", "companies"),
            ("/contacts", "contacts"),
            ("/leads", "leads"),
            ("/activities", "activities"),
            ("/tasks", "tasks"),
        ]:
            answer = (await other.get(f"{path}{'&' if '?' in path else '?'}entityId={OTHER_ENTITY}")).json()
            assert (answer[plural], answer["total"]) == ([], 0)
        for path in (
            f"/companies/{company['id']}",
            f"/companies/{company['id']}/contacts",
            f"/contacts/{contact['id']}",
            f"/contacts/{contact['id']}/company-memberships",
            f"/leads/{lead['id']}",
            f"/leads/{lead['id']}/timeline",
        ):
            assert (await other.get(path)).status_code == 404
        assert (
            await other.post("/leads", json={"title": "x", "companyId": company["id"]})
        ).status_code == 400
        assert (await other.delete(f"/leads/{lead['id']}")).status_code == 404
    assert (await demo.get(f"/leads/{lead['id']}")).json() == lead


async def test_a_search_finds_the_own_entity_only(seeded: Store, connect) -> None:
    key = seeded.add_key(["write:crm"], OTHER_ENTITY)
    async with connect(seeded, key, entityId=OTHER_ENTITY) as other:
        created = (await other.post("/companies", json={"name": "Acme elsewhere"})).json()
        found = (await other.get("/companies", params={"q": "acme"})).json()
    assert (found["companies"], found["total"]) == ([created], 1)


@pytest.mark.parametrize("path", ["/nothing", "/companies/", "/companies/x/y/z"])
async def test_an_unknown_path_is_404(crm: httpx2.AsyncClient, path: str) -> None:
    answer = await crm.get(path)
    assert (answer.status_code, answer.json()) == (404, {"error": "Not Found"})


async def test_a_wrong_method_is_405(crm: httpx2.AsyncClient) -> None:
    answer = await crm.put("/companies", json=A_COMPANY)
    assert (answer.status_code, answer.json()) == (405, {"error": "Method Not Allowed"})


@pytest.mark.parametrize("record_id", ["00000000-0000-4000-8000-00000000dead", "no-uuid", "%00"])
@pytest.mark.parametrize(
    ("method", "path"),
    [(method, path) for method, path, _ in OPERATIONS if "{" in path and "membership_id" not in path],
)
async def test_an_unknown_id_in_the_path_is_404(
    crm: httpx2.AsyncClient, method: str, path: str, record_id: str
) -> None:
    url = path.split("{", maxsplit=1)[0] + record_id + path.split("}")[1]
    body = None if method in ("GET", "DELETE") else {}
    answer = await crm.request(method, url, json=body)
    assert answer.status_code == 404
    assert list(answer.json()) == ["error"]


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"x"', b"null", b"\xff", b"[" * 100_000])
async def test_a_body_that_is_no_json_object_is_400(crm: httpx2.AsyncClient, content: bytes) -> None:
    answer = await crm.post("/companies", content=content)
    assert (answer.status_code, answer.json()) == (400, {"error": "The body must be a JSON object."})


async def test_a_bug_is_a_500_that_tells_nothing(
    store: Store, crm: httpx2.AsyncClient, caplog: pytest.LogCaptureFixture
) -> None:
    store.execute("DROP TABLE connections")
    answer = await crm.get("/outbound-email-connections")
    assert (answer.status_code, answer.json()) == (500, {"error": "Internal error"})
    assert "no such table" in caplog.text


async def test_a_refused_write_leaves_nothing_behind(crm: httpx2.AsyncClient) -> None:
    answer = await crm.post("/contacts", json={"lastName": "Berg", "companyId": str(uuid.uuid4())})
    assert answer.status_code == 400
    assert (await crm.get("/contacts")).json()["total"] == 0
