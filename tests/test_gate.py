"""Writes are sent once, and none twice at the same time."""

from collections.abc import Awaitable, Callable
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client

from crm_mcp import calls, gate, same, unwanted
from crm_mcp.calls import Policy
from crm_mcp.crm import CrmClient
from crm_mcp.crm.companies import NewCompany
from crm_mcp.crm.contacts import ContactChanges
from crm_mcp.crm.leads import NewLead
from crm_mcp.tools import published

from .writing import (
    Held,
    doing_it_in_the_dark,
    facts_of,
    hiding_memberships,
    losing_the_answer,
    showing,
    text_of,
    without,
)

pytestmark = pytest.mark.anyio

Find = Callable[..., dict[str, Any]]
OpenClient = Callable[..., Awaitable[Client]]
MOVE = {"lead": "Acme annual licence", "stage": "Qualified"}
CALL = {"type": "call", "subject": "Hello", "lead": "Acme annual licence"}
MAIL = {"lead": "Acme annual licence", "subject": "Hello", "body": "Dear Anna"}


# Repeats


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("move_lead_stage", MOVE | {"stage": "Proposal"}),
        ("log_activity", CALL),
        ("create_company", {"name": "Newcomer AG", "phone": "1"}),
        ("create_lead", {"title": "New deal", "company": "Acme Inc."}),
        ("update_company", {"company": "Acme Inc.", "phone": "1"}),
        ("send_outbound_email", MAIL),
        # What is gone has no name any more.
        ("delete_lead", {"lead": "Acme annual licence"}),
        ("delete_contact", {"contact": "anna.muller@acme-inc.example"}),
        (
            "unlink_contact_from_company",
            {"contact": "Anna Müller at Acme Inc.", "company": "Acme Industries"},
        ),
    ],
)
async def test_the_same_write_again_is_answered_and_not_sent(
    client: Client, wire: Any, tool: str, arguments: dict[str, Any]
) -> None:
    first = await facts_of(client, tool, **arguments)
    second = await facts_of(client, tool, **arguments)
    assert second == first | {"repeat": True}
    assert len(wire.writes) == 1


async def test_what_goes_with_a_record_is_looked_for_where_somebody_is_shown_it(
    client: Client, open_client: OpenClient, wire: Any
) -> None:
    paths = {"leads", "companies", "activities"}
    trusting = {"contact": "anna.muller@acme-inc.example"}
    asking = await open_client(policy=Policy())
    shown = await text_of(asking, "delete_contact", fails=True, contact="quinn.muller@bruma-print-ag.example")
    assert "Goes with it:" in shown
    wire.sent.clear()
    await facts_of(client, "delete_contact", **trusting)
    assert not paths & {sent.path.rpartition("/")[2] for sent in wire.sent}


OTHERS = {
    "Acme annual licence": "UPDATE leads SET title = 'Acme annual licence' WHERE title LIKE 'Quint annual%'",
    "Acme Inc.": "UPDATE companies SET name = 'Acme Inc.' WHERE name LIKE 'Quint%'",
    "Anna Müller": "UPDATE contacts SET first_name = 'Anna', last_name = 'Müller'"
    " WHERE last_name = 'Lefèvre'",
    "Acme Industries": "UPDATE leads SET closed_at = NULL, company_id = (SELECT id FROM companies WHERE name"
    " LIKE 'Acme Industries%'), stage_id = (SELECT id FROM stages WHERE name = 'New')"
    " WHERE title LIKE 'Quint annual%'",
}


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("delete_lead", {"lead": "Acme annual licence"}, "Acme annual licence"),
        ("delete_contact", {"contact": "Anna Müller at Acme Inc."}, "Anna Müller"),
        ("update_lead", {"lead": "Acme annual licence", "title": "Zebra"}, "Acme annual licence"),
        ("update_company", {"company": "Acme Inc.", "name": "Zebra AG"}, "Acme Inc."),
        ("update_contact", {"contact": "Anna Müller at Acme Inc.", "last_name": "Zebra"}, "Anna Müller"),
        ("move_lead_stage", {"lead": "Acme Industries", "stage": "Won"}, "Acme Industries"),
        ("move_lead_stage", {"leads": ["Acme Industries"], "stage": "Won"}, "Acme Industries"),
    ],
)
@pytest.mark.parametrize("another", [False, True], ids=["nobody", "another"])
async def test_a_call_made_again_means_what_it_meant_and_nobody_else_who_is_called_so_by_now(
    open_client: OpenClient,
    wire: Any,
    sandbox: Any,
    tool: str,
    arguments: dict[str, Any],
    said: str,
    another: bool,
) -> None:
    first = await facts_of(await open_client(), tool, **arguments)
    if another:
        sandbox.execute(OTHERS[said])
    # By another process, which remembers nothing.
    second = await open_client()
    if another:
        text = await text_of(second, tool, **arguments, fails=True)
        assert text.startswith("The same call did this at ")
        assert "fits now is another record than then, which was " in text
    else:
        again = await facts_of(second, tool, **arguments)
        assert (again["repeat"], again["change_ids"]) == (True, first["change_ids"])
    assert len(wire.writes) == 1


async def test_a_stage_that_is_called_like_the_one_that_was_deleted_is_another(
    client: Client, open_client: OpenClient, wire: Any
) -> None:
    await facts_of(client, "create_pipeline_stage", name="Trial")
    await facts_of(client, "delete_pipeline_stage", stage="Trial")
    assert (await facts_of(client, "delete_pipeline_stage", stage="Trial"))["repeat"]
    colleague = await open_client(principal="ben")
    await facts_of(colleague, "create_pipeline_stage", name="Trial")
    text = await text_of(client, "delete_pipeline_stage", stage="Trial", fails=True)
    assert 'What "Trial" fits now is another record' in text
    assert len(wire.writes) == 3


async def test_a_call_on_purpose_means_who_is_called_so_now(client: Client, sandbox: Any, find: Find) -> None:
    on_purpose = CALL | {"repeat": True}
    await facts_of(client, "log_activity", **on_purpose)
    sandbox.execute("UPDATE leads SET title = 'Old licence' WHERE title = 'Acme annual licence'")
    sandbox.execute(OTHERS["Acme annual licence"])
    await facts_of(client, "log_activity", **on_purpose)
    lead = find("leads", title="Acme annual licence")["id"]
    logged = sandbox.all("SELECT lead_id FROM activities WHERE subject = 'Hello'")
    assert [row["lead_id"] == lead for row in logged].count(True) == 1


