"""Writes whose answer was lost are looked for, and neither doubled nor overtaken."""

import json
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client

from crm_mcp import calls, gate
from crm_mcp.calls import Policy
from crm_mcp.crm import CrmClient
from crm_mcp.crm.contacts import ContactChanges
from crm_mcp.ledger import Ledger
from crm_mcp.wording import clock

from .writing import (
    Held,
    Late,
    doing_it_in_the_dark,
    facts_of,
    failing_writes,
    keeping_otherwise,
    losing_the_answer,
    showing,
    text_of,
    without,
)

pytestmark = pytest.mark.anyio

Find = Callable[..., dict[str, Any]]
OpenClient = Callable[..., Awaitable[Client]]
MOVE = {"lead": "Acme annual licence", "stage": "Proposal"}
CALL = {"type": "call", "subject": "Hello", "lead": "Acme annual licence"}
MAIL = {"lead": "Acme annual licence", "subject": "Hello", "body": "Dear Anna"}
BOB = "22222222-2222-4222-8222-222222222222"


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("create_company", {"name": "Newcomer AG"}),
        ("create_contact", {"first_name": "New", "last_name": "Comer", "company": "Acme Inc."}),
        ("create_lead", {"title": "New deal", "company": "Acme Inc."}),
        ("create_pipeline_stage", {"name": "Trial"}),
        ("update_company", {"company": "Acme Inc.", "phone": "1"}),
        ("move_lead_stage", MOVE),
        ("delete_lead", {"lead": "Acme annual licence"}),
        ("log_activity", CALL),
        ("log_activity", {**CALL, "type": "task"}),
        ("log_activity", {"type": "call", "subject": "Hello", "company": "Acme Inc."}),
        ("send_outbound_email", MAIL),
        ("link_contact_to_company", {"contact": "Anna Müller", "company": "Kestrel Solar Ltd"}),
        ("unlink_contact_from_company", {"contact": "Anna Müller", "company": "Acme Inc."}),
    ],
)
async def test_what_was_done_although_the_answer_was_lost_is_found(
    client: Client, wire: Any, changes: Any, tool: str, arguments: dict[str, Any]
) -> None:
    inner, wire.inner = wire.inner, losing_the_answer(wire.inner)
    first = await facts_of(client, tool, **arguments)
    assert first["notes"][0] == "The CRM's answer was lost, but it shows that this was done."
    wire.inner = inner
    if not tool.startswith(("delete", "unlink")):
        await facts_of(client, tool, **arguments)
    assert [change.outcome for change in changes()] == ["applied"]
    assert len(wire.writes) == 1


async def test_what_another_change_made_is_not_taken_for_what_this_one_did(
    client: Client, wire: Any, changes: Any
) -> None:
    await facts_of(client, "log_activity", **CALL)
    wire.inner = losing_the_answer(wire.inner, before=True)
    await text_of(client, "log_activity", **CALL, repeat=True, fails=True)
    assert [change.outcome for change in changes()] == ["applied", "unknown"]


NOT_DONE = [
    ("create_company", {"name": "Newcomer AG"}),
    ("create_contact", {"first_name": "New", "last_name": "Comer"}),
    ("create_lead", {"title": "New deal"}),
    ("log_activity", CALL),
    ("link_contact_to_company", {"contact": "Anna Müller", "company": "Kestrel Solar Ltd"}),
    ("delete_lead", {"lead": "Acme annual licence"}),
]
PATIENT = Policy(approval="client", late_seconds=600)
IMPATIENT = Policy(approval="client", late_seconds=0)


@pytest.mark.parametrize(
    ("tool", "arguments"), [*NOT_DONE, ("update_company", {"company": "Acme Inc.", "phone": "1"})]
)
async def test_what_was_not_done_is_unknown_first_and_done_when_it_is_called_again(
    open_client: OpenClient, wire: Any, changes: Any, tool: str, arguments: dict[str, Any]
) -> None:
    client = await open_client(policy=IMPATIENT)
    inner, wire.inner = wire.inner, losing_the_answer(wire.inner, before=True)
    text = await text_of(client, tool, **arguments, fails=True)
    [unknown] = changes()
    assert unknown.outcome == "unknown"
    again = "looks first"
    assert text == (
        "The request was sent, but no answer came (ReadError): it may or may not have been done. "
        f"Look before doing it again. (Change {unknown.id}; the same call again {again}.)"
    )
    wire.inner = inner
    await facts_of(client, tool, **arguments)
    assert [change.outcome for change in changes()] == ["failed", "applied"]


@pytest.mark.parametrize(("tool", "arguments"), NOT_DONE)
async def test_what_the_crm_may_still_be_doing_is_not_done_again(
    open_client: OpenClient, wire: Any, changes: Any, tool: str, arguments: dict[str, Any]
) -> None:
    client = await open_client(policy=PATIENT)
    healthy, wire.inner = wire.inner, (late := Late(wire.inner))
    await text_of(client, tool, **arguments, fails=True)
    wire.inner = healthy
    text = await text_of(client, tool, **arguments, fails=True)
    [unknown, refused] = changes()
    assert (unknown.outcome, refused.outcome, len(wire.writes)) == ("unknown", "refused", 1)
    assert text == (
        f"The same was tried at {unknown.opened_at:%H:%M} UTC (change {unknown.id}), and may still be "
        f"on its way in the CRM. Try again after {unknown.expires_at:%H:%M:%S} UTC. "
        "Nothing was sent to the CRM."
    )
    await late.catch_up()
    if not tool.startswith("delete"):
        assert (await facts_of(client, tool, **arguments)).get("repeat") or tool.startswith("link")
    assert len(wire.writes) == 1


@pytest.mark.parametrize(
    ("tool", "lost", "other"),
    [
        ("create_company", {"name": "Newcomer AG"}, {"name": "NEWCOMER", "phone": "1"}),
        ("create_contact", {"last_name": "Comer", "email": "a@b.example"}, {"email": "A@b.example"}),
        ("create_lead", {"title": "New deal", "company": "Acme Inc."}, {"title": "new deal", "value": 1}),
        ("update_company", {"company": "Acme Inc.", "phone": "1"}, {"phone": "2"}),
        ("move_lead_stage", MOVE | {"stage": "Lost"}, {"stage": "Won"}),
    ],
)
async def test_what_the_crm_may_still_do_is_not_overtaken(
    open_client: OpenClient, wire: Any, changes: Any, tool: str, lost: dict[str, Any], other: dict[str, Any]
) -> None:
    """It would be doubled, or come after this one and undo it."""
    client, stranger = await open_client(policy=PATIENT), await open_client(policy=PATIENT)
    healthy, wire.inner = wire.inner, Late(wire.inner)
    await text_of(client, tool, **lost, fails=True)
    wire.inner = healthy
    text = await text_of(stranger, tool, **(lost | other), fails=True)
    [unknown, refused] = changes()
    assert (unknown.outcome, refused.outcome, len(wire.writes)) == ("unknown", "refused", 1)
    assert text == (
        f'"{unknown.title}" (change {unknown.id}) may still be on its way in the CRM. '
        f"Try again after {unknown.expires_at:%H:%M:%S} UTC. Nothing was sent to the CRM."
    )


LEAD_TITLE = {"lead": "Acme annual licence"}
ANNA = {"contact": "Anna Müller"}
ORDER = ["Qualified", "New", "Proposal", "Negotiation", "Won", "Lost"]


