import json
from typing import Any

import httpx2
import pytest

# A UUID that no record has.
NOBODY = "00000000-0000-4000-8000-00000000dead"

COMPANY: dict[str, Any] = {"name": "Acme"}
LEAD: dict[str, Any] = {"title": "Licence"}
ACTIVITY: dict[str, Any] = {"type": "call", "subject": "Hello"}
EMAIL: dict[str, Any] = {
    "leadId": NOBODY,
    "connectionId": NOBODY,
    "channel": "gmail",
    "subject": "Hello",
    "htmlBody": "<p>Hello</p>",
}

BAD_BODIES: list[tuple[str, dict[str, Any], str, list[Any]]] = [
    ("/companies", COMPANY, "name", ["", "  ", None, 7, ["x"], "a\0b", "\ud800"]),
    ("/companies", COMPANY, "role", ["", "friend", None, 7]),
    ("/companies", COMPANY, "status", ["archived", None]),
    ("/companies", COMPANY, "ownerUserId", ["you", "unassigned", "", 7]),
    ("/companies", COMPANY, "email", ["", "nobody", "a b@c.example", 7]),
    ("/companies", COMPANY, "website", [7, True]),
    ("/contacts", {}, "companyId", ["", "x", 7, NOBODY]),
    ("/contacts", {}, "firstName", [7, {}]),
    ("/leads", LEAD, "title", ["", None, 7]),
    ("/leads", LEAD, "companyId", ["x", NOBODY]),
    ("/leads", LEAD, "contactId", ["x", NOBODY]),
    ("/leads", LEAD, "stageId", ["x", None, NOBODY]),
    ("/leads", LEAD, "value", [-1, "1", True, float("nan"), float("inf"), 1e300]),
    ("/leads", LEAD, "currency", ["eur", "EURO", "", 978]),
    ("/leads", LEAD, "probabilityPct", [-1, 101, "50", True]),
    ("/leads", LEAD, "expectedCloseDate", ["2026-02-30", "20260201", "2026-2-1", "tomorrow", 20260201]),
    ("/activities", ACTIVITY, "type", ["fax", "", None]),
    ("/activities", ACTIVITY, "subject", ["", " ", None]),
    ("/activities", ACTIVITY, "occurredAt", ["yesterday", "", 0, "0001-01-01T00:00:00+10:00"]),
    ("/activities", ACTIVITY, "dueAt", ["2026-13-01T00:00:00Z"]),
    ("/activities", ACTIVITY, "durationMinutes", [-1, 1.5, "10", True]),
    ("/activities", ACTIVITY, "leadId", ["x", NOBODY]),
    ("/activities", ACTIVITY, "companyId", ["x", NOBODY]),
    ("/activities", ACTIVITY, "contactId", ["x", NOBODY]),
    ("/pipeline-stages", {"name": "Trial"}, "name", ["", None, 7]),
    ("/pipeline-stages", {"name": "Trial"}, "kind", ["closed", None]),
    ("/pipeline-stages", {"name": "Trial"}, "defaultProbabilityPct", [-1, 101, "50"]),
    ("/pipeline-stages/reorder", {}, "stageIds", [None, "x", [], ["x"], [NOBODY]]),
    ("/outbound-email", EMAIL, "leadId", [None, "x", NOBODY]),
    ("/outbound-email", EMAIL, "channel", [None, "pigeon"]),
    ("/outbound-email", EMAIL, "subject", [None, ""]),
    ("/outbound-email", EMAIL, "htmlBody", [None, " "]),
    ("/prospecting/add-to-marketing-list", {}, "listId", [None, "x"]),
    (
        "/prospecting/add-to-marketing-list",
        {"listId": NOBODY},
        "companyIds",
        [None, "x", ["x"], [NOBODY]],
    ),
]


@pytest.mark.parametrize(
    ("path", "valid", "field", "value"),
    [(path, valid, field, value) for path, valid, field, values in BAD_BODIES for value in values],
)
async def test_a_bad_value_is_400_and_names_its_field(
    crm: httpx2.AsyncClient, path: str, valid: dict[str, Any], field: str, value: Any
) -> None:
    # Through `json.dumps`, because httpx2 itself refuses NaN.
    answer = await crm.post(path, content=json.dumps({**valid, field: value}))
    assert answer.status_code == 400
    assert list(answer.json()) == ["error"]
    assert answer.json()["error"].startswith(field)


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/companies", {}, "name"),
        ("/leads", {}, "title"),
        ("/activities", {"subject": "x"}, "type"),
        ("/activities", {"type": "call"}, "subject"),
        ("/pipeline-stages", {}, "name"),
        ("/pipeline-stages/reorder", {}, "stageIds"),
        ("/prospecting/add-to-marketing-list", {}, "listId"),
        *[("/outbound-email", {k: v for k, v in EMAIL.items() if k != field}, field) for field in EMAIL],
    ],
)
async def test_a_missing_field_is_400(
    crm: httpx2.AsyncClient, path: str, body: dict[str, Any], field: str
) -> None:
    answer = await crm.post(path, json=body)
    assert (answer.status_code, answer.json()) == (400, {"error": f"{field} is required."})


@pytest.mark.parametrize(
    "query",
    [
        "companies?role=friend",
        "companies?role=",
        "companies?status=archived",
        "companies?ownerUserId=you",
        "companies?page=0",
        "companies?page=x",
        "companies?page=99999999999999999999",
        "companies?pageSize=0",
        "companies?limit=-1",
        "companies?q=a%00b",
        "contacts?companyId=x",
        "leads?companyId=x",
        "leads?contactId=",
        "leads?stageId=won",
        "activities?leadId=x",
        "activities?companyId=x",
        "tasks?leadId=x",
    ],
)
async def test_a_bad_query_value_is_400_and_names_its_key(crm: httpx2.AsyncClient, query: str) -> None:
    path, _, pair = query.partition("?")
    key, _, value = pair.partition("=")
    answer = await crm.get(f"/{path}", params={key: value.replace("%00", "\0")})
    assert answer.status_code == 400
    assert answer.json()["error"].startswith(f"{key}: ")


async def test_unknown_query_keys_and_body_fields_are_ignored(crm: httpx2.AsyncClient) -> None:
    created = await crm.post("/companies", json={"name": "Acme", "colour": "red", "id": "x"})
    assert created.status_code == 201
    assert "colour" not in created.json()
    found = (await crm.get("/companies", params={"colour": "red"})).json()
    assert found["companies"] == [created.json()]


async def test_timestamps_come_back_in_utc(crm: httpx2.AsyncClient) -> None:
    body = {**ACTIVITY, "occurredAt": "2026-03-01T10:00:00+02:00", "dueAt": "2026-03-02"}
    created = (await crm.post("/activities", json=body)).json()
    assert created["occurredAt"] == "2026-03-01T08:00:00.000Z"
    assert created["dueAt"] == "2026-03-02T00:00:00.000Z"