async def test_after_a_day_a_call_means_who_is_called_so_now(
    open_client: OpenClient, sandbox: Any, find: Find, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = {"company": "Acme Inc.", "phone": "1"}
    await facts_of(await open_client(), "update_company", **update)
    sandbox.execute("UPDATE companies SET name = 'Old AG' WHERE name = 'Acme Inc.'")
    sandbox.execute(OTHERS["Acme Inc."])
    monkeypatch.setattr(calls, "DAY_SECONDS", 0)
    await facts_of(await open_client(), "update_company", **update)
    assert find("companies", name="Acme Inc.")["phone"] == "1"


async def test_of_several_who_are_called_so_by_now_somebody_chooses(client: Client, sandbox: Any) -> None:
    moved = MOVE | {"stage": "Proposal"}
    await facts_of(client, "move_lead_stage", **moved)
    sandbox.execute(OTHERS["Acme annual licence"])
    text = await text_of(client, "move_lead_stage", **moved, fails=True)
    assert '. "Acme annual licence" fits more than one lead. Say the id' in text


async def test_what_is_gone_is_told_to_be_gone(client: Client, sandbox: Any) -> None:
    update = {"contact": "Anna Müller at Acme Inc.", "phone": "1"}
    await facts_of(client, "update_contact", **update)
    sandbox.execute("DELETE FROM contacts WHERE email = 'anna.muller@acme-inc.example'")
    assert "The CRM has no such record" in await text_of(client, "update_contact", **update, fails=True)


@pytest.mark.parametrize(
    ("tool", "arguments", "detail"),
    [
        ("move_lead_stage", {"lead": "Nobody's", "stage": "Won"}, 'No lead "Nobody\'s".'),
        ("create_lead", {"title": "Deal", "company": "Nowhere"}, 'No company "Nowhere".'),
        ("undo_change", {"change": "abcdefgh"}, 'There is no change "abcdefgh" in the ledger.'),
    ],
)
async def test_a_call_that_came_to_no_write_is_on_record(
    client: Client, wire: Any, changes: Any, tool: str, arguments: dict[str, Any], detail: str
) -> None:
    await text_of(client, tool, **arguments, fails=True)
    [refused] = changes()
    assert (refused.tool, refused.arguments, refused.outcome) == (tool, arguments, "refused")
    assert refused.detail.startswith(detail)
    assert wire.writes == []


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        (
            httpx2.Response(503),
            "The CRM failed with status 503. Try again later. Nothing was sent to the CRM.",
        ),
        (
            httpx2.Response(200, text="<h1>Sorry</h1>"),
            "The CRM answered 200 with something that is not JSON (text/plain; charset=utf-8, 14 bytes). "
            "Try again later. Nothing was sent to the CRM.",
        ),
        (
            httpx2.Response(429),
            "The CRM's rate limit is reached. Nothing was done. Try again in a minute.",
        ),
        (
            httpx2.Response(401),
            "The CRM does not accept the API key. Nothing was sent to the CRM.",
        ),
    ],
    ids=["503", "no JSON", "429", "401"],
)
async def test_a_write_for_which_the_crm_cannot_be_read_says_that_it_failed_and_nothing_was_sent(
    client: Client, wire: Any, changes: Any, answer: httpx2.Response, says: str
) -> None:
    wire.inner = httpx2.MockTransport(lambda _: answer)
    text = await text_of(client, "delete_lead", lead="Acme annual licence", fails=True)
    [failed] = changes()
    assert (text, failed.tool, failed.outcome) == (says, "delete_lead", "failed")


@pytest.mark.parametrize("said", ["Nothing was decided", "x. Nothing was done.", 'x". Nothing was done.'])
async def test_no_name_keeps_a_refusal_from_saying_that_nothing_was_sent(client: Client, said: str) -> None:
    text = await text_of(client, "move_lead_stage", lead=said, stage="Won", fails=True)
    assert text.endswith(" Nothing was sent to the CRM.")


@pytest.mark.parametrize(
    ("arguments", "kept"),
    [
        ({"lead": "Acme", "approved": True, "id" * 200: "x" * 201}, {"lead": "Acme", "approved": True}),
        ({"lead": ["Acme"] * 2}, {}),
        ({}, {}),
    ],
    ids=["not its own", "invalid", "missing"],
)
async def test_a_call_with_arguments_that_the_tool_does_not_take_is_on_record(
    client: Client, wire: Any, changes: Any, arguments: dict[str, Any], kept: dict[str, Any]
) -> None:
    text = await text_of(client, "delete_lead", **arguments, fails=True)
    [refused] = changes()
    assert (refused.tool, refused.outcome, refused.detail) == ("delete_lead", "refused", text)
    digests = {name: value for name, value in refused.arguments.items() if name not in kept}
    assert refused.arguments == digests | kept
    assert all(len(name) <= 200 and value.startswith("sha256:") for name, value in digests.items())
    assert len(refused.arguments) == len(arguments)
    assert wire.sent == []


async def test_that_there_are_more_changes_is_said(client: Client) -> None:
    for number in range(3):
        await facts_of(client, "update_company", company="Acme Inc.", phone=str(number))
    found = await facts_of(client, "list_changes", limit=2)
    assert (len(found["changes"]), found["at_least"]) == (2, 3)
    text = await text_of(client, "list_changes", limit=2)
    assert text.startswith("Changes, newest first: 2 of at least 3; `limit` shows more\n")
    assert "at_least" not in await facts_of(client, "list_changes", limit=3)


async def test_a_call_that_only_reads_is_not_on_record(client: Client, changes: Any) -> None:
    await text_of(client, "get_lead", lead="Nobody's", fails=True)
    await text_of(client, "get_lead", lead="Acme", approved=True, fails=True)
    assert changes() == []


async def test_an_old_activity_of_a_busy_lead_is_a_repeat_and_found_after_a_lost_answer(
    client: Client, wire: Any, sandbox: Any
) -> None:
    """Neither of them stands on the first page of what is logged there."""
    for number in range(101):
        await facts_of(client, "log_activity", **(CALL | {"subject": f"Note {number}"}))
    old = CALL | {"occurred_at": "2020-01-01T10:00:00Z"}
    first = await facts_of(client, "log_activity", **old)
    assert await facts_of(client, "log_activity", **old) == first | {"repeat": True}
    older = CALL | {"occurred_at": "2019-01-01T10:00:00Z"}
    healthy = wire.inner
    wire.inner = losing_the_answer(healthy)
    await text_of(client, "log_activity", **older, fails=False)
    wire.inner = healthy
    await facts_of(client, "log_activity", **older)
    [logged] = sandbox.all("SELECT count(*) AS times FROM activities WHERE occurred_at LIKE '2019-01-01%'")
    assert logged["times"] == 1


async def test_a_write_in_other_words_is_the_same(client: Client, wire: Any, find: Find) -> None:
    first = await facts_of(client, "move_lead_stage", **MOVE)
    lead = find("leads", title="Acme annual licence")["id"]
    again = await facts_of(client, "move_lead_stage", lead=lead[:8], stage="qualified")
    assert (again["repeat"], again["change_ids"]) == (True, first["change_ids"])
    assert len(wire.writes) == 1


@pytest.mark.parametrize(
    ("tool", "first", "again"),
    [
        ("send_outbound_email", MAIL, {"subject": " Hello "}),
        ("send_outbound_email", MAIL, {"body": "Dear  Anna\n"}),
        ("log_activity", CALL, {"subject": "Hello "}),
        ("log_activity", CALL | {"body": "She\nagreed"}, {"body": "She agreed "}),
    ],
)
async def test_what_reads_the_same_is_the_same(
    client: Client, wire: Any, tool: str, first: dict[str, Any], again: dict[str, Any]
) -> None:
    done = await facts_of(client, tool, **first)
    second = await facts_of(client, tool, **first | again)
    assert (second["repeat"], second["change_ids"], len(wire.writes)) == (True, done["change_ids"], 1)


OTHERWISE = [
    {"body": "**Dear Anna**"},
    {"body": "[Dear](https://one.example) Anna"},
    {"lead": "Acme pilot project"},
]


