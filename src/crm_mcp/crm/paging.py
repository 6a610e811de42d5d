"""How a caller's page is gathered from a CRM whose paging and filters are only assumed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from crm_mcp.crm.contract import Entity, Filter, Rows

E = TypeVar("E", bound=Entity)

MAX_PAGE_SIZE = 100
MAX_CALLS = 20


@dataclass(frozen=True, slots=True)
class Page(Generic[E]):
    """Rows `(page - 1) * limit` to `page * limit` of those that match.

    `total` counts all that match and is None where the CRM does not tell; `notes` says what could not be
    taken at the CRM's word.
    """

    records: list[E]
    page: int
    limit: int
    has_more: bool
    total: int | None = None
    notes: list[str] = field(default_factory=list)


Fetch = Callable[[int, int], Awaitable[Rows[E]]]


async def gather_page(fetch: Fetch[E], wanted: Filter, *, page: int, limit: int) -> Page[E]:
    """Ask `fetch(page, page_size)` until the caller's page is full or the CRM has no more.

    A CRM that echoes the page it was asked for is trusted to have skipped the earlier ones. Otherwise, or
    when rows had to be left out, the list is walked from its start.
    """
    size = min(limit, MAX_PAGE_SIZE)
    offset = (page - 1) * limit
    walk = _Walk(fetch, wanted, size, skipped_pages=offset // size)
    if not await walk.reach(offset + limit):
        walk = _Walk(fetch, wanted, size, skipped_pages=0)
        await walk.reach(offset + limit)
    skip = offset - walk.skipped
    return Page(
        records=walk.kept[skip : skip + limit],
        page=page,
        limit=limit,
        has_more=len(walk.kept) > skip + limit or not walk.at_end,
        total=walk.total(),
        notes=walk.notes(),
    )


class _Walk(Generic[E]):
    """A walk through a list, page by page, and what was met on it."""

    def __init__(self, fetch: Fetch[E], wanted: Filter, size: int, *, skipped_pages: int) -> None:
        self.kept: list[E] = []
        self.skipped = skipped_pages * size
        self.at_end = False
        self._fetch, self._size = fetch, size
        self._first_page = skipped_pages + 1
        self._checks = list(wanted.checks())
        self._told_total: int | None = None
        self._seen: set[str] = set()
        self._dropped: Counter[str] = Counter()
        self._unverified: set[str] = set()
        self._bound_met = False

    async def reach(self, end: int) -> bool:
        """Walk until row `end` and whether it is the last are known, within MAX_CALLS requests.

        False when the walk began beyond the first page and the CRM cannot be trusted to have gone there.
        """
        for number in range(self._first_page, self._first_page + MAX_CALLS):
            rows = await self._fetch(number, self._size)
            self._take(rows)
            if number == self._first_page > 1 and not self._skipped_as_asked(rows):
                return False
            if self.at_end or self._knows_enough(end - self.skipped):
                return True
        self._bound_met = True
        return True

    def _skipped_as_asked(self, rows: Rows[E]) -> bool:
        return rows.page == self._first_page and rows.page_size == self._size and not self._dropped

    def _knows_enough(self, needed: int) -> bool:
        told = self._told_total is not None and not self._dropped
        return len(self.kept) > needed or (told and len(self.kept) == needed)

    def _take(self, rows: Rows[E]) -> None:
        fresh = [row for row in rows.records if row.id not in self._seen]
        self._seen.update(row.id for row in fresh)
        self.kept += [row for row in fresh if self._passes(row)]
        self._told_total = rows.total
        met = self.skipped + len(self._seen)
        short = rows.page_size is not None and len(rows.records) < rows.page_size
        # Rows that were seen before come from a CRM that ignores `page`: it has no more to give.
        self.at_end = not fresh or (short if rows.total is None else met >= rows.total)

    def _passes(self, row: E) -> bool:
        for name, check, value in self._checks:
            verdict = check.passes(row.wire, value)
            if verdict is None:
                self._unverified.add(name)
            elif not verdict:
                self._dropped[name] += 1
                return False
        return True

    def total(self) -> int | None:
        if self._told_total is not None and not self._dropped:
            return self._told_total
        return len(self.kept) if self.at_end and not self.skipped else None

    def notes(self) -> list[str]:
        dropped = [
            f"The CRM did not apply the filter `{name}`: {count} rows that do not match were left out."
            for name, count in self._dropped.items()
        ]
        unverified = [
            f"The filter `{name}` could not be verified: the CRM's rows do not show it."
            for name in sorted(self._unverified - self._dropped.keys())
        ]
        bound = [f"Stopped after {MAX_CALLS} requests to the CRM; there may be more."] * self._bound_met
        return [*dropped, *unverified, *bound]
