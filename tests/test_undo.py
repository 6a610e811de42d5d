"""What was written can be taken back, where that harms nobody."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client

from crm_mcp.calls import GUARDED, Policy

from .tools.crms import dropping
from .writing import (
    dark_once_it_wrote,
    doing_it_in_the_dark,
    facts_of,
    showing,
    text_of,
    without,
    without_nulls,
)

pytestmark = pytest.mark.anyio

Find = Callable[..., dict[str, Any]]
OpenClient = Callable[..., Awaitable[Client]]
MOVE = {"lead": "Acme annual licence", "stage": "Qualified"}
CALL = {"type": "call", "subject": "Hello", "lead": "Acme annual licence"}
MAIL = {"lead": "Acme annual licence", "subject": "Hello", "body": "Dear Anna"}


@pytest.mark.parametrize(
    ("tool", "arguments", "table", "where"),
    [
        ("update_company", {"company": "Acme Inc.", "phone": "1"}, "companies", "name = 'Acme Inc.'"),
        (
            "move_lead_stage",
            {"lead": "Acme annual licence", "stage": "Proposal"},
            "leads",
            "title = 'Acme annual licence'",
        ),
        ("update_lead", {"lead": "Acme annual licence", "clear": ["value"]}, "leads", "title LIKE 'Acme%'"),
        ("update_pipeline_stage", {"stage": "New", "name": "Fresh"}, "stages", "true"),
        (
            "reorder_pipeline_stages",
            {"stages": ["Lost", "Won", "Negotiation", "Proposal", "Qualified", "New"]},
            "stages",
            "true",
        ),
    ],
)
async def test_an_update_is_taken_back_and_taken_back_again(
    client: Client, sandbox: Any, tool: str, arguments: dict[str, Any], table: str, where: str
) -> None:
    def rows() -> list[Any]:
        every = sandbox.all(f"SELECT * FROM {table} WHERE {where} ORDER BY id")  # noqa: S608
        return [{name: row[name] for name in row.keys() if name != "updated_at"} for row in every]  # noqa: SIM118

    before = rows()
    done = await facts_of(client, tool, **arguments)
    after = rows()
    undone = await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert rows() == before != after
    assert undone["undone"]["outcome"] == "undone"
    await facts_of(client, "undo_change", change=undone["change_ids"][0])
    assert rows() == after


@pytest.mark.parametrize("approval", ["ask", "client", "never"])
async def test_what_an_undo_would_do_is_shown_on_demand_and_nothing_done(
    open_client: OpenClient, wire: Any, find: Find, approval: Any, changes: Any
) -> None:
    client = await open_client(policy=Policy(approval=approval))
    before = find("companies", name="Acme Inc.")["phone"]
    done = await facts_of(client, "update_company", company="Acme Inc.", phone="1")
    shown = await facts_of(client, "undo_change", change=done["change_ids"][0], preview=True)
    title, takes_back, phone = shown["did"]
    assert (title, phone) == (f"Update company Acme Inc.: phone → {before}", f"phone: 1 → {before}")
    assert takes_back.startswith(
        f'Takes back "Update company Acme Inc.: phone → 1" (change {done["change_ids"][0]}, '
    )
    assert (shown["undone"]["outcome"], "change_ids" in shown) == ("applied", False)
    assert [change.outcome for change in changes()] == ["applied"]
    await facts_of(client, "update_company", company="Acme Inc.", phone="2")
    text = await text_of(client, "undo_change", change=done["change_ids"][0], preview=True, fails=True)
    assert "phone is 2 now" in text
    assert len(wire.writes) == 2


async def test_what_the_crm_changed_along_and_does_not_change_back_is_told(
    client: Client, sandbox: Any
) -> None:
    sandbox.execute("UPDATE leads SET probability_pct = 33 WHERE title = 'Acme annual licence'")
    done = await facts_of(client, "move_lead_stage", lead="Acme annual licence", stage="Won")
    undone = await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert undone["notes"] == ["Other than before the change: probability is 25, and was 33."]


async def test_what_was_created_is_removed_or_archived(client: Client, sandbox: Any, find: Find) -> None:
    for tool, arguments in (
        ("create_company", {"name": "Newcomer AG"}),
        ("create_contact", {"first_name": "New", "last_name": "Comer"}),
        ("create_lead", {"title": "New deal"}),
        ("create_pipeline_stage", {"name": "Trial"}),
        ("link_contact_to_company", {"contact": "Anna Müller", "company": "Kestrel Solar Ltd"}),
    ):
        done = await facts_of(client, tool, **arguments)
        await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert find("companies", name="Newcomer AG")["status"] == "inactive"
    assert sandbox.all("SELECT id FROM contacts WHERE last_name = 'Comer'") == []
    assert sandbox.all("SELECT id FROM leads WHERE title = 'New deal'") == []
    assert sandbox.all("SELECT id FROM stages WHERE name = 'Trial'") == []


async def test_what_was_changed_since_is_not_taken_back(client: Client, sandbox: Any, find: Find) -> None:
    done = await facts_of(client, "update_company", company="Acme Inc.", phone="1", industry="Steel")
    sandbox.execute("UPDATE companies SET phone = '2' WHERE name = 'Acme Inc.'")
    text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
    assert text == "It was changed since: phone is 2 now. Nothing was undone."
    assert find("companies", name="Acme Inc.")["industry"] == "Steel"


@pytest.mark.parametrize(
    ("create", "hang", "there"),
    [
        (
            ("create_contact", {"first_name": "New", "last_name": "Comer"}),
            ("create_lead", {"title": "New deal", "contact": "New Comer"}),
            "its place in the deal New deal",
        ),
        (
            ("create_lead", {"title": "New deal"}),
            ("log_activity", {"type": "note", "subject": "Hello", "lead": "New deal"}),
            "1 logged activity",
        ),
        (
            ("create_lead", {"title": "New deal", "contact": "Anna Müller"}),
            ("send_outbound_email", {"lead": "New deal", "subject": "Hello", "body": "Dear Anna"}),
            "1 logged activity",
        ),
    ],
    ids=["a deal", "an activity", "an e-mail"],
)
async def test_what_was_created_stays_when_something_hangs_on_it(
    client: Client, wire: Any, create: Any, hang: Any, there: str
) -> None:
    done = await facts_of(client, create[0], **create[1])
    await facts_of(client, hang[0], **hang[1])
    text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
    assert text.startswith("It was changed since: ")
    assert text.endswith(f"there is {there}. Nothing was undone.")
    assert [request.method for request in wire.writes] == ["POST", "POST"]


async def test_who_changed_it_since_is_told_where_it_was_us(client: Client) -> None:
    first = await facts_of(client, "update_company", company="Acme Inc.", phone="1")
    second = await facts_of(client, "update_company", company="Acme Inc.", phone="2")
    text = await text_of(client, "undo_change", change=first["change_ids"][0], fails=True)
    assert text == (
        f"It was changed since by local (change {second['change_ids'][0]}: Update company Acme Inc.: "
        "phone → 2): phone is 2 now. Nothing was undone."
    )


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [("log_activity", CALL), ("send_outbound_email", MAIL), ("delete_lead", {"lead": "Acme annual licence"})],
)
async def test_what_cannot_be_taken_back_says_so(
    client: Client, wire: Any, changes: Any, tool: str, arguments: dict[str, Any]
) -> None:
    done = await facts_of(client, tool, **arguments)
    text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
    change, refused = changes()
    assert text == (
        f'"{change.title}" cannot be undone. The CRM has no way to take this back. Nothing was undone.'
    )
    assert (refused.tool, refused.outcome, refused.detail) == ("undo_change", "refused", text)
    assert len(wire.writes) == 1


async def test_what_was_never_done_or_is_unknown_is_not_taken_back(client: Client, changes: Any) -> None:
    await text_of(client, "create_company", name="Acme Inc.", fails=True)
    [refused] = changes()
    assert await text_of(client, "undo_change", change=refused.id, fails=True) == (
        f"Change {refused.id} was never done (refused). Nothing was undone."
    )
    assert await text_of(client, "undo_change", change="abcdefgh", fails=True) == (
        'There is no change "abcdefgh" in the ledger. Nothing was undone.'
    )


async def test_what_somebody_added_to_a_new_record_keeps_it(client: Client, wire: Any, sandbox: Any) -> None:
    """In a CRM that shows no empty fields, too."""
    wire.inner = showing(wire.inner, without_nulls)
    done = await facts_of(client, "create_contact", first_name="New", last_name="Comer")
    sandbox.execute("UPDATE contacts SET phone = '1' WHERE last_name = 'Comer'")
    text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
    assert text == "It was changed since: phone is 1 now. Nothing was undone."


@pytest.mark.parametrize(
    ("tool", "arguments", "there"),
    [
        (
            "link_contact_to_company",
            {"contact": "New Comer", "company": "Kestrel Solar Ltd", "title": "CTO"},
            "its membership of Kestrel Solar Ltd as CTO",
        ),
        (
            "log_activity",
            {"type": "call", "subject": "Hi", "company": "Acme Inc.", "contact": "New Comer"},
            "1 logged activity",
        ),
    ],
)
async def test_a_new_contact_stays_with_its_memberships_and_what_is_logged_with_it(
    client: Client, tool: str, arguments: dict[str, Any], there: str
) -> None:
    person = {"first_name": "New", "last_name": "Comer", "company": "Acme Inc."}
    done = await facts_of(client, "create_contact", **person)
    await facts_of(client, tool, **arguments)
    text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
    assert text == f"It was changed since: there is {there}. Nothing was undone."


async def test_a_new_company_stays_with_its_people_and_deals(client: Client) -> None:
    done = await facts_of(client, "create_company", name="Newcomer AG")
    await facts_of(client, "create_lead", title="New deal", company="Newcomer AG")
    await facts_of(client, "create_contact", first_name="New", last_name="Comer", company="Newcomer AG")
    text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
    assert text == (
        "It was changed since: there is its place in the deal New deal; there is its contact New Comer. "
        "Nothing was undone."
    )


async def test_a_new_stage_of_which_nobody_knows_its_leads_stays(client: Client, wire: Any) -> None:
    done = await facts_of(client, "create_pipeline_stage", name="Trial")
    wire.inner = showing(wire.inner, without("leadCount"))
    text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
    assert text.endswith("there is an unknown number of leads in it. Nothing was undone.")


async def test_an_undoing_whose_answer_was_lost_is_found_out(
    open_client: OpenClient, wire: Any, changes: Any
) -> None:
    client = await open_client(policy=Policy(approval="client", late_seconds=0))
    done = await facts_of(client, "update_company", company="Acme Inc.", phone="1")
    healthy, wire.inner = wire.inner, doing_it_in_the_dark(wire.inner)
    [change] = done["change_ids"]
    await text_of(client, "undo_change", change=change, fails=True)
    assert [one.outcome for one in changes()] == ["applied", "unknown"]
    wire.inner = healthy
    assert (await facts_of(client, "undo_change", change=change))["repeat"]
    assert [one.outcome for one in changes()] == ["undone", "applied"]
    assert len(wire.writes) == 2
    # Somebody else's is another one.
    colleague = await open_client(principal="ben")
    text = await text_of(colleague, "undo_change", change=change, fails=True)
    assert text == f"Change {change} was undone already. Nothing was undone."


async def test_several_changes_are_taken_back_one_at_a_time(client: Client) -> None:
    text = await text_of(client, "undo_change", change="abcdefghij, klmnopqrst", fails=True)
    assert text == "Say one change at a time, the last one first. Nothing was undone."


async def test_an_undoing_is_told_as_done_although_nothing_can_be_read_afterwards(
    client: Client, wire: Any, find: Find, changes: Any
) -> None:
    done = await facts_of(client, "update_company", company="Acme Inc.", phone="1")
    wire.inner = dark_once_it_wrote(wire.inner)
    undone = await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert undone["undone"]["outcome"] == "undone"
    assert [change.outcome for change in changes()] == ["undone", "applied"]
    assert find("companies", name="Acme Inc.")["phone"] != "1"


async def test_an_undoing_that_the_crm_ignores_is_none(
    client: Client, wire: Any, find: Find, changes: Any
) -> None:
    done = await facts_of(client, "update_company", company="Acme Inc.", phone="1")
    healthy, wire.inner = wire.inner, dropping("phone", wire.inner)
    text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
    assert text == "The CRM did not take it back: it shows other values for phone."
    assert [change.outcome for change in changes()] == ["applied", "failed"]
    wire.inner = healthy
    await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert find("companies", name="Acme Inc.")["phone"] != "1"


async def test_an_answer_that_shows_a_part_of_the_record_keeps_nothing_from_being_undone(
    client: Client, wire: Any, find: Find
) -> None:
    before = find("companies", name="Acme Inc.")["phone"]
    inner = wire.inner

    async def short_of_words(request: httpx2.Request) -> httpx2.Response:
        response: httpx2.Response = await inner.handle_async_request(request)
        if request.method == "GET":
            return response
        record = json.loads(await response.aread())
        return httpx2.Response(200, json={name: record[name] for name in ("id", "name")})

    wire.inner = httpx2.MockTransport(short_of_words)
    done = await facts_of(client, "update_company", company="Acme Inc.", phone="1")
    await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert find("companies", name="Acme Inc.")["phone"] == before


async def test_nobody_is_named_for_what_somebody_else_changed(client: Client, sandbox: Any) -> None:
    first = await facts_of(client, "update_company", company="Acme Inc.", phone="1")
    await facts_of(client, "update_company", company="Acme Inc.", industry="Steel")
    sandbox.execute("UPDATE companies SET phone = '9' WHERE name = 'Acme Inc.'")
    text = await text_of(client, "undo_change", change=first["change_ids"][0], fails=True)
    assert text == "It was changed since: phone is 9 now. Nothing was undone."


async def test_what_the_crm_did_not_create_is_not_removed(client: Client, wire: Any, find: Find) -> None:
    """It answers with somebody who was there before."""
    inner = wire.inner

    async def knows_better(request: httpx2.Request) -> httpx2.Response:
        if request.method != "POST":
            response: httpx2.Response = await inner.handle_async_request(request)
            return response
        return httpx2.Response(200, json=anna)

    contact = await facts_of(client, "get_contact", contact="anna.muller@acme-inc.example", detail="brief")
    anna = {"id": contact["contact"]["id"], "firstName": "Anna", "lastName": "Müller"}
    anna["createdAt"] = "2020-01-01T00:00:00Z"
    wire.inner = httpx2.MockTransport(knows_better)
    done = await facts_of(
        client, "create_contact", first_name="Anna", last_name="Muller", email="a@b.example"
    )
    text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
    assert text.endswith("The record was there before: the CRM made no new one. Nothing was undone.")
    assert find("contacts", email="anna.muller@acme-inc.example")["id"] == anna["id"]


async def test_an_unlinking_is_taken_back_with_which_company_was_the_primary_one(
    client: Client, sandbox: Any
) -> None:
    link = {"contact": ANNA, "company": "Kestrel Solar Ltd"}
    await facts_of(client, "link_contact_to_company", **link, title="CTO", is_primary=True)
    before = places_of(sandbox, ANNA)
    done = await facts_of(client, "unlink_contact_from_company", **link)
    undone = await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert (places_of(sandbox, ANNA), "notes" in undone) == (before, False)


async def test_an_unlinking_is_not_taken_back_over_another_primary_company_that_was_chosen_since(
    client: Client, sandbox: Any
) -> None:
    link = {"contact": ANNA, "company": "Kestrel Solar Ltd", "is_primary": True}
    await facts_of(client, "link_contact_to_company", **link)
    done = await facts_of(client, "unlink_contact_from_company", contact=ANNA, company="Kestrel Solar Ltd")
    await facts_of(client, "link_contact_to_company", **link | {"company": "Helvet Software Ltd"})
    chosen = places_of(sandbox, ANNA)
    text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
    assert "the contact's primary company is Helvet Software Ltd now" in text
    assert places_of(sandbox, ANNA) == chosen


@pytest.mark.parametrize(("title", "is_undone"), [("Plant Manager", True), ("Head", False)])
async def test_a_title_and_the_primary_company_are_taken_back_where_one_of_them_changed(
    client: Client, sandbox: Any, title: str, is_undone: bool
) -> None:
    before = places_of(sandbox, ANNA)
    link = {"contact": ANNA, "company": "Acme Industries GmbH", "title": title, "is_primary": True}
    done = await facts_of(client, "link_contact_to_company", **link)
    after = places_of(sandbox, ANNA)
    text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=not is_undone)
    assert places_of(sandbox, ANNA) == (before if is_undone else after)
    assert is_undone or "It changed two things, which the CRM cannot change back at once." in text


async def test_what_took_a_change_back_of_another_record_names_it(client: Client) -> None:
    link = {"contact": ANNA, "company": "Acme Industries GmbH", "is_primary": True}
    done = await facts_of(client, "link_contact_to_company", **link)
    undone = await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert undone["did"] == ["Update the membership of Anna Müller in Acme Inc.", "is primary: no → yes"]


async def test_the_former_primary_company_is_not_made_it_again_where_the_contact_left_it(
    client: Client, wire: Any
) -> None:
    link = {"contact": ANNA, "company": "Acme Industries GmbH", "is_primary": True}
    done = await facts_of(client, "link_contact_to_company", **link)
    await facts_of(client, "unlink_contact_from_company", contact=ANNA, company="Acme Inc.")
    text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
    assert "the membership that was the primary one is gone. Nothing was undone." in text
    assert len(wire.writes) == 2


async def test_a_call_that_takes_back_is_one_when_it_is_made_again(
    open_client: OpenClient, wire: Any, changes: Any
) -> None:
    client = await open_client(policy=Policy())
    done = await facts_of(client, "update_company", company="Acme Inc.", phone="1")
    undo = {"change": done["change_ids"][0]}
    first = await facts_of(client, "undo_change", **undo)
    assert await facts_of(client, "undo_change", **undo) == first | {"repeat": True}
    assert (len(wire.writes), len(changes())) == (2, 2)


async def test_what_does_not_stand_any_more_is_not_told_as_taken_back(client: Client, sandbox: Any) -> None:
    done = await facts_of(client, "update_company", company="Acme Inc.", phone="1")
    undo = {"change": done["change_ids"][0]}
    await facts_of(client, "undo_change", **undo)
    sandbox.execute("UPDATE companies SET phone = '9' WHERE name = 'Acme Inc.'")
    text = await text_of(client, "undo_change", **undo, fails=True)
    assert text == f"Change {undo['change']} was undone already. Nothing was undone."


async def test_an_unlinking_that_was_lost_does_not_say_which_company_was_the_primary_one_then(
    client: Client, sandbox: Any, wire: Any
) -> None:
    link = {"contact": ANNA, "company": "Kestrel Solar Ltd"}
    await facts_of(client, "link_contact_to_company", **link, is_primary=True)
    wire.inner = doing_it_in_the_dark(healthy := wire.inner)
    await text_of(client, "unlink_contact_from_company", **link, fails=True)
    wire.inner = healthy
    # In the CRM itself, before it is known that the unlinking was done.
    acme = "(SELECT id FROM companies WHERE name = 'Acme Industries GmbH')"
    anna = f"(SELECT id FROM contacts WHERE email = '{ANNA}')"  # noqa: S608
    sandbox.execute(f"UPDATE memberships SET is_primary = 0 WHERE contact_id = {anna}")  # noqa: S608
    sandbox.execute(
        f"UPDATE memberships SET is_primary = 1 WHERE contact_id = {anna} AND company_id = {acme}"  # noqa: S608
    )
    done = await facts_of(client, "unlink_contact_from_company", **link)
    undone = await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert undone["notes"] == ["The contact's primary company may be another one than before."]
    assert [name for name, _, primary in places_of(sandbox, ANNA) if primary] == ["Acme Industries GmbH"]


@pytest.mark.parametrize("theirs", ["UPDATE leads SET lost_reason = 'Timing'", "ours"])
async def test_a_reason_that_somebody_gave_since_is_not_taken_back(
    client: Client, sandbox: Any, find: Find, theirs: str
) -> None:
    lost = {"lead": "Acme annual licence", "stage": "Lost"}
    done = await facts_of(client, "move_lead_stage", **lost, lost_reason="Price")
    if theirs == "ours":
        await facts_of(client, "move_lead_stage", **lost, lost_reason="Timing")
    else:
        sandbox.execute(theirs)
    text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
    assert "lost reason is Timing now" in text
    assert find("leads", title="Acme annual licence")["lost_reason"] == "Timing"


async def test_a_reason_that_a_crm_keeps_with_open_deals_is_not_sent_back(client: Client, wire: Any) -> None:
    wire.inner = showing(wire.inner, lambda record: record | {"lostReason": "Old"})
    done = await facts_of(client, "move_lead_stage", lead="Acme annual licence", stage="Proposal")
    await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert [*wire.writes[-1].body] == ["stageId"]


async def test_what_may_stay_is_said_before_a_change_is_taken_back(client: Client, sandbox: Any) -> None:
    sandbox.execute("UPDATE leads SET probability_pct = 33 WHERE title = 'Acme annual licence'")
    done = await facts_of(client, "move_lead_stage", lead="Acme annual licence", stage="Won")
    shown = await facts_of(client, "undo_change", change=done["change_ids"][0], preview=True)
    [along] = [line for line in shown["did"] if line.startswith("Changed along with it, and may stay: ")]
    assert "probability: 33 → 100" in along
    done = await facts_of(client, "update_contact", contact=ANNA, company="Kestrel Solar Ltd")
    shown = await facts_of(client, "undo_change", change=done["change_ids"][0], preview=True)
    assert "Its membership of Acme Inc. as Plant Manager may not come back as it was." in shown["did"]


async def test_under_a_trusted_client_what_removes_is_on_record_as_trusted(
    client: Client, changes: Any
) -> None:
    done = await facts_of(client, "create_lead", title="New deal")
    await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert [change.approval for change in changes()] == [None, "client"]


@pytest.mark.parametrize(
    ("tool", "arguments", "note"),
    [
        (
            "link_contact_to_company",
            {"contact": "Anna Müller", "company": "Kestrel Solar Ltd", "is_primary": True},
            "The contact's primary company may be another one than before.",
        ),
        (
            "update_contact",
            {"contact": "anna.muller@acme-inc.example", "company": "Kestrel Solar Ltd"},
            "The contact's memberships may be others than before: only the company is taken back.",
        ),
    ],
)
async def test_what_the_crm_did_along_with_it_and_is_not_taken_back_is_told(
    client: Client, tool: str, arguments: dict[str, Any], note: str
) -> None:
    done = await facts_of(client, tool, **arguments)
    undone = await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert note in undone["notes"]


async def test_what_the_crm_took_back_in_its_own_way_is_taken_back(
    client: Client, wire: Any, changes: Any
) -> None:
    done = await facts_of(client, "update_lead", lead="Acme annual licence", title="Renamed")
    inner = wire.inner

    async def shouting(request: httpx2.Request) -> httpx2.Response:
        if request.method != "PATCH":
            response: httpx2.Response = await inner.handle_async_request(request)
            return response
        body = {name: value.upper() for name, value in json.loads(request.content).items()}
        headers = {"Authorization": request.headers["Authorization"]}
        return await inner.handle_async_request(
            httpx2.Request("PATCH", request.url, headers=headers, json=body)
        )

    wire.inner = httpx2.MockTransport(shouting)
    undone = await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert "The CRM shows other values than before: title." in undone["notes"]
    assert [change.outcome for change in changes()] == ["undone", "applied"]


async def test_what_a_colleague_is_writing_is_not_taken_back(
    open_client: OpenClient, wire: Any, find: Find, changes: Any
) -> None:
    """Whether the record was changed since is asked again when nobody else can change it."""
    anna, ben = await open_client(principal="anna"), await open_client(principal="ben")
    done = await facts_of(anna, "update_company", company="Acme Inc.", phone="1")
    inner, met, let_go = wire.inner, anyio.Event(), anyio.Event()

    async def slowly(request: httpx2.Request) -> httpx2.Response:
        if request.method == "PATCH":
            met.set()
            await let_go.wait()
        response: httpx2.Response = await inner.handle_async_request(request)
        return response

    wire.inner = httpx2.MockTransport(slowly)
    texts = []

    async def take_back() -> None:
        texts.append(await text_of(anna, "undo_change", change=done["change_ids"][0], fails=True))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: facts_of(ben, "update_company", company="Acme Inc.", phone="2"))
        await met.wait()
        reads = len(wire.sent)
        tasks.start_soon(take_back)
        while len(wire.sent) == reads:  # noqa: ASYNC110  # until it has looked, and found nothing changed
            await anyio.sleep(0.01)
        await anyio.wait_all_tasks_blocked()
        let_go.set()
    [text] = texts
    assert text.startswith("It was changed since by ben (change ")
    assert find("companies", name="Acme Inc.")["phone"] == "2"
    assert [change.outcome for change in changes()] == ["applied", "applied", "refused"]


async def test_taking_back_a_move_brings_back_why_it_was_lost(client: Client, find: Find) -> None:
    lost = {"lead": "Acme annual licence", "stage": "Lost", "lost_reason": "Price"}
    await facts_of(client, "move_lead_stage", **lost)
    done = await facts_of(client, "move_lead_stage", lead="Acme annual licence", stage="Won")
    await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert find("leads", title="Acme annual licence")["lost_reason"] == "Price"


async def test_after_a_rename_its_undoing_is_no_other_record(client: Client, find: Find) -> None:
    done = await facts_of(client, "update_company", company="Acme Inc.", name="Renamed Ltd")
    await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert find("companies", name="Acme Inc.")


async def test_what_the_crm_shows_in_an_odd_form_cannot_be_sent_back(client: Client, wire: Any) -> None:
    wire.inner = showing(
        wire.inner, lambda record: record | ({"value": {"amount": 1}} if "value" in record else {})
    )
    done = await facts_of(client, "update_lead", lead="Acme annual licence", value=1)
    text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
    assert text.endswith(
        "cannot be undone. The CRM showed what cannot be sent to it: value. Nothing was undone."
    )


# What a contact's company ends, and what takes that back


def places_of(sandbox: Any, email: str) -> list[tuple[str, str | None, int]]:
    rows = sandbox.all(
        "SELECT companies.name, m.title, m.is_primary FROM memberships m JOIN companies"
        " ON companies.id = m.company_id JOIN contacts ON contacts.id = m.contact_id"
        " WHERE contacts.email = ? ORDER BY companies.name",
        email,
    )
    return [(row["name"], row["title"], row["is_primary"]) for row in rows]


ANNA = "anna.muller@acme-inc.example"


@pytest.mark.parametrize("change", [{"company": "Kestrel Solar Ltd"}, {"clear": ["company"]}])
async def test_what_ends_a_membership_needs_the_persons_word(
    open_client: OpenClient, wire: Any, sandbox: Any, ledger: Any, change: dict[str, Any]
) -> None:
    before = places_of(sandbox, ANNA)
    client = await open_client(policy=Policy())
    text = await text_of(client, "update_contact", contact=ANNA, **change, fails=True)
    assert "May end with it: membership of Acme Inc. as Plant Manager" in text
    assert (wire.writes, places_of(sandbox, ANNA)) == ([], before)
    [waiting] = ledger.waiting()
    ledger.decide(waiting.id, approved=True, by="page")
    done = await facts_of(client, "update_contact", contact=ANNA, **change)
    assert "It may have ended the contact's membership of Acme Inc. as Plant Manager." in done["notes"]
    # Nor does taking it back end what is there now, without a word.
    now = places_of(sandbox, ANNA)
    if "clear" in change:
        text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
        assert "May end with it: membership of Acme Industries GmbH as Plant Manager" in text
        assert "The contact's memberships may be others than before" in text
        assert places_of(sandbox, ANNA) == now


async def test_a_contacts_other_fields_and_first_company_need_no_word(
    open_client: OpenClient, wire: Any, sandbox: Any
) -> None:
    client = await open_client(policy=Policy())
    await facts_of(client, "update_contact", contact=ANNA, phone="1")
    await facts_of(client, "update_contact", contact=ANNA, company="Acme Inc.")
    await facts_of(client, "create_contact", first_name="Zoe", email="zoe@zoe.example")
    await facts_of(client, "update_contact", contact="zoe@zoe.example", company="Kestrel Solar Ltd")
    # One without a title is put back as it was.
    done = await facts_of(client, "update_contact", contact="zoe@zoe.example", company="Acme Inc.")
    await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert places_of(sandbox, "zoe@zoe.example") == [("Kestrel Solar Ltd", None, 1)]
    assert len(wire.writes) == 6


async def test_an_operator_may_let_memberships_end_without_a_word(open_client: OpenClient, wire: Any) -> None:
    client = await open_client(policy=Policy(guard=GUARDED - {"unlink_contact_from_company"}))
    await facts_of(client, "update_contact", contact=ANNA, company="Kestrel Solar Ltd")
    assert len(wire.writes) == 1


async def test_what_changed_nothing_is_not_undone(
    client: Client, find: Find, wire: Any, changes: Any
) -> None:
    industry = find("companies", name="Acme Inc.")["industry"]
    same = await facts_of(client, "update_company", company="Acme Inc.", industry=industry)
    text = await text_of(client, "undo_change", change=same["change_ids"][0], fails=True)
    assert text == "It changed nothing: the CRM had it so before. Nothing was undone."
    assert ([one.outcome for one in changes()], len(wire.writes)) == (["applied", "refused"], 1)


async def test_the_former_primary_company_is_made_it_again(
    client: Client, sandbox: Any, changes: Any
) -> None:
    before = places_of(sandbox, ANNA)
    done = await facts_of(
        client, "link_contact_to_company", contact=ANNA, company="Acme Industries GmbH", is_primary=True
    )
    assert places_of(sandbox, ANNA) != before
    undone = await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert places_of(sandbox, ANNA) == before
    # And that can be taken back, too.
    await facts_of(client, "undo_change", change=undone["change_ids"][0])
    assert [one.outcome for one in changes()] == ["undone", "undone", "applied"]
    assert [name for name, _, is_primary in places_of(sandbox, ANNA) if is_primary] == [
        "Acme Industries GmbH"
    ]


async def test_a_company_on_which_something_was_logged_is_not_archived(client: Client, find: Find) -> None:
    made = await facts_of(client, "create_company", name="Newcomer AG")
    await facts_of(client, "log_activity", type="note", subject="Hi", company="Newcomer AG")
    text = await text_of(client, "undo_change", change=made["change_ids"][0], fails=True)
    assert "there is 1 logged activity" in text
    assert find("companies", name="Newcomer AG")["status"] == "active"


async def test_what_was_changed_since_is_told_by_name(client: Client) -> None:
    moved = await facts_of(client, "move_lead_stage", lead="Acme annual licence", stage="Negotiation")
    await facts_of(client, "move_lead_stage", lead="Acme annual licence", stage="Won")
    text = await text_of(client, "undo_change", change=moved["change_ids"][0], fails=True)
    assert "): stage is Won now. Nothing was undone." in text


async def test_the_preview_of_an_undoing_says_what_it_takes_back(
    open_client: OpenClient, ledger: Any
) -> None:
    client = await open_client(policy=Policy())
    made = await facts_of(client, "create_contact", first_name="Zed", email="zed@zed.example")
    await text_of(client, "undo_change", change=made["change_ids"][0], fails=True)
    [waiting] = ledger.waiting()
    assert f'Takes back "Create contact Zed" (change {made["change_ids"][0]}, ' in waiting.preview


async def test_why_a_deal_was_lost_is_taken_back_where_it_stays_lost(client: Client, sandbox: Any) -> None:
    lost = {"lead": "Acme annual licence", "stage": "Lost"}
    await facts_of(client, "move_lead_stage", **lost, lost_reason="Price")
    again = await facts_of(client, "move_lead_stage", **lost, lost_reason="Timing")
    await facts_of(client, "undo_change", change=again["change_ids"][0])
    [lead] = sandbox.all("SELECT lost_reason FROM leads WHERE title = 'Acme annual licence'")
    assert lead["lost_reason"] == "Price"


async def test_another_primary_company_since_is_not_taken_back(client: Client, sandbox: Any) -> None:
    await facts_of(client, "link_contact_to_company", contact=ANNA, company="Kestrel Solar Ltd")
    link = {"contact": ANNA, "company": "Acme Industries GmbH", "title": "Plant Manager", "is_primary": True}
    done = await facts_of(client, "link_contact_to_company", **link)
    await facts_of(
        client, "link_contact_to_company", contact=ANNA, company="Kestrel Solar Ltd", is_primary=True
    )
    now = places_of(sandbox, ANNA)
    text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
    assert "It was changed since: the contact's primary company is Kestrel Solar Ltd now." in text
    assert places_of(sandbox, ANNA) == now


async def test_another_reason_since_is_not_taken_back_nor_one_that_there_was_not(
    client: Client, sandbox: Any
) -> None:
    lost = {"lead": "Acme annual licence", "stage": "Lost"}
    await facts_of(client, "move_lead_stage", **lost)
    none = await facts_of(client, "move_lead_stage", **lost, lost_reason="Price")
    text = await text_of(client, "undo_change", change=none["change_ids"][0], fails=True)
    assert "The CRM does not forget why a deal was lost that stays so. Nothing was undone." in text
    done = await facts_of(client, "move_lead_stage", **lost, lost_reason="Timing")
    sandbox.execute("UPDATE leads SET lost_reason = 'Theirs' WHERE title = 'Acme annual licence'")
    text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
    assert "lost reason is Theirs now" in text
