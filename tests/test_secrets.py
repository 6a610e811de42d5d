"""No key and no token is kept or shown, nor any e-mail's text where an operator does not want that."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import httpx2
import pytest
from mcp import Client

from crm_mcp.access import CrmAccess
from crm_mcp.calls import Policy
from crm_mcp.http import build_app, principal
from crm_mcp.ledger import Ledger
from crm_mcp.server import build_server
from crm_mcp.settings import Settings
from crm_mcp.tools.catalogue import Toolset

pytestmark = pytest.mark.anyio

Arguments = dict[str, Any]
OpenClient = Callable[..., Awaitable[Client]]
TOKEN = "t0ken-of-the-operator-" + "x" * 20
TEXT = "Zanzibar is lovely in spring"
DIGESTS = Policy(approval="client", digest_bodies=True)
MAIL: Arguments = {"lead": "Acme annual licence", "subject": "Our offer", "body": f"Dear Anna, {TEXT}."}
NOTE: Arguments = {
    "lead": "Acme annual licence",
    "type": "note",
    "subject": "Talk",
    "body": f"She said: {TEXT}.",
}
WITH_TEXT = [("send_outbound_email", MAIL), ("log_activity", NOTE)]


def kept(ledger_file: Path) -> bytes:
    """All that is on disk of the ledger, what is still on its way into the file included."""
    files = sorted(ledger_file.parent.glob(f"{ledger_file.name}*"))
    assert files
    return b"".join(file.read_bytes() for file in files)


async def said(client: Client, tool: str, arguments: Arguments) -> str:
    result = await client.call_tool(tool, arguments)
    return f"{result.content} {result.structured_content}"


@pytest.mark.parametrize(("tool", "arguments"), WITH_TEXT)
async def test_texts_are_kept_as_digests_where_the_operator_says_so(
    open_client: OpenClient, ledger_file: Path, wire: Any, tool: str, arguments: Arguments
) -> None:
    client = await open_client(policy=DIGESTS)
    first = (await client.call_tool(tool, arguments)).structured_content
    again = (await client.call_tool(tool, arguments)).structured_content
    assert first
    assert again == first | {"repeat": True}
    assert TEXT in str(wire.writes[0].body)
    assert b"sha256:" in kept(ledger_file)
    assert TEXT.encode() not in kept(ledger_file)


@pytest.mark.parametrize(("tool", "arguments"), WITH_TEXT)
async def test_texts_are_kept_otherwise(
    open_client: OpenClient, ledger_file: Path, tool: str, arguments: Arguments
) -> None:
    await (await open_client()).call_tool(tool, arguments)
    assert TEXT.encode() in kept(ledger_file)


@pytest.mark.parametrize(("tool", "arguments"), WITH_TEXT)
@pytest.mark.parametrize("approval", ["never", "ask"])
async def test_what_is_refused_is_kept_as_a_digest_but_for_what_a_person_must_see(
    open_client: OpenClient, ledger_file: Path, tool: str, arguments: Arguments, approval: Any
) -> None:
    policy = Policy(approval=approval, digest_bodies=True, guard=frozenset({tool}))
    await (await open_client(policy=policy)).call_tool(tool, arguments)
    ledger = Ledger.open(ledger_file)
    [change], waiting = ledger.changes(), ledger.waiting()
    ledger.shut()
    assert TEXT not in repr(change)
    # An approval that waits is its preview, for whichever process shows it.
    assert [TEXT in one.preview for one in waiting] == ([True] if approval == "ask" else [])
    assert (TEXT.encode() in kept(ledger_file)) is bool(waiting)


@pytest.mark.parametrize(("tool", "arguments"), WITH_TEXT)
async def test_a_text_in_arguments_that_the_tool_does_not_take_is_kept_as_a_digest(
    open_client: OpenClient, ledger_file: Path, tool: str, arguments: Arguments
) -> None:
    client = await open_client(policy=DIGESTS)
    for wrong in ({"approved": True}, {"message": TEXT}, {"body": [TEXT, {"text": TEXT}]}):
        assert (await client.call_tool(tool, {**arguments, **wrong})).is_error
    ledger = Ledger.open(ledger_file)
    assert [change.outcome for change in ledger.changes()] == ["refused"] * 3
    ledger.shut()
    assert TEXT.encode() not in kept(ledger_file)


async def test_the_key_is_in_no_record_no_preview_and_no_error(
    open_client: OpenClient, sandbox: Any, ledger_file: Path, wire: Any
) -> None:
    key = sandbox.credentials.api_key
    trusting, asking = await open_client(), await open_client(policy=Policy())
    told = [await said(trusting, *call) for call in WITH_TEXT]
    told += [await said(asking, "delete_lead", {"lead": "Acme annual licence"})]

    async def repeat_the_key(request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            return await inner.handle_async_request(request)
        return httpx2.Response(status, json={"error": f"bad: {request.headers['authorization']}"})

    inner, wire.inner = wire.inner, httpx2.MockTransport(repeat_the_key)
    for status in (400, 401, 403, 409, 500):
        told.append(await said(trusting, "update_company", {"company": "Acme Inc.", "phone": str(status)}))
    assert [text for text in told if key in text] == []
    assert [request.method for request in wire.writes] == ["POST"] * 2 + ["PATCH"] * 5
    assert key.encode() not in kept(ledger_file)


async def test_the_token_is_in_no_record_no_preview_and_no_answer(open_crm: Any, ledger_file: Path) -> None:
    access = CrmAccess(open_crm, open_ledger=lambda: Ledger.open(ledger_file), principal=principal)
    server = build_server(access, frozenset(Toolset), read_only=False, sandbox=True)
    settings = Settings.model_validate({"CRM_MCP_HTTP": "127.0.0.1:8000", "CRM_MCP_HTTP_TOKEN": TOKEN})
    app = build_app(server, settings)
    headers = {"authorization": f"Bearer {TOKEN}", "accept": "application/json, text/event-stream"}
    calls = [("delete_lead", {"lead": TOKEN[:5]}), ("update_company", {"company": "Acme Inc.", "phone": "1"})]
    told = []
    async with (
        server.session_manager.run(),
        httpx2.AsyncClient(transport=httpx2.ASGITransport(app), base_url="http://localhost") as http,
    ):
        for tool, arguments in [*calls, ("send_outbound_email", MAIL)]:
            params = {"name": tool, "arguments": arguments, "_meta": META}
            message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": params}
            routing = {"mcp-protocol-version": "2026-07-28", "mcp-method": "tools/call", "mcp-name": tool}
            answer = await http.post("/mcp", json=message, headers=headers | routing)
            told.append(answer.text)
    assert [text for text in told if TOKEN in text] == []
    assert "Company updated." in told[1]
    assert "A person must approve this." in told[2]
    assert TOKEN.encode() not in kept(ledger_file)


META = {
    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
    "io.modelcontextprotocol/clientCapabilities": {},
    "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
}
