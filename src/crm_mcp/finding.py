"""Looking for records of a kind by what they are called: among all where that is cheap, else by search."""

from __future__ import annotations

import re
import time
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

import anyio

from crm_mcp.crm.contract import Entity, plain
from crm_mcp.crm.errors import CrmError
from crm_mcp.crm.paging import Page, Told, Walk
from crm_mcp.matching import Fit, Matches, best, longest_word, sharing, telling, without_forms
from crm_mcp.memory import Memory
from crm_mcp.said import core_name

E = TypeVar("E", bound=Entity)

SEARCH_ROWS = 100
SCAN_PAGES = 100
SEARCH_PAGES = 5
SCAN_SECONDS = 8.0
# What was read so lately is not read again for what it lacks.
FRESH_SECONDS = 5.0
# Of the records whose names are known, so many are asked for one by one.
MAX_ASKED_FOR = 5
MAX_WORDS = 3
# Nothing is called so: a CRM that brings rows for it does not search.
ODD_WORD = "qxzjvkwqpy"


@dataclass(frozen=True, slots=True)
class Looked(Generic[E]):
    """What a search brought: the best matches, and how far it looked when not at everything."""

    matches: Matches[E] | None
    bound: str = ""
    # By the CRM's search, which may not find what is spelt another way, or with other capitals.
    searched: bool = False
    minds_case: bool = False

    @property
    def sure(self) -> bool:
        """Whether nothing that was not looked at can fit as well: a search finds all that is spelt so."""
        return not self.searched or (self.fits(Fit.SPELT) and not (self.bound or self.minds_case))

    @property
    def is_part(self) -> bool:
        """Whether what was said is but a part of what it fits."""
        return self.matches is not None and self.matches.fit is Fit.PART

    @property
    def found(self) -> list[E]:
        return self.matches.found if self.matches else []

    def fits(self, worst: Fit) -> bool:
        return self.matches is not None and self.matches.fit <= worst


@dataclass(frozen=True, slots=True)
class _Scan(Generic[E]):
    """All records of a kind, as far as they could be read; where that was not all, `bound` says so."""

    records: list[E]
    bound: str
    ended: float


