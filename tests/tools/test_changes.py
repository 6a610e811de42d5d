"""What was written: told in results, listed with what became of it, watched as a resource."""

import json
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from mcp import Client

from crm_mcp.ledger import Ledger

from .expected import moment

pytestmark = pytest.mark.anyio

Find = Callable[..., dict[str, Any]]
OpenClient = Callable[..., Awaitable[Client]]


async def written(client: Client) -> list[str]:
    """A company that was created, one that was refused, and a phone number that was changed and changed back;
    the ids of what was done."""
    created = await client.call_tool("create_company", {"name": "Newcomer AG"})
    await client.call_tool("create_company", {"name": "Acme"})
    changed = await client.call_tool("update_company", {"company": "Acme Inc.", "phone": "1"})
    ids = [one.structured_content["change_ids"][0] for one in (created, changed)]  # type: ignore[index]
    undone = await client.call_tool("undo_change", {"change": ids[1]})
    return [*ids, undone.structured_content["change_ids"][0]]  # type: ignore[index]


async def test_a_result_names_its_change_and_the_ledger_has_all_of_it(
    client: Client, ledger: Ledger, find: Find
) -> None:
    acme = find("companies", name="Acme Inc.")
    result = await client.call_tool("update_company", {"company": "Acme Inc.", "phone": "1"})
    [block] = result.content
    [change] = ledger.changes()
    assert block.text.splitlines()[-1] == f"Change: {change.id}"  # type: ignore[union-attr]
    assert result.structured_content is not None
    assert result.structured_content["change_ids"] == [change.id]
    assert (change.tool, change.operation, change.outcome) == ("update_company", "update_company", "applied")
    assert change.arguments == {"company": "Acme Inc.", "phone": "1"}
    assert (change.targets, change.body) == ({"company_id": acme["id"]}, {"phone": "1"})
    assert (change.before["phone"], change.after["phone"]) == (acme["phone"], "1")
    assert change.subject == ("company", acme["id"])


async def test_what_was_undone_is_said_in_a_sentence(client: Client) -> None:
    """One that ends with a name that ends with a full stop."""
    changed = await client.call_tool("create_company", {"name": "Newcomer Inc."})
    [change] = changed.structured_content["change_ids"]  # type: ignore[index]
    [block] = (await client.call_tool("undo_change", {"change": change})).content
    assert block.text.splitlines()[0] == "Undone: Create company Newcomer Inc."  # type: ignore[union-attr]


async def test_changes_are_listed_newest_first_with_what_became_of_them(
    client: Client, ledger: Ledger, find: Find
) -> None:
    company, phone, back = await written(client)
    refused = next(change for change in ledger.changes() if change.outcome == "refused")
    when = {change.id: moment(change.opened_at.isoformat()) for change in ledger.changes()}
    before = find("companies", name="Acme Inc.")["phone"]
    result = await client.call_tool("list_changes", {})
    [block] = result.content
    text = block.text.splitlines()  # type: ignore[union-attr]
    assert text[0] == "Changes, newest first: 4"
    assert (
        text[1]
        == f"- {when[back]} · Update company Acme Inc.: phone → {before} · applied · undoes {phone} · {back}"
    )
    assert text[2] == f"- {when[phone]} · Update company Acme Inc.: phone → 1 · undone · {phone}"
    assert text[3].startswith(f"- {when[refused.id]} · Create company Acme · refused · This company seems")
    assert text[4] == f"- {when[company]} · Create company Newcomer AG · applied · {company}"
    assert result.structured_content is not None
    rows = result.structured_content["changes"]
    assert [row["id"] for row in rows] == [back, phone, refused.id, company]
    assert rows[1] | {"at": ""} == {
        "id": phone,
        "at": "",
        "tool": "update_company",
        "title": "Update company Acme Inc.: phone → 1",
        "outcome": "undone",
        "record_id": find("companies", name="Acme Inc.")["id"],
        "undone_by": back,
    }


async def test_changes_are_listed_by_what_became_of_them(client: Client) -> None:
    await written(client)
    result = await client.call_tool("list_changes", {"outcome": "refused"})
    assert result.structured_content is not None
    assert [row["title"] for row in result.structured_content["changes"]] == ["Create company Acme"]


async def test_the_resource_shows_what_the_tool_lists(client: Client) -> None:
    await written(client)
    listed = await client.call_tool("list_changes", {})
    [content] = (await client.read_resource("crm://changes")).contents
    assert json.loads(content.text) == listed.structured_content  # type: ignore[union-attr]


async def test_what_was_undone_is_told_field_by_field(client: Client, find: Find) -> None:
    phone = find("companies", name="Acme Inc.")["phone"]
    done = await client.call_tool("update_company", {"company": "Acme Inc.", "phone": "1"})
    assert done.structured_content is not None
    result = await client.call_tool("undo_change", {"change": done.structured_content["change_ids"][0]})
    assert result.structured_content is not None
    assert result.structured_content["did"] == [f"phone: 1 → {phone}"]


async def test_without_a_usable_ledger_nothing_is_written_and_reading_goes_on(
    open_client: OpenClient, wire: Any, ledger_file: Any
) -> None:
    ledger_file.write_text("no database, and longer than a hundred bytes, which is what a header has" * 3)
    client = await open_client()
    result = await client.call_tool("update_company", {"company": "Acme Inc.", "phone": "1"})
    [block] = result.content
    assert result.is_error
    assert str(ledger_file) in block.text  # type: ignore[union-attr]
    assert block.text.endswith("Nothing was sent to the CRM.")  # type: ignore[union-attr]
    assert wire.writes == []
    assert not (await client.call_tool("get_company", {"company": "Acme Inc."})).is_error
    assert (await client.call_tool("list_changes", {})).is_error
