"""An MCP server for CRM work: names in, few tokens out, and no write that is wrong, doubled or lost."""

__version__ = "0.1.0"
