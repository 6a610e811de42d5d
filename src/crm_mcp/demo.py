"""An assistant's sales day, played through a real MCP client over a real stdio subprocess."""

from __future__ import annotations

import sys
import textwrap
from typing import Any

from mcp import Client, StdioServerParameters
from mcp.types import TextContent

from crm_mcp import clients
from crm_mcp.settings import IN_MEMORY, Settings

WIDTH = 100
MAX_LINES = 12


async def play() -> None:
    """Print the day, turn by turn, then how to connect a desktop client."""
    server = StdioServerParameters(
        command=sys.executable, args=["-m", "crm_mcp", "--sandbox", IN_MEMORY, "--toolsets", "all"]
    )
    async with Client(server) as client:
        if client.server_info:
            _say(f"{client.server_info.title}, over MCP {client.protocol_version}")
        await _Day(client).play()
    snippet, where = clients.snippet("claude-desktop", Settings())
    _say("Now with your own assistant: the same CRM, kept on this machine.", where, "", snippet)


class _Day:
    """The turns of the day; each uses what the one before found."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def play(self) -> None:
        found = await self._turn("Find Acme.", "search_companies", query="Acme Inc")
        company = found["companies"][0]["id"]
        leads = await self._turn("What do we have going with them?", "search_leads", company=company)
        await self._turn("Tell me more about that one.", "get_lead", lead=leads["leads"][0]["id"])
        people = await self._turn("Who do we know there?", "search_contacts", company=company)
        contact = next(person for person in people["contacts"] if "email" in person)
        created = await self._turn(
            f"They want a support contract too, 18,000 euros. {contact['first_name']} asked for it.",
            "create_lead",
            title="Support contract",
            company=company,
            contact=contact["id"],
            value=18000,
            currency="EUR",
        )
        lead = created["lead"]["id"]
        await self._turn("Qualified already.", "move_lead_stage", lead=lead, stage="Qualified")
        await self._turn(
            "We spoke for 20 minutes about it.",
            "log_activity",
            type="call",
            subject="Scope of the support contract",
            lead=lead,
            duration_minutes=20,
        )
        await self._turn(
            "Send the summary. Yes, like that.",
            "send_outbound_email",
            lead=lead,
            subject="Your support contract",
            body=f"Hello {contact['first_name']},\n\nas discussed: **18,000 EUR** a year.\n\nKind regards",
        )
        await self._turn("And the pipeline now?", "list_pipeline_stages")

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
            raise SystemExit(1)
        found: dict[str, Any] = result.structured_content
        return found


def _say(*lines: str) -> None:
    for line in lines:
        print(line)


def _print_indented(text: str, indent: str) -> None:
    print(textwrap.fill(text, WIDTH, initial_indent=indent, subsequent_indent=indent + "  "))
