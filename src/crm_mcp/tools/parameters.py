"""Parameters that several tools share, described once; and what they are injected with."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import Context, Resolve
from pydantic import BeforeValidator, Field

from crm_mcp.access import CrmAccess
from crm_mcp.ledger import Ledger
from crm_mcp.tenant import Tenant

CompanyRef = Annotated[str, Field(description="Name, website or id.")]
ContactRef = Annotated[str, Field(description="Name, e-mail, `Anna at Acme` or id.")]
LeadRef = Annotated[str, Field(description="Title, its company, or id.")]
StageRef = Annotated[str, Field(description="Stage name or kind, e.g. `Qualified`, `won`.")]
Owner = Annotated[str, Field(description="`me` or a user id.")]
OwnerFilter = Annotated[str, Field(description="`me`, `unassigned` or a user id.")]
Limit = Annotated[int, Field(ge=1, le=50)]
PageNumber = Annotated[int, Field(ge=1)]


def _no_number(value: Any) -> Any:
    """Pydantic takes a number for seconds since 1970; nobody says a date like that."""
    if isinstance(value, int | float) or (isinstance(value, str) and value.strip().lstrip("-").isdigit()):
        raise ValueError("must be a date or a time, such as 2030-01-31 or 2030-01-31T09:00:00Z")
    return value


def per_cent(value: float | None) -> float | None:
    """A half is 50 per cent, and hardly ever half a one."""
    if value is not None and 0 < value < 1:
        raise ValueError(f"say it in per cent: {value * 100:g} rather than {value:g}")
    return value


When = Annotated[
    datetime | None, BeforeValidator(_no_number), Field(description="ISO 8601; UTC if no offset.")
]
Detail = Annotated[
    Literal["brief", "normal", "full"],
    Field(description="`brief`: only its own fields; `full`: undocumented ones too."),
]


async def _tenant_of(ctx: Context[CrmAccess]) -> Tenant:
    return replace(await ctx.request_context.lifespan_context.writing_tenant(), tell=ctx.report_progress)


async def _ledger_of(ctx: Context[CrmAccess]) -> Ledger:
    return ctx.request_context.lifespan_context.ledger()


async def _principal_of(ctx: Context[CrmAccess]) -> str:
    return ctx.request_context.lifespan_context.principal()


Crm = Annotated[Tenant, Resolve(_tenant_of)]
Changes = Annotated[Ledger, Resolve(_ledger_of)]
Principal = Annotated[str, Resolve(_principal_of)]

Repeat = Annotated[bool, Field(description="Do it although the same was just done.")]
AllowDuplicate = Annotated[bool, Field(description="Create it although the same seems to be there.")]
