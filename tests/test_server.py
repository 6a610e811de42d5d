from collections.abc import Awaitable, Callable
from fnmatch import filter as matching
from typing import Any

import pytest
from mcp import Client
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS

from crm_mcp import __version__
from crm_mcp.crm.companies import NewCompany
from crm_mcp.crm.errors import ReadOnlyError
from crm_mcp.server import (
    CHANGING_INSTRUCTIONS,
    INSTRUCTIONS,
    READ_ONLY_INSTRUCTIONS,
    SANDBOX_INSTRUCTIONS,
)
from crm_mcp.tools.catalogue import DEFAULT_TOOLSETS, Toolset
from crm_mcp.tools.surface import published

pytestmark = pytest.mark.anyio

OpenClient = Callable[..., Awaitable[Client]]

MODES = pytest.mark.parametrize("mode", ["auto", "legacy"])


@MODES
@pytest.mark.parametrize(
    ("is_sandbox", "read_only", "title", "instructions"),
    [
        (False, False, "CRM", INSTRUCTIONS + CHANGING_INSTRUCTIONS),
        (
            True,
            False,
            "CRM (sandbox with demo data)",
            SANDBOX_INSTRUCTIONS + INSTRUCTIONS + CHANGING_INSTRUCTIONS,
        ),
        (False, True, "CRM", READ_ONLY_INSTRUCTIONS + INSTRUCTIONS),
        (
            True,
            True,
            "CRM (sandbox with demo data)",
            SANDBOX_INSTRUCTIONS + READ_ONLY_INSTRUCTIONS + INSTRUCTIONS,
        ),
    ],
)
async def test_a_server_says_whether_it_is_a_sandbox_and_read_only(
    open_client: OpenClient, mode: str, is_sandbox: bool, read_only: bool, title: str, instructions: str
) -> None:
    client = await open_client(sandbox=is_sandbox, read_only=read_only, mode=mode)
    assert (client.server_info.name, client.server_info.title, client.server_info.version) == (
        "crm-mcp",
        title,
        __version__,
    )
    assert client.instructions == instructions
    assert len(instructions) < 2_000


@MODES
async def test_each_era_speaks_its_protocol(open_client: OpenClient, mode: str) -> None:
    client = await open_client(mode=mode)
    assert client.protocol_version == {"auto": "2026-07-28", "legacy": "2025-11-25"}[mode]


@pytest.mark.parametrize(
    ("instructions", "read_only"), [(INSTRUCTIONS, True), (INSTRUCTIONS + CHANGING_INSTRUCTIONS, False)]
)
def test_the_instructions_name_only_tools_that_there_are_by_default(
    instructions: str, read_only: bool
) -> None:
    default = {toolset.value for toolset in DEFAULT_TOOLSETS}
    every = {facts["tool"]["name"]: facts for facts in published() if facts["toolset"] in default}
    tools = {name for name, facts in every.items() if facts["effect"] == "read" or not read_only}
    verbs = {name.partition("_")[0] for name in every}
    words = {word.strip("(),.;:`") for word in instructions.replace("(", " ").split()}
    named = {word for word in words if "_" in word and word.partition("_")[0] in verbs}
    families = {word for word in named if word.endswith("*")}
    assert named - families <= tools
    # `update_*` stands for several.
    assert all(len(matching(tools, family)) > 1 for family in families)
    assert len(named) >= 5


async def test_a_read_only_servers_client_of_the_crm_refuses_to_write(open_crm: Any, wire: Any) -> None:
    async with open_crm(read_only=True) as crm:
        with pytest.raises(ReadOnlyError):
            await crm.companies.create(NewCompany(name="Acme"))
    assert wire.sent == []


@MODES
async def test_listing_tools_does_not_open_the_crm(open_client: OpenClient, wire: Any, mode: str) -> None:
    client = await open_client(mode=mode)
    await client.list_tools()
    await client.list_resources()
    assert wire.sent == []


@MODES
async def test_an_unknown_name_is_answered_with_those_that_there_are(
    open_client: OpenClient, mode: str
) -> None:
    client = await open_client(frozenset({Toolset.READ}), mode=mode)
    result = await client.call_tool("search_company", {"query": "Acme"})
    tools = ", ".join(tool.name for tool in (await client.list_tools()).tools)
    assert result.is_error
    hint = "did you mean 'search_companies'?"
    assert [block.text for block in result.content] == [
        f"Unknown tool: search_company ({hint}). There are: {tools}. Nothing was done."
    ]
    prompts = ", ".join(prompt.name for prompt in (await client.list_prompts()).prompts)
    with pytest.raises(MCPError) as caught:
        await client.get_prompt("briefing")
    assert (caught.value.error.code, str(caught.value)) == (
        INVALID_PARAMS,
        f"Unknown prompt: briefing (did you mean 'daily_briefing'?). There are: {prompts}.",
    )
    fixed = [str(resource.uri) for resource in (await client.list_resources()).resources]
    made = [one.uri_template for one in (await client.list_resource_templates()).resource_templates]
    with pytest.raises(MCPError) as caught:
        await client.read_resource("crm://company/Acme")
    assert (caught.value.error.code, str(caught.value).split(". There are: ")) == (
        INVALID_PARAMS,
        [
            "Unknown resource: crm://company/Acme (did you mean 'crm://companies/{id}'?)",
            f"{', '.join([*fixed, *made])}.",
        ],
    )
