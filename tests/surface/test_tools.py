"""Rules over all tools, as an MCP client is shown them; each tool's own words are the committed files."""

import json
import re
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

import pytest
from mcp import Client

from crm_mcp.tools.catalogue import DEFAULT_TOOLSETS, Effect, Toolset, declarations
from crm_mcp.tools.surface import SURFACE, describe

pytestmark = pytest.mark.anyio

OpenClient = Callable[..., Awaitable[Client]]

FILES = {path.stem: json.loads(path.read_text("utf-8")) for path in SURFACE.glob("*.json")}
TOOLS = {name: facts["tool"] for name, facts in FILES.items()}

VERBS = "add create delete get link list log move reorder search send summarize undo unlink update".split()  # noqa: SIM905

# Parameters of which the name says all; every other one is described.
OBVIOUS = {
    "body",
    "body_format",
    "by",
    "description",
    "duration_minutes",
    "email",
    "first_name",
    "industry",
    "is_primary",
    "job_title",
    "kind",
    "last_name",
    "limit",
    "name",
    "notes",
    "page",
    "phone",
    "query",
    "role",
    "source",
    "subject",
    "title",
    "type",
}


def nodes(schema: Any) -> Iterator[dict[str, Any]]:
    """Every schema in a schema."""
    if isinstance(schema, dict):
        yield schema
        for child in [*schema.get("properties", {}).values(), schema.get("items")]:
            yield from nodes(child)


def compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


async def listed(client: Client) -> list[dict[str, Any]]:
    result = await client.list_tools()
    return [tool.model_dump(mode="json", by_alias=True, exclude_none=True) for tool in result.tools]


def test_the_committed_files_are_the_declared_tools() -> None:
    expected = {name: describe(name, declaration) for name, declaration in declarations().items()}
    stale = sorted(name for name in expected.keys() | FILES if expected.get(name) != FILES.get(name))
    assert not stale, f"run `make surface`: {', '.join(stale)}"


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_a_client_receives_the_committed_files(open_client: OpenClient, mode: str) -> None:
    client = await open_client(mode=mode)
    received = {tool["name"]: tool for tool in await listed(client)}
    assert received == TOOLS


@pytest.mark.parametrize("name", TOOLS)
def test_a_tool_is_named_verb_noun_with_title_and_short_description(name: str) -> None:
    tool = TOOLS[name]
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", name)
    assert name.partition("_")[0] in VERBS
    assert tool["title"]
    assert 0 < len(tool["description"]) <= 400


@pytest.mark.parametrize("name", TOOLS)
def test_the_hints_follow_from_the_effect(name: str) -> None:
    # Effect: readOnly, destructive, idempotent, openWorld.
    hints = {
        "read": (True, False, True, False),
        "create": (False, False, False, False),
        "update": (False, True, True, False),
        "delete": (False, True, True, False),
        "reach out": (False, True, False, True),
    }[FILES[name]["effect"]]
    names = ("readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint")
    assert TOOLS[name]["annotations"] == dict(zip(names, hints, strict=True))


@pytest.mark.parametrize("name", TOOLS)
def test_parameters_are_flat_typed_and_described(name: str) -> None:
    schema = TOOLS[name]["inputSchema"]
    assert (schema["type"], schema["additionalProperties"]) == ("object", False)
    assert set(schema.get("required", [])) <= schema["properties"].keys()
    for parameter, facts in schema["properties"].items():
        assert facts["type"] in ("string", "integer", "number", "boolean", "array"), parameter
        assert facts.get("items", {"type": "string"})["type"] == "string", parameter
        assert "default" not in facts or facts["default"] not in (None, "", []), parameter
        assert "description" in facts or parameter in OBVIOUS, parameter
    for node in nodes(schema):
        assert not node.keys() & {"$ref", "$defs", "anyOf", "oneOf", "allOf", "title"}


def test_every_obvious_parameter_is_one() -> None:
    assert {name for tool in TOOLS.values() for name in tool["inputSchema"]["properties"]} >= OBVIOUS


@pytest.mark.parametrize("name", TOOLS)
def test_the_output_is_an_object_with_properties(name: str) -> None:
    schema = TOOLS[name]["outputSchema"]
    assert schema["type"] == "object"
    assert schema["properties"].keys() - {"notes"}
    assert not any(node.keys() & {"$ref", "$defs", "title", "default"} for node in nodes(schema))


# The tokenizer opens its data in a way that newer Pythons warn of.
@pytest.mark.filterwarnings("ignore:open_binary is deprecated:DeprecationWarning")
async def test_the_default_surface_keeps_within_its_budget(open_client: OpenClient) -> None:
    import bpe_openai

    client = await open_client(DEFAULT_TOOLSETS)
    tools = await listed(client)
    seen = compact([{part: tool[part] for part in ("name", "description", "inputSchema")} for tool in tools])
    assert len(tools) <= 24
    tokens = len(bpe_openai.get_encoding("o200k_base").encode(seen))
    assert tokens <= 5_500
    assert len(seen.encode()) <= 22_000
    whole = (await client.list_tools()).model_dump(mode="json", by_alias=True, exclude_none=True)
    assert len(compact(whole).encode()) <= 48_000


@pytest.mark.parametrize("toolset", Toolset)
async def test_a_toolset_brings_its_tools_and_no_others(open_client: OpenClient, toolset: Toolset) -> None:
    client = await open_client(frozenset({toolset}))
    names = [tool["name"] for tool in await listed(client)]
    assert names == sorted(name for name, facts in FILES.items() if facts["toolset"] == toolset.value)


async def test_the_reading_tools_come_first(open_client: OpenClient) -> None:
    client = await open_client()
    toolsets = [FILES[tool["name"]]["toolset"] for tool in await listed(client)]
    order = [toolset.value for toolset in Toolset]
    assert toolsets == sorted(toolsets, key=order.index)
    assert order[0] == "read"


@pytest.mark.parametrize("toolsets", [frozenset(Toolset), DEFAULT_TOOLSETS, frozenset({Toolset.READ})])
async def test_a_read_only_server_has_reading_tools_whatever_the_toolsets(
    open_client: OpenClient, toolsets: frozenset[Toolset]
) -> None:
    client = await open_client(toolsets, read_only=True)
    effects = {FILES[tool["name"]]["effect"] for tool in await listed(client)}
    assert effects == {Effect.READ.value}


async def test_a_read_only_server_knows_no_writing_tool(open_client: OpenClient, wire: Any) -> None:
    client = await open_client(read_only=True)
    writing = [name for name, facts in FILES.items() if facts["effect"] != Effect.READ.value]
    results = [await client.call_tool(name, {}) for name in writing]
    known = ", ".join(tool["name"] for tool in await listed(client))
    for name, result in zip(writing, results, strict=True):
        [block] = result.content
        hint = r"( \(did you mean '\w+'\?\))?"
        expected = rf"Unknown tool: {name}{hint}\. There are: {known}\. Nothing was done\."
        assert re.fullmatch(expected, block.text)
    assert all(result.is_error for result in results)
    assert wire.sent == []