@pytest.mark.parametrize(
    ("lost", "other"),
    [
        (("update_lead", LEAD_TITLE | {"value": 1}), ("delete_lead", LEAD_TITLE)),
        (("delete_lead", LEAD_TITLE), ("update_lead", LEAD_TITLE | {"value": 1})),
        (("move_lead_stage", MOVE), ("update_lead", LEAD_TITLE | {"value": 1})),
        (("update_contact", ANNA | {"phone": "1"}), ("delete_contact", ANNA)),
        (
            ("reorder_pipeline_stages", {"stages": ORDER}),
            ("reorder_pipeline_stages", {"stages": ORDER[::-1]}),
        ),
        (
            ("update_pipeline_stage", {"stage": "Won", "color_key": "teal"}),
            ("delete_pipeline_stage", {"stage": "Won", "move_leads_to": "Lost"}),
        ),
        (
            ("unlink_contact_from_company", ANNA | {"company": "Acme Inc."}),
            ("link_contact_to_company", ANNA | {"company": "Kestrel Solar Ltd", "is_primary": True}),
        ),
        # Both say which company is the contact's.
        (
            ("update_contact", ANNA | {"company": "Kestrel Solar Ltd"}),
            ("link_contact_to_company", ANNA | {"company": "Palisade Instruments Inc.", "is_primary": True}),
        ),
        (
            ("link_contact_to_company", ANNA | {"company": "Palisade Instruments Inc.", "is_primary": True}),
            ("update_contact", ANNA | {"company": "Kestrel Solar Ltd"}),
        ),
    ],
    ids=lambda call: call[0],
)
async def test_what_the_crm_may_still_do_to_a_record_is_not_overtaken_by_another_tool(
    open_client: OpenClient,
    wire: Any,
    changes: Any,
    lost: tuple[str, dict[str, Any]],
    other: tuple[str, dict[str, Any]],
) -> None:
    client = await open_client(policy=PATIENT)
    healthy, wire.inner = wire.inner, (late := Late(wire.inner))
    await text_of(client, lost[0], **lost[1], fails=True)
    wire.inner = healthy
    text = await text_of(client, other[0], **other[1], fails=True)
    [unknown, refused] = changes()
    assert (unknown.outcome, refused.outcome, len(wire.writes)) == ("unknown", "refused", 1)
    assert f"(change {unknown.id}) may still be on its way in the CRM. Try again after" in text
    await late.catch_up()


async def test_what_a_late_write_may_overwrite_is_not_taken_back_before_it(
    open_client: OpenClient, wire: Any, find: Find, changes: Any
) -> None:
    client = await open_client(policy=PATIENT)
    done = await facts_of(client, "update_company", company="Acme Inc.", phone="1")
    healthy, wire.inner = wire.inner, (late := Late(wire.inner))
    await text_of(client, "update_company", company="Acme Inc.", phone="2", fails=True)
    wire.inner = healthy
    [change] = done["change_ids"]
    text = await text_of(client, "undo_change", change=change, fails=True)
    [_, unknown, _] = changes()
    assert f"(change {unknown.id}) may still be on its way in the CRM." in text
    text = await text_of(client, "undo_change", change=unknown.id, fails=True)
    assert text == f"Change {unknown.id} may not have been done: nobody knows. Nothing was undone."
    assert len(wire.writes) == 2
    await late.catch_up()
    text = await text_of(client, "undo_change", change=change, fails=True)
    assert text.startswith("It was changed since")
    # What came late is known to be done as soon as somebody looks, and can be taken back.
    await facts_of(client, "undo_change", change=unknown.id)
    assert [one.outcome for one in changes() if one.outcome != "refused"] == ["applied", "undone", "applied"]
    assert find("companies", name="Acme Inc.")["phone"] == "1"


async def test_what_is_being_taken_back_late_is_not_overtaken(
    open_client: OpenClient, wire: Any, find: Find, changes: Any
) -> None:
    client = await open_client(policy=PATIENT)
    before = find("companies", name="Acme Inc.")["phone"]
    done = await facts_of(client, "update_company", company="Acme Inc.", phone="1")
    healthy, wire.inner = wire.inner, (late := Late(wire.inner))
    await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
    wire.inner = healthy
    text = await text_of(client, "update_company", company="Acme Inc.", phone="2", fails=True)
    assert "may still be on its way in the CRM." in text
    await late.catch_up()
    assert (await facts_of(client, "undo_change", change=done["change_ids"][0]))["repeat"]
    assert [one.outcome for one in changes() if one.outcome != "refused"] == ["undone", "applied"]
    assert (find("companies", name="Acme Inc.")["phone"], len(wire.writes)) == (before, 2)


async def test_when_it_cannot_be_late_any_more_another_write_is_done_and_stands(
    open_client: OpenClient, wire: Any, find: Find, changes: Any
) -> None:
    client = await open_client(policy=Policy(approval="client", late_seconds=0.2))
    healthy, wire.inner = wire.inner, Late(wire.inner)
    await text_of(client, "update_company", company="Acme Inc.", phone="1", fails=True)
    wire.inner = healthy
    await text_of(client, "update_company", company="Acme Inc.", phone="2", fails=True)
    await anyio.sleep(0.2)
    await facts_of(client, "update_company", company="Acme Inc.", phone="2")
    assert find("companies", name="Acme Inc.")["phone"] == "2"
    assert [one.outcome for one in changes()][1:] == ["refused", "applied"]


@pytest.mark.parametrize(
    ("tool", "lost", "other"),
    [
        ("create_company", {"name": "Newcomer AG"}, {"name": "Latecomer AG"}),
        ("update_company", {"company": "Acme Inc.", "phone": "1"}, {"company": "Acme Industries"}),
        ("log_activity", CALL, {"subject": "Goodbye"}),
        ("send_outbound_email", MAIL, {"subject": "Goodbye"}),
    ],
)
async def test_what_has_nothing_to_do_with_it_need_not_wait(
    open_client: OpenClient, wire: Any, tool: str, lost: dict[str, Any], other: dict[str, Any]
) -> None:
    client = await open_client(policy=PATIENT)
    healthy, wire.inner = wire.inner, Late(wire.inner)
    await text_of(client, tool, **lost, fails=True)
    wire.inner = healthy
    await facts_of(client, tool, **(lost | other))
    assert len(wire.writes) == 2


async def test_what_the_crm_itself_failed_at_need_not_be_waited_for(
    open_client: OpenClient, wire: Any, changes: Any
) -> None:
    client = await open_client(policy=PATIENT)
    healthy = wire.inner
    for status in (502, 500):
        wire.inner = failing_writes(healthy, status)
        await text_of(client, "log_activity", **(CALL | {"subject": str(status)}), fails=True)
    wire.inner = healthy
    await text_of(client, "log_activity", **(CALL | {"subject": "502"}), fails=True)
    await facts_of(client, "log_activity", **(CALL | {"subject": "500"}))
    assert len(wire.writes) == 3


@pytest.mark.parametrize("other", [{"body": " All  is\nwell "}, {"body": "<p>All is well</p>"}], ids=str)
async def test_a_text_that_the_crm_keeps_in_its_own_way_is_still_ours(
    client: Client, wire: Any, changes: Any, other: dict[str, Any]
) -> None:
    wire.inner = keeping_otherwise(wire.inner, other)
    await facts_of(client, "log_activity", **NOTE, lead="Acme annual licence")
    assert [change.outcome for change in changes()] == ["applied"]


