"""What a client is shown of the tools: derived from their declarations, committed, and served from there.

Building the schemas of all tools takes a third of the server's start-up, and they only change with the code.
So each tool's description is a committed file, the one that reviewers see and clients receive; a test holds
it to the declaration, `make surface` (`python -m crm_mcp.tools.surface`) writes it anew.
"""

from __future__ import annotations

import inspect
import json
from pathlib import Path
from typing import Any, get_type_hints

from mcp.server.mcpserver.tools import Tool

from crm_mcp.tools.catalogue import Declaration, ToolFunction, declarations

SURFACE = Path(__file__).parent / "surface"


def published() -> list[dict[str, Any]]:
    """The committed descriptions: `{"toolset", "effect", "tool"}`, `tool` being MCP's, in a fixed order."""
    return [json.loads(path.read_text("utf-8")) for path in sorted(SURFACE.glob("*.json"))]


def describe(name: str, declaration: Declaration) -> dict[str, Any]:
    """What is to be published of a tool."""
    function = declaration.function
    takes = Tool.from_function(function, structured_output=False).parameters
    gives = get_type_hints(function)["return"].model_json_schema(by_alias=False, mode="serialization")
    tool = {
        "name": name,
        "title": declaration.title,
        "description": _description(function),
        "inputSchema": {**lean_schema(takes, keep_text=True), "additionalProperties": False},
        "outputSchema": lean_schema(gives, keep_text=False),
        "annotations": declaration.effect.hints(),
    }
    return {"toolset": declaration.toolset.value, "effect": declaration.effect.value, "tool": tool}


def publish() -> None:
    """Write every tool's description, and remove those of tools that are no more."""
    texts = {
        f"{name}.json": json.dumps(describe(name, declaration), indent=1, ensure_ascii=False) + "\n"
        for name, declaration in declarations().items()
    }
    for path in SURFACE.glob("*.json"):
        if path.name not in texts:
            path.unlink()
    for file_name, text in texts.items():
        (SURFACE / file_name).write_text(text, "utf-8")


def _description(function: ToolFunction) -> str:
    """The docstring up to its first section, as one paragraph."""
    text = inspect.cleandoc(function.__doc__ or "").split("\n\nRaises")[0]
    return " ".join(text.split())


def lean_schema(schema: dict[str, Any], *, keep_text: bool) -> dict[str, Any]:
    """A schema without what clients choke on or pay for in vain.

    No `$ref`, no `anyOf` with null (an optional field publishes its plain type), no titles, no defaults that
    only mean "not given"; without `keep_text` no descriptions, formats and defaults either.
    """
    definitions = schema.get("$defs", {})
    dropped = {"title", "$defs"} | (set() if keep_text else {"description", "default", "format"})

    def lean(node: Any) -> Any:
        if isinstance(node, list):
            return [lean(item) for item in node]
        if not isinstance(node, dict):
            return node
        if "$ref" in node:
            return lean({**definitions[node["$ref"].rpartition("/")[2]], **_without(node, {"$ref"})})
        arms = [arm for arm in node.get("anyOf", []) if arm != {"type": "null"}]
        if len(arms) == 1:
            return lean({**_without(node, {"anyOf"}), **arms[0]})
        if node.get("default", 0) in (None, "", []):
            node = _without(node, {"default"})
        return {
            name: {key: lean(value) for key, value in child.items()} if name == "properties" else lean(child)
            for name, child in node.items()
            if name not in dropped
        }

    cleaned: dict[str, Any] = lean(schema)
    return cleaned


def _without(node: dict[str, Any], names: set[str]) -> dict[str, Any]:
    return {name: value for name, value in node.items() if name not in names}


if __name__ == "__main__":
    publish()
