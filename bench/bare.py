"""A server with one tool and nothing around it: what any server of the SDK over this CRM costs at least."""

import os
import sys
from functools import cache
from typing import Any

import httpx2
from mcp.server.mcpserver import MCPServer

mcp = MCPServer("bare", log_level="WARNING")


@cache
def crm() -> httpx2.AsyncClient:
    """Opened by the first call, as our server does."""
    return httpx2.AsyncClient(
        base_url=os.environ["CRM_BASE_URL"],
        headers={"Authorization": f"Bearer {os.environ['CRM_API_KEY']}"},
        params={"entityId": os.environ["CRM_ENTITY_ID"]},
        trust_env=False,
    )


@mcp.tool()
async def get_company(company: str, detail: str = "brief") -> dict[str, Any]:  # noqa: ARG001
    """Get a company."""
    response = await crm().get(f"/api/crm/companies/{company}")
    response.raise_for_status()
    answer: dict[str, Any] = response.json()
    return answer


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["--http", port]:
            mcp.run("streamable-http", port=int(port))
        case _:
            mcp.run()