async def test_what_may_have_come_of_a_lost_answer_is_shown_and_not_done_again(
    open_client: OpenClient, wire: Any, changes: Any
) -> None:
    client = await open_client(policy=IMPATIENT)
    healthy = wire.inner
    wire.inner = keeping_otherwise(wire.inner, {"body": "All is"})
    note = NOTE | {"lead": "Acme annual licence"}
    await text_of(client, "log_activity", **note, fails=True)
    wire.inner = healthy
    text = await text_of(client, "log_activity", **note, fails=True)
    [unknown, refused] = changes()
    assert (unknown.outcome, refused.outcome) == ("unknown", "refused")
    problem, candidate = text.splitlines()
    assert problem == (
        f"The same was tried at {unknown.opened_at:%H:%M} UTC (change {unknown.id}), and its answer was "
        "lost. The CRM shows what may have come of it: ask the person to look. `repeat` does it again. "
        "Nothing was sent to the CRM."
    )
    assert candidate.startswith("- Hello · ")
    assert len(wire.writes) == 1
    await facts_of(client, "log_activity", **note, repeat=True)
    assert [change.outcome for change in changes()] == ["unknown", "refused", "applied"]


async def test_an_email_of_which_nobody_knows_is_not_sent_again(
    client: Client, wire: Any, changes: Any
) -> None:
    inner, wire.inner = wire.inner, losing_the_answer(wire.inner, before=True)
    await text_of(client, "send_outbound_email", **MAIL, fails=True)
    wire.inner = inner
    text = await text_of(client, "send_outbound_email", **MAIL, fails=True)
    [unknown, refused] = changes()
    assert (unknown.outcome, refused.outcome) == ("unknown", "refused")
    assert text == (
        f"The same was tried at {unknown.opened_at:%H:%M} UTC (change {unknown.id}), and nobody knows "
        "whether it was done: ask the person to look. `repeat` does it again. Nothing was sent to the CRM."
    )
    assert len(wire.writes) == 1


COMPANY = {"name": "Newcomer AG", "website": "newcomer.example", "industry": "Steel", "phone": "1"}
CONTACT = {"first_name": "New", "last_name": "Comer", "email": "new@acme.example", "phone": "1"}
LEAD = {"title": "New deal", "company": "Acme Inc.", "value": 10, "currency": "EUR", "source": "Fair"}
NOTE = {"type": "note", "subject": "Hello", "body": "All is well", "duration_minutes": 5}
AT_NOON = {"occurred_at": "2026-01-31T12:00:00Z"}
LOOKALIKES = [
    *(
        ("create_company", COMPANY, field)
        for field in ({"industry": "Wood"}, {"phone": "2"}, {"name": "Newcomer GmbH"})
    ),
    *(("create_contact", CONTACT, field) for field in ({"firstName": "Old"}, {"phone": None})),
    *(
        ("create_lead", LEAD, field)
        for field in ({"value": 11}, {"currency": "USD"}, {"source": None}, {"title": "New Deal"})
    ),
    *(
        ("log_activity", NOTE | about, field)
        for about in ({"lead": "Acme annual licence"}, {"company": "Acme Inc."})
        for field in ({"subject": "Hallo"}, {"type": "call"}, {"body": "All is lost"}, {"durationMinutes": 6})
    ),
    ("log_activity", CALL | AT_NOON, {"occurredAt": "2026-01-31T12:01:00Z"}),
    ("send_outbound_email", MAIL, {"subject": "Hallo"}),
    ("send_outbound_email", MAIL, {"htmlBody": "<p>Dear Otto</p>"}),
]


@pytest.mark.parametrize(("tool", "arguments", "other"), LOOKALIKES)
async def test_what_somebody_else_made_is_not_taken_for_ours(
    client: Client, wire: Any, changes: Any, tool: str, arguments: dict[str, Any], other: dict[str, Any]
) -> None:
    wire.inner = keeping_otherwise(wire.inner, other)
    await text_of(client, tool, **arguments, fails=True)
    [change] = changes()
    assert (change.outcome, change.after) == ("unknown", None)
    assert len(wire.writes) == 1


# CRMs that show less than the embedded one


async def test_who_me_is_shows_nothing_of_what_was_done(
    open_client: OpenClient, wire: Any, sandbox: Any, find: Find, changes: Any
) -> None:
    client = await open_client(policy=IMPATIENT)
    lead = "Acme annual licence"
    sandbox.execute("UPDATE leads SET owner_user_id = ? WHERE title = ?", BOB, lead)
    healthy, wire.inner = wire.inner, losing_the_answer(wire.inner, before=True)
    await text_of(client, "update_lead", lead=lead, owner="me", fails=True)
    assert [change.outcome for change in changes()] == ["unknown"]
    wire.inner = healthy
    await facts_of(client, "update_lead", lead=lead, owner="me")
    sandbox.execute("UPDATE leads SET owner_user_id = ? WHERE title = ?", BOB, lead)
    await text_of(client, "update_lead", lead=lead, owner="me", fails=True)
    third = await facts_of(client, "update_lead", lead=find("leads", title=lead)["id"], owner="me")
    assert ("repeat" in third, find("leads", title=lead)["owner_user_id"] == BOB) == (False, False)
    assert (await facts_of(client, "update_lead", lead=lead, owner="me"))["repeat"]


async def test_me_is_a_word_like_any_other_where_it_names_no_owner(
    open_client: OpenClient, wire: Any, changes: Any
) -> None:
    client = await open_client(policy=IMPATIENT)
    wire.inner = losing_the_answer(wire.inner, before=True)
    await text_of(client, "update_lead", lead="Acme annual licence", source="me", fails=True)
    assert [change.outcome for change in changes()] == ["unknown"]


@pytest.mark.parametrize("known", ["when it was made", "nothing", "another clock's"])
async def test_an_activity_whose_age_cannot_be_told_is_not_logged_again(
    open_client: OpenClient, wire: Any, sandbox: Any, changes: Any, known: str
) -> None:
    client = await open_client(policy=IMPATIENT)
    if known == "nothing":
        wire.inner = showing(wire.inner, without("createdAt"))
    healthy, wire.inner = wire.inner, doing_it_in_the_dark(wire.inner)
    meeting = CALL | {"occurred_at": "2026-01-31T12:00:00Z"}
    await text_of(client, "log_activity", **meeting, fails=True)
    if known == "another clock's":
        sandbox.execute("UPDATE activities SET created_at = strftime('%Y-%m-%dT%H:%M:%fZ', 'now', '-1 hour')")
    wire.inner = healthy
    if known == "when it was made":
        assert (await facts_of(client, "log_activity", **meeting))["repeat"]
        return
    text = await text_of(client, "log_activity", **meeting, fails=True)
    assert "The CRM shows what may have come of it: ask the person to look." in text
    assert [change.outcome for change in changes()] == ["unknown", "refused"]
    assert len(wire.writes) == 1


async def test_what_was_there_before_is_not_taken_for_what_was_created(
    open_client: OpenClient, wire: Any, sandbox: Any, changes: Any
) -> None:
    """Nobody tells when it was created; and an undoing would delete it."""
    client = await open_client(policy=IMPATIENT)
    wire.inner = showing(wire.inner, without("createdAt"))
    person = {"first_name": "Old", "last_name": "Timer"}
    await facts_of(client, "create_contact", **person)
    healthy, wire.inner = wire.inner, losing_the_answer(wire.inner, before=True)
    await text_of(client, "create_contact", **person, repeat=True, fails=True)
    wire.inner = healthy
    [old] = sandbox.all("SELECT id FROM contacts WHERE last_name = 'Timer'")
    made, unknown = changes()
    assert (made.subject.id, unknown.outcome, unknown.subject) == (old["id"], "unknown", None)


async def test_what_somebody_made_just_before_is_not_taken_for_what_was_created(
    open_client: OpenClient, crm: CrmClient, wire: Any, changes: Any
) -> None:
    client = await open_client(policy=IMPATIENT)
    person = {"first_name": "Old", "last_name": "Timer"}
    await crm.contacts.create(ContactChanges(**person))
    wire.inner = losing_the_answer(wire.inner, before=True)
    await text_of(client, "create_contact", **person, allow_duplicate=True, fails=True)
    [unknown] = changes()
    assert (unknown.outcome, unknown.subject) == ("unknown", None)


