"""A plain server as one generates it of our OpenAPI document: a tool an operation, JSON answers verbatim."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import httpx2
from mcp.server.lowlevel import Server
from mcp.types import (
    CallToolRequestParams,
    CallToolResult,
    ListToolsResult,
    TextContent,
    Tool,
)

from crm_mcp.crm.contract import BASE_PATH
from crm_mcp.crm.openapi import document

Json = dict[str, Any]


@dataclass(frozen=True)
class Operation:
    """An operation as a tool: where it sends which argument."""

    tool: Tool
    method: str
    path: str
    in_query: frozenset[str]

    async def call(self, api: httpx2.AsyncClient, arguments: Json) -> CallToolResult:
        in_path = set(re.findall(r"{(\w+)}", self.path))
        query = {name: arguments[name] for name in arguments.keys() & self.in_query}
        body = {name: value for name, value in arguments.items() if name not in self.in_query | in_path}
        path = self.path.format_map(arguments).removeprefix(BASE_PATH)
        content = None if self.method == "GET" else body
        response = await api.request(self.method, path, params=query, json=content)
        return CallToolResult(
            content=[TextContent(text=response.text)],
            structured_content=response.json() if response.content else None,
            is_error=response.is_error,
        )


def generated_server(api: httpx2.AsyncClient) -> Server[Any]:
    """The server over the CRM's HTTP API; `api` is configured with the key and the entity."""
    operations = {operation.tool.name: operation for operation in _operations()}

    async def list_tools(_context: Any, _params: Any) -> ListToolsResult:
        return ListToolsResult(tools=[operation.tool for operation in operations.values()])

    async def call_tool(_context: Any, params: CallToolRequestParams) -> CallToolResult:
        return await operations[params.name].call(api, params.arguments or {})

    return Server("generated", on_list_tools=list_tools, on_call_tool=call_tool)


def _operations() -> Iterator[Operation]:
    described = document()
    for path, methods in described["paths"].items():
        for method, facts in methods.items():
            parameters = [one for one in facts["parameters"] if "$ref" not in one]
            body = _body(facts, described)
            properties = {one["name"]: _described(one["schema"], one) for one in parameters}
            required = [one["name"] for one in parameters if one.get("required")]
            schema = {
                "type": "object",
                "properties": properties
                | {name: _described(one) for name, one in body["properties"].items()},
                "required": [*required, *body.get("required", [])],
            }
            tool = Tool(name=facts["operationId"], description=facts["summary"], input_schema=schema)
            in_query = frozenset(one["name"] for one in parameters if one["in"] == "query")
            yield Operation(tool, method.upper(), path, in_query)


def _body(facts: Json, described: Json) -> Json:
    """The schema of an operation's body; without properties where it has none."""
    if "requestBody" not in facts:
        return {"properties": {}}
    reference = facts["requestBody"]["content"]["application/json"]["schema"]["$ref"]
    schema: Json = described["components"]["schemas"][reference.rpartition("/")[2]]
    return schema


def _described(schema: Json, parameter: Json | None = None) -> Json:
    """A parameter's schema, without the document's own annotations."""
    text = {"description": parameter["description"]} if parameter and "description" in parameter else {}
    return {key: value for key, value in schema.items() if not key.startswith("x-")} | text
