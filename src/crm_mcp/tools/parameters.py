"""Parameters that several tools share, described once."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated

from mcp.server.mcpserver import Context, Resolve
from pydantic import Field

from crm_mcp.access import CrmAccess
from crm_mcp.crm import CrmClient
from crm_mcp.references import Id


async def _crm_of(ctx: Context[CrmAccess]) -> CrmClient:
    return await ctx.request_context.lifespan_context.client()


Crm = Annotated[CrmClient, Resolve(_crm_of)]

CompanyRef = Annotated[Id, Field(description="Company id.")]
ContactRef = Annotated[Id, Field(description="Contact id.")]
LeadRef = Annotated[Id, Field(description="Lead id.")]
OptionalCompanyRef = Annotated[Id | None, Field(description="Company id.")]
OptionalContactRef = Annotated[Id | None, Field(description="Contact id.")]
OptionalLeadRef = Annotated[Id | None, Field(description="Lead id.")]
StageRef = Annotated[str, Field(description="Stage name, system key or id.")]
Owner = Annotated[str, Field(description="`me` or a user id.")]
OwnerFilter = Annotated[str, Field(description="`me`, `unassigned` or a user id.")]
Limit = Annotated[int, Field(ge=1, le=100)]
PageNumber = Annotated[int, Field(ge=1)]
When = Annotated[datetime | None, Field(description="ISO 8601; UTC if no offset.")]
