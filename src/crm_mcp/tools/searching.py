"""Searches that do not mind the spelling: any accents, and where nothing has the query, what comes close."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

from crm_mcp.crm.contract import Entity, PagedFilter
from crm_mcp.crm.errors import CrmError
from crm_mcp.crm.paging import MAX_PAGE_SIZE, Page
from crm_mcp.finding import Finder
from crm_mcp.tenant import Tenant
from crm_mcp.tools.parts import at_once, if_possible, or_error

E = TypeVar("E", bound=Entity)

# A page of what a filter wants: takes `page` and `limit`.
Search = Callable[..., Awaitable[Page[E]]]

OTHER_ACCENTS = "Names with other accents were not looked for."


async def anyhow_spelt(
    kind: Finder[E],
    search: Search[E],
    wanted: PagedFilter,
    query: str,
    keep: Callable[[E], bool | None] = lambda _: True,
) -> tuple[Page[E], bool]:
    """What the CRM finds, and what it may not find because it has other accents; and whether there may be
    more of the latter. All of it comes where that is no more than a page of the CRM's.
    """
    looked = await at_once([], found=or_error(search(wanted, limit=MAX_PAGE_SIZE)), others=kind.having(query))
    found: Page[E] | CrmError = looked["found"]
    if isinstance(found, CrmError):
        raise found
    others, unseen = looked["others"] or ([], True)
    cut = found.has_more or found.bounded
    missing = cut and not all(query.casefold() in one.casefold() for one in map(kind.name_of, others))
    # Where letters have no capitals, they have no accents.
    unseen = (unseen or missing) and query.lower() != query.upper()
    if cut:
        return found, unseen
    every = {one.id: one for one in (*found.records, *filter(keep, others))}
    total = None if found.total is None else len(every)
    return replace(found, records=list(every.values()), total=total), unseen


async def searched(
    crm: Tenant,
    plural: str,
    search: Search[E],
    wanted: PagedFilter,
    query: str,
    *,
    page: int,
    limit: int,
    keep: Callable[[E], bool | None] = lambda _: True,
    arranged: Callable[[list[E]], list[E]] = list,
) -> Page[E]:
    """A page of what has the query in it, however it is spelt; where nothing has, of what comes close.

    Both pass the other filters, and `keep`.
    """
    if not query:
        return await search(wanted, page=page, limit=limit)
    checks = [(check, value) for name, check, value in wanted.checks() if name != "q"]

    def passes(one: E) -> bool:
        # No filter of the CRM's stands behind these rows: what does not show that it fits is left out.
        return bool(keep(one)) and all(check.passes(one.wire, value) for check, value in checks)

    found, unseen = await anyhow_spelt(crm.refs.kinds[plural], search, wanted, query, passes)
    notes = [OTHER_ACCENTS] if unseen else []
    if found.total == 0:
        close = list(filter(passes, await crm.refs.near(plural, query)))
        found = replace(found, records=close, total=len(close))
        notes = await close_notes(crm, [plural], query, close)
    found = replace(found, notes=[*found.notes, *notes])
    if found.has_more and page * limit > MAX_PAGE_SIZE:
        return replace(await search(wanted, page=page, limit=limit), notes=found.notes)
    shown = arranged(found.records)[(page - 1) * limit : page * limit]
    more = found.has_more or page * limit < len(found.records)
    return replace(found, records=shown, page=page, limit=limit, has_more=more)


async def close_notes(crm: Tenant, plurals: Iterable[str], query: str, close: Sequence[Any]) -> list[str]:
    """What to say of what only comes close, and of what may and was not looked at."""
    shown = [f'Nothing has "{query}" in it; shown is what comes close.'] if close else []
    if close and plurals == ["leads"]:
        shown.append("`company` lists those of a company.")
    at_hand = {plural: await if_possible(crm.refs.kinds[plural].at_hand()) for plural in plurals}
    cut = [plural for plural, looked in at_hand.items() if looked is None or looked[1]]
    return [*shown, *([f"Not all of these could be compared with it: {', '.join(cut)}."] if cut else [])]
