"""What becomes of a write's arguments, and what is said of a CRM that keeps or tells less than it should."""

from collections.abc import Awaitable, Callable
from typing import Any

import httpx2
import pytest

from .crms import dropping, taciturn

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]
Find = Callable[..., dict[str, Any]]

NOT_SHOWN = (
    "The CRM accepted this, but its answer does not show the record. "
    "Look whether it is there before doing it again."
)


@pytest.fixture
def ids(find: Find) -> dict[str, str]:
    licence = find("leads", title="Acme annual licence")
    return {"company": licence["company_id"], "contact": licence["contact_id"], "lead": licence["id"]}


@pytest.mark.parametrize("tool", ["update_company", "update_contact", "update_lead"])
async def test_a_field_cannot_be_given_and_cleared(
    refusal: Call, wire: Any, ids: dict[str, str], tool: str
) -> None:
    record = tool.removeprefix("update_")
    field = {"company": "industry", "contact": "phone", "lead": "source"}[record]
    arguments = {record: ids[record], field: "New", "clear": [field]}
    assert await refusal(tool, **arguments) == (
        f"`{field}` is both given and to be cleared. Nothing was changed."
    )
    assert wire.sent == []


@pytest.mark.parametrize(
    ("tool", "fields"),
    [
        ("update_company", "name, role, status, website, industry, email, phone, notes, owner"),
        ("update_contact", "first_name, last_name, email, phone, job_title, company, notes"),
        (
            "update_lead",
            "title, company, contact, value, currency, probability, expected_close_date, source, "
            "description, owner",
        ),
    ],
)
async def test_blank_arguments_change_nothing(
    refusal: Call, wire: Any, ids: dict[str, str], tool: str, fields: str
) -> None:
    record = tool.removeprefix("update_")
    blank = dict(zip(fields.split(", "), ["", None, "  "] * 4, strict=False))
    assert await refusal(tool, **{**blank, record: ids[record]}) == (
        f"Nothing to change was given. Fields: {fields}. To empty a field, name it in `clear`. "
        "Nothing was sent to the CRM."
    )
    assert wire.sent == []


async def test_blank_arguments_are_not_sent(call: Call, wire: Any) -> None:
    await call("create_lead", title="Parts", company="", contact=None, stage=" ", value=None, currency="")
    await call("create_company", name="Zeta", role=None, website="", owner="")
    assert [request.body for request in wire.writes] == [{"title": "Parts"}, {"name": "Zeta"}]


async def test_text_that_looks_like_json_stays_text(call: Call, find: Find) -> None:
    said = {"name": "null", "notes": '{"a": 1}', "industry": "[1]", "phone": "0049"}
    await call("create_company", **said)
    company = find("companies", name="null")
    assert company | said == company


@pytest.mark.parametrize(
    ("tool", "arguments", "wire_field", "named"),
    [
        ("create_company", {"name": "Zeta", "industry": "Steel"}, "industry", "industry"),
        ("update_company", {"company": "company", "owner": "unowned"}, "ownerUserId", "owner"),
        ("create_contact", {"email": "a@b.example", "company": "company"}, "companyId", "company"),
        ("update_contact", {"contact": "contact", "clear": ["phone"]}, "phone", "phone"),
        ("create_lead", {"title": "Parts", "stage": "Won"}, "stageId", "stage"),
        ("update_lead", {"lead": "lead", "probability": 1}, "probabilityPct", "probability"),
        ("log_activity", {"type": "note", "subject": "Hi", "lead": "lead", "body": "Yes"}, "body", "body"),
        (
            "create_pipeline_stage",
            {"name": "Trial", "default_probability": 5},
            "defaultProbabilityPct",
            "default_probability",
        ),
        ("update_pipeline_stage", {"stage": "Won", "color_key": "pink"}, "colorKey", "color_key"),
    ],
)
async def test_a_field_that_the_crm_does_not_keep_is_named_as_the_argument_is(
    call: Call,
    wire: Any,
    ids: dict[str, str],
    tool: str,
    arguments: dict[str, Any],
    wire_field: str,
    named: str,
) -> None:
    wire.inner = dropping(wire_field, wire.inner)
    known = {**ids, "unowned": "00000000-0000-4000-8000-000000000000"}
    arguments = {
        name: known.get(value, value) if isinstance(value, str) else value
        for name, value in arguments.items()
    }

    text, facts = await call(tool, **arguments)

    note = f"The CRM shows other values than were sent for: {named}."
    assert facts["notes"] == [note]
    assert text.splitlines()[-1] == f"Note: {note}"


async def test_a_membership_field_that_the_crm_does_not_keep_is_named(
    call: Call, wire: Any, ids: dict[str, str]
) -> None:
    wire.inner = dropping("title", wire.inner)
    _, facts = await call(
        "link_contact_to_company", contact=ids["contact"], company=ids["company"], title="Chief Rocketeer"
    )
    assert facts["notes"] == ["The CRM shows other values than were sent for: title."]


