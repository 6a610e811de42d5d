"""An assistant's sales day, played through a real MCP client over a real stdio subprocess."""

from __future__ import annotations

import os
import sys
import textwrap
from datetime import UTC, datetime, timedelta
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.client.context import ClientRequestContext
from mcp.types import ElicitRequestParams, ElicitResult, TextContent

from crm_mcp import clients
from crm_mcp.settings import IN_MEMORY, Settings

WIDTH = 100
MAX_LINES = 12


class _WentWrongError(Exception):
    """A call of the day did not do what the day needs; it was printed."""


async def play() -> bool:
    """Print the day, turn by turn, then how to connect a desktop client; False when a call failed."""
    failed = False
    try:
        async with Client(_server(), elicitation_callback=_approve) as client:
            if client.server_info:
                _say(f"{client.server_info.title}, over MCP {client.protocol_version}")
            await _Day(client).play()
    except* _WentWrongError:
        failed = True
    if not failed:
        snippet, where = clients.snippet("claude-desktop", Settings())
        _say("", "Now with your own assistant, on a demo company of its own:", where, "", snippet)
    return not failed


def _server() -> StdioServerParameters:
    """This very program, which keeps nothing; of the environment it gets no more than it needs."""
    return StdioServerParameters(
        command=sys.executable,
        args=["-m", "crm_mcp", "--sandbox", IN_MEMORY, "--toolsets", "all"],
        env={name: os.environ[name] for name in ("PYTHONPATH",) if name in os.environ},
    )


async def _approve(context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:  # noqa: ARG001
    """The person, who reads what is about to be done and approves it."""
    for line in params.message.splitlines():
        _print_indented(line, "   ? ")
    _say("   (You approve.)")
    return ElicitResult(action="accept", content={"approve": True})


class _Day:
    """The turns of the day: what a person says, and the one call that answers it."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def play(self) -> None:
        await self._turn("What do we have going with Acme?", "get_company", company="Acme")
        await self._turn("And the licence?", "get_lead", lead="Acme annual licence")
        created = await self._turn(
            "They want a support contract too, 18,000 euros. Luc asked for it.",
            "create_lead",
            title="Support contract",
            company="Acme",
            contact="Luc at Acme",
            value=18000,
            currency="EUR",
        )
        lead = created["lead"]["title"]
        moved = await self._turn("Qualified already.", "move_lead_stage", lead=lead, stage="Qualified")
        await self._turn("No, wait, not yet.", "undo_change", change=moved["change_ids"][0])
        await self._turn(
            "We spoke for 20 minutes about it.",
            "log_activity",
            type="call",
            subject="Scope of the support contract",
            lead=lead,
            duration_minutes=20,
        )
        await self._turn(
            "Send him the summary.",
            "send_outbound_email",
            lead=lead,
            subject="Your support contract",
            body="Hello Luc,\n\nas discussed: **18,000 EUR** a year.\n\nKind regards",
        )
        next_week = datetime.now(UTC) + timedelta(days=7)
        await self._turn(
            "Remind me in a week.",
            "log_activity",
            type="task",
            subject="Ask Luc for the signature",
            lead=lead,
            due_at=f"{next_week:%Y-%m-%d}",
        )
        await self._turn("And the pipeline now?", "summarize_pipeline")

    async def _turn(self, person: str, tool: str, **arguments: Any) -> dict[str, Any]:
        _say("", f"You: {person}")
        said = ", ".join(f"{name}={value!r}" for name, value in arguments.items())
        _print_indented(f"-> {tool}({said})", "   ")
        result = await self._client.call_tool(tool, arguments)
        text = "\n".join(block.text for block in result.content if isinstance(block, TextContent))
        lines = text.splitlines()
        for line in lines[:MAX_LINES]:
            _print_indented(line, "   ")
        if len(lines) > MAX_LINES:
            _print_indented(f"… {len(lines) - MAX_LINES} more lines", "   ")
        if result.is_error or result.structured_content is None:
            raise _WentWrongError
        found: dict[str, Any] = result.structured_content
        return found


def _say(*lines: str) -> None:
    for line in lines:
        print(line)


def _print_indented(text: str, indent: str) -> None:
    print(
        textwrap.fill(
            text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  ", break_on_hyphens=False
        )
    )
