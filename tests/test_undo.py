"""What was written can be taken back, where that harms nobody."""

from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mcp import Client

from crm_mcp.gate import Policy

from .writing import facts_of, text_of

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
    assert shown["did"] == ["Update company Acme Inc.", f"phone: 1 → {before}"]
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
    assert undone["notes"] == ["Other than before the change: probability."]


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
            "1 timeline entry",
        ),
        (
            ("create_lead", {"title": "New deal", "contact": "Anna Müller"}),
            ("send_outbound_email", {"lead": "New deal", "subject": "Hello", "body": "Dear Anna"}),
            "1 timeline entry",
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
        f"It was changed since by local (change {second['change_ids'][0]}: Update company Acme Inc.): "
        "phone is 2 now. Nothing was undone."
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
