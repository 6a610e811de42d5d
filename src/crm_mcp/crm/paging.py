"""How a caller's page is gathered from a CRM whose paging and filters are only assumed."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Generic, TypeVar

import anyio

from crm_mcp.crm.contract import Entity, Filter, Rows
from crm_mcp.crm.errors import CrmError

E = TypeVar("E", bound=Entity)

MAX_PAGE_SIZE = 100
# For a page that is looked at on the way to something else; and for an answer that is over the whole list.
MAX_CALLS = 20
MAX_PAGES = 200


@dataclass(frozen=True, slots=True)
class Page(Generic[E]):
    """Rows `(page - 1) * limit` to `page * limit` of those that match.

    `total` counts all that match and is None where the CRM does not tell; `at_least` so many were seen or
    skipped; `notes` says what could not be taken at the CRM's word.
    """

    records: list[E]
    page: int
    limit: int
    has_more: bool
    total: int | None = None
    at_least: int | None = None
    notes: list[str] = field(default_factory=list)
    # Some row could not be checked against some filter.
    unverified: bool = False
    # There may be rows that nobody could look at.
    bounded: bool = False
    # Rows came that do not match.
    left_out: bool = False


Fetch = Callable[[int, int], Awaitable[Rows[E]]]
# What is told of a walk on its way: how many rows were read, and how many there are where that is known.
Told = Callable[[int, int | None], Awaitable[None]]


async def gather_page(
    fetch: Fetch[E], wanted: Filter, *, page: int, limit: int, told: Told | None = None
) -> Page[E]:
    """Ask `fetch(page, page_size)` until the caller's page is full or the CRM has no more.

    A CRM that echoes the page it was asked for is trusted to have skipped the earlier ones; so is one that
    shows other rows on the first page and on the one before. Otherwise, or when rows had to be left out, the
    list is walked from its start, in large steps. A walk that met its bound has no next page: that would be
    the same walk. `told` hears of each request that another one follows.
    """
    size = min(limit, MAX_PAGE_SIZE)
    offset = (page - 1) * limit
    calls = max(MAX_CALLS, limit // size + 2)
    walk = Walk(fetch, wanted, size, skipped_pages=offset // size)
    if not await walk.reach(offset + limit, calls, told):
        walk = Walk(fetch, wanted)
        await walk.reach(offset + limit, calls, told)
    skip = offset - walk.skipped
    return Page(
        records=walk.kept[skip : skip + limit],
        page=page,
        limit=limit,
        has_more=len(walk.kept) > skip + limit or not (walk.at_end or walk.stopped_after),
        total=walk.total(),
        at_least=walk.at_least(),
        notes=walk.notes(),
        unverified=walk.unverified,
        bounded=bool(walk.stopped_after) or (walk.at_end and not walk.complete),
        left_out=walk.left_out,
    )


class Walk(Generic[E]):
    """A list read page by page, of which only what passes the filter is kept; and what was met on the way."""

    def __init__(
        self, fetch: Fetch[E], wanted: Filter, size: int = MAX_PAGE_SIZE, *, skipped_pages: int = 0
    ) -> None:
        self.kept: list[E] = []
        self.skipped = skipped_pages * size
        self.at_end = False
        self.stopped_after = 0
        self._fetch, self._size = fetch, size
        self._first_page = skipped_pages + 1
        self._checks = list(wanted.checks())
        self._told_total: int | None = None
        self._repeats = False
        # The same full page came again, of a list whose length nobody tells.
        self._may_be_cut = False
        self._passed = 0
        self._seen: set[str] = set()
        self._dropped: Counter[str] = Counter()
        self._unverified: set[str] = set()

    async def pages(self, calls: int = MAX_PAGES, at_once: int = 1) -> AsyncIterator[list[E]]:
        """What passes of each page from the first to the last, or as many; nothing of it is kept here.

        So many are asked for at once, as far as the CRM tells that there are so many.
        """
        done = 0
        while done < calls:
            left = math.ceil(((self._told_total or 0) - self.met) / (self.met / done)) if self.met else 1
            numbers = range(done + 1, min(done + max(min(left, at_once), 1), calls) + 1)
            for rows in await self._fetched(numbers):
                yield self._take(rows)
                if self.at_end:
                    return
            done = numbers[-1]
        self.stopped_after = calls

    async def _fetched(self, numbers: Iterable[int]) -> list[Rows[E]]:
        """These pages, asked for at once. Raises the first error."""
        brought: dict[int, Rows[E]] = {}
        failures: list[CrmError] = []

        async def fetch(number: int) -> None:
            try:
                brought[number] = await self._fetch(number, self._size)
            except CrmError as error:
                failures.append(error)
                tasks.cancel_scope.cancel()

        async with anyio.create_task_group() as tasks:
            for number in numbers:
                tasks.start_soon(fetch, number)
        if failures:
            raise failures[0]
        return [brought[number] for number in numbers]

    @property
    def met(self) -> int:
        """How many rows were seen or skipped."""
        return self.skipped + len(self._seen)

    @property
    def told_total(self) -> int | None:
        """How many there are by the CRM's word, those included that will be left out."""
        return self._told_total

    @property
    def complete(self) -> bool:
        """Whether everything was seen."""
        return self.at_end and self.met >= (self._told_total or 0) and not self._may_be_cut

    async def reach(self, end: int, calls: int, told: Told | None = None) -> bool:
        """Walk until row `end` and whether it is the last are known, within so many requests.

        False where another walk is needed, from the first page and in large steps: the CRM cannot be trusted
        to have skipped pages, shows the same one again, or sends rows that have to be left out.
        """
        for number in range(self._first_page, self._first_page + calls):
            rows = await self._fetch(number, self._size)
            self.kept += self._take(rows)
            if self.skipped and not await self._has_skipped(rows, number):
                return False
            if self._knows_enough(end - self.skipped):
                return True
            if self._size < MAX_PAGE_SIZE and (self._repeats or (self._dropped and not self.at_end)):
                return False
            if self.at_end:
                return True
            if told:
                await told(self.met, self._told_total)
        self.stopped_after = calls
        return True

    async def _has_skipped(self, rows: Rows[E], number: int) -> bool:
        """Whether these are the rows of this page, and no row was dropped, so that as many are before it."""
        echo = (rows.page, rows.page_size)
        if self._dropped or rows.page not in (None, number) or rows.page_size not in (None, self._size):
            return False
        if None not in echo:
            return self.at_end or len(rows.records) == self._size
        return number > self._first_page or await self._follows_others(rows, number)

    async def _follows_others(self, rows: Rows[E], number: int) -> bool:
        """Whether these rows come after full pages of other ones.

        A CRM that ignores `page` shows the first one again, and one that goes so far and no further the one
        before.
        """
        if not rows.records:
            return False
        earlier = await self._fetched({1, number - 1})
        every = [row for page in (*earlier, rows) for row in page.records]
        full = all(len(page.records) == self._size for page in earlier)
        return full and len({row.id for row in every}) == len(every) and all(map(self._passes, every))

    def _knows_enough(self, needed: int) -> bool:
        told = self._told_total is not None and not self._dropped
        return len(self.kept) > needed or (told and len(self.kept) == needed)

    def _take(self, rows: Rows[E]) -> list[E]:
        fresh = [row for row in rows.records if row.id not in self._seen]
        self._seen.update(row.id for row in fresh)
        passed = [row for row in fresh if self._passes(row)]
        self._passed += len(passed)
        self._told_total = None if self._counts_the_page(rows) else rows.total
        short = rows.page_size is not None and len(rows.records) < rows.page_size
        # Rows that were seen before come from a CRM that ignores `page`: it has no more to give.
        self._repeats = bool(rows.records) and not fresh
        self._may_be_cut = self._repeats and rows.total is None and len(rows.records) >= MAX_PAGE_SIZE
        self.at_end = not fresh or (short if self._told_total is None else self.met >= self._told_total)
        return passed

    def _counts_the_page(self, rows: Rows[E]) -> bool:
        """Whether `total` is less than was met, or may be the count of this page: the next one tells."""
        if rows.total is None or not self._seen:
            return False
        full = len(rows.records) >= (rows.page_size or self._size)
        return rows.total < self.met or (full and rows.total == len(rows.records) == self.met)

    def _passes(self, row: E) -> bool:
        for name, check, value in self._checks:
            verdict = check.passes(row.wire, value)
            if verdict is None:
                self._unverified.add(name)
            elif not verdict:
                self._dropped[name] += 1
                return False
        return True

    @property
    def left_out(self) -> bool:
        return bool(self._dropped)

    @property
    def unverified(self) -> bool:
        return bool(self._unverified)

    def total(self) -> int | None:
        if self._told_total is not None and not self._dropped:
            return self._told_total
        if self._may_be_cut:
            return None
        return self.at_least() if self.at_end else None

    def at_least(self) -> int | None:
        """How many match, as far as was seen; None on a page past the end, for that nobody saw."""
        return self.skipped + self._passed if self._passed or not self.skipped else None

    def notes(self) -> list[str]:
        dropped = [
            f"The CRM did not apply the filter `{name}`: {count} rows that do not match were left out."
            for name, count in self._dropped.items()
        ]
        unverified = [
            f"The filter `{name}` could not be verified: the CRM's rows do not show it."
            for name in sorted(self._unverified - self._dropped.keys())
        ]
        return [*dropped, *unverified, *self._bounds()]

    def _bounds(self) -> Iterator[str]:
        """What kept the walk from the rest of the list."""
        if self.stopped_after:
            yield (
                f"Stopped after {self.stopped_after} requests to the CRM and {self.met} rows: what follows "
                "cannot be reached like this; narrow the search."
            )
        elif self._may_be_cut:
            yield f"The CRM shows no more than {self.met} rows, and does not tell whether there are more."
        elif self.at_end and self.met < (self._told_total or 0):
            yield f"The CRM shows only {self.met} of its {self._told_total} rows; narrow the search."


