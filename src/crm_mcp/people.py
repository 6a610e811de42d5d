"""Which person is meant: by an address, by a name, or by a name and a company."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace

from crm_mcp.candidates import Candidates, Meant, NothingLikeItError, Split, joined
from crm_mcp.crm.companies import Company
from crm_mcp.crm.contacts import Contact
from crm_mcp.crm.errors import UnresolvedReferenceError
from crm_mcp.crm.paging import Page
from crm_mcp.finding import Finder, Looked
from crm_mcp.matching import Fit, Matches, best, core, is_of, is_spelt, may_be_at
from crm_mcp.picking import MAX_CANDIDATES, AmbiguousReferenceError
from crm_mcp.rows import Rows
from crm_mcp.said import address_in, bare_names, cut, name_with_address, names_and_companies
from crm_mcp.wording import MAX_NAME_CHARS, clean

# Whoever is at the company with that id.
There = Callable[[str], Awaitable[Page[Contact]]]
# What References.split does.
Parted = Callable[..., Awaitable[Split]]


class People:
    """Finds the person who is meant, in one tenant's CRM. Raises what References raises."""

    def __init__(
        self,
        there: There,
        companies: Finder[Company],
        contacts: Finder[Contact],
        candidates: Candidates,
        rows: Rows,
        split: Parted,
    ) -> None:
        self._there = there
        self._companies = companies
        self._contacts = contacts
        self._candidates = candidates
        self._rows = rows
        self._split = split

    async def find(self, said: str, *, writing: bool) -> Meant:
        if address := address_in(said):
            return await self._of_this_address(address, said, writing=writing)
        if names_and_companies(said):
            return await self._at_company(said, writing=writing)
        looked = await self._contacts.search_for(said, writing=writing)
        return await self._candidates.decided(self._contacts, said, looked, writing=writing)

    async def _of_this_address(self, address: str, said: str, *, writing: bool) -> Meant:
        """A read goes by the address, whatever name stands before it, and says whose it is."""
        looked = await self._of_address(address, writing=True)
        if looked.matches is None or not looked.fits(Fit.EXACT):
            return await self._candidates.decided(self._contacts, said, looked, writing=writing)
        theirs, problem = await self.of_one_address(said, looked.found, self._contacts.noun, writing=writing)
        if problem and (writing or len(theirs) > 1):
            problem = joined(problem, looked.bound)
            raise await self._candidates.ambiguous(self._contacts, problem, theirs, offered=True)
        looked = replace(looked, matches=replace(looked.matches, found=theirs))
        meant = await self._candidates.decided(self._contacts, said, looked, writing=writing)
        return replace(meant, note=joined(problem, meant.note) or None)

    async def of_one_address(
        self, said: str, people: Sequence[Contact], kind: str, *, writing: bool
    ) -> tuple[list[Contact], str]:
        """Of those who have the address that was said those whose name stands with it; all of them, and whose
        the address is, where that is another name. Writing, nobody else may be called so to the letter."""
        name = name_with_address(said, kind)
        theirs = [one for one in people if is_of(name, one.label, one.email or "")]
        called = [one for one in theirs if core(name, legal=False) == core(one.label, legal=False)]
        owner = clean(people[0].label, MAX_NAME_CHARS)
        problem = f'The address in "{cut(said)}" is of "{owner}".'
        if called or not theirs:
            return called or list(people), "" if called else problem
        so_called = (await self._contacts.called(name)).found if writing and " " in name else []
        if others := [one for one in so_called if one.id not in {person.id for person in theirs}]:
            return [*theirs, *others], f"{problem} Somebody else is called so."
        return theirs, ""

    async def _at_company(self, said: str, *, writing: bool) -> Meant:
        # `Lefèvre, Luc` has two orders.
        first, comma, last = (part.strip() for part in said.partition(","))
        orders = [f"{first} {last}", f"{last} {first}"] if comma else [re.sub(r"[()]", " ", said)]
        each = [await self._contacts.called(" ".join(order.split())) for order in orders]
        called = {one.id: one for looked in each for one in looked.found}
        unseen = next((looked.bound for looked in each if looked.bound), "")
        if comma and each[-1].matches and not (await self._companies.called(last)).matches:
            # Luc Lefèvre: without looking for what is like a company `Luc`.
            looked = Looked(Matches(Fit.NORMALISED, list(called.values())), unseen)
            return await self._candidates.decided(self._contacts, said, looked, writing=writing)
        split = await self._split(said, writing=writing)
        name = next(reversed(bare_names(split.name, self._contacts.noun)), split.name)
        company, there = split.company, split.there
        if split.several and not called:
            return await self._at_one_of(split.several, name, said, writing=writing)
        people = await self._there(there.id) if there else None
        at_company, bound = self._contacts.best(name, people.records) if people else None, ""
        if there and people and not called and not (at_company and at_company.fit <= Fit.NORMALISED):
            at_company, bound = await self._or_elsewhere(name, company, at_company, there.id, writing=writing)
        if called:
            # Unless it is a name to the letter, who is there and has the rest of it may be meant as well.
            is_name = any(is_spelt(said, one.label) for one in called.values())
            is_there = there and at_company and not (there.note or is_name)
            also = at_company.found if at_company and is_there else []
            either = list({one.id: one for one in (*called.values(), *also)}.values())
            looked = Looked(Matches(Fit.NORMALISED, either), unseen)
            return await self._candidates.decided(self._contacts, said, looked, writing=writing)
        if there and people and at_company:
            looked = Looked(at_company, joined(*people.notes, bound))
            meant = await self._candidates.decided(self._contacts, said, looked, writing=writing)
            return replace(meant, note=joined(there.note, meant.note) or None)
        looked = await self._contacts.search_for(said, writing=writing)
        if looked.matches is None:
            raise await self._nobody(name, company, there, people)
        return await self._candidates.decided(self._contacts, said, looked, writing=writing)

    async def _or_elsewhere(
        self, name: str, company: str, there: Matches[Contact] | None, home: str, *, writing: bool
    ) -> tuple[Matches[Contact] | None, str]:
        """Whom a part of the name fits there, and who has all of it at another company that may be meant; and
        what was not looked at."""
        last, comma, first = (part.strip() for part in name.partition(","))
        looked = await self._contacts.called(f"{first} {last}" if comma else name)
        called = [one for one in looked.found if one.company_id not in (None, home)]
        names = await self._rows.company_names(one.company_id for one in called)
        also = [one for one in called if may_be_at(company, names.get(one.company_id or ""), writing=writing)]
        bound = looked.bound if writing else ""
        if not also:
            return there, bound
        if there is None or there.fit > Fit.PART:
            # Nor are they there: it is a guess which company was meant.
            return Matches(Fit.CLOSE, also), bound
        return Matches(Fit.PART, [*there.found, *also]), bound

    async def _at_one_of(
        self, companies: AmbiguousReferenceError, name: str, said: str, *, writing: bool
    ) -> Meant:
        """Who is called so at those companies that may be meant, where they all fit and are few; else those
        to choose from: who is called so there or elsewhere, or who is there."""
        few = companies.records[:MAX_CANDIDATES]
        each = [await self._there(company.id) for company in few]
        bound = joined(*dict.fromkeys(note for page in each for note in page.notes))
        people = {one.id: one for page in each for one in page.records}
        there = Looked(self._contacts.best(name, people.values()), bound)
        if there.matches and companies.fit and companies.count <= MAX_CANDIDATES:
            return await self._candidates.decided(self._contacts, said, there, writing=writing)
        every = (await self._contacts.search_for(name, writing=False)).found
        ids = {company.id for company in companies.records}
        called = {one.id: one for one in (*there.found, *every) if one.id in people or one.company_id in ids}
        nobody = "" if called else f'Nobody called "{cut(name)}" was found there.'
        problem = joined(companies.problem, nobody, bound)
        found = list((called or {one.id: one for one in every} or people).values())
        if not found:
            raise NothingLikeItError(problem, self._contacts.plural)
        raise await self._candidates.ambiguous(self._contacts, problem, found, fit=False, offered=not called)

    async def at_address(self, said: str, *, writing: bool) -> tuple[list[Contact], str]:
        """Who has the e-mail address that was said, nobody where it is none; and who was not looked at."""
        address = address_in(said)
        if not address:
            return [], ""
        looked = await self._of_address(address, writing=writing)
        return looked.found if looked.fits(Fit.EXACT) else [], looked.bound

    async def _of_address(self, address: str, *, writing: bool) -> Looked[Contact]:
        """Whoever has this very address; what is only like it is a close match.

        A search may tell capitals apart, or mind names alone: a write looks among all.
        """
        wanted = address.casefold()

        def look(people: list[Contact]) -> Matches[Contact] | None:
            if theirs := [one for one in people if (one.email or "").casefold() == wanted]:
                return Matches(Fit.EXACT, theirs)
            like = best(address, people, lambda contact: [contact.email or ""], legal=False)
            return Matches(Fit.CLOSE, like.found) if like else None

        few = await self._contacts.few()
        if few is not None:
            return Looked(look(few))
        page = await self._contacts.searched(address)
        found = Looked(look(page.records), self._contacts.more_than_seen(page)) if page else Looked(None)
        if found.fits(Fit.EXACT) or (page and not writing):
            return found
        return await self._contacts.among_all(look)

    async def _nobody(
        self, name: str, company: str, there: Meant | None, people: Page[Contact] | None
    ) -> UnresolvedReferenceError:
        """What to say where a company has nobody of that name: who it has, and who is called so elsewhere."""
        looked = await self._contacts.search_for(name, writing=False)
        elsewhere = looked.found
        if there and people:
            at = clean(there.name or company, MAX_NAME_CHARS)
            problem = joined(f'Nobody at {at} is called "{cut(name)}".', *people.notes)
            few = len(elsewhere) == 1 or not people.records
            elsewhere = [*(elsewhere if few else []), *people.records]
        else:
            problem = f'No contact "{cut(name)}" at "{cut(company)}": no such company was found.'
            problem = joined(problem, self._companies.unseen, self._contacts.unseen)
        found = list({one.id: one for one in elsewhere}.values())
        if not found:
            return UnresolvedReferenceError(joined(problem, "search_contacts lists what there is."))
        return await self._candidates.ambiguous(self._contacts, problem, found, offered=True)
