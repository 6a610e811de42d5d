"""Named tokens over HTTP: whose name a request acts in, in both protocol eras, over real sockets."""

import json
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client, MCPError, types
from mcp.client.context import ClientRequestContext
from mcp.client.streamable_http import streamable_http_client

from crm_mcp.ledger import Ledger

from .programs import SECONDS, Program, environment

pytestmark = pytest.mark.anyio

TOKENS = {name: f"t0ken-of-{name}-" + "x" * 32 for name in ("anna", "ben")}
MAIL = {"lead": "Acme annual licence", "subject": "Our offer", "body": "Dear Anna"}
CALL = {"type": "call", "subject": "Scope", "lead": "Acme annual licence"}
APPROVED = types.ElicitResult(action="accept", content={"approve": True})

Connect = Callable[..., AbstractAsyncContextManager[Client]]


def bearer(name: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {TOKENS[name]}", "Accept": "application/json, text/event-stream"}


@pytest.fixture(params=["legacy", "auto"])
def era(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def server(tmp_path: Path, ledger_file: Path) -> Iterator[Program]:
    settings = {
        "CRM_MCP_LEDGER": str(ledger_file),
        "CRM_MCP_HTTP_TOKENS": ", ".join(f"{name}={token}" for name, token in TOKENS.items()),
    }
    flags = ("--http", "0", "--sandbox", ":memory:", "--log-level", "DEBUG")
    with Program(*flags, home=tmp_path, **settings) as program:
        yield program
        program.process.kill()
        said = program.stderr.to_the_end() + program.stdout.to_the_end()
        assert [name for name, token in TOKENS.items() if token in said] == []


@pytest.fixture
def url(server: Program) -> str:
    return server.url()


@pytest.fixture
async def http() -> AsyncIterator[httpx2.AsyncClient]:
    async with httpx2.AsyncClient(timeout=SECONDS) as client:
        yield client


@pytest.fixture
def connect(url: str, era: str) -> Connect:
    """`async with connect(name, http=client, **options)`; the token in its headers may change."""

    @asynccontextmanager
    async def connected(
        name: str, http: httpx2.AsyncClient | None = None, **options: Any
    ) -> AsyncIterator[Client]:
        with anyio.fail_after(2 * SECONDS):
            async with httpx2.AsyncClient(timeout=SECONDS) as own:
                sending = http or own
                sending.headers.update(bearer(name))
                transport = streamable_http_client(url, http_client=sending)
                async with Client(transport, mode=era, **options) as client:
                    yield client

    return connected


async def done(client: Client, tool: str, arguments: dict[str, Any]) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    return dict(result.structured_content or {})


def written(ledger: Ledger) -> list[tuple[str, str]]:
    """By whom, and what became of it; the oldest first."""
    return [(change.principal, change.outcome) for change in ledger.changes()[::-1]]


async def test_each_writes_in_the_name_of_their_token(
    connect: Connect, ledger: Ledger, ledger_file: Path, tmp_path: Path
) -> None:
    async with connect("anna") as annas, connect("ben") as bens:
        await done(annas, "log_activity", CALL)
        assert not (await done(bens, "log_activity", CALL)).get("repeat")
        assert (await done(annas, "log_activity", CALL))["repeat"]
        assert written(ledger) == [("anna", "applied"), ("ben", "applied")]

        ben, anna = ledger.changes()
        for client, change in ((annas, anna), (bens, ben)):
            listed = (await done(client, "list_changes", {}))["changes"]
            [content] = (await client.read_resource("crm://changes")).contents
            assert isinstance(content, types.TextResourceContents)
            assert [one["id"] for one in listed] == [change.id]
            assert json.loads(content.text)["changes"] == listed

    command = [sys.executable, "-m", "crm_mcp", "changes", "--principal", "ben", "--json"]
    variables = environment(tmp_path, {"CRM_MCP_LEDGER": str(ledger_file)})
    printed = (await anyio.run_process(command, env=variables)).stdout
    assert [(one["principal"], one["id"]) for one in json.loads(printed)] == [("ben", ben.id)]


async def test_names_stay_apart_among_calls_at_once(connect: Connect, ledger: Ledger) -> None:
    async with connect("anna") as annas, connect("ben") as bens, anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(done, annas, "create_lead", {"title": f"anna {number}"})
            tasks.start_soon(done, bens, "create_lead", {"title": f"ben {number}"})
    names = [(change.principal, change.arguments["title"].split()[0]) for change in ledger.changes()]
    assert sorted(names) == [("anna", "anna")] * 8 + [("ben", "ben")] * 8


async def test_an_approval_is_for_the_name_that_asked(connect: Connect, ledger: Ledger) -> None:
    async with connect("anna") as annas, connect("ben") as bens:
        assert (await annas.call_tool("send_outbound_email", MAIL)).is_error
        [asked] = ledger.waiting()
        ledger.decide(asked.id, approved=True, by="terminal")
        assert (await bens.call_tool("send_outbound_email", MAIL)).is_error
        assert (asked.principal, ledger.approval(asked.id).state) == ("anna", "approved")
        assert [one.principal for one in ledger.waiting()] == ["ben"]
        await done(annas, "send_outbound_email", MAIL)
    assert written(ledger) == [("anna", "refused"), ("ben", "refused"), ("anna", "applied")]


@pytest.mark.parametrize(
    "token", [TOKENS["anna"][:-1], f"anna={TOKENS['anna']}", "anna", ",".join(TOKENS.values())]
)
async def test_another_token_is_refused(http: httpx2.AsyncClient, url: str, token: str) -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    response = await http.post(url, json=message, headers={"Authorization": f"Bearer {token}"})
    assert response.status_code == 401


async def test_each_request_acts_in_the_name_of_its_own_token(
    connect: Connect, era: str, ledger: Ledger, http: httpx2.AsyncClient
) -> None:
    async with connect("anna", http) as client:
        await done(client, "create_lead", {"title": "Hers"})
        http.headers.update(bearer("ben"))
        if era == "legacy":
            # The session is hers: for him there is none.
            with pytest.raises(MCPError):
                await client.call_tool("create_lead", {"title": "His"})
            http.headers.update(bearer("anna"))
            await done(client, "create_lead", {"title": "Hers too"})
        else:
            await done(client, "create_lead", {"title": "His"})
    others = {"legacy": ("anna", "applied"), "auto": ("ben", "applied")}
    assert written(ledger) == [("anna", "applied"), others[era]]


@pytest.mark.parametrize("era", ["legacy"], indirect=True)
async def test_nobody_answers_ends_or_hears_in_the_session_of_another(
    connect: Connect, ledger: Ledger, http: httpx2.AsyncClient, url: str
) -> None:
    statuses = []

    async def meddle(context: ClientRequestContext, _question: Any) -> types.ElicitResult:
        session = {"Mcp-Session-Id": sessions[0], "MCP-Protocol-Version": "2025-11-25"}
        result = APPROVED.model_dump(by_alias=True, exclude_none=True)
        answer = {"jsonrpc": "2.0", "id": context.request_id, "result": result}
        async with httpx2.AsyncClient(headers=bearer("ben") | session, timeout=SECONDS) as bens:
            statuses.append((await bens.post(url, json=answer)).status_code)
            statuses.append((await bens.delete(url)).status_code)
            async with bens.stream("GET", url) as heard:
                statuses.append(heard.status_code)
        return types.ElicitResult(action="decline")

    sessions: list[str] = []

    async def note_session(response: httpx2.Response) -> None:
        sessions.extend(response.headers.get_list("mcp-session-id"))

    http.event_hooks = {"request": [], "response": [note_session]}
    async with connect("anna", http, elicitation_callback=meddle) as client:
        assert (await client.call_tool("send_outbound_email", MAIL)).is_error
    assert statuses == [404, 404, 404]
    assert written(ledger) == [("anna", "declined")]


@pytest.mark.parametrize("era", ["auto"], indirect=True)
async def test_nobody_goes_on_with_the_question_of_another(
    connect: Connect, ledger: Ledger, http: httpx2.AsyncClient
) -> None:
    async def approve_as_ben(*_: Any) -> types.ElicitResult:
        http.headers.update(bearer("ben"))
        return APPROVED

    async with connect("anna", http, elicitation_callback=approve_as_ben) as client:
        with pytest.raises(MCPError):
            await client.call_tool("send_outbound_email", MAIL)
    assert [one.principal for one in ledger.waiting()] == ["anna"]
    assert written(ledger) == [("ben", "refused")]
