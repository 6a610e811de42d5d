"""What completes a name while it is typed: companies, contacts, leads and stages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from mcp.server.mcpserver import MCPServer
from mcp.types import (
    Completion,
    CompletionArgument,
    CompletionContext,
    PromptReference,
    ResourceTemplateReference,
)

from crm_mcp.access import CrmAccess
from crm_mcp.crm.errors import CrmError

if TYPE_CHECKING:
    from crm_mcp.crm.companies import Company
    from crm_mcp.crm.contacts import Contact
    from crm_mcp.crm.leads import Lead
    from crm_mcp.crm.paging import Page
    from crm_mcp.tenant import Tenant

E = TypeVar("E", "Company", "Contact", "Lead")
# Names, and whether there are more.
Names = tuple[list[str], bool]

MAX_VALUES = 10
FIRST_RECORDS = 100
# What `{id}` means in a resource template.
KINDS = {"companies": "company", "contacts": "contact", "leads": "lead", "pipeline-stages": "stage"}


def add_completions(server: MCPServer[CrmAccess], access: CrmAccess) -> None:
    """Register the one handler; what cannot be completed is answered with nothing, and no error."""

    async def complete(
        ref: PromptReference | ResourceTemplateReference,
        argument: CompletionArgument,
        _context: CompletionContext | None,
    ) -> Completion | None:
        kind = argument.name
        if isinstance(ref, ResourceTemplateReference):
            kind = KINDS.get(ref.uri.removeprefix("crm://").partition("/")[0], "")
        find = FINDERS.get(kind)
        if find is None:
            return None
        try:
            names, more = await find(await access.tenant(), argument.value)
        except CrmError:
            return None
        return Completion(values=list(dict.fromkeys(names))[:MAX_VALUES], has_more=more)

    server.completion()(complete)  # type: ignore[no-untyped-call]  # the SDK's decorator is untyped


async def _companies(tenant: Tenant, typed: str) -> Names:
    from crm_mcp.crm.companies import CompanyFilter  # noqa: PLC0415

    search = tenant.client.companies.search
    return await _names(
        tenant,
        "companies",
        typed,
        lambda q, rows: search(CompanyFilter(q=q), limit=rows),
        lambda one: one.label,
    )


async def _contacts(tenant: Tenant, typed: str) -> Names:
    from crm_mcp.crm.contacts import ContactFilter  # noqa: PLC0415

    search = tenant.client.contacts.search
    return await _names(
        tenant,
        "contacts",
        typed,
        lambda q, rows: search(ContactFilter(q=q), limit=rows),
        lambda one: one.label,
    )


async def _leads(tenant: Tenant, typed: str) -> Names:
    from crm_mcp.crm.leads import LeadFilter  # noqa: PLC0415

    search = tenant.client.leads.search
    return await _names(
        tenant, "leads", typed, lambda q, rows: search(LeadFilter(q=q), limit=rows), lambda one: one.label
    )


async def _names(
    tenant: Tenant,
    kind: str,
    typed: str,
    search: Callable[[str | None, int], Awaitable[Page[E]]],
    name_of: Callable[[E], str],
) -> Names:
    """What the CRM finds; and where that is nothing, what of its first records fits without accents."""
    from crm_mcp.crm.contract import plain  # noqa: PLC0415
    from crm_mcp.wording import on_one_line  # noqa: PLC0415

    found = await search(typed or None, MAX_VALUES)
    names = [on_one_line(name_of(record)) for record in found.records]
    if names or not typed:
        return names, found.has_more
    first = await tenant.memory.recent.get(kind, "to complete", lambda: search(None, FIRST_RECORDS))
    names = [on_one_line(name_of(record)) for record in first.records]
    return [name for name in names if plain(typed) in plain(name)], first.has_more


async def _stages(tenant: Tenant, typed: str) -> Names:
    from crm_mcp.crm.contract import plain  # noqa: PLC0415

    stages = await tenant.rows.stages()
    return [stage.name for stage in stages if plain(typed) in plain(stage.name)], False


FINDERS: dict[str, Callable[[Tenant, str], Awaitable[Names]]] = {
    "company": _companies,
    "contact": _contacts,
    "lead": _leads,
    "stage": _stages,
}
