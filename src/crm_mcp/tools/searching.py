"""Searches that do not mind the spelling: any accents, and where nothing has the query, what comes close."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Generic, TypeVar

from crm_mcp.crm.contract import Entity, PagedFilter
from crm_mcp.crm.errors import CrmError
from crm_mcp.crm.paging import MAX_PAGE_SIZE, Page, selected
from crm_mcp.finding import SCAN_SECONDS, Finder
from crm_mcp.tenant import Tenant
from crm_mcp.tools.parts import at_once, if_possible, or_error

E = TypeVar("E", bound=Entity)

Keep = Callable[[E], bool | None]

OTHER_ACCENTS = "Names with other accents were not looked for."


@dataclass(frozen=True, slots=True)
class Search(Generic[E]):
    """What has `query` in it of a kind's records, or all; of these, what the filter wants and `keep` does.

    `keep` answers None for a row that does not show what would tell. With it the order may be `arranged`.
    """

    crm: Tenant
    plural: str
    wanted: PagedFilter
    query: str = ""
    keep: Keep[E] | None = None
    arranged: Callable[[list[E]], list[E]] = list
    # Whether the CRM has nothing to do with it: then all are read once for many searches.
    is_ours: bool = False
    seconds: float = math.inf

    @property
    def kind(self) -> Finder[E]:
        return self.crm.refs.kinds[self.plural]

    async def page(self, page: int, limit: int) -> Page[E]:
        if self.is_ours:
            return await self._among_all(page, limit)
        source, told = getattr(self.crm.client, self.plural), self.crm.reading(self.plural)
        if self.keep is None:
            found: Page[E] = await source.search(self.wanted, page=page, limit=limit, told=told)
            return found
        walk = source.walk(self.wanted)
        return await selected(
            walk,
            self.keep,
            page=page,
            limit=limit,
            told=told,
            arranged=self.arranged,
            seconds=self.seconds,
        )

    async def _among_all(self, page: int, limit: int) -> Page[E]:
        scan = await self.kind.everything()
        rows = [one for one in scan.records if self.passes(one)]
        return Page(
            records=rows[(page - 1) * limit : page * limit],
            page=page,
            limit=limit,
            has_more=len(rows) > page * limit,
            total=None if scan.bound else len(rows),
            at_least=len(rows),
            notes=[scan.bound] if scan.bound else [],
            bounded=bool(scan.bound),
        )

    def passes(self, one: E) -> bool:
        """Whether a row of which no search of the CRM tells fits but for the query, as far as it shows."""
        others = ((check, value) for name, check, value in self.wanted.checks() if name != "q")
        return (self.keep is None or bool(self.keep(one))) and all(
            check.passes(one.wire, value) for check, value in others
        )

    def by_us(self) -> Search[E]:
        """The same where the CRM does not search: of all rows, those that show every word."""
        has = next(check.passes for name, check, _ in self.wanted.checks() if name == "q")

        def keep(one: E) -> bool | None:
            return has(one.wire, self.query) is True and (self.keep is None or self.keep(one))

        is_ours = self.keep is None and [name for name, *_ in self.wanted.checks()] == ["q"]
        wanted = self.wanted.model_copy(update={"q": None})
        return replace(self, wanted=wanted, keep=keep, is_ours=is_ours, seconds=SCAN_SECONDS)

    async def anyhow_spelt(self) -> tuple[Search[E], Page[E], bool]:
        """The search that works, what it finds, and what it may not find because it has other accents; and
        whether there may be more of the latter. All of it comes where that is no more than a page of the
        CRM's.
        """
        parts = await at_once([], found=or_error(self._first()), others=self.kind.having(self.query))
        if isinstance(parts["found"], CrmError):
            raise parts["found"]
        search, found = parts["found"]
        others, unseen = parts["others"] or ([], True)
        cut = found.has_more or found.bounded
        missing = cut and not all(
            self.query.casefold() in self.kind.name_of(one).casefold() for one in others
        )
        # Where letters have no capitals, they have no accents.
        unseen = (unseen or missing) and self.query.lower() != self.query.upper() and search is self
        if cut:
            return search, found, unseen
        every = {one.id: one for one in (*found.records, *filter(self.passes, others))}
        total = None if found.total is None else len(every)
        return search, replace(found, records=list(every.values()), total=total), unseen

    async def _first(self) -> tuple[Search[E], Page[E]]:
        if self.kind.may_search:
            found = await self.page(1, MAX_PAGE_SIZE)
            if await self.kind.is_found(found):
                return self, found
        search = self.by_us()
        return search, await search.page(1, MAX_PAGE_SIZE)


async def searched(search: Search[E], *, page: int, limit: int) -> Page[E]:
    """A page of what has the query in it, however it is spelt; where nothing has, of what comes close.

    Both pass the other filters, and `keep`.
    """
    if not search.query:
        return await search.page(page, limit)
    crm, plural, query = search.crm, search.plural, search.query
    works, found, unseen = await search.anyhow_spelt()
    notes = [OTHER_ACCENTS] if unseen else []
    if found.total == 0:
        close = list(filter(search.passes, await crm.refs.near(plural, query)))
        found = replace(found, records=close, total=len(close))
        notes = await close_notes(crm, [plural], query, close)
    found = replace(found, notes=[*found.notes, *notes])
    if found.has_more and page * limit > MAX_PAGE_SIZE:
        return replace(await works.page(page, limit), notes=found.notes)
    shown = search.arranged(found.records)[(page - 1) * limit : page * limit]
    more = found.has_more or page * limit < len(found.records)
    return replace(found, records=shown, page=page, limit=limit, has_more=more)


async def close_notes(
    crm: Tenant, plurals: Iterable[str], query: str, close: Sequence[Any], how: str = "comes close"
) -> list[str]:
    """What to say of what only comes close, and of what may and was not looked at."""
    shown = [f'Nothing has "{query}" in it; shown is what {how}.'] if close else []
    if close and plurals == ["leads"]:
        shown.append("`company` lists those of a company.")
    at_hand = {plural: await if_possible(crm.refs.kinds[plural].at_hand()) for plural in plurals}
    cut = [plural for plural, looked in at_hand.items() if looked is None or looked[1]]
    return [*shown, *([f"Not all of these could be compared with it: {', '.join(cut)}."] if cut else [])]
