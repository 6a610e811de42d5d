import json
import re
from collections.abc import Awaitable, Callable, Collection
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp.types import GetPromptResult

from crm_mcp.prompts import PROMPTS
from crm_mcp.tools.catalogue import DEFAULT_TOOLSETS, Toolset
from crm_mcp.tools.surface import published

pytestmark = pytest.mark.anyio

TOOLS = {facts["tool"]["name"]: facts["tool"] for facts in published()}
PARAMETERS = {name for tool in TOOLS.values() for name in tool["inputSchema"]["properties"]}
LISTED = {
    "daily_briefing": ("Daily briefing", []),
    "prepare_meeting": ("Prepare for a meeting", ["company"]),
    "log_call": ("Log a call", ["lead"]),
    "follow_up_email": ("Follow-up e-mail", ["lead"]),
    "pipeline_review": ("Pipeline review", []),
    "clean_up": ("Clean up the CRM", []),
}
Read = Callable[[str], Awaitable[str]]
OpenClient = Callable[..., Awaitable[Client]]


def text_of(result: GetPromptResult) -> str:
    [message] = result.messages
    assert message.role == "user"
    assert message.content.type == "text"
    return message.content.text


@pytest.fixture
def read(client: Client) -> Read:
    """`await read(name)`: a prompt as a person gets it, about Acme Inc. where it is about something."""

    async def read(name: str) -> str:
        return text_of(await client.get_prompt(name, dict.fromkeys(LISTED[name][1], "Acme Inc.")))

    return read


async def test_prompts_are_listed_with_titles_descriptions_and_arguments(client: Client) -> None:
    prompts = (await client.list_prompts()).prompts
    assert {
        prompt.name: (prompt.title, [argument.name for argument in prompt.arguments or []])
        for prompt in prompts
    } == LISTED
    assert all(prompt.description for prompt in prompts)
    arguments = [argument for prompt in prompts for argument in prompt.arguments or []]
    assert all(argument.required and argument.description for argument in arguments)


@pytest.mark.parametrize("name", LISTED)
async def test_a_prompt_names_only_tools_and_arguments_that_there_are(read: Read, name: str) -> None:
    text = await read(name)
    named = set(re.findall(r"\b[a-z]+(?:_[a-z]+)+\b", text))
    assert named <= TOOLS.keys() | PARAMETERS
    assert named & TOOLS.keys()
    assert set(re.findall(r"`([a-z_]+)`", text)) <= PARAMETERS | {"call", "task"}


# How a prompt says what a tool is to be called with: `tool("what")`, "tool by stage", "tool with `since` …".
CALLED = re.compile(r"([a-z]+(?:_[a-z]+)+)(?:\((\".*?\")\)| by (\w+)| with (?:a )?`(\w+)`(?: (\d+))?)?")
SAID = {"since": "2026-01-31", "lost_reason": "Price"}


def calls_of(text: str) -> list[tuple[str, dict[str, Any]]]:
    """Its workflow as calls, as a reader would make them."""
    calls = []
    for tool, what, by, name, number in CALLED.findall(text):
        if tool not in TOOLS:
            continue
        first = next(iter(TOOLS[tool]["inputSchema"]["properties"]))
        said: dict[str, Any] = {first: json.loads(what)} if what else {}
        said |= {"by": by} if by else {}
        said |= {name: int(number) if number else SAID.get(name, "x")} if name else {}
        calls.append((tool, said))
    return calls


@pytest.mark.parametrize("name", LISTED)
async def test_a_prompt_is_a_workflow_that_can_be_walked(client: Client, read: Read, name: str) -> None:
    calls = calls_of(await read(name))
    assert calls
    for tool, said in calls:
        schema = TOOLS[tool]["inputSchema"]
        assert said.keys() <= schema["properties"].keys()
        reads = TOOLS[tool]["annotations"]["readOnlyHint"]
        if reads and schema.get("required", []) <= list(said):
            result = await client.call_tool(tool, said)
            assert not result.is_error, result.content


@pytest.mark.parametrize("name", [name for name, (_, arguments) in LISTED.items() if arguments])
async def test_a_prompt_says_what_it_is_about(read: Read, name: str) -> None:
    assert '("Acme Inc.")' in await read(name)


@pytest.mark.parametrize("name", LISTED)
async def test_a_prompt_that_leads_to_a_write_waits_for_the_person(read: Read, name: str) -> None:
    text = await read(name)
    writing = {tool for tool, facts in TOOLS.items() if not facts["annotations"]["readOnlyHint"]}
    writes = {tool for tool in writing if re.search(rf"\b{tool}\b", text)}
    waits = re.search(r"before I say yes|wait for my|before you write it", text, re.IGNORECASE)
    assert bool(writes) == bool(waits) != ("Change nothing." in " ".join(text.split()))


READING = {"daily_briefing", "prepare_meeting"}
SELLING = {"log_call", "pipeline_review", "clean_up"}


@pytest.mark.parametrize(
    ("toolsets", "read_only", "offered"),
    [
        (DEFAULT_TOOLSETS, False, set(LISTED)),
        (DEFAULT_TOOLSETS, True, READING),
        (frozenset(Toolset), True, READING),
        ({Toolset.READ}, False, READING),
        ({Toolset.READ, Toolset.SALES}, False, READING | SELLING),
        ({Toolset.READ, Toolset.EMAIL}, False, READING),
        ({Toolset.READ, Toolset.SALES, Toolset.EMAIL}, False, set(LISTED)),
        ({Toolset.SALES, Toolset.EMAIL}, False, set()),
    ],
)
async def test_a_prompt_is_offered_where_all_tools_that_it_names_are(
    open_client: OpenClient, toolsets: Collection[Toolset], read_only: bool, offered: set[str]
) -> None:
    client = await open_client(frozenset(toolsets), read_only=read_only)
    prompts = (await client.list_prompts()).prompts
    assert {prompt.name for prompt in prompts} == offered
    tools = {tool.name for tool in (await client.list_tools()).tools}
    for prompt in prompts:
        about = {argument.name: "Acme" for argument in prompt.arguments or []}
        text = text_of(await client.get_prompt(prompt.name, about))
        assert {tool for tool in TOOLS if re.search(rf"\b{tool}\b", text)} <= tools


async def test_every_prompt_is_tested() -> None:
    assert [(title, function.__name__) for title, function in PROMPTS.items()] == [
        (title, name) for name, (title, _) in LISTED.items()
    ]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({}, "`company` is missing"),
        ({"company": " "}, "`company` is missing"),
        ({"company": "Acme", "lead": "x"}, "there is no `lead`"),
    ],
)
async def test_a_prompt_says_what_is_wrong_with_its_arguments(
    client: Client, arguments: dict[str, str], problem: str
) -> None:
    with pytest.raises(MCPError) as error:
        await client.get_prompt("prepare_meeting", arguments)
    assert str(error.value) == f"Prepare for a meeting: {problem}."