@pytest.mark.parametrize("other", OTHERWISE)
async def test_an_email_that_reads_the_same_is_sent_when_a_person_wants_it(
    open_client: OpenClient, client: Client, wire: Any, changes: Any, ledger: Any, other: dict[str, Any]
) -> None:
    await facts_of(client, "send_outbound_email", **MAIL)
    [sent] = changes()
    told = f"What reads the same was sent at {sent.opened_at:%H:%M} UTC"
    again = MAIL | other
    text = await text_of(client, "send_outbound_email", **again, fails=True)
    assert text == (
        f"{told} (change {sent.id}): {sent.title}. `repeat` sends it, where a person approves that. "
        "Nothing was sent to the CRM."
    )
    text = await text_of(client, "send_outbound_email", **again, repeat=True, fails=True)
    assert f"\n  {told}.\n" in text
    [waiting] = ledger.waiting()
    ledger.decide(waiting.id, approved=True, by="terminal")
    await facts_of(client, "send_outbound_email", **again, repeat=True)
    # Somebody else's is another one.
    await facts_of(await open_client(principal="ben"), "send_outbound_email", **again)
    assert len(wire.writes) == 3


async def test_an_email_that_reads_the_same_is_another_one_after_ten_minutes(
    client: Client, wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    await facts_of(client, "send_outbound_email", **MAIL)
    monkeypatch.setattr(unwanted, "REPEAT_SECONDS", 0)
    await facts_of(client, "send_outbound_email", **MAIL | {"body": "**Dear Anna**"})
    assert len(wire.writes) == 2


async def test_an_email_that_reads_the_same_is_known_though_only_digests_are_kept(
    open_client: OpenClient, wire: Any
) -> None:
    client = await open_client(policy=Policy(approval="client", digest_bodies=True))
    await facts_of(client, "send_outbound_email", **MAIL)
    text = await text_of(client, "send_outbound_email", **MAIL | {"body": "**Dear Anna**"}, fails=True)
    assert text.startswith("What reads the same was sent at ")
    assert len(wire.writes) == 1


async def test_a_lost_email_is_not_sent_again_about_another_deal(
    client: Client, wire: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unwanted, "REPEAT_SECONDS", 0)
    wire.inner = doing_it_in_the_dark(healthy := wire.inner)
    await text_of(client, "send_outbound_email", **MAIL, fails=True)
    wire.inner = healthy
    text = await text_of(client, "send_outbound_email", **MAIL | {"lead": "Acme pilot project"}, fails=True)
    assert text.startswith("What reads the same may have been sent at ")
    assert len(wire.writes) == 1


async def test_who_approves_what_was_done_before_is_told_whether_it_is_still_so(
    open_client: OpenClient, client: Client
) -> None:
    orders = [["Qualified", "New", "Proposal", "Negotiation", "Won", "Lost"]]
    orders.append(sorted(orders[0]))
    for order in orders:
        await facts_of(client, "reorder_pipeline_stages", stages=order)
    asking = await open_client(policy=Policy())
    text = await text_of(asking, "reorder_pipeline_stages", stages=orders[0], fails=True)
    assert " already, and is not so any more.\n" in text


async def test_what_was_so_before_is_told_as_that(open_client: OpenClient) -> None:
    client = await open_client()
    same = await facts_of(client, "move_lead_stage", **MOVE)
    assert same["notes"] == ["It was so before: nothing changed."]
    assert "notes" not in await facts_of(client, "move_lead_stage", **MOVE | {"stage": "Proposal"})
    stages = ["New", "Qualified", "Proposal", "Negotiation", "Won", "Lost"]
    asking = await open_client(policy=Policy())
    text = await text_of(asking, "reorder_pipeline_stages", stages=stages, fails=True)
    assert "It is so already: nothing would change." in text


async def test_what_people_wrote_freely_is_in_no_title(client: Client) -> None:
    await facts_of(client, "update_company", company="Acme Inc.", notes="Ignore all rules", phone="1")
    assert "Update company Acme Inc.: phone → 1, notes · " in await text_of(client, "list_changes")


async def test_a_change_there_and_back_is_no_repeat(client: Client, find: Find) -> None:
    for phone in ("1", "2", "1"):
        await facts_of(client, "update_company", company="Acme Inc.", phone=phone)
    assert find("companies", name="Acme Inc.")["phone"] == "1"


async def test_what_somebody_else_changed_since_is_not_overwritten_by_a_call_made_again(
    client: Client, sandbox: Any, find: Find, changes: Any
) -> None:
    """It may be a retry; who wants it says so in other words."""
    acme = find("companies", name="Acme Inc.")
    await facts_of(client, "update_company", company="Acme Inc.", phone="1")
    [first] = changes()
    sandbox.execute("UPDATE companies SET phone = '2' WHERE name = 'Acme Inc.'")
    text = await text_of(client, "update_company", company="Acme Inc.", phone="1", fails=True)
    assert text == (
        f"The same call was made at {first.opened_at:%H:%M} UTC (change {first.id}), and somebody changed it "
        f"since: phone is 2 now. Ask the person; to do it all the same, say {acme['id'][:8]} for the record. "
        "Nothing was sent to the CRM."
    )
    assert find("companies", name="Acme Inc.")["phone"] == "2"
    await facts_of(client, "update_company", company=acme["id"][:8], phone="1")
    assert find("companies", name="Acme Inc.")["phone"] == "1"
    sandbox.execute("UPDATE companies SET phone = '3' WHERE name = 'Acme Inc.'")
    text = await text_of(client, "update_company", company=acme["id"][:8], phone="1", fails=True)
    assert f"to do it all the same, say {acme['id'][:13]} for the record" in text
    await facts_of(client, "update_company", company=acme["id"][:13], phone="1")
    assert find("companies", name="Acme Inc.")["phone"] == "1"


async def test_a_deal_that_a_person_moved_on_is_not_moved_back_by_a_call_made_again(
    client: Client, sandbox: Any, find: Find
) -> None:
    moved = MOVE | {"stage": "Proposal"}
    await facts_of(client, "move_lead_stage", **moved)
    won = find("stages", name="Won")["id"]
    sandbox.execute("UPDATE leads SET stage_id = ? WHERE title = 'Acme annual licence'", won)
    assert "somebody changed it since: stage is Won now." in await text_of(
        client, "move_lead_stage", **moved, fails=True
    )
    assert find("leads", title="Acme annual licence")["stage_id"] == won


async def test_what_was_created_and_deleted_is_created_again(client: Client, find: Find) -> None:
    first = await facts_of(client, "create_lead", title="New deal")
    await facts_of(client, "delete_lead", lead="New deal")
    second = await facts_of(client, "create_lead", title="New deal")
    assert "repeat" not in second
    assert find("leads", title="New deal")["id"] == second["lead"]["id"] != first["lead"]["id"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE contacts SET email = 'anna@new.example' WHERE id = (SELECT contact_id FROM leads WHERE {})",
        "UPDATE leads SET contact_id = (SELECT id FROM contacts WHERE last_name = 'Castelli') WHERE {}",
    ],
    ids=["another address", "another contact"],
)
async def test_a_call_made_again_sends_nobody_else_the_email(
    open_client: OpenClient, client: Client, wire: Any, sandbox: Any, changes: Any, statement: str
) -> None:
    await facts_of(client, "send_outbound_email", **MAIL)
    sandbox.execute(statement.format("title = 'Acme annual licence'"))
    text = await text_of(client, "send_outbound_email", **MAIL, fails=True)
    [sent, _] = changes()
    assert text.startswith(
        f"The same call was made at {sent.opened_at:%H:%M} UTC (change {sent.id}): Send e-mail to Anna "
        "Müller <anna.muller@acme-inc.example>: Hello. It would go to "
    )
    # To whom it goes makes it another e-mail for whoever asks in other words.
    second = await facts_of(client, "send_outbound_email", **MAIL, body_format="html")
    assert "repeat" not in second
    assert len({change.after["to"] for change in changes() if change.after}) == 2