async def test_what_a_colleague_created_meanwhile_is_not_ours(
    open_client: OpenClient, wire: Any, changes: Any
) -> None:
    """Else taking ours back would delete theirs."""
    anna = await open_client(policy=IMPATIENT, principal="anna")
    ben = await open_client(policy=IMPATIENT, principal="ben")
    healthy, wire.inner = wire.inner, losing_the_answer(wire.inner, before=True)
    await text_of(anna, "create_company", name="Newcomer AG", fails=True)
    wire.inner = healthy
    await facts_of(ben, "create_company", name="Newcomer AG")
    text = await text_of(anna, "create_company", name="Newcomer AG", fails=True)
    assert text.startswith("This company seems to be there already.")
    assert [(one.principal, one.outcome) for one in changes()] == [
        ("anna", "failed"),
        ("ben", "applied"),
        ("anna", "refused"),
    ]


async def test_of_two_that_are_equal_nobody_knows_which_is_ours(
    open_client: OpenClient, wire: Any, changes: Any
) -> None:
    client = await open_client(policy=IMPATIENT)
    healthy, wire.inner = wire.inner, losing_the_answer(keeping_twice(wire.inner))
    await text_of(client, "create_company", name="Newcomer AG", fails=True)
    wire.inner = healthy
    text = await text_of(client, "create_company", name="Newcomer AG", fails=True)
    problem, *candidates = text.splitlines()
    assert "The CRM shows what may have come of it: ask the person to look." in problem
    assert [candidate.startswith("- Newcomer AG") for candidate in candidates] == [True, True]
    assert [(one.outcome, one.subject) for one in changes()] == [("unknown", None), ("refused", None)]


def keeping_twice(inner: httpx2.AsyncBaseTransport) -> httpx2.MockTransport:
    """A CRM that does what is sent to it, and does it again."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "POST":
            await inner.handle_async_request(request)
        return await inner.handle_async_request(request)

    return httpx2.MockTransport(answer)


async def test_a_membership_that_somebody_made_just_before_is_not_ours(
    open_client: OpenClient, wire: Any, find: Find, changes: Any
) -> None:
    """Between the look whether there is one and the look at what there was before."""
    client = await open_client(policy=IMPATIENT)
    inner, looks = wire.inner, 0
    theirs = json.dumps({"companyId": find("companies", name="Kestrel Solar Ltd")["id"]}).encode()

    async def linked_meanwhile(request: httpx2.Request) -> httpx2.Response:
        nonlocal looks
        if request.method == "POST":
            raise httpx2.ReadError("broken", request=request)
        if request.url.path.endswith("/company-memberships"):
            looks += 1
            if looks == 2:
                headers = {**request.headers, "content-type": "application/json"}
                post = httpx2.Request("POST", request.url, headers=headers, content=theirs)
                assert (await inner.handle_async_request(post)).is_success
        response: httpx2.Response = await inner.handle_async_request(request)
        return response

    wire.inner = httpx2.MockTransport(linked_meanwhile)
    link = {"contact": "Anna Müller", "company": "Kestrel Solar Ltd"}
    await text_of(client, "link_contact_to_company", **link, fails=True)
    [unknown] = changes()
    assert (unknown.outcome, unknown.subject) == ("unknown", None)


@pytest.mark.parametrize("tool", ["log_activity", "create_company", "create_lead"])
async def test_where_the_crm_shows_a_part_only_the_rest_may_have_what_was_lost(
    open_client: OpenClient, wire: Any, find: Find, changes: Any, tool: str
) -> None:
    arguments = {
        "log_activity": CALL | {"lead": find("leads", title="Acme annual licence")["id"]},
        "create_company": {"name": "Newcomer AG"},
        "create_lead": {"title": "New deal", "company": find("companies", name="Acme Inc.")["id"]},
    }[tool]
    client = await open_client(policy=IMPATIENT)
    partly = telling_of_more(wire.inner)
    wire.inner = losing_the_answer(partly, before=True)
    await text_of(client, tool, **arguments, fails=True)
    wire.inner = partly
    text = await text_of(client, tool, **arguments, fails=True)
    assert "and nobody knows whether it was done: ask the person to look." in text
    assert [change.outcome for change in changes()] == ["unknown", "refused"]
    assert len(wire.writes) == 1


def telling_of_more(inner: httpx2.AsyncBaseTransport) -> httpx2.MockTransport:
    """A CRM whose lists end before all is there that it counts."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        response = await inner.handle_async_request(request)
        value = json.loads(await response.aread() or "null")
        more = {"total": value["total"] + 1} if isinstance(value, dict) and "total" in value else None
        return httpx2.Response(response.status_code, json=value | more if more else value)

    return httpx2.MockTransport(answer)


async def test_what_was_overwritten_since_may_have_been_done(
    open_client: OpenClient, wire: Any, sandbox: Any, changes: Any
) -> None:
    client = await open_client(policy=IMPATIENT)
    healthy, wire.inner = wire.inner, doing_it_in_the_dark(wire.inner)
    await text_of(client, "update_company", company="Acme Inc.", phone="1", fails=True)
    wire.inner = healthy
    sandbox.execute("UPDATE companies SET phone = '3', updated_at = ? WHERE phone = '1'", sandbox.now())
    [unknown] = changes()
    text = await text_of(client, "undo_change", change=unknown.id, fails=True)
    assert text == f"Change {unknown.id} may not have been done: nobody knows. Nothing was undone."
    assert changes()[0].outcome == "unknown"


async def test_a_membership_that_somebody_else_made_is_not_ours(
    open_client: OpenClient, wire: Any, changes: Any
) -> None:
    client = await open_client(policy=IMPATIENT)
    link = {"contact": "Anna Müller", "company": "Kestrel Solar Ltd", "title": "CTO"}
    wire.inner = keeping_otherwise(wire.inner, {"title": "Intern"})
    await text_of(client, "link_contact_to_company", **link, fails=True)
    assert [change.outcome for change in changes()] == ["unknown"]


async def test_an_email_whose_text_the_timeline_hides_is_for_a_person(
    open_client: OpenClient, wire: Any, changes: Any
) -> None:
    client = await open_client(policy=IMPATIENT)
    wire.inner = showing(losing_the_answer(wire.inner), without("body"))
    await text_of(client, "send_outbound_email", **MAIL, fails=True)
    await text_of(client, "send_outbound_email", **MAIL, fails=True)
    assert [change.outcome for change in changes()] == ["unknown", "refused"]
    assert len(wire.writes) == 1


async def test_an_email_that_another_one_sent_is_not_ours(
    open_client: OpenClient, wire: Any, sandbox: Any, changes: Any
) -> None:
    anna = await open_client(policy=IMPATIENT, principal="anna")
    ben = await open_client(policy=IMPATIENT, principal="ben")
    healthy, wire.inner = wire.inner, losing_the_answer(wire.inner, before=True)
    await text_of(anna, "send_outbound_email", **MAIL, fails=True)
    wire.inner = healthy
    await facts_of(ben, "send_outbound_email", **MAIL)
    await text_of(anna, "send_outbound_email", **MAIL, fails=True)
    assert [(one.principal, one.outcome) for one in changes()] == [
        ("anna", "unknown"),
        ("ben", "applied"),
        ("anna", "refused"),
    ]
    assert len(sandbox.all("SELECT id FROM outbox")) == 1


