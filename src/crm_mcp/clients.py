"""What desktop clients want in their configuration to start this server."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from crm_mcp.settings import IN_MEMORY, Settings

WHERE = {
    "claude-desktop": "Paste it into claude_desktop_config.json (Settings > Developer > Edit Config), then "
    "restart Claude Desktop.",
    "claude-code": "Run it in the project's folder.",
    "cursor": "Paste it into ~/.cursor/mcp.json, or .cursor/mcp.json of a project.",
    "vscode": "Paste it into .vscode/mcp.json of a project.",
}
KEY_PLACEHOLDER = "ak_..."
# The client starts its server over stdio, and the key is for the person to put in.
NOT_HANDED_ON = {
    *("api_key", "api_key_file"),
    *("http", "http_token", "http_tokens", "http_allowed_hosts", "http_allowed_origins"),
}


def snippet(client: str, settings: Settings) -> tuple[str, str]:
    """The configuration for a client, and a word on where it goes. The key is never in it."""
    command, *arguments = _command()
    environment = _environment(settings)
    if client == "claude-code":
        variables = [part for name, value in environment.items() for part in ("--env", f"{name}={value}")]
        text = shlex.join(["claude", "mcp", "add", "crm", *variables, "--", command, *arguments])
    else:
        server: dict[str, Any] = {"command": command, "args": arguments, "env": environment}
        root = "mcpServers"
        if client == "vscode":
            root, server = "servers", {"type": "stdio", **server}
        text = json.dumps({root: {"crm": server}}, indent=2)
    missing = f" Put your API key in the place of {KEY_PLACEHOLDER}" if "CRM_API_KEY" in environment else ""
    return text, WHERE[client] + missing


def _command() -> list[str]:
    """How this very installation is started, by absolute path: desktop clients have a PATH of their own."""
    script = Path(sys.executable).with_name("crm-mcp.exe" if sys.platform == "win32" else "crm-mcp")
    return [str(script)] if script.exists() else [sys.executable, "-m", "crm_mcp"]


def _environment(settings: Settings) -> dict[str, str]:
    """The settings that were made, as the server that the client starts needs them: it starts elsewhere."""
    said = settings.model_dump(mode="json", by_alias=True, exclude_unset=True, exclude=NOT_HANDED_ON)
    environment = {name: _as_variable(value) for name, value in said.items()}
    if settings.sandbox and settings.sandbox != IN_MEMORY:
        environment["CRM_MCP_SANDBOX"] = _from_anywhere(settings.sandbox)
    if settings.ledger:
        environment["CRM_MCP_LEDGER"] = _from_anywhere(settings.ledger)
    if settings.api_key_file:
        environment["CRM_API_KEY_FILE"] = _from_anywhere(settings.api_key_file)
    elif not settings.uses_sandbox:
        environment["CRM_API_KEY"] = KEY_PLACEHOLDER
    return environment


def _as_variable(value: Any) -> str:
    if isinstance(value, dict):
        return ",".join(f"{name}={part}" for name, part in value.items())
    if isinstance(value, list):
        return ",".join(sorted(value))
    return str(value).lower() if isinstance(value, bool) else str(value)


def _from_anywhere(path: str) -> str:
    return str(Path(path).expanduser().absolute())
