"""Tools called as an assistant calls them: over MCP, against the embedded CRM."""

import re
from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

import pytest
from mcp import Client
from mcp.types import CallToolResult

from .expected import with_fixed_mark


class Answer(NamedTuple):
    """What the model reads, with the mark of `expected`; and the structured content."""

    text: str
    facts: dict[str, Any]


@pytest.fixture
def call(client: Client) -> Callable[..., Awaitable[Answer]]:
    """`await call(tool, **arguments)`: the answer of a call that succeeds."""

    async def call(tool: str, /, **arguments: Any) -> Answer:
        result = await client.call_tool(tool, arguments)
        assert not result.is_error, result.content
        return Answer(*without_change(with_fixed_mark(_text(result)), result.structured_content))

    return call


@pytest.fixture
def refusal(client: Client) -> Callable[..., Awaitable[str]]:
    """`await refusal(tool, **arguments)`: what the model is told by a call that fails."""

    async def refusal(tool: str, /, **arguments: Any) -> str:
        result = await client.call_tool(tool, arguments)
        assert result.is_error, result.content
        assert result.structured_content is None
        return _text(result)

    return refusal


def without_change(text: str, facts: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The answer but for what the ledger calls a write, which `test_changes` is about."""
    lines = [line for line in text.splitlines() if not re.match(r"Changes?: [a-z0-9]", line)]
    return "\n".join(lines), {name: value for name, value in facts.items() if name != "change_ids"}


def _text(result: CallToolResult) -> str:
    [block] = result.content
    assert block.type == "text"
    return block.text