@pytest.mark.parametrize("policy", [Policy(late_seconds=0), IMPATIENT], ids=["ask", "client"])
async def test_what_is_gone_is_found_to_be_so_by_the_same_call(
    open_client: OpenClient, wire: Any, find: Find, ledger: Ledger, changes: Any, policy: Policy
) -> None:
    trusted = await open_client(policy=IMPATIENT)
    lead = find("leads", title="Acme annual licence")["id"]
    healthy, wire.inner = wire.inner, doing_it_in_the_dark(wire.inner)
    await text_of(trusted, "delete_lead", lead=lead, fails=True)
    assert [change.outcome for change in changes()] == ["unknown"]
    wire.inner = healthy
    again = await open_client(policy=policy)
    assert (await facts_of(again, "delete_lead", lead=lead))["repeat"]
    assert [change.outcome for change in changes()] == ["applied"]
    assert (ledger.waiting(), len(wire.writes)) == ([], 1)


async def test_a_record_with_another_id_is_no_answer_to_an_update(
    open_client: OpenClient, wire: Any, find: Find, changes: Any
) -> None:
    client = await open_client()
    company = find("companies", name="Acme Inc.")["id"]
    inner = wire.inner

    async def confused(request: httpx2.Request) -> httpx2.Response:
        response: httpx2.Response = await inner.handle_async_request(request)
        if request.method == "GET":
            return response
        other = json.loads(await response.aread()) | {"id": "11111111-1111-4111-8111-111111111111"}
        return httpx2.Response(200, json=other)

    wire.inner = httpx2.MockTransport(confused)
    done = await facts_of(client, "update_company", company="Acme Inc.", phone="1")
    [change] = changes()
    assert (done["company"]["id"], change.after["id"]) == (company, company)


async def test_what_is_on_its_way_for_too_long_is_not_waited_for(
    open_client: OpenClient, wire: Any, monkeypatch: pytest.MonkeyPatch, changes: Any
) -> None:
    monkeypatch.setattr(gate, "WAIT_SECONDS", 0.1)
    first, second = await open_client(), await open_client()
    post = Held(wire.inner, lambda request: request.method == "POST")
    wire.inner = httpx2.MockTransport(post)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: facts_of(first, "log_activity", **CALL))
        await post.met.wait()
        text = await text_of(second, "log_activity", **CALL, fails=True)
        post.let_go.set()
    change, refused = changes()
    assert (refused.outcome, f"{refused.detail} Nothing was sent to the CRM.") == ("refused", text)
    assert text == (
        f'"{change.title}" (change {change.id}) is on its way since {change.opened_at:%H:%M:%S} UTC. '
        "Try again later. Nothing was sent to the CRM."
    )
    assert len(wire.writes) == 1


async def test_what_was_sent_is_waited_for_although_the_call_is_cancelled(
    open_client: OpenClient, wire: Any, changes: Any
) -> None:
    client = await open_client()
    post = Held(wire.inner, lambda request: request.method == "POST")
    wire.inner = httpx2.MockTransport(post)
    impatience = anyio.CancelScope()

    async def call() -> None:
        with impatience:
            await client.call_tool("log_activity", CALL)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await post.met.wait()
        impatience.cancel()
        await anyio.wait_all_tasks_blocked()
        assert [change.outcome for change in changes()] == ["pending"]
        post.let_go.set()
    assert [change.outcome for change in changes()] == ["applied"]


async def test_what_is_cancelled_before_it_is_sent_failed_and_can_be_done_at_once(
    open_client: OpenClient, wire: Any, find: Find, changes: Any
) -> None:
    client = await open_client()
    company = find("companies", name="Acme Inc.")["id"]
    healthy = wire.inner
    look = Held(healthy, lambda request: request.url.path.endswith(company))
    wire.inner = httpx2.MockTransport(look)
    impatience = anyio.CancelScope()

    async def call() -> None:
        with impatience:
            await client.call_tool("update_company", {"company": company, "phone": "1"})

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(call)
        await look.met.wait()
        impatience.cancel()
    await anyio.wait_all_tasks_blocked()
    assert ([change.outcome for change in changes()], wire.writes) == (["failed"], [])
    wire.inner = healthy
    with anyio.fail_after(20):
        await facts_of(client, "update_company", company=company, phone="1")
    assert [change.outcome for change in changes()] == ["failed", "applied"]


def answering(inner: httpx2.AsyncBaseTransport, method: str, answer: httpx2.Response) -> httpx2.MockTransport:
    """A CRM that does nothing of what is sent with this method, and answers so."""

    async def respond(request: httpx2.Request) -> httpx2.Response:
        return answer if request.method == method else await inner.handle_async_request(request)

    return httpx2.MockTransport(respond)


@pytest.mark.parametrize(
    "said",
    [{"success": False}, {"error": "The mailbox is disconnected."}, {"id": "1", "status": "failed"}],
    ids=str,
)
async def test_a_success_that_says_it_failed_is_none(
    open_client: OpenClient, wire: Any, changes: Any, said: dict[str, Any]
) -> None:
    client = await open_client(policy=IMPATIENT)
    wire.inner = answering(wire.inner, "POST", httpx2.Response(200, json=said))
    text = await text_of(client, "send_outbound_email", **MAIL, fails=True)
    assert "says that it failed" in text
    assert [change.outcome for change in changes()] == ["unknown"]


async def test_a_success_that_nothing_shows_is_told_as_that(client: Client, wire: Any) -> None:
    wire.inner = answering(wire.inner, "POST", httpx2.Response(202))
    done = await facts_of(client, "send_outbound_email", **MAIL)
    assert done["notes"] == ["The CRM accepted this, but does not show it."]


async def test_an_order_that_the_crm_did_not_take_is_none(
    open_client: OpenClient, wire: Any, changes: Any
) -> None:
    client = await open_client(policy=IMPATIENT)
    wire.inner = answering(wire.inner, "POST", httpx2.Response(204))
    order = ["Lost", "Won", "Negotiation", "Proposal", "Qualified", "New"]
    text = await text_of(client, "reorder_pipeline_stages", stages=order, fails=True)
    assert text.startswith("The CRM says that it was done, but does not show it.")
    assert [change.outcome for change in changes()] == ["unknown"]


async def test_an_answer_about_somebody_else_is_none(
    open_client: OpenClient, wire: Any, find: Find, changes: Any
) -> None:
    client = await open_client(policy=IMPATIENT)
    anna = {"id": find("contacts", email="anna.muller@acme-inc.example")["id"], "firstName": "Anna"}
    healthy, wire.inner = wire.inner, answering(wire.inner, "POST", httpx2.Response(201, json=anna))
    person = {"first_name": "Brandnew", "last_name": "Person"}
    text = await text_of(client, "create_contact", **person, fails=True)
    assert text.startswith("The CRM says that it was done, but does not show it.")
    wire.inner = healthy
    await facts_of(client, "create_contact", **person)
    assert [change.outcome for change in changes()] == ["failed", "applied"]


async def test_a_value_that_another_write_set_settles_no_lost_one(
    open_client: OpenClient, wire: Any, find: Find, changes: Any
) -> None:
    """It may still come, and undo what is done after it."""
    client = await open_client(policy=PATIENT)
    healthy, wire.inner = wire.inner, (late := Late(wire.inner))
    update = {"company": "Acme Inc.", "phone": "1"}
    await text_of(client, "update_company", **update, fails=True)
    wire.inner = healthy
    for _ in range(2):
        await facts_of(client, "update_company", **update)
    text = await text_of(client, "update_company", company="Acme Inc.", phone="2", fails=True)
    assert "may still be on its way in the CRM." in text
    await late.catch_up()
    assert [change.outcome for change in changes()] == ["unknown", "applied", "refused"]
    assert find("companies", name="Acme Inc.")["phone"] == "1"