@dataclass(frozen=True, slots=True)
class Finder(Generic[E]):
    """How records of a kind are called, and looked for by name."""

    noun: str
    plural: str
    names_of: Callable[[E], Sequence[str]]
    get: Callable[[str], Awaitable[E]]
    search: Callable[[str | None], Awaitable[Page[E]]]
    walk: Callable[[str | None], Walk[E]]
    memory: Memory
    reading: Callable[[str], Told]
    # Companies have legal forms.
    of_companies: bool = False

    def best(self, said: str, records: Iterable[E]) -> Matches[E] | None:
        return best(said, records, self.names_of, legal=self.of_companies)

    def name_of(self, record: E) -> str:
        return self.names_of(record)[0]

    async def at_hand(self) -> tuple[list[E], bool]:
        """Records that one request brings, and whether there are more: all where they were read lately."""
        scan: _Scan[E] | None = self.memory.recent.kept(self.plural, "every page")
        if scan is not None:
            return scan.records, bool(scan.bound)
        page = await self._first_page()
        return page.records, page.has_more or page.bounded

    async def every_name(self) -> tuple[dict[str, str], str]:
        """What all are called, by their ids, as of a minute ago or later; and what was not looked at."""
        few, names = await self.few(), self.memory.names
        if few is not None:
            return {one.id: self.name_of(one) for one in few}, ""
        if names.every(self.noun) is None:
            await self.everything()
        return names.every(self.noun) or ({}, self.unseen)

    async def having(self, text: str) -> tuple[list[E], bool]:
        """Those that have it in their names but for case and accents, which a CRM's search may tell apart;
        and whether there are some that were not looked at."""
        records, more = await self.at_hand()
        wanted = plain(text)
        if more and not text.isascii():
            bare = await self.searched(wanted)
            records = [*records, *(bare.records if bare else ())]
        return [record for record in records if wanted in plain(self.name_of(record))], more

    @property
    def may_search(self) -> bool:
        """Whether the CRM searches this kind, as far as is known."""
        return self.memory.searches.get(self.plural, True)

    async def searches(self) -> bool:
        """Whether the CRM searches this kind, or sends just any rows; asked once."""
        known = self.memory.searches
        if self.plural not in known:
            walk = self.walk(ODD_WORD)
            async for _ in walk.pages(1):
                known[self.plural] = walk.met == 0
        return self.may_search

    async def called(self, said: str) -> Looked[E]:
        """Those that are called just so, of all that one search shows."""
        few = await self.few()
        return self.just_so(said, few) if few is not None else self.just_so(said, *await self.spelt_so(said))

    def just_so(self, said: str, records: Iterable[E], bound: str = "") -> Looked[E]:
        matches = self.best(said, records)
        return Looked(matches if matches and matches.fit <= Fit.NORMALISED else None, bound)

    async def spelt_so(self, said: str) -> tuple[list[E], str]:
        """Those among which one called just so would be, all that there are where the CRM cannot search; and
        what was not looked at."""
        page = None if self.memory.minds_case.get(self.plural) else await self.searched(said)
        if page and not (page.has_more or page.bounded):
            return page.records, ""
        if page:
            walk = self.walk(said)
            records = [record async for rows in walk.pages(SEARCH_PAGES) for record in rows]
            return records, "" if walk.complete else f"More {self.plural} fit it than were looked at."
        scan = await self.everything()
        return scan.records, scan.bound

    @property
    def unseen(self) -> str:
        """What was not looked at, where all were to be read lately and that were too many."""
        scan: _Scan[E] | None = self.memory.recent.kept(self.plural, "every page")
        return scan.bound if scan else ""

    async def _minds_case(self, asked: str, found: E) -> bool:
        """Whether the CRM's search tells capitals apart; asked once, for what it found."""
        known = self.memory.minds_case
        if self.plural not in known:
            # `ß` has no capital that a search has to know.
            other = re.sub("[A-Za-z]+", lambda word: word[0].swapcase(), asked)
            if other == asked:
                return False
            known[self.plural] = found.id not in {one.id for one in (await self.page(other)).records}
        return known[self.plural]

    async def search_for(self, said: str, *, writing: bool) -> Looked[E]:
        return await self.among_all_if(said, await self.near(said), writing=writing)

    async def among_all_if(self, said: str, near: Looked[E] | None, *, writing: bool) -> Looked[E]:
        """What is near, where that will do; else, and for a write that it is not sure for, among all.

        Only what is spelt as it was said, but for its case and legal form, is found by any search: one that
        tells accents or spaces apart may hide another that is called the same, or one that fits better.
        """
        if near and (near.sure or not writing):
            return near
        # These may be newer than those that are kept.
        newer = near.found if near else []

        def look(records: list[E]) -> Matches[E] | None:
            return self.best(said, {record.id: record for record in (*records, *newer)}.values())

        known = None
        if self.may_search:
            scan: _Scan[E] | None = self.memory.recent.kept(self.plural, "every page")
            known = Looked(look(scan.records), scan.bound) if scan else await self._among_known(said, near)
        return known or await self.among_all(look)

    async def _among_known(self, said: str, near: Looked[E] | None) -> Looked[E] | None:
        """Among the names that are known since all were read, some minutes ago; None where they are not.

        What came or was renamed since is near, by the CRM's search: missed is only what is spelt otherwise
        than it was said. What fits is seen as it is now; of many, those that are near will do to choose from.
        """
        known = self.memory.names.every(self.noun)
        if known is None:
            return None
        names, bound = known
        matches = best(said, names.items(), lambda named: named[1:], legal=self.of_companies)
        fitting = [full for full, _ in matches.found] if matches else []
        seen = {one.id: one for one in near.found} if near else {}
        unseen = [full for full in fitting if full not in seen]
        if len(unseen) > MAX_ASKED_FOR:
            return near if len(seen) > 1 and seen.keys() <= set(fitting) else None
        seen |= await self._each(unseen)
        now = self.best(said, seen.values())
        if {one.id for one in now.found} == set(fitting) if now else not fitting:
            return Looked(now, bound)
        self.memory.names.forget_all(self.noun)
        return None

    async def sharing_a_word(self, said: str) -> list[E]:
        """Those that have a word of it that tells something, as far as few requests bring them."""
        records, more = await self.at_hand()
        if more and self.may_search:
            pages = [await self.searched(word) for word in telling(said)[:MAX_WORDS]]
            records = [record for page in pages if page for record in page.records]
        every = {record.id: record for record in records}
        return sharing(core_name(said, self.noun), every.values(), self.names_of)

    async def _each(self, ids: Sequence[str]) -> dict[str, E]:
        """These records, as far as they can be had, asked for at once."""
        there: dict[str, E] = {}

        async def ask(full: str) -> None:
            try:
                there[full] = await self.get(full)
            except CrmError:
                self.memory.names.forget(full)

        async with anyio.create_task_group() as tasks:
            for full in ids:
                tasks.start_soon(ask, full)
        self.learn(there.values())
        return {full: there[full] for full in ids if full in there}

    async def near(self, said: str) -> Looked[E] | None:
        """Look at all records where there are few; else ask the CRM for the name and for its longest word.

        None where nothing but a misspelt name would come of it, and only reading all records can tell.
        A CRM's search may tell accents apart, so that it finds one of two that are called the same: what has
        other accents than were said is searched for once more as it is spelt, and without them.
        """
        few = await self.few()
        if few is not None:
            matches = self.best(said, few)
            if matches is None or matches.fit > Fit.PART:
                # It may be newer than what is kept.
                self.memory.recent.drop(self.plural)
                matches = self.best(said, await self.few() or few)
            return Looked(matches)
        for asked in _queries(said, legal=self.of_companies):
            page = await self.searched(asked)
            if page is None:
                return None
            matches = self.best(said, page.records)
            # A guess has to be the best of all that there are.
            worst = Fit.PART if self.more_than_seen(page) else Fit.WITHIN
            if matches and matches.fit <= worst:
                spelt = self.name_of(matches.found[0])
                every = {record.id: record for record in page.records}
                more = not spelt.isascii() and matches.fit > Fit.SPELT
                for other in {spelt, plain(spelt)} - {asked} if more else ():
                    every |= {record.id: record for record in (await self.page(other)).records}
                now, bound = self.best(said, every.values()), self.more_than_seen(page)
                # Of anything worse all are looked at anyway.
                minds_case = matches.fit <= Fit.SPELT and await self._minds_case(asked, matches.found[0])
                return Looked(now, bound, searched=True, minds_case=minds_case)
        return None

    async def few(self) -> list[E] | None:
        """All records of the kind where they fit on a page, kept for seconds; None where there are more."""
        page = await self._first_page()
        return None if page.has_more or page.bounded else page.records

    async def _first_page(self) -> Page[E]:
        return await self.memory.recent.get(self.plural, "all", lambda: self.page(None))

    async def page(self, query: str | None) -> Page[E]:
        page = await self.search(query)
        self.learn(page.records)
        return page

    def learn(self, records: Iterable[E]) -> None:
        for record in records:
            self.memory.names.learn(record.id, self.name_of(record), self.noun)

    async def searched(self, query: str) -> Page[E] | None:
        """What the CRM finds; None where it does not search this kind, and sends just any rows."""
        if not self.may_search:
            return None
        page = await self.page(query)
        return page if await self.is_found(page) else None

    async def is_found(self, page: Page[E]) -> bool:
        """Whether a search brought it; asked when the CRM first sends more than a search seems to."""
        odd = page.left_out or page.unverified or page.has_more or page.bounded
        return not odd or await self.searches()

    async def among_all(self, look: Callable[[list[E]], Matches[E] | None]) -> Looked[E]:
        """What `look` finds among all records; what it does not may be newer than those that are kept."""
        scan = await self.everything()
        looked = Looked(look(scan.records), scan.bound)
        old = time.monotonic() - scan.ended > FRESH_SECONDS
        # Where not even all that are older could be read, it is no use to begin anew.
        if old and not (looked.fits(Fit.PART) or scan.bound):
            self.memory.recent.drop(self.plural)
            scan = await self.everything()
            looked = Looked(look(scan.records), scan.bound)
        return looked

    async def everything(self) -> _Scan[E]:
        """All records, kept for seconds, so that what one call looks for costs one scan."""
        return await self.memory.recent.get(self.plural, "every page", self._scan)

    async def _scan(self) -> _Scan[E]:
        """All records, within a bound on calls and time."""
        found: list[E] = []
        walk, told = self.walk(None), self.reading(self.plural)
        with anyio.move_on_after(SCAN_SECONDS):
            async for records in walk.pages(SCAN_PAGES):
                self.learn(records)
                found += records
                await told(walk.met, walk.told_total)
        bound = "" if walk.complete else f"Only {walk.met} {self.plural} were looked at, there are more."
        self.memory.names.learnt_all(self.noun, bound)
        return _Scan(found, bound, time.monotonic())

    def more_than_seen(self, page: Page[E]) -> str:
        return f"More {self.plural} fit it than were looked at." if page.has_more or page.bounded else ""


def _queries(said: str, *, legal: bool) -> Iterable[str]:
    """What to search for: all of a name first, though that may not find another spelling of it."""
    return dict.fromkeys([without_forms(said, legal=legal), *longest_word(said, legal=legal)])


def those(wanted: Callable[[E], bool]) -> Callable[[list[E]], Matches[E] | None]:
    """Finds those that are wanted, which is no question of how well they fit."""

    def look(records: list[E]) -> Matches[E] | None:
        found = list(filter(wanted, records))
        return Matches(Fit.EXACT, found) if found else None

    return look


def only(looked: Looked[E], worst: Fit) -> E | None:
    """The one that fits at least so well, where it is one."""
    return looked.found[0] if looked.fits(worst) and len(looked.found) == 1 else None