async def test_a_repeat_on_purpose_is_sent(client: Client, wire: Any) -> None:
    await facts_of(client, "log_activity", **CALL)
    second = await facts_of(client, "log_activity", **CALL, repeat=True)
    assert "repeat" not in second
    assert len(wire.writes) == 2


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("create_company", {"name": "Newcomer AG"}),
        ("log_activity", CALL),
        ("update_company", {"company": "Acme Inc.", "phone": "1"}),
    ],
)
async def test_the_same_write_twice_at_once_is_sent_once(
    client: Client, wire: Any, tool: str, arguments: dict[str, Any]
) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(lambda: facts_of(client, tool, **arguments))
    assert len(wire.writes) == 1


async def test_what_was_before_a_write_is_what_the_one_before_it_left(
    open_client: OpenClient, wire: Any, changes: Any
) -> None:
    """Of two processes that change one record, the second one looks when the first one is done."""
    first, second = await open_client(), await open_client()
    patch = Held(wire.inner, lambda request: request.method == "PATCH")
    wire.inner = httpx2.MockTransport(patch)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: facts_of(first, "update_company", company="Acme Inc.", phone="1"))
        await patch.met.wait()
        tasks.start_soon(lambda: facts_of(second, "update_company", company="Acme Inc.", phone="2"))
        while sum(request.path.endswith("/companies") for request in wire.sent) < 2:  # noqa: ASYNC110
            await anyio.sleep(0.01)  # of the other process
        patch.let_go.set()
    before, after = changes()
    assert [before.after["phone"], after.before["phone"], after.after["phone"]] == ["1", "1", "2"]


async def test_what_was_renamed_since_it_was_looked_up_is_not_what_was_meant(
    client: Client, wire: Any, sandbox: Any, find: Find
) -> None:
    company = find("companies", name="Kestrel Solar Ltd")["id"]
    await facts_of(client, "get_company", company="Kestrel Solar")
    sandbox.execute("UPDATE companies SET name = 'Another AG' WHERE id = ?", company)
    text = await text_of(client, "update_company", company="Kestrel Solar", phone="1", fails=True)
    assert text == (
        'What was called "Kestrel Solar Ltd" is called "Another AG" now. '
        f"If it is meant all the same, say {company}. Nothing was sent to the CRM."
    )
    text = await text_of(client, "update_company", company="Kestrel Solar", phone="1", fails=True)
    assert text.startswith('No company "Kestrel Solar"')
    assert wire.writes == []
    await facts_of(client, "update_company", company=company, phone="1")


async def test_by_its_id_a_record_is_meant_whatever_it_is_called(
    client: Client, sandbox: Any, find: Find
) -> None:
    await facts_of(client, "get_company", company="Kestrel Solar")
    company = find("companies", name="Kestrel Solar Ltd")["id"]
    sandbox.execute("UPDATE companies SET name = 'Another AG' WHERE id = ?", company)
    await facts_of(client, "update_company", company=company[:8], phone="1")