async def test_what_was_so_before_shows_nothing_of_what_was_done(
    open_client: OpenClient, wire: Any, find: Find, changes: Any
) -> None:
    client = await open_client(policy=PATIENT)
    phone = find("companies", name="Acme Inc.")["phone"]
    wire.inner = Late(wire.inner)
    await text_of(client, "update_company", company="Acme Inc.", phone=phone, fails=True)
    assert [change.outcome for change in changes()] == ["unknown"]


async def test_an_activity_whose_text_the_crm_hides_may_be_somebody_elses(
    open_client: OpenClient, wire: Any, changes: Any
) -> None:
    client = await open_client(policy=IMPATIENT)
    wire.inner = showing(keeping_otherwise(wire.inner, {"body": "Another one's"}), without("body"))
    await text_of(client, "log_activity", **NOTE, lead="Acme annual licence", fails=True)
    assert [change.outcome for change in changes()] == ["unknown"]


async def test_a_repeat_is_one_for_ten_minutes_only(
    client: Client, wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await facts_of(client, "log_activity", **CALL)
    monkeypatch.setattr(gate, "REPEAT_SECONDS", 0)
    assert "repeat" not in await facts_of(client, "log_activity", **CALL)
    assert (gate.DAY_SECONDS > calls.REPEAT_SECONDS, calls.REPEAT_SECONDS, len(wire.writes)) == (True, 600, 2)


async def test_another_person_waits_for_what_may_be_late_too(open_client: OpenClient, wire: Any) -> None:
    anna = await open_client(policy=PATIENT, principal="anna")
    ben = await open_client(policy=PATIENT, principal="ben")
    healthy, wire.inner = wire.inner, Late(wire.inner)
    await text_of(anna, "create_company", name="Newcomer AG", fails=True)
    wire.inner = healthy
    text = await text_of(ben, "create_company", name="Newcomer AG", fails=True)
    assert "may still be on its way in the CRM." in text
    assert len(wire.writes) == 1


async def test_another_person_may_set_the_same_value_at_once(
    open_client: OpenClient, wire: Any, find: Find
) -> None:
    """Whichever of the two comes last: it comes to the same."""
    anna = await open_client(policy=PATIENT, principal="anna")
    ben = await open_client(policy=PATIENT, principal="ben")
    healthy, wire.inner = wire.inner, (late := Late(wire.inner))
    await text_of(anna, "update_company", company="Acme Inc.", phone="1", fails=True)
    wire.inner = healthy
    await facts_of(ben, "update_company", company="Acme Inc.", phone="1")
    await late.catch_up()
    assert (find("companies", name="Acme Inc.")["phone"], len(wire.writes)) == ("1", 2)


async def test_what_is_gone_is_created_again_once_though_two_find_it_missing(
    open_client: OpenClient, wire: Any, sandbox: Any, find: Find, changes: Any
) -> None:
    first, second = await open_client(), await open_client()
    person = {"first_name": "New", "last_name": "Comer", "company": "Acme Inc."}
    await facts_of(first, "create_contact", **person)
    # In other words it is no retry.
    person["company"] = find("companies", name="Acme Inc.")["id"]
    gone = find("contacts", last_name="Comer")["id"]
    sandbox.execute("DELETE FROM contacts WHERE id = ?", gone)
    healthy, looks, both_looked = wire.inner, 0, anyio.Event()

    async def together(request: httpx2.Request) -> httpx2.Response:
        nonlocal looks
        response: httpx2.Response = await healthy.handle_async_request(request)
        if request.url.path.endswith(gone):
            looks += 1
            if looks == 2:
                both_looked.set()
            await both_looked.wait()
        return response

    wire.inner = httpx2.MockTransport(together)
    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for client in (first, second):
                tasks.start_soon(lambda client: facts_of(client, "create_contact", **person), client)
    assert find("contacts", last_name="Comer")["id"] != gone
    assert ([change.outcome for change in changes()], len(wire.writes)) == (["applied", "applied"], 2)


async def test_another_email_to_the_same_lead_hides_no_lost_one(
    open_client: OpenClient, wire: Any, sandbox: Any, changes: Any
) -> None:
    client = await open_client(policy=IMPATIENT)
    healthy, wire.inner = wire.inner, doing_it_in_the_dark(wire.inner)
    await text_of(client, "send_outbound_email", **MAIL, fails=True)
    wire.inner = healthy
    await facts_of(client, "send_outbound_email", **(MAIL | {"subject": "Goodbye"}))
    assert (await facts_of(client, "send_outbound_email", **MAIL))["repeat"]
    assert [change.outcome for change in changes()] == ["applied", "applied"]
    assert len(sandbox.all("SELECT id FROM outbox")) == 2


async def test_one_that_hangs_keeps_nobody_from_creating_another(
    open_client: OpenClient, wire: Any, sandbox: Any
) -> None:
    anna, ben = await open_client(), await open_client()
    post = Held(wire.inner, lambda request: request.method == "POST")
    wire.inner = httpx2.MockTransport(post)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: facts_of(anna, "create_company", name="Newcomer AG"))
        await post.met.wait()
        await facts_of(ben, "create_company", name="Totally Other Ltd")
        post.let_go.set()
    assert (
        len(sandbox.all("SELECT id FROM companies WHERE name LIKE 'Newcomer%' OR name LIKE 'Totally%'")) == 2
    )


async def test_another_record_is_not_told_as_what_was_created(
    open_client: OpenClient, wire: Any, find: Find
) -> None:
    """Nor where the CRM shows what may be ours, so that nobody can say that it was not done."""
    client = await open_client(policy=IMPATIENT)
    anna = {"id": find("contacts", email="anna.muller@acme-inc.example")["id"], "firstName": "Anna"}
    inner = wire.inner

    async def mixed_up(request: httpx2.Request) -> httpx2.Response:
        response: httpx2.Response = await inner.handle_async_request(request)
        return response if request.method == "GET" else httpx2.Response(201, json=anna)

    wire.inner = showing(httpx2.MockTransport(mixed_up), lambda one: one | {"phone": "9"})
    done = await facts_of(client, "create_contact", first_name="Brandnew", last_name="Person", phone="1")
    assert "contact" not in done


@pytest.mark.parametrize("again", [{}, {"allow_duplicate": True}])
async def test_what_was_changed_since_is_still_ours(
    client: Client, wire: Any, changes: Any, sandbox: Any, again: dict[str, Any]
) -> None:
    """It is found by what created it, whoever updated it meanwhile, or tried to."""
    healthy, wire.inner = wire.inner, doing_it_in_the_dark(wire.inner)
    await text_of(client, "create_company", name="Newcomer AG", **again, fails=True)
    wire.inner = healthy
    await facts_of(client, "update_company", company="Newcomer AG", phone="1")
    facts = await facts_of(client, "create_company", name="Newcomer AG", **again)
    assert facts["repeat"]
    assert sandbox.number("SELECT count(*) FROM companies WHERE name = 'Newcomer AG'") == 1
    assert [one.outcome for one in changes()] == ["applied", "applied"]


@pytest.mark.parametrize("again", [{}, {"repeat": True}])
@pytest.mark.parametrize("odd", [True, False])
async def test_what_the_crm_may_still_do_is_not_done_again_on_purpose_either(
    client: Client, wire: Any, changes: Any, sandbox: Any, odd: bool, again: dict[str, Any]
) -> None:
    """An answer that is not the CRM's may come while it is still at it."""
    crm = wire.inner

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            return await crm.handle_async_request(request)  # type: ignore[no-any-return]
        if odd:
            return httpx2.Response(200, html="<p>Please wait</p>")
        raise httpx2.ReadTimeout("slow", request=request)

    wire.inner = httpx2.MockTransport(answer)
    arguments = {"type": "call", "subject": "Hello", "company": "Acme Inc."}
    await text_of(client, "log_activity", **arguments, fails=True)
    wire.inner = crm
    text = await text_of(client, "log_activity", **arguments, **again, fails=True)
    assert "may still be on its way in the CRM. Try again after" in text
    assert [one.outcome for one in changes()] == ["unknown", "refused"]
    assert sandbox.number("SELECT count(*) FROM activities WHERE subject = 'Hello'") == 0


