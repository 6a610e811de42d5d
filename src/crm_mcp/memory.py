"""What is remembered between calls, per tenant: ids that were shown, and for seconds what was looked up."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, cast
from weakref import WeakValueDictionary

import anyio

T = TypeVar("T")

MIN_SHORT_CHARS = 8
MAX_SHOWN = 50_000
MAX_KEPT = 1_000
KEPT_SECONDS = 30.0
# What a write goes by: the person may just have renamed it.
WRITING_SECONDS = 10.0
NAME_SECONDS = 600.0
# Less than a name is kept for: names hardly change, and who asks again does so soon.
ALL_SECONDS = 60.0


class ShownIds:
    """The ids that results have shown, and how short each can be said."""

    def __init__(self) -> None:
        self._by_start: defaultdict[str, list[str]] = defaultdict(list)
        self._count = 0
        # How many ids began like another one when they were met first.
        self.alike = 0

    def short(self, full: str) -> str:
        """The shortest start of an id, 8 characters or more, that no other shown id has; remembers it."""
        alike = self._by_start[full[:MIN_SHORT_CHARS]]
        if full not in alike:
            self._remember(alike, full)
        length = MIN_SHORT_CHARS
        while length < len(full) and any(o != full and o.startswith(full[:length]) for o in alike):
            length += 1
        return full[:length]

    def _remember(self, alike: list[str], full: str) -> None:
        if self._count >= MAX_SHOWN:
            # The oldest go; a short id that is not remembered is looked up in the CRM.
            oldest = next(iter(self._by_start))
            self._count -= len(self._by_start.pop(oldest))
            alike = self._by_start[full[:MIN_SHORT_CHARS]]
        self.alike += bool(alike)
        alike.append(full)
        self._count += 1

    def starting_with(self, start: str) -> list[str]:
        alike = self._by_start.get(start[:MIN_SHORT_CHARS], [])
        return [full for full in alike if full.startswith(start)]


class Recent:
    """Answers of the CRM kept for seconds, by kind; our own writes drop the kinds that they touch."""

    def __init__(self, seconds: float = KEPT_SECONDS) -> None:
        self._seconds = seconds
        self._kept: dict[tuple[str, str], tuple[float, Any]] = {}
        self._fetching: WeakValueDictionary[tuple[str, str], anyio.Lock] = WeakValueDictionary()
        self._drops = 0

    async def get(self, kind: str, key: str, fetch: Callable[[], Awaitable[T]]) -> T:
        """The kept answer, or a fresh one, for which nobody asks twice at once."""
        fetching = self._fetching.setdefault((kind, key), anyio.Lock())
        async with fetching:
            return await self._kept_or_fresh(kind, key, fetch)

    async def _kept_or_fresh(self, kind: str, key: str, fetch: Callable[[], Awaitable[T]]) -> T:
        until, value = self._kept.get((kind, key), (0.0, None))
        if time.monotonic() < until:
            return cast("T", value)
        drops = self._drops
        value = await fetch()
        self._forget_the_oldest()
        # What was on its way while a write dropped its like may be from before the write.
        if drops == self._drops:
            self._kept.pop((kind, key), None)
            self._kept[kind, key] = (time.monotonic() + self._seconds, value)
        return value

    def kept(self, kind: str, key: str) -> Any:
        """The kept answer, or None."""
        until, value = self._kept.get((kind, key), (0.0, None))
        return value if time.monotonic() < until else None

    def _forget_the_oldest(self) -> None:
        """What is over, which may be much, and what there is no room for; the oldest stand first."""
        while self._kept:
            oldest = next(iter(self._kept))
            if len(self._kept) < MAX_KEPT and time.monotonic() < self._kept[oldest][0]:
                return
            del self._kept[oldest]

    def drop_older(self, seconds: float) -> None:
        """Forget what was fetched longer ago."""
        oldest = time.monotonic() + self._seconds - seconds
        for kept in [kept for kept, (until, _) in self._kept.items() if until < oldest]:
            del self._kept[kept]

    def drop(self, *kinds: str) -> None:
        self._drops += 1
        for kept in [kept for kept in self._kept if kept[0] in kinds]:
            del self._kept[kept]


class Names:
    """What records are called, learnt from whatever passes by."""

    def __init__(self) -> None:
        self._names: dict[str, tuple[float, str]] = {}
        self._kinds: dict[str, str] = {}
        self._all: dict[str, tuple[float, str]] = {}

    def learn(self, full: str, name: str, kind: str = "") -> None:
        self._names.pop(full, None)
        while len(self._names) >= MAX_SHOWN:
            until, _ = self._names.pop(next(iter(self._names)))
            if time.monotonic() < until:
                self._all.clear()
        while len(self._kinds) >= MAX_SHOWN:
            del self._kinds[next(iter(self._kinds))]
        self._names[full] = (time.monotonic() + NAME_SECONDS, name)
        if kind:
            self._kinds.pop(full, None)
            self._kinds[full] = kind

    def learnt_all(self, kind: str, bound: str) -> None:
        """Every record of a kind has just passed by, or as many as `bound` says."""
        self._all[kind] = (time.monotonic() + ALL_SECONDS, bound)

    def forget(self, full: str) -> None:
        self._names.pop(full, None)

    def forget_all(self, kind: str) -> None:
        self._all.pop(kind, None)

    def every(self, kind: str) -> tuple[dict[str, str], str] | None:
        """The names of all records of a kind by their ids, as of some minutes ago or later, and the bound;
        None where not all are known."""
        until, bound = self._all.get(kind, (0.0, ""))
        if time.monotonic() >= until:
            return None
        names = self._names.items()
        return {full: name for full, (_, name) in names if self._kinds.get(full) == kind}, bound

    def kind(self, full: str) -> str | None:
        """What kind of record it is, which never changes."""
        return self._kinds.get(full)

    def named(self, full: str) -> str:
        """What an id stands for, or the id where that is not known."""
        return self.get(full) or full

    def get(self, full: str | None) -> str | None:
        until, name = self._names.get(full or "", (0.0, ""))
        return name if time.monotonic() < until else None


class Memory:
    """One tenant's memory."""

    def __init__(self) -> None:
        self.names = Names()
        self.shown = ShownIds()
        self.recent = Recent()
        # Whether the CRM knows a search of this kind of records: that does not change.
        self.searches: dict[str, bool] = {}
        # And whether such a search tells capitals apart.
        self.minds_case: dict[str, bool] = {}