async def selected(
    walk: Walk[E],
    keep: Callable[[E], bool | None],
    *,
    page: int,
    limit: int,
    told: Told,
    arranged: Callable[[list[E]], list[E]] = list,
    is_last: Callable[[list[E]], bool] = lambda _: False,
    calls: int = MAX_PAGES,
    seconds: float = math.inf,
) -> Page[E]:
    """The caller's page of those rows of a list that `keep` wants, in an order of ours: neither of which the
    CRM can do.

    `keep` answers None for a row that does not show what would tell; it is left out, a note says so, and how
    many there are nobody knows. So many pages are looked at, for so many seconds, and a note says where that
    was not all; after the page of which `is_last` says that nothing wanted follows it, no other. Of the rows
    no more are held than up to the caller's page.
    """
    first: list[E] = []
    count = unclear = 0
    all_wanted = False
    with anyio.move_on_after(seconds) as in_time:
        async for rows in walk.pages(calls):
            verdicts = [keep(row) for row in rows]
            kept = [row for row, verdict in zip(rows, verdicts, strict=True) if verdict]
            first = arranged([*first, *kept])[: page * limit]
            count += len(kept)
            unclear += verdicts.count(None)
            await told(walk.met, walk.told_total)
            if all_wanted := is_last(rows):
                break
    all_wanted = all_wanted or walk.complete
    notes = walk.notes()
    if in_time.cancelled_caught:
        notes.append(f"Stopped after {seconds:g} seconds and {walk.met} rows: narrow the search.")
    if unclear:
        notes.append(f"{unclear} rows do not show what was asked for, and were left out.")
    return Page(
        records=first[(page - 1) * limit :],
        page=page,
        limit=limit,
        has_more=count > page * limit,
        total=count if all_wanted and not unclear else None,
        at_least=count,
        notes=notes,
        bounded=not all_wanted,
    )