# What was lost, and is told again


@pytest.mark.parametrize(
    ("tool", "arguments", "count"),
    [
        (
            "log_activity",
            {"type": "call", "subject": "Lost one", "lead": "Acme annual licence"},
            "SELECT count(*) FROM activities WHERE subject = 'Lost one'",
        ),
        (
            "create_lead",
            {"title": "Lost one", "company": "Acme Inc."},
            "SELECT count(*) FROM leads WHERE title = 'Lost one'",
        ),
    ],
)
async def test_a_call_on_purpose_that_was_lost_is_not_done_twice_when_it_is_made_again(
    client: Client, wire: Any, sandbox: Any, changes: Any, tool: str, arguments: dict[str, Any], count: str
) -> None:
    on_purpose = arguments | {"repeat": True}
    healthy, wire.inner = wire.inner, doing_it_in_the_dark(wire.inner)
    await text_of(client, tool, **on_purpose, fails=True)
    wire.inner = healthy
    assert (await facts_of(client, tool, **on_purpose))["repeat"]
    assert [one.outcome for one in changes()] == ["applied"]
    assert sandbox.number(count) == 1


async def test_a_batch_on_purpose_that_was_interrupted_is_gone_on_with(
    client: Client, wire: Any, sandbox: Any
) -> None:
    leads = ["Acme annual licence", "Quint annual licence", "Müller maintenance renewal"]
    batch = {"type": "call", "subject": "Lost one", "leads": leads}
    await facts_of(client, "log_activity", **batch)
    healthy, dark, sent = wire.inner, doing_it_in_the_dark(wire.inner), 0

    async def second_is_lost(request: httpx2.Request) -> httpx2.Response:
        nonlocal sent
        sent += request.method == "POST"
        inner = dark if sent == 2 else healthy
        return await inner.handle_async_request(request)  # type: ignore[no-any-return]

    wire.inner = httpx2.MockTransport(second_is_lost)
    await client.call_tool("log_activity", batch | {"repeat": True})
    wire.inner = healthy
    await client.call_tool("log_activity", batch | {"repeat": True})
    assert sandbox.number("SELECT count(*) FROM activities WHERE subject = 'Lost one'") == 6


@pytest.mark.parametrize(
    ("tool", "arguments", "reworded"),
    [
        ("send_outbound_email", MAIL, {"body": "Dear Ms Müller"}),
        ("log_activity", CALL, {"body": "They said hello"}),
    ],
)
async def test_what_was_lost_and_is_told_in_other_words_is_not_sent_without_a_word(
    client: Client, wire: Any, changes: Any, tool: str, arguments: dict[str, Any], reworded: dict[str, Any]
) -> None:
    healthy, wire.inner = wire.inner, doing_it_in_the_dark(wire.inner)
    await text_of(client, tool, **arguments, fails=True)
    wire.inner = healthy
    text = await text_of(client, tool, **arguments | reworded, fails=True)
    lost, refused = changes()
    assert (lost.outcome, refused.outcome) == ("applied", "refused")
    assert text == (
        f'"{lost.title}" was tried at {lost.opened_at:%H:%M} UTC (change {lost.id}) and brought no answer; '
        "it was done. If this is another one, `repeat` does it. Nothing was sent to the CRM."
    )
    assert len(wire.writes) == 1
    # Of another subject it is another one.
    await facts_of(client, tool, **arguments | {"subject": "Another"})
    assert len(wire.writes) == 2


async def test_a_lost_email_is_not_found_in_one_that_reads_the_same(
    client: Client, open_client: OpenClient, wire: Any, sandbox: Any, changes: Any
) -> None:
    lost, other = ({"body": f"[Dear Anna](https://{host}.example)"} for host in ("one", "two"))
    healthy, wire.inner = wire.inner, losing_the_answer(wire.inner, before=True)
    await text_of(client, "send_outbound_email", **MAIL | lost, fails=True)
    wire.inner = healthy
    unguarded = await open_client(policy=Policy(approval="client"), principal="ben")
    await facts_of(unguarded, "send_outbound_email", **MAIL | other)
    await text_of(client, "send_outbound_email", **MAIL | lost, fails=True)
    assert changes()[0].outcome == "unknown"
    assert len(sandbox.all("SELECT id FROM outbox")) == 1


async def test_a_lost_email_that_came_late_is_not_taken_for_another_persons(
    open_client: OpenClient, wire: Any, changes: Any, sandbox: Any
) -> None:
    anna = await open_client(policy=IMPATIENT, principal="anna")
    ben = await open_client(policy=IMPATIENT, principal="ben")
    late = Late(wire.inner)
    healthy, wire.inner = wire.inner, late
    await text_of(anna, "send_outbound_email", **MAIL, fails=True)
    wire.inner = losing_the_answer(healthy, before=True)
    await text_of(ben, "send_outbound_email", **MAIL, fails=True)
    wire.inner = healthy
    await late.catch_up()
    assert (await facts_of(anna, "send_outbound_email", **MAIL))["repeat"]
    await text_of(ben, "send_outbound_email", **MAIL, fails=True)
    assert sandbox.number("SELECT count(*) FROM outbox WHERE subject = 'Hello'") == 1
    assert {one.principal: one.outcome for one in changes() if one.outcome != "refused"} == {
        "anna": "applied",
        "ben": "unknown",
    }


async def test_a_lost_update_that_shows_done_holds_up_no_other(
    client: Client, wire: Any, find: Find, changes: Any
) -> None:
    late = Late(wire.inner)
    healthy, wire.inner = wire.inner, late
    await text_of(client, "update_company", company="Acme Inc.", phone="1", fails=True)
    wire.inner = healthy
    await text_of(client, "update_company", company="Acme Inc.", phone="2", fails=True)
    await late.catch_up()
    await facts_of(client, "update_company", company="Acme Inc.", phone="2")
    assert find("companies", name="Acme Inc.")["phone"] == "2"
    assert sorted(one.outcome for one in changes()) == ["applied", "applied", "refused"]


async def test_a_lost_update_is_not_made_again_over_what_a_person_set_since(
    open_client: OpenClient, wire: Any, sandbox: Any, find: Find
) -> None:
    client = await open_client(policy=IMPATIENT)
    healthy, wire.inner = wire.inner, losing_the_answer(wire.inner, before=True)
    await text_of(client, "update_company", company="Acme Inc.", phone="1", fails=True)
    wire.inner = healthy
    sandbox.execute(
        "UPDATE companies SET phone = '3', updated_at = ? WHERE name = 'Acme Inc.'", sandbox.now()
    )
    assert "somebody changed it since: phone is 3 now" in await text_of(
        client, "update_company", company="Acme Inc.", phone="1", fails=True
    )
    assert find("companies", name="Acme Inc.")["phone"] == "3"


