"""A tool as the server holds it: listed from its committed description, strict about its arguments."""

from __future__ import annotations

import difflib
import json
from collections.abc import Awaitable, Callable
from functools import cached_property
from typing import Any

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp.types import CallToolResult, InputRequiredResult, TextContent, ToolAnnotations
from pydantic import ValidationError

from crm_mcp.crm.errors import CrmError
from crm_mcp.tools.catalogue import Effect, Toolset, declarations
from crm_mcp.tools.surface import published

# As o200k_base counts tool descriptions; measured over the default surface.
BYTES_PER_TOKEN = 4.3

OnWrite = Callable[[Context[Any, Any], Any], Awaitable[None]]


def load_tools(toolsets: frozenset[Toolset], *, read_only: bool, on_write: OnWrite) -> list[Tool]:
    """The tools of `toolsets`, the reading ones first; read-only wins over every toolset."""
    return [_listed(facts["tool"], on_write) for facts in _chosen(toolsets, read_only=read_only)]


def _chosen(toolsets: frozenset[Toolset], *, read_only: bool) -> list[dict[str, Any]]:
    order = [toolset.value for toolset in Toolset]
    chosen = [
        facts
        for facts in published()
        if Toolset(facts["toolset"]) in toolsets and (facts["effect"] == Effect.READ.value or not read_only)
    ]
    return sorted(chosen, key=lambda facts: order.index(facts["toolset"]))


def _listed(tool: dict[str, Any], on_write: OnWrite) -> Tool:
    return PublishedTool(
        fn=_called_through_run,
        name=tool["name"],
        title=tool["title"],
        description=tool["description"],
        parameters=tool["inputSchema"],
        fn_metadata=FuncMetadata(arg_model=ArgModelBase, output_schema=tool["outputSchema"]),
        is_async=True,
        annotations=ToolAnnotations.model_validate(tool["annotations"]),
        on_write=on_write,
    )


async def _called_through_run() -> None:
    raise AssertionError("a published tool runs its implementation")


class PublishedTool(Tool):
    """A tool whose function is imported, and its validator built, with its first call."""

    on_write: OnWrite

    @cached_property
    def _implementation(self) -> Tool:
        return Tool.from_function(declarations()[self.name].function, structured_output=False)

    async def run(
        self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False
    ) -> Any:
        result = await self._run(self._checked(arguments), context)
        if isinstance(result, InputRequiredResult) or not convert_result:
            return result
        if result.touched:
            await self.on_write(context, result)
        return CallToolResult(
            content=[TextContent(text=result.text())], structured_content=result.structured()
        )

    async def _run(self, arguments: dict[str, Any], context: Context[Any, Any]) -> Any:
        try:
            return await self._implementation.run(arguments, context)
        except UnexpectedToolError as error:
            if isinstance(error.__cause__, CrmError):
                raise ToolError(str(error.__cause__)) from error.__cause__
            raise
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                raise ToolError(_in_one_line(error.__cause__)) from error.__cause__
            raise

    def _checked(self, arguments: dict[str, Any]) -> dict[str, Any]:
        """The arguments that say something: models fill in optional ones with empty strings and nulls.

        Raises ToolError for an argument that the tool does not have, and for a required one that is blank.
        """
        known: dict[str, Any] = self.parameters["properties"]
        for name in arguments:
            if name not in known:
                raise ToolError(_unknown_argument(name, list(known)))
        said = {name: value for name, value in arguments.items() if not _is_blank(value)}
        missing = [f"`{name}`" for name in self.parameters.get("required", []) if name not in said]
        if missing:
            raise ToolError(f"Required and not given: {', '.join(missing)}. Nothing was done.")
        return said


def _is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def _unknown_argument(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean `{close[0]}`?" if close else ""
    every = ", ".join(known) or "none"
    return f"There is no argument `{name[:60]}`.{hint} Arguments: {every}. Nothing was done."


def _in_one_line(error: ValidationError) -> str:
    problems = [
        f"`{'.'.join(str(part) for part in problem['loc'])}`: {problem['msg'].removeprefix('Value error, ')}"
        for problem in error.errors(include_url=False, include_context=False)
    ]
    return f"{'; '.join(problems)}. Nothing was done."


def table(toolsets: frozenset[Toolset], *, read_only: bool) -> str:
    """The tools and what each costs: bytes and about as many tokens as a model's context pays for it."""
    rows = []
    for facts in _chosen(toolsets, read_only=read_only):
        tool = facts["tool"]
        seen = {name: tool[name] for name in ("name", "description", "inputSchema")}
        size = len(json.dumps(seen, ensure_ascii=False, separators=(",", ":")).encode())
        rows.append((tool["name"], facts["toolset"], facts["effect"], size, round(size / BYTES_PER_TOKEN)))
    total = ("total", f"{len(rows)} tools", "", sum(row[3] for row in rows), sum(row[4] for row in rows))
    head = f"{'tool':<30}{'toolset':<10}{'effect':<11}{'bytes':>7}{'~tokens':>9}"
    return "\n".join([head, *(f"{a:<30}{b:<10}{c:<11}{d:>7}{e:>9}" for a, b, c, d, e in (*rows, total))])
