"""Both protocol eras over both transports, with the SDK's own client at the other end."""

import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.abc import SocketStream
from mcp import Client, MCPDeprecationWarning, MCPError, types

from .programs import SECONDS, Program, over_stdio

pytestmark = pytest.mark.anyio

STAGES = ["New", "Qualified", "Proposal", "Negotiation", "Won", "Lost"]
PIPELINE = "crm://pipeline-stages"

Connect = Callable[..., AbstractAsyncContextManager[Client]]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server over HTTP that the tests share: each makes records of its own."""
    home = tmp_path_factory.mktemp("http")
    with Program("--http", "127.0.0.1:0", "--sandbox", ":memory:", home=home) as server:
        yield server.url()


@pytest.fixture(params=["legacy", "auto"])
def era(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(params=["stdio", "http"])
def connect(request: pytest.FixtureRequest, era: str, tmp_path: Path) -> Connect:
    """`async with connect() as client`; over a CRM with `connect(**settings)`."""

    @asynccontextmanager
    async def connected(**settings: Any) -> AsyncIterator[Client]:
        callbacks = ("message_handler", "elicitation_callback")
        options: dict[str, Any] = {"mode": era} | {name: settings.pop(name, None) for name in callbacks}
        with anyio.fail_after(2 * SECONDS):
            if request.param == "stdio":
                arguments = () if settings else ("--sandbox", ":memory:")
                async with Client(over_stdio(*arguments, home=tmp_path, **settings), **options) as client:
                    yield client
            elif settings:
                with Program("--http", "0", home=tmp_path, **settings) as server:
                    async with Client(server.url(), **options) as client:
                        yield client
            else:
                async with Client(request.getfixturevalue("url"), **options) as client:
                    yield client

    if request.param == "http":
        request.getfixturevalue("url")
    return connected


def words(result: types.CallToolResult) -> str:
    (block,) = result.content
    assert isinstance(block, types.TextContent)
    return block.text


async def done(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, words(result)
    assert result.structured_content is not None
    return dict(result.structured_content)


async def test_says_who_it_is_and_lists_its_tools_as_published(connect: Connect, era: str) -> None:
    surface = Path(__file__).parents[2] / "src" / "crm_mcp" / "tools" / "surface"
    published = {file.stem: json.loads(file.read_text("utf-8")) for file in surface.glob("*.json")}
    chosen = {
        name: facts["tool"]
        for name, facts in published.items()
        if facts["toolset"] in ("read", "sales", "email")
    }
    async with connect() as client:
        assert client.protocol_version == {"legacy": "2025-11-25", "auto": "2026-07-28"}[era]
        assert client.server_info
        assert client.server_info.title == "CRM (sandbox with demo data)"
        assert (client.instructions or "").startswith("This is the SANDBOX")
        listed = (await client.list_tools()).tools
    assert {tool.name: tool.model_dump(by_alias=True, exclude_none=True) for tool in listed} == chosen


async def test_sales_day(connect: Connect, era: str) -> None:
    asked: list[str] = []

    async def approve(_context: Any, question: Any) -> types.ElicitResult:
        asked.append(question.message)
        return types.ElicitResult(action="accept", content={"approve": True})

    async with connect(elicitation_callback=approve) as client:
        found = await done(client, "search_companies", query="Acme Inc")
        company = found["companies"][0]["id"]
        people = await done(client, "search_contacts", company=company)
        contact = next(person for person in people["contacts"] if "email" in person)
        created = await done(
            client,
            "create_lead",
            title=f"Support {era}",
            company=company,
            contact=contact["id"],
            value=18000,
        )
        lead = created["lead"]["id"]
        moved = await done(client, "move_lead_stage", lead=lead, stage="qualified")
        assert (moved["lead"]["id"], moved["lead"]["stage"]) == (lead, "Qualified")
        await done(client, "log_activity", type="call", subject="Scope", lead=lead, duration_minutes=20)
        email = {"lead": lead, "subject": f"Summary {era}", "body": "**18,000**"}
        sent = await done(client, "send_outbound_email", **email)
        assert sent["to"] == contact["email"]
        assert [contact["email"] in question for question in asked] == [True]
        undone = await done(client, "undo_change", change=moved["change_ids"][0])
        assert undone["undone"]["outcome"] == "undone"
        stages = await done(client, "list_pipeline_stages")
        assert [stage["name"] for stage in stages["stages"]] == STAGES

        after = await done(client, "get_lead", lead=lead)
    assert (after["lead"]["title"], after["lead"]["stage"]) == (f"Support {era}", "New")
    subjects = [entry.get("subject") for entry in after["timeline"]]
    assert {"Scope", f"Summary {era}"} <= set(subjects)


async def test_reads_resources_and_says_which_one_is_not_there(connect: Connect) -> None:
    async with connect() as client:
        read = await client.read_resource(PIPELINE)
        (content,) = read.contents
        assert isinstance(content, types.TextResourceContents)
        assert content.mime_type == "application/json"
        assert [stage["name"] for stage in json.loads(content.text)["stages"]] == STAGES

        with pytest.raises(MCPError) as caught:
            await client.read_resource(f"{PIPELINE}/Qualifed")
    assert str(caught.value) == (
        f'No stage "Qualifed". Did you mean "Qualified"? Stages: {", ".join(STAGES)}.'
    )


async def test_error_is_a_result_that_says_what_next(connect: Connect) -> None:
    async with connect() as client:
        found = await done(client, "search_leads", limit=1)
        arguments = {"lead": found["leads"][0]["id"], "stage": "Wun"}
        result = await client.call_tool("move_lead_stage", arguments)
    assert result.is_error
    stages = ", ".join(STAGES)
    assert words(result) == (
        f'No stage "Wun". Did you mean "Won"? Stages: {stages}. Nothing was sent to the CRM.'
    )


async def test_tells_a_subscriber_what_a_write_changed(connect: Connect, era: str) -> None:
    told = anyio.Event()
    uris: list[str] = []

    async def note(message: Any) -> None:
        if isinstance(message, types.ResourceUpdatedNotification):
            uris.append(str(message.params.uri))
            told.set()

    async with connect(message_handler=note) as client, anyio.create_task_group() as tasks:

        async def write_until_told() -> None:
            # A legacy client's stream may open after its subscription is answered: nothing is replayed.
            while not told.is_set():
                await done(client, "create_lead", title="Noted")

        if era == "legacy":
            with pytest.warns(MCPDeprecationWarning):
                await client.subscribe_resource(PIPELINE)
            tasks.start_soon(write_until_told)
            await told.wait()
        else:
            async with client.listen(resource_subscriptions=[PIPELINE]) as changes:
                await done(client, "create_lead", title="Noted")
                change = await anext(changes)
                uris.append(change.uri)
    assert set(uris) == {PIPELINE}


async def test_64_calls_at_once_get_the_answers_to_their_own_questions(connect: Connect) -> None:
    leads: dict[str, str] = {}

    async with connect() as client:

        async def create(title: str) -> None:
            lead = (await done(client, "create_lead", title=title))["lead"]
            assert lead["title"] == title
            leads[lead["id"]] = title

        async with anyio.create_task_group() as tasks:
            for number in range(64):
                tasks.start_soon(create, f"Deal {number:02} of this run")
        *_, (last, title) = leads.items()
        assert (await done(client, "get_lead", lead=last))["lead"]["title"] == title
    assert len(leads) == 64


class SilentCrm:
    """A CRM that takes a request and never answers; it notes when the client hangs up."""

    def __init__(self) -> None:
        self.request_line = ""
        self.asked, self.left = anyio.Event(), anyio.Event()

    async def handle(self, stream: SocketStream) -> None:
        async with stream:
            self.request_line = (await stream.receive()).decode().splitlines()[0]
            self.asked.set()
            try:
                while True:
                    await stream.receive()
            except (anyio.EndOfStream, anyio.BrokenResourceError):
                self.left.set()


async def test_cancelled_call_hangs_up_on_the_crm(connect: Connect) -> None:
    crm = SilentCrm()
    listener = await anyio.create_tcp_listener(local_host="127.0.0.1")
    port = listener.extra(anyio.abc.SocketAttribute.local_port)  # noqa: S610  # no Django
    settings = {
        "CRM_BASE_URL": f"http://127.0.0.1:{port}",
        "CRM_API_KEY": "ak_any",
        "CRM_ENTITY_ID": "6f1d9b52-4a0e-4c1b-9d27-2f6c0d4f8a11",
    }
    async with listener, anyio.create_task_group() as serving:
        serving.start_soon(listener.serve, crm.handle)
        async with connect(**settings) as client:
            async with anyio.create_task_group() as calling:
                calling.start_soon(client.call_tool, "list_pipeline_stages", {})
                await crm.asked.wait()
                assert not crm.left.is_set()
                calling.cancel_scope.cancel()
            with anyio.fail_after(5):
                await crm.left.wait()
            # And it goes on serving.
            assert (await client.list_tools()).tools
        serving.cancel_scope.cancel()
    assert crm.request_line == (f"GET /api/crm/pipeline-stages?entityId={settings['CRM_ENTITY_ID']} HTTP/1.1")