async def test_a_colleague_learns_that_what_they_want_to_take_back_was_taken_back(
    open_client: OpenClient, wire: Any, changes: Any
) -> None:
    """Although the answer to the one who did it was lost."""
    anna = await open_client(policy=IMPATIENT, principal="anna")
    ben = await open_client(policy=IMPATIENT, principal="ben")
    unlink = {"contact": "anna.muller@acme-inc.example", "company": "Acme Industries"}
    done = await facts_of(anna, "unlink_contact_from_company", **unlink)
    [change] = done["change_ids"]
    healthy, wire.inner = wire.inner, doing_it_in_the_dark(wire.inner)
    await text_of(anna, "undo_change", change=change, fails=True)
    wire.inner = healthy
    text = await text_of(ben, "undo_change", change=change, fails=True)
    assert text == f"Change {change} was undone already. Nothing was undone."
    assert sorted(one.outcome for one in changes() if one.outcome != "refused") == ["applied", "undone"]


@pytest.mark.parametrize(
    ("tool", "arguments", "reworded"),
    [
        ("log_activity", CALL, {"body": "They said hello"}),
        ("send_outbound_email", MAIL, {"body": "Dear Ms Müller"}),
    ],
)
async def test_what_another_call_found_done_is_not_done_twice_on_purpose(
    client: Client, wire: Any, changes: Any, tool: str, arguments: dict[str, Any], reworded: dict[str, Any]
) -> None:
    """Who made the call has not been told yet, and makes it again."""
    on_purpose = arguments if tool == "send_outbound_email" else arguments | {"repeat": True}
    healthy, wire.inner = wire.inner, doing_it_in_the_dark(wire.inner)
    await text_of(client, tool, **on_purpose, fails=True)
    wire.inner = healthy
    await text_of(client, tool, **arguments | reworded, fails=True)
    assert changes()[-1 if changes()[0].outcome == "refused" else 0].outcome == "applied"
    assert (await facts_of(client, tool, **on_purpose))["repeat"]
    assert len(wire.writes) == 1
    if tool == "log_activity":
        # Told now, the same on purpose is another one.
        await facts_of(client, tool, **on_purpose)
        assert len(wire.writes) == 2


def test_a_day_is_said_where_it_is_not_today() -> None:
    assert clock(datetime(2020, 1, 31, 9, 5, tzinfo=UTC)) == "2020-01-31 09:05 UTC"
    assert clock(datetime.now(UTC)).count(" ") == 1


@pytest.mark.parametrize(
    "other",
    [{"lead": "Quint annual licence"}, {"due_at": "2031-01-31"}, {"type": "meeting"}],
    ids=["on another deal", "due another day", "of another type"],
)
async def test_another_activity_is_not_what_was_lost(
    client: Client, wire: Any, other: dict[str, Any]
) -> None:
    task = {"type": "task", "subject": "Lost one", "lead": "Acme annual licence", "due_at": "2031-02-01"}
    healthy, wire.inner = wire.inner, losing_the_answer(wire.inner, before=True)
    await text_of(client, "log_activity", **task, fails=True)
    wire.inner = healthy
    if "type" in other:
        other, task = {"type": "meeting"}, {name: task[name] for name in ("subject", "lead")}
    await facts_of(client, "log_activity", **task | other)
    assert len(wire.writes) == 2


async def test_what_a_colleague_lost_keeps_nobody_from_telling_their_own(
    open_client: OpenClient, wire: Any
) -> None:
    anna = await open_client(policy=PATIENT, principal="anna")
    ben = await open_client(policy=PATIENT, principal="ben")
    healthy, wire.inner = wire.inner, losing_the_answer(wire.inner, before=True)
    await text_of(anna, "log_activity", **CALL, fails=True)
    wire.inner = healthy
    await facts_of(ben, "log_activity", **CALL | {"body": "Mine"})
    assert len(wire.writes) == 2


@pytest.mark.parametrize(("tool", "arguments"), [("send_outbound_email", MAIL), ("log_activity", CALL)])
async def test_what_was_found_done_is_told_until_somebody_has_heard_it(
    client: Client, wire: Any, tool: str, arguments: dict[str, Any]
) -> None:
    healthy, wire.inner = wire.inner, doing_it_in_the_dark(wire.inner)
    await text_of(client, tool, **arguments, fails=True)
    wire.inner = healthy
    for _ in range(2):
        text = await text_of(client, tool, **arguments | {"body": "In other words"}, fails=True)
        assert "brought no answer; it was done." in text
    assert (await facts_of(client, tool, **arguments))["repeat"]
    assert len(wire.writes) == 1


async def test_what_was_found_done_is_no_other_one_after_ten_minutes(
    client: Client, wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    healthy, wire.inner = wire.inner, doing_it_in_the_dark(wire.inner)
    await text_of(client, "log_activity", **CALL, fails=True)
    wire.inner = healthy
    await text_of(client, "log_activity", **CALL | {"body": "In other words"}, fails=True)
    monkeypatch.setattr(gate, "REPEAT_SECONDS", 0)
    assert (await facts_of(client, "log_activity", **CALL))["repeat"]
    assert len(wire.writes) == 1


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("update_lead", {"lead": "Acme annual licence", "title": "Zebra"}),
        ("delete_lead", {"lead": "Acme annual licence"}),
        ("unlink_contact_from_company", {"contact": "Anna Müller", "company": "Acme Inc."}),
        ("undo_change", {}),
    ],
)
async def test_a_lost_call_that_is_made_again_later_is_told_what_it_did(
    client: Client,
    wire: Any,
    sandbox: Any,
    monkeypatch: pytest.MonkeyPatch,
    tool: str,
    arguments: dict[str, Any],
) -> None:
    if tool == "undo_change":
        done = await facts_of(client, "update_company", company="Acme Inc.", phone="1")
        arguments = {"change": done["change_ids"][0]}
    healthy, wire.inner = wire.inner, doing_it_in_the_dark(wire.inner)
    await text_of(client, tool, **arguments, fails=True)
    wire.inner, sent = healthy, len(wire.writes)
    monkeypatch.setattr(gate, "REPEAT_SECONDS", 0)
    monkeypatch.setattr(calls, "REPEAT_SECONDS", 0)
    assert (await facts_of(client, tool, **arguments))["repeat"]
    assert len(wire.writes) == sent
    # Told, and later, it is another one.
    sandbox.execute("UPDATE leads SET title = 'Acme annual licence' WHERE title LIKE 'Quint annual%'")
    if tool == "delete_lead":
        assert "repeat" not in await facts_of(client, tool, **arguments)
        assert len(wire.writes) == sent + 1
    if tool == "unlink_contact_from_company":
        assert "is not a member" in await text_of(client, tool, **arguments, fails=True)


async def test_one_call_is_not_told_what_another_one_waits_for(client: Client, wire: Any) -> None:
    await facts_of(client, "log_activity", **CALL)
    healthy, wire.inner = wire.inner, doing_it_in_the_dark(wire.inner)
    await text_of(client, "log_activity", **CALL, repeat=True, fails=True)
    wire.inner = healthy
    assert (await facts_of(client, "log_activity", **CALL))["repeat"]
    assert (await facts_of(client, "log_activity", **CALL, repeat=True))["repeat"]
    assert len(wire.writes) == 2


async def test_who_approves_another_email_is_told_of_the_lost_one_each_time(
    open_client: OpenClient, client: Client, wire: Any, ledger: Ledger
) -> None:
    healthy, wire.inner = wire.inner, doing_it_in_the_dark(wire.inner)
    await text_of(client, "send_outbound_email", **MAIL, fails=True)
    wire.inner = healthy
    asking = await open_client(policy=Policy())
    other = MAIL | {"body": "In other words", "repeat": True}
    await text_of(asking, "send_outbound_email", **other, fails=True)
    [waiting] = ledger.waiting()
    assert "brought no answer; it was done." in waiting.preview
    ledger.decide(waiting.id, approved=True, by="page")
    await facts_of(asking, "send_outbound_email", **other)
    assert len(wire.writes) == 2
