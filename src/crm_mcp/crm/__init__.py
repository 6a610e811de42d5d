"""The CRM as Python; knows its wire, knows no MCP, and can be used on its own."""

from typing import TYPE_CHECKING, Any

from crm_mcp.crm.errors import CrmError

if TYPE_CHECKING:
    from crm_mcp.crm.client import CrmClient, Timeouts

__all__ = ["CrmClient", "CrmError", "Timeouts"]


def __getattr__(name: str) -> Any:
    """Import the client on first use: a server that only lists its tools never needs it."""
    if name in __all__:
        from crm_mcp.crm import client  # noqa: PLC0415

        return getattr(client, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