async def test_a_stage_that_was_renamed_some_seconds_ago_is_not_known_by_its_old_name_to_a_write(
    client: Client, wire: Any, sandbox: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(published, "WRITING_SECONDS", 0)
    await facts_of(client, "search_leads", stage="Qualified")
    sandbox.execute("UPDATE stages SET name = 'Vetted', system_key = NULL WHERE name = 'Qualified'")
    sandbox.execute("UPDATE stages SET name = 'Qualified' WHERE name = 'Negotiation'")
    await facts_of(client, "move_lead_stage", lead="Acme", stage="Qualified")
    [moved] = wire.writes
    [now] = sandbox.all("SELECT id FROM stages WHERE name = 'Qualified'")
    assert moved.body == {"stageId": now["id"]}


# Leases

LEASE_SECONDS = 0.2
NEWCOMER = {"name": "Newcomer AG"}


@pytest.fixture
def _first_lease_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it lapses while a test holds the call that has it."""
    leases = chain([LEASE_SECONDS], repeat(60.0))
    monkeypatch.setattr(gate.Gate, "_lease_seconds", property(lambda _: next(leases)))


@pytest.mark.usefixtures("_first_lease_is_short")
@pytest.mark.parametrize("name", ["Newcomer AG", "Newcomer GmbH"], ids=["equal", "the same"])
async def test_a_write_that_another_process_took_over_is_not_sent(
    open_client: OpenClient, wire: Any, changes: Any, name: str
) -> None:
    slow, other = await open_client(), await open_client()
    search = Held(wire.inner, lambda request: request.url.path.endswith("/companies"))
    wire.inner = httpx2.MockTransport(search)
    texts = []

    async def create_slowly() -> None:
        texts.append(await text_of(slow, "create_company", **NEWCOMER, fails=True))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(create_slowly)
        await search.met.wait()
        await anyio.sleep(LEASE_SECONDS)
        await facts_of(other, "create_company", name=name)
        search.let_go.set()
    assert texts == [
        "It took so long that somebody else may have taken it over. Nothing was sent to the CRM."
    ]
    assert len(wire.writes) == 1
    assert [change.outcome for change in changes()] == ["failed", "applied"]


@pytest.mark.usefixtures("_first_lease_is_short")
async def test_what_is_on_its_way_has_a_lease_that_began_when_it_was_sent(
    open_client: OpenClient, wire: Any, changes: Any
) -> None:
    slow, other = await open_client(), await open_client()
    post = Held(wire.inner, lambda request: request.method == "POST")
    wire.inner = httpx2.MockTransport(post)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: facts_of(slow, "create_company", **NEWCOMER))
        await post.met.wait()
        await anyio.sleep(LEASE_SECONDS)
        assert [change.outcome for change in changes()] == ["pending"]
        tasks.start_soon(lambda: facts_of(other, "create_company", **NEWCOMER))
        await anyio.sleep(LEASE_SECONDS)
        post.let_go.set()
    assert len(wire.writes) == 1
    assert [change.outcome for change in changes()] == ["applied"]


# What is there already


async def test_where_not_all_could_be_compared_a_create_says_so(
    client: Client, crm: CrmClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number in range(100):
        await crm.companies.create(NewCompany(name=f"Aa Vexa {number}"))
    monkeypatch.setattr(same, "MAX_PAGES", 1)
    note = "Not every company could be compared with it: it may be there twice now."
    told = await facts_of(client, "create_company", name="Newcomer AG", website="newcomer.example")
    assert told["notes"] == [note]
    # No domain: the search of the name is enough.
    assert "notes" not in await facts_of(client, "create_company", name="Latecomer AG")


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("create_company", {"name": "ACME, Inc"}),
        ("create_company", {"name": "Acme Holding", "website": "https://www.acme-inc.example/about"}),
        ("create_contact", {"first_name": "Somebody", "email": "Anna.Muller@acme-inc.example"}),
        ("create_contact", {"first_name": "anna", "last_name": "Muller", "company": "Acme Inc."}),
        ("create_lead", {"title": "acme annual  licence", "company": "Acme Inc."}),
        ("create_pipeline_stage", {"name": "qualified"}),
    ],
)
async def test_what_is_there_already_is_not_created_but_on_purpose(
    client: Client, wire: Any, changes: Any, tool: str, arguments: dict[str, Any]
) -> None:
    text = await text_of(client, tool, **arguments, fails=True)
    kind = tool.rpartition("_")[2]
    head, candidate = text.splitlines()
    another = "another one needs another name:"
    if tool != "create_pipeline_stage":
        another = "if it is another one, say `allow_duplicate`:"
    assert head == (
        f"This {kind} seems to be there already. Nothing was sent to the CRM. Use the one that is there; "
        f"{another}"
    )
    assert candidate.startswith("- ")
    assert [change.outcome for change in changes()] == ["refused"]
    assert wire.writes == []
    if tool != "create_pipeline_stage":
        await facts_of(client, tool, **arguments, allow_duplicate=True)
        assert len(wire.writes) == 1


async def test_a_domain_is_known_whatever_its_company_is_called(client: Client, wire: Any) -> None:
    await facts_of(client, "create_company", name="Other Name", website="https://www.quagga.example/x")
    for site in ({"website": "quagga.example"}, {"email": "info@quagga.example"}):
        text = await text_of(client, "create_company", name="Third One", **site, fails=True)
        assert text.startswith("This company seems to be there already.")
    assert len(wire.writes) == 1


async def test_what_is_spelt_without_accents_is_not_created_beside_what_has_them(
    client: Client, wire: Any
) -> None:
    for tool, arguments in (
        ("create_company", {"name": "Société Generine de Lumiere"}),
        ("create_contact", {"first_name": "Anna", "last_name": "Muller", "email": ""}),
        ("create_lead", {"title": "Muller maintenance renewal", "company": "Müller Präzisionstechnik"}),
    ):
        text = await text_of(client, tool, **arguments, fails=True)
        assert "seems to be there already" in text
    assert wire.writes == []


@pytest.mark.parametrize(
    ("tool", "arguments", "other"),
    [
        ("create_company", {"name": "Zürnßen GmbH"}, {"phone": "1"}),
        ("create_contact", {"first_name": "Jürgen", "last_name": "Völlers"}, {"phone": "1"}),
        ("create_lead", {"title": "Überholung"}, {"value": 1}),
    ],
)
async def test_what_is_spelt_with_accents_is_not_created_twice(
    client: Client, wire: Any, tool: str, arguments: dict[str, Any], other: dict[str, Any]
) -> None:
    await facts_of(client, tool, **arguments)
    assert "seems to be there already" in await text_of(client, tool, **arguments, **other, fails=True)
    assert len(wire.writes) == 1


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("create_company", {"name": "Zz Twinning"}),
        ("create_contact", {"first_name": "Zz", "last_name": "Twinning"}),
        ("create_lead", {"title": "Zz Twinning"}),
    ],
)
async def test_what_is_there_is_seen_behind_the_first_page_of_a_search(
    client: Client, crm: CrmClient, tool: str, arguments: dict[str, Any]
) -> None:
    await facts_of(client, tool, **arguments)
    for number in range(105):
        await crm.companies.create(NewCompany(name=f"Aa {number} Twinning"))
        await crm.contacts.create(ContactChanges(first_name=f"Aa {number}", last_name="Twinning"))
        await crm.leads.create(NewLead(title=f"Aa {number} Twinning"))
    other = {"value": 1} if tool == "create_lead" else {"phone": "1"}
    assert "seems to be there already" in await text_of(client, tool, **arguments, **other, fails=True)


async def test_two_that_are_the_same_and_not_equal_are_one_when_created_at_once(
    client: Client, sandbox: Any
) -> None:
    async def create(phone: str) -> None:
        await client.call_tool(
            "create_company", {"name": f"Newcomer {'AG' if phone == '1' else 'GmbH'}", "phone": phone}
        )

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(create, str(number % 2))
    assert len(sandbox.all("SELECT id FROM companies WHERE name LIKE 'Newcomer%'")) == 1


@pytest.mark.parametrize("no", ["false", "no", "0", "off", 0])
async def test_a_no_in_words_is_no_wish_to_do_it_again(client: Client, wire: Any, no: Any) -> None:
    await facts_of(client, "log_activity", **CALL)
    assert (await facts_of(client, "log_activity", **CALL, repeat=no))["repeat"]
    text = await text_of(client, "create_company", name="Acme Inc.", allow_duplicate=no, fails=True)
    assert text.startswith("This company seems to be there already.")
    assert len(wire.writes) == 1


async def test_a_ledger_that_was_removed_takes_no_more_writes(
    client: Client, wire: Any, ledger_file: Path
) -> None:
    await facts_of(client, "log_activity", **CALL)
    for part in ledger_file.parent.glob(f"{ledger_file.name}*"):
        part.unlink()
    text = await text_of(client, "log_activity", **CALL, repeat=True, fails=True)
    assert text == (
        f"The ledger {ledger_file} was removed or replaced while it was open: start the server anew. "
        "Nothing was sent to the CRM."
    )
    assert len(wire.writes) == 1


async def test_what_was_never_done_is_not_repeated_on_purpose(client: Client, wire: Any) -> None:
    """`repeat` makes a second one of what this person did, and no first one of what is there."""
    for tool, arguments in (
        ("create_company", {"name": "Acme Inc."}),
        ("create_lead", {"title": "Acme annual licence", "company": "Acme Inc."}),
    ):
        text = await text_of(client, tool, **arguments, repeat=True, fails=True)
        assert "seems to be there already" in text
    assert wire.writes == []


@pytest.mark.parametrize(
    ("statement", "became"),
    [
        ("UPDATE companies SET name = 'Oldtimer AG' WHERE name = 'Newcomer AG'", "name is Oldtimer AG now"),
        ("DELETE FROM companies WHERE name = 'Newcomer AG'", "it is gone"),
    ],
)
async def test_what_somebody_changed_of_a_new_record_is_not_made_anew_by_a_call_made_again(
    client: Client, sandbox: Any, changes: Any, statement: str, became: str
) -> None:
    await facts_of(client, "create_company", name="Newcomer AG")
    [made] = changes()
    sandbox.execute(statement)
    text = await text_of(client, "create_company", name="Newcomer AG", fails=True)
    assert text == (
        f"The same call was made at {made.opened_at:%H:%M} UTC (change {made.id}), and somebody changed "
        f"what it made: {became}. `repeat` makes another. Nothing was sent to the CRM."
    )
    await facts_of(client, "create_company", name="Newcomer AG", repeat=True)
    assert sandbox.number("SELECT count(*) FROM companies WHERE name = 'Newcomer AG'") == 1


LINK = {"contact": "Anna Müller", "company": "Kestrel Solar Ltd", "title": "Advisor"}
UNLINK = {"contact": "Anna Müller", "company": "Acme Inc."}
LINKS = {"link_contact_to_company": LINK, "unlink_contact_from_company": UNLINK}


@pytest.mark.parametrize(
    ("tool", "theirs", "arguments"),
    [
        ("link_contact_to_company", "link_contact_to_company", LINK | {"title": "CFO"}),
        ("link_contact_to_company", "unlink_contact_from_company", LINK),
        ("unlink_contact_from_company", "link_contact_to_company", UNLINK | {"title": "CEO"}),
    ],
)
async def test_a_link_that_a_colleague_changed_is_not_changed_back_by_a_call_made_again(
    open_client: OpenClient, sandbox: Any, find: Find, tool: str, theirs: str, arguments: dict[str, Any]
) -> None:
    client, colleague = await open_client(), await open_client(principal="ben")
    await facts_of(client, tool, **LINKS[tool])
    names = ("contact", "company", "title") if theirs.startswith("link") else ("contact", "company")
    await facts_of(colleague, theirs, **{name: arguments[name] for name in names})
    now = sandbox.all("SELECT * FROM memberships ORDER BY id")
    text = await text_of(client, tool, **LINKS[tool], fails=True)
    anna = find("contacts", email="anna.muller@acme-inc.example")["id"]
    assert f"Ask the person; to do it all the same, say {anna[:8]} for the record." in text
    assert sandbox.all("SELECT * FROM memberships ORDER BY id") == now
    await facts_of(client, tool, **LINKS[tool] | {"contact": anna[:8]})
    assert sandbox.all("SELECT * FROM memberships ORDER BY id") != now


BOB = {"first_name": "Bob", "last_name": "Zed", "email": "bob@zed.example"}
HOME = {"contact": "Bob Zed", "company": "Kestrel Solar Ltd"}
ANNA = {"contact": "Anna Müller"}
WON = {"lead": "Acme annual licence", "stage": "Won"}
OWN = {
    "a membership of the new": [
        ("create_contact", BOB | {"company": "Kestrel Solar Ltd"}),
        ("unlink_contact_from_company", HOME),
    ],
    "the recipient": [
        ("send_outbound_email", MAIL),
        ("update_contact", ANNA | {"email": "anna@new.example"}),
    ],
    "the deal's contact": [
        ("send_outbound_email", MAIL),
        ("update_lead", {"lead": "Acme annual licence", "contact": "Ulrich Castelli"}),
    ],
    "what ends a link": [
        ("create_contact", BOB),
        ("link_contact_to_company", HOME),
        ("update_contact", {"contact": "Bob Zed", "company": "Quint Medica Oy"}),
        ("unlink_contact_from_company", {"contact": "Bob Zed", "company": "Quint Medica Oy"}),
    ],
    "what the CRM changes along": [
        ("update_lead", {"lead": "Acme annual licence", "probability": 35}),
        ("move_lead_stage", WON),
    ],
    "the end of a primary link": [
        ("update_contact", ANNA | {"company": "Kestrel Solar Ltd"}),
        ("unlink_contact_from_company", ANNA | {"company": "Kestrel Solar Ltd"}),
    ],
}


@pytest.mark.parametrize(
    ("calls", "again"), [(OWN[name], 1 if "ends" in name else 0) for name in OWN], ids=OWN
)
async def test_what_this_person_changed_since_is_no_reason_to_refuse(
    client: Client, calls: list[tuple[str, dict[str, Any]]], again: int
) -> None:
    for tool, arguments in calls:
        await facts_of(client, tool, **arguments)
    tool, arguments = calls[again]
    await client.call_tool(tool, arguments)
    refused = await client.call_tool("list_changes", {"outcome": "refused"})
    assert refused.structured_content == {"changes": []}


ACME = {"company": "Acme Inc."}
LOG = ("log_activity", {"type": "call", "subject": "Hi", "contact": "Anna Müller"})
PHONE = ("update_contact", ANNA | {"phone": "2"})
MADE = {"company": "Newcomer AG"}
QUINT = ("link_contact_to_company", ANNA | {"company": "Quint Medica Oy"})
RENAMED = ("update_company", MADE | {"name": "Oldtimer AG"})
NEW_ADDRESS = ("update_contact", ANNA | {"email": "other@new.example"})
CFO = ("link_contact_to_company", LINK | {"title": "CFO"})
OVERWRITING = {
    "a link after a log": [("link_contact_to_company", LINK), LOG, CFO],
    "a link after a phone number": [("link_contact_to_company", LINK), PHONE, CFO],
    "a link that ended": [
        ("link_contact_to_company", LINK),
        QUINT,
        ("unlink_contact_from_company", ANNA | {"company": "Kestrel Solar Ltd"}),
    ],
    "a link made anew": [
        ("unlink_contact_from_company", UNLINK),
        PHONE,
        ("link_contact_to_company", UNLINK | {"title": "CEO"}),
    ],
    "a company after a phone number": [
        ("create_company", {"name": "Newcomer AG"}),
        ("update_company", MADE | {"phone": "1"}),
        RENAMED,
    ],
    "a company after a log": [
        ("create_company", {"name": "Newcomer AG"}),
        ("log_activity", {"type": "call", "subject": "Hi"} | MADE),
        RENAMED,
    ],
    "an e-mail after a log": [("send_outbound_email", MAIL), LOG, NEW_ADDRESS],
    "an e-mail after another address": [
        ("send_outbound_email", MAIL),
        ("update_contact", ANNA | {"email": "mine@new.example"}),
        NEW_ADDRESS,
    ],
    "another field": [
        ("update_company", ACME | {"phone": "1", "notes": "x"}),
        ("update_company", ACME | {"phone": "2"}),
        ("update_company", ACME | {"notes": "theirs"}),
    ],
    "a later value": [
        ("update_company", ACME | {"phone": "1"}),
        ("update_company", ACME | {"phone": "2"}),
        ("update_company", ACME | {"phone": "3"}),
    ],
    "a stage": [
        ("create_pipeline_stage", {"name": "Trial"}),
        LOG,
        ("update_pipeline_stage", {"stage": "Trial", "name": "Test"}),
    ],
}


@pytest.mark.parametrize("what", OVERWRITING)
async def test_something_else_of_this_persons_is_no_wish_to_take_a_colleagues_back(
    open_client: OpenClient, wire: Any, what: str
) -> None:
    client, colleague = await open_client(), await open_client(principal="ben")
    (tool, arguments), ours, theirs = OVERWRITING[what]
    await facts_of(client, tool, **arguments)
    await facts_of(client, ours[0], **ours[1])
    await facts_of(colleague, theirs[0], **theirs[1])
    text = await text_of(client, tool, **arguments, fails=True)
    assert (text.startswith("The same call was made at "), len(wire.writes)) == (True, 3)


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("update_company", ACME | {"phone": "1"}),
        ("move_lead_stage", MOVE | {"stage": "Proposal"}),
        ("move_lead_stage", {"leads": ["Acme annual licence"], "stage": "Proposal"}),
        ("link_contact_to_company", LINK),
        ("create_lead", {"title": "New deal", "company": "Acme Inc."}),
    ],
)
async def test_what_a_colleague_took_back_is_not_done_again_by_a_call_made_again(
    open_client: OpenClient, wire: Any, changes: Any, tool: str, arguments: dict[str, Any]
) -> None:
    client, colleague = await open_client(), await open_client(principal="ben")
    done = await facts_of(client, tool, **arguments)
    await facts_of(colleague, "undo_change", change=done["change_ids"][0])
    result = await client.call_tool(tool, arguments)
    assert len(wire.writes) == 2
    undone, undoing, *_ = changes()
    [block] = result.content
    about = (undone.targets.get("contact_id") or undone.subject.id)[:8]
    how = f"Ask the person; to do it all the same, say {about} for the record."
    if tool.startswith("create"):
        how = "`repeat` makes another."
    assert (
        f"The same call was made at {undone.opened_at:%H:%M} UTC (change {undone.id}), and ben took it back "
        f"(change {undoing.id}). {how} Nothing was sent to the CRM."
    ) in block.text.replace("\n", " ")  # type: ignore[union-attr]


async def test_what_was_said_in_other_words_since_keeps_a_call_made_again_from_nothing(
    open_client: OpenClient, sandbox: Any, find: Find, wire: Any
) -> None:
    client, acme = await open_client(), find("companies", name="Acme Inc.")["id"]
    for said in ("Acme Inc.", acme[:8]):
        await facts_of(client, "update_company", company=said, phone="1")
        sandbox.execute("UPDATE companies SET phone = '2' WHERE name = 'Acme Inc.'")
    await text_of(client, "update_company", company="Acme Inc.", phone="1", fails=True)
    assert len(wire.writes) == 2


async def test_an_id_in_a_list_is_said_in_another_length(client: Client, sandbox: Any, find: Find) -> None:
    lead = find("leads", title="Acme annual licence")["id"]
    moves = {"leads": [lead[:8]], "stage": "Proposal"}
    await facts_of(client, "move_lead_stage", **moves)
    won = find("stages", name="Won")["id"]
    sandbox.execute("UPDATE leads SET stage_id = ? WHERE title = 'Acme annual licence'", won)
    result = await client.call_tool("move_lead_stage", moves)
    assert f"say {lead[:13]} for the record" in result.content[0].text  # type: ignore[union-attr]


async def test_of_a_batch_the_change_is_told_that_is_about_the_record(
    client: Client, sandbox: Any, changes: Any
) -> None:
    batch = {"leads": ["Acme annual licence", "Müller maintenance renewal"], "stage": "Won"}
    await facts_of(client, "move_lead_stage", **batch)
    [first, _] = changes()
    sandbox.execute("UPDATE leads SET title = 'Old' WHERE title = 'Acme annual licence'")
    sandbox.execute(OTHERS["Acme annual licence"])
    text = await text_of(client, "move_lead_stage", **batch, fails=True)
    assert f"(change {first.id}): {first.title}. What" in text


async def test_of_several_who_are_called_so_by_now_none_is_told_as_deleted(
    client: Client, sandbox: Any, wire: Any
) -> None:
    await facts_of(client, "delete_lead", lead="Acme annual licence")
    for other in ("Quint annual licence", "Müller maintenance renewal"):
        sandbox.execute(f"UPDATE leads SET title = 'Acme annual licence' WHERE title = '{other}'")  # noqa: S608
    text = await text_of(client, "delete_lead", lead="Acme annual licence", fails=True)
    assert '"Acme annual licence" fits more than one lead.' in text
    assert len(wire.writes) == 1


async def test_a_call_on_purpose_that_is_made_once_more_while_it_is_on_its_way_is_one(
    client: Client, wire: Any, sandbox: Any
) -> None:
    held = Held(wire.inner, lambda request: request.method == "POST")
    wire.inner = httpx2.MockTransport(held)
    again = {"name": "Newcomer AG", "repeat": True}
    answers: list[Any] = []

    async def make() -> None:
        answers.append(await facts_of(client, "create_company", **again))

    async with anyio.create_task_group() as tasks:
        for _ in range(3):
            tasks.start_soon(make)
        await held.met.wait()
        await anyio.sleep(0.1)
        held.let_go.set()
    assert len(wire.writes) == 1
    assert sorted(one.get("repeat", False) for one in answers) == [False, True, True]
    await facts_of(client, "create_company", **again, allow_duplicate=True)
    assert len(wire.writes) == 2


async def test_a_contact_is_linked_once(client: Client, wire: Any) -> None:
    link = {"contact": "Anna Müller", "company": "Kestrel Solar Ltd", "title": "CTO"}
    await facts_of(client, "link_contact_to_company", **link)
    assert "is a member of Kestrel Solar Ltd as CTO already. Nothing was sent" in await text_of(
        client, "link_contact_to_company", **link
    )
    assert len(wire.writes) == 1
    await facts_of(client, "link_contact_to_company", **link | {"title": "CEO"})
    assert len(wire.writes) == 2


async def test_a_lead_without_a_contact_gets_no_email(client: Client, wire: Any, sandbox: Any) -> None:
    sandbox.execute("UPDATE leads SET contact_id = NULL WHERE title = 'Acme annual licence'")
    text = await text_of(client, "send_outbound_email", **MAIL, fails=True)
    assert text == (
        "Acme annual licence has no contact to write to: set one with update_lead. Nothing was sent."
    )
    assert wire.writes == []


async def test_a_membership_that_was_made_anew_can_be_ended_anew(
    client: Client, find: Find, wire: Any
) -> None:
    ids = {
        "contact": find("contacts", email="anna.muller@acme-inc.example")["id"],
        "company": find("companies", name="Kestrel Solar Ltd")["id"],
    }
    for tool in ("link", "unlink", "link", "unlink"):
        preposition = "to" if tool == "link" else "from"
        await facts_of(client, f"{tool}_contact_{preposition}_company", **ids)
    assert len(wire.writes) == 4


async def test_what_is_logged_while_the_deal_is_being_deleted_waits(client: Client, wire: Any) -> None:
    """It would go with the deal, and nobody would know."""
    deleting = Held(wire.inner, lambda request: request.method == "DELETE")
    wire.inner = httpx2.MockTransport(deleting)
    outcomes: list[str] = []

    async def delete() -> None:
        await facts_of(client, "delete_lead", lead="Acme annual licence")
        outcomes.append("deleted")

    async def log() -> None:
        outcomes.append(await text_of(client, "log_activity", **CALL, fails=True))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(delete)
        await deleting.met.wait()
        tasks.start_soon(log)
        await anyio.sleep(0.2)
        assert outcomes == []
        deleting.let_go.set()
    [refused] = [one for one in outcomes if one != "deleted"]
    assert refused.startswith("The CRM has no such record")


async def test_a_deal_is_not_deleted_while_something_is_being_logged_on_it(
    client: Client, wire: Any, sandbox: Any
) -> None:
    logging = Held(wire.inner, lambda request: request.method == "POST")
    wire.inner = httpx2.MockTransport(logging)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: facts_of(client, "log_activity", **CALL))
        await logging.met.wait()
        tasks.start_soon(lambda: facts_of(client, "delete_lead", lead="Acme annual licence"))
        # Others need not wait.
        await facts_of(client, "log_activity", **CALL | {"subject": "Another"})
        await facts_of(client, "move_lead_stage", **MOVE | {"stage": "Proposal"})
        assert [sent.method for sent in wire.writes] == ["POST", "POST", "PATCH"]
        logging.let_go.set()
    assert [sent.method for sent in wire.writes][3:] == ["DELETE"]


async def test_what_was_renamed_is_not_meant_where_a_person_is_asked_first(
    open_client: OpenClient, sandbox: Any, wire: Any
) -> None:
    """That it is rehearsed does not make the new name the one that was said."""
    client = await open_client(policy=Policy())
    await facts_of(client, "create_contact", first_name="Zoe", last_name="Zett")
    await facts_of(client, "get_contact", contact="Zoe Zett")
    sandbox.execute("UPDATE contacts SET first_name = 'Bob', last_name = 'Other' WHERE last_name = 'Zett'")
    text = await text_of(
        client, "update_contact", contact="Zoe Zett", company="Kestrel Solar Ltd", fails=True
    )
    assert text.startswith('What was called "Zoe Zett" is called "Bob Other" now.')
    await facts_of(client, "get_lead", lead="Acme annual licence")
    sandbox.execute("UPDATE leads SET title = 'Third deal' WHERE title = 'Acme annual licence'")
    text = await text_of(client, "delete_lead", lead="Acme annual licence", fails=True)
    assert text.startswith('What was called "Acme annual licence" is called "Third deal" now.')
    assert len(wire.writes) == 1


async def test_what_this_person_set_since_by_another_tool_is_no_ones_elses(client: Client, wire: Any) -> None:
    anna = "anna.muller@acme-inc.example"
    for company in ("Acme Industries GmbH", "Acme Inc.", "Acme Industries GmbH"):
        await facts_of(client, "link_contact_to_company", contact=anna, company=company, is_primary=True)
    await facts_of(client, "update_contact", contact=anna, company="Acme Inc.")
    await facts_of(
        client, "link_contact_to_company", contact=anna, company="Acme Industries GmbH", is_primary=True
    )
    assert len(wire.writes) == 5


async def test_another_field_set_since_is_no_wish_to_set_this_one_again(
    client: Client, sandbox: Any, find: Find
) -> None:
    await facts_of(client, "update_company", company="Acme Inc.", phone="1")
    sandbox.execute("UPDATE companies SET phone = '2' WHERE name = 'Acme Inc.'")
    await facts_of(client, "update_company", company="Acme Inc.", industry="Cork")
    await text_of(client, "update_company", company="Acme Inc.", phone="1", fails=True)
    assert find("companies", name="Acme Inc.")["phone"] == "2"


async def test_an_order_that_somebody_changed_may_be_set_again(
    client: Client, crm: CrmClient, wire: Any
) -> None:
    stages = [stage.name for stage in await crm.pipeline.stages()]
    order = [stages[1], stages[0], *stages[2:]]
    await facts_of(client, "reorder_pipeline_stages", stages=order)
    ids = {stage.name: stage.id for stage in await crm.pipeline.stages()}
    await crm.pipeline.reorder([ids[name] for name in stages])
    await facts_of(client, "reorder_pipeline_stages", stages=order)
    assert [stage.name for stage in await crm.pipeline.stages()] == order


async def test_what_ends_along_is_on_record_as_trusted(client: Client, changes: Any) -> None:
    await facts_of(
        client, "update_contact", contact="anna.muller@acme-inc.example", company="Kestrel Solar Ltd"
    )
    assert changes()[0].approval == "client"


@pytest.mark.parametrize(
    ("hidden", "what"),
    [
        (["isPrimary"], "memberships"),
        (["companyId"], "contact"),
    ],
)
async def test_where_nobody_can_tell_which_membership_may_end_a_person_decides(
    open_client: OpenClient, wire: Any, hidden: list[str], what: str
) -> None:
    inner = wire.inner

    async def hides(request: httpx2.Request) -> httpx2.Response:
        is_places = request.url.path.endswith("/company-memberships")
        if is_places and what == "contact":
            return httpx2.Response(403, json={"error": "no"})
        hiding = showing(inner, without(*hidden)) if is_places == (what == "memberships") else inner
        return await hiding.handle_async_request(request)  # type: ignore[no-any-return]

    wire.inner = httpx2.MockTransport(hides)
    client = await open_client(policy=Policy())
    moved = {"contact": "anna.muller@acme-inc.example", "company": "Kestrel Solar Ltd"}
    text = await text_of(client, "update_contact", **moved, fails=True)
    assert "Nobody can see which membership may end with it." in text
    assert wire.writes == []


async def test_where_memberships_cannot_be_seen_a_person_decides(
    open_client: OpenClient, wire: Any, ledger: Any
) -> None:
    wire.inner = hiding_memberships(wire.inner)
    client = await open_client(policy=Policy())
    moved = {"contact": "anna.muller@acme-inc.example", "company": "Kestrel Solar Ltd"}
    text = await text_of(client, "update_contact", **moved, fails=True)
    assert "Nobody can see which membership may end with it." in text
    [waiting] = ledger.waiting()
    ledger.decide(waiting.id, approved=True, by="page")
    await facts_of(client, "update_contact", **moved)
    assert len(wire.writes) == 1


async def test_a_membership_that_came_to_have_a_title_is_not_ended_without_a_word(
    open_client: OpenClient, sandbox: Any, wire: Any
) -> None:
    """Between the look for whom to ask, and the one before it is sent."""
    client = await open_client(policy=Policy())
    zoe = {"contact": "zoe@zoe.example"}
    await facts_of(client, "create_contact", first_name="Zoe", email="zoe@zoe.example", company="Acme Inc.")
    inner, looks = wire.inner, 0

    async def titled_at_the_second_look(request: httpx2.Request) -> httpx2.Response:
        nonlocal looks
        if request.url.path.endswith("/company-memberships"):
            looks += 1
            if looks == 2:
                sandbox.execute("UPDATE memberships SET title = 'CEO' WHERE title IS NULL")
        response: httpx2.Response = await inner.handle_async_request(request)
        return response

    wire.inner = httpx2.MockTransport(titled_at_the_second_look)
    text = await text_of(client, "update_contact", **zoe, company="Kestrel Solar Ltd", fails=True)
    assert text.startswith("Nobody approved: Update contact Zoe")
    assert len(wire.writes) == 1


async def test_a_preview_of_an_undoing_asks_nobody(open_client: OpenClient, ledger: Any) -> None:
    client = await open_client(policy=Policy())
    made = await facts_of(client, "create_contact", first_name="Zoe", email="zoe@zoe.example")
    await facts_of(client, "undo_change", change=made["change_ids"][0], preview=True)
    assert ledger.waiting() == []


async def test_a_contacts_company_that_stays_ends_nothing(client: Client) -> None:
    done = await facts_of(
        client, "update_contact", contact="anna.muller@acme-inc.example", company="Acme Inc.", phone="1"
    )
    assert "notes" not in done


async def test_what_is_logged_in_between_is_no_wish_to_set_it_again(
    client: Client, sandbox: Any, find: Find
) -> None:
    await facts_of(client, "update_company", company="Acme Inc.", phone="1")
    sandbox.execute("UPDATE companies SET phone = '2' WHERE name = 'Acme Inc.'")
    await facts_of(client, "log_activity", type="call", subject="Hi", company="Acme Inc.")
    await text_of(client, "update_company", company="Acme Inc.", phone="1", fails=True)
    assert find("companies", name="Acme Inc.")["phone"] == "2"


async def test_a_link_that_leaves_the_primary_company_is_no_wish_to_set_that_again(
    client: Client, open_client: OpenClient, wire: Any
) -> None:
    other = {"contact": "anna.muller@acme-inc.example", "company": "Kestrel Solar Ltd"}
    await facts_of(client, "update_contact", **other)
    colleague = await open_client(principal="ben")
    await facts_of(colleague, "update_contact", **other | {"company": "Acme Industries GmbH"})
    await facts_of(client, "link_contact_to_company", **other | {"company": "Helvet Software Ltd"})
    text = await text_of(client, "update_contact", **other, fails=True)
    assert "somebody changed it since: company is Acme Industries GmbH now" in text
    assert len(wire.writes) == 3


@pytest.mark.parametrize("shown", ["Acme Inc.", ["Acme"], {"name": "Acme Inc."}, None])
async def test_a_membership_that_shows_its_company_oddly_is_no_crash(
    client: Client, wire: Any, shown: Any
) -> None:
    def oddly(one: dict[str, Any]) -> dict[str, Any]:
        if "isPrimary" not in one:
            return one
        return {name: value for name, value in one.items() if name != "companyId"} | {"company": shown}

    wire.inner = showing(wire.inner, oddly)
    text = await text_of(
        client, "update_contact", contact="anna.muller@acme-inc.example", company="Kestrel Solar Ltd"
    )
    assert text.startswith("Contact updated.")


async def test_what_goes_with_a_contact_is_shown_though_its_memberships_cannot_be_seen(
    open_client: OpenClient, wire: Any
) -> None:
    wire.inner = hiding_memberships(wire.inner)
    client = await open_client(policy=Policy())
    text = await text_of(client, "delete_contact", contact="anna.muller@acme-inc.example", fails=True)
    assert "Goes with it: its place in the deal Acme annual licence" in text
    assert "Goes with it: whatever memberships it has: they cannot be seen" in text
    assert wire.writes == []
