"""The CRM as Python; knows its wire, knows no MCP, and can be used on its own."""

from crm_mcp.crm.client import CrmClient, Timeouts
from crm_mcp.crm.errors import CrmError

__all__ = ["CrmClient", "CrmError", "Timeouts"]
