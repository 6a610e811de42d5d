"""What completes a name while it is typed: companies, contacts, leads and stages."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any

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
    from crm_mcp.crm.paging import Page
    from crm_mcp.tenant import Tenant

# By what is typed, and for how many records.
Search = Callable[[str | None, int], Awaitable["Page[Any]"]]
# Names, and whether there are more.
Names = tuple[list[str], bool]

MAX_VALUES = 10
RANKED = 50
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
        values = list(dict.fromkeys(names))
        return Completion(values=values[:MAX_VALUES], has_more=more or len(values) > MAX_VALUES)

    server.completion()(complete)  # type: ignore[no-untyped-call]  # the SDK's decorator is untyped


async def _names(kind: str, tenant: Tenant, typed: str) -> Names:
    """What the CRM finds; and where there is room, what has other accents of the records at hand. Those that
    were not looked at are more that there may be."""
    from crm_mcp.crm.companies import CompanyFilter  # noqa: PLC0415
    from crm_mcp.crm.contacts import ContactFilter  # noqa: PLC0415
    from crm_mcp.crm.leads import LeadFilter  # noqa: PLC0415
    from crm_mcp.wording import on_one_line  # noqa: PLC0415

    client, finder = tenant.client, tenant.refs.kinds[kind]
    searches: dict[str, Search] = {
        "companies": lambda q, rows: client.companies.search(CompanyFilter(q=q), limit=rows),
        "contacts": lambda q, rows: client.contacts.search(ContactFilter(q=q), limit=rows),
        "leads": lambda q, rows: client.leads.search(LeadFilter(q=q), limit=rows),
    }
    records: list[Any] = []
    more = False
    if not typed or await finder.searches():
        # The CRM's first ones need not be those that begin so.
        found = await searches[kind](typed or None, RANKED if typed else MAX_VALUES)
        records, more = found.records, found.has_more
    if typed and not more:
        others, unseen = await finder.having(typed)
        # Where letters have no capitals, they have no accents.
        more = unseen and typed.lower() != typed.upper()
        records = [*records, *others]
    names = [on_one_line(record.label) for record in records]
    return sorted(names, key=partial(_place, typed)), more


def _place(typed: str, name: str) -> int:
    """What begins so goes first, then what has a word that does, and what has it in an address last."""
    from crm_mcp.crm.contract import plain  # noqa: PLC0415

    start, full = plain(typed), plain(name)
    if full.startswith(start):
        return 0
    return 1 if f" {start}" in full else 2 if start in full else 3


async def _stages(tenant: Tenant, typed: str) -> Names:
    from crm_mcp.crm.contract import plain  # noqa: PLC0415
    from crm_mcp.wording import on_one_line  # noqa: PLC0415

    names = [on_one_line(stage.name) for stage in await tenant.rows.stages()]
    return sorted((name for name in names if plain(typed) in plain(name)), key=partial(_place, typed)), False


FINDERS: dict[str, Callable[[Tenant, str], Awaitable[Names]]] = {
    "company": partial(_names, "companies"),
    "contact": partial(_names, "contacts"),
    "lead": partial(_names, "leads"),
    "stage": _stages,
}
