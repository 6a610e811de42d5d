"""What desktop clients want in their configuration to start this server."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from typing import Any

from crm_mcp.settings import Settings

WHERE = {
    "claude-desktop": "Paste it into claude_desktop_config.json (Settings > Developer > Edit Config), then "
    "restart Claude Desktop.",
    "claude-code": "Run it in the project's folder.",
    "cursor": "Paste it into ~/.cursor/mcp.json, or .cursor/mcp.json of a project.",
    "vscode": "Paste it into .vscode/mcp.json of a project.",
}
KEY_PLACEHOLDER = "ak_..."


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
    missing = f" Put your API key in the place of {KEY_PLACEHOLDER}" if environment else ""
    return text, WHERE[client] + missing


def _command() -> list[str]:
    """How this very installation is started, by absolute path: desktop clients have a PATH of their own."""
    script = Path(sys.executable).with_name("crm-mcp.exe" if sys.platform == "win32" else "crm-mcp")
    return [str(script)] if script.exists() else [sys.executable, "-m", "crm_mcp"]


def _environment(settings: Settings) -> dict[str, str]:
    if settings.uses_sandbox:
        return {}
    key = (
        {"CRM_API_KEY_FILE": str(Path(settings.api_key_file).expanduser().absolute())}
        if settings.api_key_file
        else {"CRM_API_KEY": KEY_PLACEHOLDER}
    )
    return {"CRM_BASE_URL": settings.base_url, "CRM_ENTITY_ID": settings.entity_id, **key}