async def test_a_lead_that_did_not_move_is_told(call: Call, wire: Any, ids: dict[str, str]) -> None:
    crm = wire.inner

    async def answer_moves_with_the_lead_as_it_was(request: httpx2.Request) -> httpx2.Response:
        if request.method == "PATCH":
            path = request.url.path.removesuffix("/stage")
            request = httpx2.Request("GET", request.url.copy_with(path=path), headers=request.headers)
        return await crm.handle_async_request(request)

    wire.inner = httpx2.MockTransport(answer_moves_with_the_lead_as_it_was)
    text, facts = await call("move_lead_stage", lead=ids["lead"], stage="Won")
    assert (facts["lead"]["stage"], facts["notes"]) == (
        "Qualified",
        ["The CRM shows another stage than was asked for."],
    )
    assert text.splitlines()[-1] == "Note: The CRM shows another stage than was asked for."


@pytest.mark.parametrize(
    ("tool", "arguments", "record", "shown"),
    [
        ("update_company", {"company": "company", "name": "Acne"}, "company", {"name": "Acne"}),
        ("update_contact", {"contact": "contact", "job_title": "CTO"}, "contact", {"job_title": "CTO"}),
        ("update_lead", {"lead": "lead", "value": 7}, "lead", {"value": 7.0, "stage": "Qualified"}),
        ("move_lead_stage", {"lead": "lead", "stage": "won"}, "lead", {"stage": "Won"}),
        ("update_pipeline_stage", {"stage": "won", "name": "Closed"}, "stage", {"name": "Closed"}),
        (
            "link_contact_to_company",
            {"contact": "contact", "company": "company", "title": "CTO"},
            "membership",
            {"title": "CTO", "company_name": "Acme Inc."},
        ),
    ],
)
async def test_an_update_that_is_answered_with_nothing_is_read_back(
    call: Call,
    wire: Any,
    ids: dict[str, str],
    tool: str,
    arguments: dict[str, str],
    record: str,
    shown: dict[str, str],
) -> None:
    wire.inner = taciturn(wire.inner)
    _, facts = await call(tool, **{name: ids.get(value, value) for name, value in arguments.items()})
    assert facts[record] | shown == facts[record]
    assert wire.sent[-1].method == "GET"
    assert len(wire.writes) == 1


CREATES = pytest.mark.parametrize(
    ("tool", "arguments", "record", "search"),
    [
        ("create_company", {"name": "Zeta"}, "company", "search_companies"),
        ("create_contact", {"email": "zeta@zeta.example"}, "contact", "search_contacts"),
        ("create_lead", {"title": "Zeta parts"}, "lead", "search_leads"),
    ],
)


@CREATES
async def test_a_create_that_is_answered_with_nothing_is_looked_for(
    call: Call, wire: Any, tool: str, arguments: dict[str, str], record: str, search: str
) -> None:
    wire.inner = taciturn(wire.inner)
    _, created = await call(tool, **arguments)
    [query] = arguments.values()
    _, found = await call(search, query=query)
    [row] = next(rows for rows in found.values() if isinstance(rows, list))
    assert created[record]["id"] == row["id"]


@CREATES
async def test_a_create_that_nothing_shows_says_so(
    call: Call, wire: Any, tool: str, arguments: dict[str, str], record: str, search: str
) -> None:
    crm = taciturn(wire.inner)

    async def silent_after_a_write(request: httpx2.Request) -> httpx2.Response:
        if wire.writes and request.method == "GET":
            return httpx2.Response(403)
        return await crm.handle_async_request(request)

    wire.inner = httpx2.MockTransport(silent_after_a_write)
    assert await call(tool, **arguments) == (NOT_SHOWN, {})


ACCEPTED = "The CRM accepted this, but does not show it."


async def test_other_writes_that_are_answered_with_nothing_are_told_in_words(
    call: Call, sandbox: Any, wire: Any, ids: dict[str, str]
) -> None:
    wire.inner = taciturn(wire.inner)
    list_id = "11111111-1111-4111-8111-111111111111"
    logged = await call("log_activity", type="note", subject="Hi", lead=ids["lead"])
    listed = await call("add_to_marketing_list", list_id=list_id, companies=[ids["company"]])
    sent = await call("send_outbound_email", lead=ids["lead"], subject="Hi", body="Hello")
    staged = await call("create_pipeline_stage", name="Trial")
    [activity] = sandbox.all("SELECT id FROM activities WHERE subject = 'Hi' AND type = 'note'")
    [stage] = sandbox.all("SELECT id FROM stages WHERE name = 'Trial'")
    [email] = sandbox.all("SELECT * FROM outbox")
    assert (logged.facts["activity"]["id"], staged.facts["stage"]["id"]) == (activity["id"], stage["id"])
    assert [listed, sent] == [
        (
            f"Companies put on list {list_id}: 1.\n- done · {ids['company']}\nNote: {ACCEPTED}",
            {
                "notes": [ACCEPTED],
                "list_id": list_id,
                "company_ids": [ids["company"]],
                "batch": {
                    "done": 1,
                    "failed": 0,
                    "unknown": 0,
                    "not_attempted": 0,
                    "items": [{"item": ids["company"], "outcome": "done", "detail": ""}],
                },
            },
        ),
        (
            f'E-mail "Hi" sent to {email["recipient"]} from sales@nordwind.example.',
            {
                "to": email["recipient"],
                "sent_from": "sales@nordwind.example",
                "subject": "Hi",
                "sent_at": email["sent_at"].replace("Z", "000Z"),
            },
        ),
    ]
