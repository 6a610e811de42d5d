"""A read-only server writes nothing, for two reasons: it has no tool for it, and its client refuses."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from mcp import Client

from crm_mcp.crm.errors import ReadOnlyError
from crm_mcp.kinds import KINDS
from crm_mcp.ledger import Ledger
from crm_mcp.tools.surface import published

pytestmark = pytest.mark.anyio

OpenClient = Callable[..., Awaitable[Client]]
READING = {facts["tool"]["name"] for facts in published() if facts["effect"] == "read"}
WRITING = [facts["tool"]["name"] for facts in published() if facts["effect"] != "read"]
SOME_ID = "11111111-1111-4111-8111-111111111111"


def is_there(file: Path) -> bool:
    return file.exists()


async def test_only_reading_tools_are_there(open_client: OpenClient) -> None:
    client = await open_client(read_only=True)
    assert {tool.name for tool in (await client.list_tools()).tools} == READING


@pytest.mark.parametrize("tool", WRITING)
async def test_a_writing_tool_that_is_called_all_the_same_is_unknown(
    open_client: OpenClient, wire: Any, ledger_file: Path, tool: str
) -> None:
    client = await open_client(read_only=True)
    result = await client.call_tool(tool, {"lead": "Acme annual licence", "change": "abcd"})
    assert result.is_error
    assert (wire.sent, is_there(ledger_file)) == ([], False)


async def test_what_was_written_is_read_and_neither_undone_nor_added_to(
    open_client: OpenClient, wire: Any, ledger_file: Path
) -> None:
    writing = await open_client()
    await writing.call_tool("update_company", {"company": "Acme Inc.", "phone": "1"})
    ledger = Ledger.open(ledger_file)
    events, [change] = ledger.verify().events, ledger.changes()
    client = await open_client(read_only=True)
    assert (await client.call_tool("undo_change", {"change": change.id})).is_error
    listed = await client.call_tool("list_changes", {})
    assert listed.structured_content
    assert [one["id"] for one in listed.structured_content["changes"]] == [change.id]
    assert (ledger.verify().events, len(wire.writes)) == (events, 1)
    ledger.shut()


@pytest.mark.parametrize("name", KINDS)
async def test_the_client_sends_no_write(open_crm: Any, wire: Any, name: str) -> None:
    operation = KINDS[name].operation
    ids = dict.fromkeys(("company_id", "contact_id", "lead_id", "stage_id", "membership_id"), SOME_ID)
    async with open_crm(read_only=True) as crm:
        with pytest.raises(ReadOnlyError, match="Nothing was sent"):
            await crm.call(operation, **ids)
    assert wire.sent == []
