"""From what a person would say for a record to the record that is meant; never a silent guess."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from crm_mcp.candidates import Candidates, Meant, NothingLikeItError, Split, joined
from crm_mcp.crm.companies import Company, CompanyFilter
from crm_mcp.crm.contacts import Contact, ContactFilter
from crm_mcp.crm.contract import UUID_PATTERN, Entity, searchable
from crm_mcp.crm.errors import CrmError, NotFoundError, UnresolvedReferenceError
from crm_mcp.crm.leads import Lead, LeadFilter
from crm_mcp.crm.paging import Told
from crm_mcp.crm.pipeline import PipelineStage
from crm_mcp.deals import Deals
from crm_mcp.finding import SEARCH_ROWS, Finder, Looked, those
from crm_mcp.matching import Fit, Matches, core, domain, may_be_called, pages_of, shares_page, site_of
from crm_mcp.memory import Memory
from crm_mcp.people import People
from crm_mcp.picking import MAX_CANDIDATES, AmbiguousReferenceError, find_stage
from crm_mcp.rows import Rows
from crm_mcp.said import (
    SHORT_ID,
    bare_names,
    core_name,
    cut,
    kind_and_said,
    name_and_id,
    names_and_companies,
    says_only,
)

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient

E = TypeVar("E", bound=Entity)


class References:
    """Finds what is meant, in one tenant's CRM.

    With `writing` a close match is not taken, only offered. Every method raises UnresolvedReferenceError when
    it would have to guess; AmbiguousReferenceError where a person could be asked.
    """

    def __init__(
        self,
        client: CrmClient,
        memory: Memory,
        rows: Rows,
        lists: Mapping[str, str],
        reading: Callable[[str], Told],
    ) -> None:
        self._client = client
        self._memory = memory
        self._rows = rows
        self._lists = lists
        self._companies: Finder[Company] = Finder(
            "company",
            "companies",
            lambda company: [company.label],
            client.companies.get,
            lambda q: client.companies.search(CompanyFilter(q=q), limit=SEARCH_ROWS),
            lambda q: client.companies.walk(CompanyFilter(q=q)),
            memory,
            reading,
            of_companies=True,
        )
        self._contacts: Finder[Contact] = Finder(
            "contact",
            "contacts",
            lambda contact: [contact.label],
            client.contacts.get,
            lambda q: client.contacts.search(ContactFilter(q=q), limit=SEARCH_ROWS),
            lambda q: client.contacts.walk(ContactFilter(q=q)),
            memory,
            reading,
        )
        self._leads: Finder[Lead] = Finder(
            "lead",
            "leads",
            lambda lead: [lead.label],
            client.leads.get,
            lambda q: client.leads.search(LeadFilter(q=q), limit=SEARCH_ROWS),
            lambda q: client.leads.walk(LeadFilter(q=q)),
            memory,
            reading,
        )
        kinds: tuple[Finder[Any], ...] = (self._companies, self._contacts, self._leads)
        self.kinds: dict[str, Finder[Any]] = {kind.plural: kind for kind in kinds}
        self.candidates = Candidates(memory, rows)
        self._people = People(
            client.companies.contacts, self._companies, self._contacts, self.candidates, rows, self.split
        )
        self._deals = Deals(
            client, memory, rows, self._companies, self._leads, self.candidates, self, self._people
        )

    async def company(self, said: str, *, writing: bool = False) -> Meant:
        """By id, short id, name, website or e-mail domain, or part of the name."""
        return await self._meant(self._companies, said, writing=writing)

    async def contact(self, said: str, *, writing: bool = False) -> Meant:
        """By id, short id, e-mail, name, or name and company: `Anna at Acme`."""
        return await self._meant(self._contacts, said, writing=writing)

    async def lead(self, said: str, *, writing: bool = False) -> Meant:
        """By id, short id, title, or a company that has one open lead."""
        return await self._meant(self._leads, said, writing=writing)

    async def _meant(self, kind: Finder[Any], said: str, *, writing: bool) -> Meant:
        """What is meant; where nothing comes close, the error has what shares a word, to choose from."""
        try:
            return await self._close(kind, said, writing=writing)
        except NothingLikeItError as error:
            like: list[Any] = []
            with suppress(CrmError):
                like = await self._sharing_a_word(kind, said)
            if like:
                raise await self.candidates.ambiguous(kind, error.problem, like, offered=True) from error
            raise

    async def _close(self, kind: Finder[Any], said: str, *, writing: bool) -> Meant:
        """By id; as it was said; without what people say around a name."""
        plural, said = kind_and_said(said)
        if plural not in ("", kind.plural):
            raise UnresolvedReferenceError(f'"{cut(said)}" of {plural} is no {kind.noun}.')
        if by_id := await self._by_id(kind, said, writing=writing):
            return by_id
        try:
            meant = await self._kept(kind, said, writing=writing)
        except (NothingLikeItError, AmbiguousReferenceError) as error:
            if isinstance(error, AmbiguousReferenceError) and error.fit:
                raise
            if bare := await self._bare(kind, said, writing=writing):
                # `Dr. Clarke` may be Dr. Clark, before whom nobody else is a doctor.
                close = error.records if isinstance(error, AmbiguousReferenceError) else ()
                if writing and kind is self._contacts and close and bare.id not in {one.id for one in close}:
                    raise await self.candidates.ambiguous(
                        kind, error.problem, [await kind.get(bare.id), *close]
                    ) from error
                return replace(bare, certain=False)
            raise
        if writing and not meant.certain:
            await self._refuse_other_reading(kind, said, meant)
        return meant

    async def _refuse_other_reading(self, kind: Finder[Any], said: str, meant: Meant) -> None:
        """A word for the kind may be part of a name: where that makes two records, neither is meant."""
        if says_only(said, kind.noun):
            raise UnresolvedReferenceError(f'"{cut(said)}" does not say which {kind.noun} is meant.')
        name = core_name(said, kind.noun)
        if name == " ".join(said.split()):
            return
        if kind is self._leads and await self._is_companys_name(said, but_not=name):
            return
        try:
            other = await self._kept(kind, name, writing=True)
        except NothingLikeItError:
            return
        except AmbiguousReferenceError as error:
            if error.fit:
                raise
            return
        if other.id != meant.id:
            both = [await kind.get(one.id) for one in (meant, other)]
            problem = f'"{cut(said)}" may be part of a name, and "{cut(name)}" the name.'
            raise await self.candidates.ambiguous(kind, problem, both)

    async def _is_companys_name(self, said: str, but_not: str) -> bool:
        """Whether a company is called so, word for the kind and all, and nothing as the rest of it."""
        if not (await self._companies.called(said)).matches:
            return False
        return not any([(await kind.called(but_not)).matches for kind in (self._companies, self._leads)])

    async def _bare(self, kind: Finder[Any], said: str, *, writing: bool) -> Meant | None:
        names = bare_names(said, kind.noun)
        for name in names:
            try:
                meant = await self._kept(kind, name, writing=writing)
            except NothingLikeItError:
                continue
            except AmbiguousReferenceError as error:
                if error.fit or name == names[-1]:
                    raise
                continue
            if writing and not meant.certain:
                await self._refuse_other_reading(kind, name, meant)
            return meant
        return None

    async def _kept(self, kind: Finder[Any], said: str, *, writing: bool) -> Meant:
        each = {"company": self._find_company, "contact": self._people.find, "lead": self._deals.find}
        find = each[kind.noun]
        if writing and kind is self._leads:
            # Which lead is the company's only open one may change at any time.
            return await find(said, writing=writing)
        fresh = partial(find, said, writing=writing)
        return await self._memory.recent.get(kind.plural, f"{writing} {said}", fresh)

    async def _find_company(self, said: str, *, writing: bool) -> Meant:
        looked = await self._company(said, writing=writing)
        return await self.candidates.decided(self._companies, said, looked, writing=writing)

    async def _sharing_a_word(self, kind: Finder[Any], said: str) -> list[Any]:
        """What may be meant where nothing fits; of leads, those of who shares a word too."""
        like = await kind.sharing_a_word(said)
        if kind is self._leads and not like:
            companies = await self._companies.sharing_a_word(said)
            people = [] if companies else await self._contacts.sharing_a_word(said)
            at = [company.id for company in companies]
            like = (await self._deals.leads_at(at))[0] or (await self._deals.leads_with(people))[0]
            like = await self._rows.open_leads(like) or like
        return like

    async def split(self, said: str, *, writing: bool) -> Split:
        """A name and the company that it was said with, by the first way to read it that has one."""
        ways = names_and_companies(said)
        for name, company in ways:
            try:
                if there := await self._named_within(company, writing=writing):
                    return Split(name, company, there)
            except AmbiguousReferenceError as error:
                return Split(name, company, several=error)
        return Split(*ways[0])

    async def near(self, plural: str, said: str) -> list[Any]:
        """The record that a reading tool would take it for; all that fit where it would not choose."""
        try:
            meant = await self._close(self.kinds[plural], said, writing=False)
            return [await self.kinds[plural].get(meant.id)]
        except AmbiguousReferenceError as error:
            return list(error.records)
        except (UnresolvedReferenceError, NotFoundError):
            return []

    async def stage(self, said: str) -> PipelineStage:
        """By id, short id, name, system key, or kind when one stage has it; never a close match."""
        return find_stage(await self._rows.stages(), said)

    async def owner_id(self, said: str) -> tuple[str | None, str | None]:
        """The owner as the rows name it, a user id or None for `unassigned`; and a note where it is a guess.

        Who `me` is the CRM only tells by what it lists as mine, if it is not what it lists to everybody.
        """
        owner = await self.owner(said)
        if owner != "me":
            return None if owner == "unassigned" else owner, None
        mine = await self._client.companies.search(CompanyFilter(owner_user_id="me"), limit=SEARCH_ROWS)
        owners = {company.owner_user_id for company in mine.records if company.owner_user_id}
        if len(owners) != 1:
            raise UnresolvedReferenceError("The CRM does not tell who `me` is: say the user id.")
        every, _ = await self._companies.at_hand()
        [me] = owners
        if any(company.owner_user_id not in (None, me) for company in every):
            return me, None
        known = self.candidates.reader().id(me)
        return me, f"`me` is taken for {known}, the only owner of companies that was seen."

    async def new_owner(self, said: str) -> str:
        """Who shall own a record: `unassigned` is nobody to be set, but a field to be emptied."""
        owner = await self.owner(said)
        if owner == "unassigned":
            raise UnresolvedReferenceError("To leave it without an owner, name `owner` in `clear`.")
        return owner

    async def owner(self, said: str) -> str:
        """`me`, `unassigned`, or a user's id or short id: the CRM lists no users, so there are no names."""
        word = said.strip().lower()
        if word in ("me", "unassigned") or UUID_PATTERN.fullmatch(word):
            return word
        leads = (await self._client.leads.search(limit=SEARCH_ROWS)).records
        companies = (await self._client.companies.search(limit=SEARCH_ROWS)).records
        owners = [*(lead.owner_user_id for lead in leads), *(one.owner_user_id for one in companies)]
        seen = Counter(owner for owner in owners if owner)
        shown = self._memory.shown.starting_with(word)
        every = dict.fromkeys([*seen, *(one for one in shown if self._memory.names.kind(one) is None)])
        starting = [owner for owner in every if SHORT_ID.fullmatch(word) and owner.startswith(word)]
        if len(starting) == 1:
            return starting[0]
        if starting:
            listed = {owner: owner for owner in starting}
            raise AmbiguousReferenceError(f"Several owner ids start with {word}.", listed)
        known = ", ".join(owner for owner, _ in seen.most_common(MAX_CANDIDATES)) or "none"
        raise UnresolvedReferenceError(
            f'"{cut(said)}" is no owner: say `me`, `unassigned` or a user id; the CRM lists no users. '
            f"Owner ids seen: {known}."
        )

    async def marketing_list(self, said: str) -> str:
        """By id, or by an alias that the operator set: the CRM lists none."""
        if UUID_PATTERN.fullmatch(said.strip()):
            return said.strip().lower()
        for spelt in (str.casefold, lambda alias: core(alias, legal=False)):
            fitting = [self._lists[alias] for alias in self._lists if spelt(alias) == spelt(said.strip())]
            if len(fitting) == 1:
                return fitting[0]
        aliases = ", ".join(self._lists) or "none set (CRM_MARKETING_LISTS)"
        raise UnresolvedReferenceError(
            f'No marketing list "{cut(said)}": the CRM lists none, so say an id or an alias. '
            f"Aliases: {aliases}."
        )

    async def _named_within(self, company: str, *, writing: bool) -> Meant | None:
        """The company that a person's name was said with; None where there is none.

        Raises AmbiguousReferenceError, about companies.
        """
        try:
            return await self._close(self._companies, company, writing=writing)
        except AmbiguousReferenceError:
            raise
        except UnresolvedReferenceError:
            return None

    async def _by_id(self, kind: Finder[E], said: str, *, writing: bool) -> Meant | None:
        """What an id or a short id names, alone or after a name; None where it is neither."""
        name, word = name_and_id(searchable(said))
        if not SHORT_ID.fullmatch(word):
            return None
        every = [word] if UUID_PATTERN.fullmatch(word) else self._memory.shown.starting_with(word)
        names = self._memory.names
        known = [one for one in every if names.kind(one) in (None, kind.noun)] or every
        if len(known) > 1:
            listed = {
                self.candidates.reader().line(names.get(one), one): Meant(one, names.get(one))
                for one in known
            }
            raise AmbiguousReferenceError(f"Several ids start with {word}.", listed)
        if known and names.kind(known[0]) not in (None, kind.noun):
            return await self._of_other_kind(kind, known[0], name, writing=writing)
        if known:
            return await self._named_so(kind, known[0], name)
        if name and "·" not in said:
            return await self._bracketed(kind, word, name, writing=writing)
        return await self._by_start(kind, word, name, writing=writing)

    async def _bracketed(self, kind: Finder[E], word: str, name: str, *, writing: bool) -> Meant | None:
        """Who is called so and has an id that begins so; None where nobody is: names may have brackets."""
        try:
            meant = await self._close(kind, name, writing=writing)
            return meant if meant.id.startswith(word) else None
        except AmbiguousReferenceError as error:
            ids = [one.id for one in error.records if error.fit and one.id.startswith(word)]
            return await self._named_so(kind, ids[0], name) if len(ids) == 1 else None
        except UnresolvedReferenceError:
            return None

    async def _by_start(self, kind: Finder[Any], word: str, name: str, *, writing: bool) -> Meant | None:
        """What has an id that was perhaps shown before this process began, of a company's its lead; None
        where there is none, for a name can look like this too."""
        begin_so = those(lambda record: record.id.startswith(word))
        looked = await kind.among_all(begin_so)
        if len(looked.found) == 1 and not looked.bound:
            return await self._named_so(kind, looked.found[0].id, name)
        if looked.found:
            raise await self.candidates.ambiguous(
                kind, joined(f"Ids start with {word}.", looked.bound), looked.found
            )
        if kind is self._leads:
            company = await self._by_start(self._companies, word, name, writing=writing)
            return company and await self._only_lead_of(company.id, writing=writing)
        return None

    async def _named_so(self, kind: Finder[E], full: str, name: str) -> Meant:
        """What an id names; a name and an id that are of two records name neither."""
        known = self._memory.names.get(full)
        if name and known is None:
            known = kind.name_of(await kind.get(full))
        if name and known and not may_be_called(name, known, legal=kind.of_companies):
            short = self.candidates.reader().id(full)
            raise UnresolvedReferenceError(
                f'{short} is "{cut(known)}", not "{cut(name)}": say which one is meant.'
            )
        return Meant(full, known)

    async def _of_other_kind(self, kind: Finder[E], full: str, name: str, *, writing: bool) -> Meant:
        """Of a company's id its lead may be meant, as of its name."""
        known = self._memory.names.kind(full)
        if kind is self._leads and known == self._companies.noun:
            await self._named_so(self._companies, full, name)
            return await self._only_lead_of(full, writing=writing)
        raise UnresolvedReferenceError(f"{full} is the id of a {known}, not of a {kind.noun}.")

    async def _only_lead_of(self, full: str, *, writing: bool) -> Meant:
        return await self._deals.only_open_lead(full, await self._companies.get(full), writing=writing)

    async def _company(self, said: str, *, writing: bool) -> Looked[Company]:
        """By name, and by the domain of its website or mail: who is called like a website may not have it."""
        site = _site_in(said)
        of_site = await self._of_site(site, said, writing=writing) if site else Looked(None)
        people, bound = await self._people.at_address(said, writing=writing)
        # Who writes from there may be of another one.
        homes = {person.company_id: person for person in people if person.company_id}
        found = {company.id: company for company in of_site.found}
        theirs = [await self._companies.get(home) for home in homes if home not in found]
        if of_site.matches is None:
            if theirs:
                return Looked(Matches(Fit.CLOSE, theirs), bound)
            return await self._companies.search_for(said, writing=writing)
        named = await self._companies.called(said)
        found |= {company.id: company for company in (*named.found, *theirs)}
        fit = of_site.matches.fit if not (named.found or theirs) else Fit.EXACT
        return Looked(Matches(fit, list(found.values())), joined(of_site.bound, bound))

    async def near_company(self, said: str, *, writing: bool) -> Looked[Company] | None:
        """The same without reading all that there are, where that may be spared: of a name it may."""
        return await (self._company(said, writing=writing) if _site_in(said) else self._companies.near(said))

    async def _of_site(self, site: str, said: str, *, writing: bool) -> Looked[Company]:
        """Several may have it, and of that no search of names tells: a write looks among all."""

        def theirs(companies: list[Company]) -> Matches[Company] | None:
            found = [one for one in companies if site in site_of(one.website, one.email)]
            # Another page there may be another company's.
            same = [one for one in found if shares_page(said, one.website)]
            # Of several the one of the very page, and not of the host.
            depth = max((pages_of(one.website) for one in same), key=len, default=[])
            same = [one for one in same if pages_of(one.website) == depth]
            return Matches(Fit.EXACT if same else Fit.CLOSE, same or found) if found else None

        few = await self._companies.few()
        if few is not None:
            return Looked(theirs(few))
        name = site.split(".", maxsplit=1)[0].replace("-", " ")
        for query in dict.fromkeys([name, *name.split()[:1]]) if not writing else ():
            page = await self._companies.searched(query)
            if page and (found := theirs(page.records)):
                return Looked(found, self._companies.more_than_seen(page))
        return await self._companies.among_all(theirs)


def _site_in(said: str) -> str:
    """The domain of a website or e-mail address that can be a company's own."""
    return next(iter(site_of(None, said)), "") if "@" in said else domain(said)
