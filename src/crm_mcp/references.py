"""From what a person would say for a record to the record that is meant; never a silent guess."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from crm_mcp.crm.companies import Company, CompanyFilter
from crm_mcp.crm.contacts import Contact, ContactFilter
from crm_mcp.crm.contract import UUID_PATTERN, Entity, searchable
from crm_mcp.crm.errors import CrmError, NotFoundError, UnresolvedReferenceError
from crm_mcp.crm.leads import Lead, LeadFilter
from crm_mcp.crm.paging import Page, Told
from crm_mcp.crm.pipeline import PipelineStage
from crm_mcp.finding import Finder, Looked, only, those
from crm_mcp.lines import company_line, contact_line, lead_line
from crm_mcp.matching import Fit, Matches, best, core, domain, may_be_called, site_of
from crm_mcp.memory import Memory
from crm_mcp.picking import MAX_CANDIDATES, AmbiguousReferenceError, find_stage
from crm_mcp.rows import Rows
from crm_mcp.said import (
    ADDRESS,
    SHORT_ID,
    bare_names,
    cut,
    kind_and_said,
    name_and_company,
    name_and_id,
    says_only,
)
from crm_mcp.wording import MAX_NAME_CHARS, Reader, clean, sentence

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient

E = TypeVar("E", bound=Entity)

SEARCH_ROWS = 100


class NothingLikeItError(UnresolvedReferenceError):
    """Nothing comes close to what was said."""

    def __init__(self, problem: str, plural: str) -> None:
        self.problem = problem
        super().__init__(f"{problem} search_{plural} lists what there is.")


@dataclass(frozen=True, slots=True)
class Meant:
    """The record that is meant: its id, its name where that is known, and a note where it was not plain."""

    id: str
    name: str | None = None
    note: str | None = None
    # By its id or its own whole name, and not by part of it or by its company.
    certain: bool = field(default=True, compare=False)

    def to_be_ended(self, said: str) -> str:
        """The id, for what cannot be taken back; raises UnresolvedReferenceError where it is not certain."""
        if not self.certain:
            raise UnresolvedReferenceError(
                f'"{cut(said)}" is not the whole name of what is meant. If "{self.name}" is, say that or '
                f"{self.id}. Nothing was deleted."
            )
        return self.id


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
        self._reading = reading
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
                raise await self._ambiguous(kind, error.problem, like) from error
            raise

    async def _close(self, kind: Finder[Any], said: str, *, writing: bool) -> Meant:
        """By id; as it was said; without what people say around a name."""
        plural, said = kind_and_said(said)
        if plural not in ("", kind.plural):
            raise UnresolvedReferenceError(f'"{cut(said)}" of {plural} is no {kind.noun}.')
        if by_id := await self._by_id(kind, said, writing=writing):
            return by_id
        try:
            return await self._kept(kind, said, writing=writing)
        except NothingLikeItError:
            if bare := await self._bare(kind, said, writing=writing):
                return replace(bare, certain=False)
            raise

    async def _bare(self, kind: Finder[Any], said: str, *, writing: bool) -> Meant | None:
        names = bare_names(said, kind.noun)
        for name in names:
            try:
                return await self._kept(kind, name, writing=writing)
            except NothingLikeItError:
                continue
            except AmbiguousReferenceError as error:
                if error.fit or name == names[-1]:
                    raise
        return None

    async def _kept(self, kind: Finder[Any], said: str, *, writing: bool) -> Meant:
        each = {"company": self._find_company, "contact": self._find_contact, "lead": self._find_lead}
        find = each[kind.noun]
        if writing and kind is self._leads:
            # Which lead is the company's only open one may change at any time.
            return await find(said, writing=writing)
        fresh = partial(find, said, writing=writing)
        return await self._memory.recent.get(kind.plural, f"{writing} {said}", fresh)

    async def _find_company(self, said: str, *, writing: bool) -> Meant:
        looked = await self._company(said, writing=writing)
        return await self._decided(self._companies, said, looked, writing=writing)

    async def _find_contact(self, said: str, *, writing: bool) -> Meant:
        if address := ADDRESS.search(said):
            looked = await self._of_address(address[1].casefold(), said)
            return await self._decided(self._contacts, said, looked, writing=writing)
        name, company = name_and_company(said)
        # `Lefèvre, Luc` has two orders.
        orders = [f"{name} {company}", f"{company} {name}"] if "," in said else [said]
        called = [one for order in orders * bool(company) for one in await self._contacts.called(order)]
        if called:
            looked = Looked(Matches(Fit.NORMALISED, list({one.id: one for one in called}.values())))
            return await self._decided(self._contacts, said, looked, writing=writing)
        if not company:
            looked = await self._contacts.search_for(said, writing=writing)
            return await self._decided(self._contacts, said, looked, writing=writing)
        name = next(iter(bare_names(name, self._contacts.noun)), name)
        try:
            there = await self._named_within(company, writing=writing)
        except AmbiguousReferenceError as error:
            return await self._at_one_of(error, name, said, writing=writing)
        people = await self._client.companies.contacts(there.id) if there else None
        at_company = self._contacts.best(name, people.records) if people else None
        if there and people and at_company:
            looked = Looked(at_company, _join(*people.notes))
            meant = await self._decided(self._contacts, said, looked, writing=writing)
            return replace(meant, note=_join(there.note, meant.note) or None)
        looked = await self._contacts.search_for(said, writing=writing)
        if looked.matches is None:
            raise await self._nobody(name, company, there, people)
        return await self._decided(self._contacts, said, looked, writing=writing)

    async def _at_one_of(
        self, companies: AmbiguousReferenceError, name: str, said: str, *, writing: bool
    ) -> Meant:
        """Who is called so at those companies that may be meant, of which one is enough; where nobody is,
        which company is meant."""
        if not companies.fit or companies.count > MAX_CANDIDATES:
            raise _which_company(companies, said)
        each = [await self._client.companies.contacts(company.id) for company in companies.records]
        people = {one.id: one for page in each for one in page.records}
        matches = self._contacts.best(name, people.values())
        if matches is None:
            raise _which_company(companies, said)
        looked = Looked(matches, _join(*dict.fromkeys(note for page in each for note in page.notes)))
        return await self._decided(self._contacts, said, looked, writing=writing)

    async def _find_lead(self, said: str, *, writing: bool) -> Meant:
        """A company that is called just so goes first, unless the lead of another one is called that too. All
        companies are only read for it where the CRM's search brings neither such a company nor a title that
        is good enough: writing, one that is spelt so.
        """
        if people := await self._at_address(said):
            return await self._only_lead_with(people, said, writing=writing)
        recent = self._memory.recent

        async def among_all_companies(near: Looked[Company] | None = None) -> Looked[Company]:
            look = partial(self._companies.among_all_if, said, near, writing=True)
            return await recent.get("companies", f"of lead {said}", look)

        near = partial(self._near_company, said, writing=writing)
        named = await recent.get("companies", f"{writing} near lead {said}", near)
        if writing and named and not named.sure:
            named = await among_all_companies(named)
        titled = None
        if not (named and only(named, Fit.NORMALISED)):
            titled = await self._leads.near(said)
            good_enough = titled and titled.fits(Fit.PART) and (titled.sure or not writing)
            if named is None and not good_enough:
                named = await among_all_companies()
        company = only(named, Fit.PART) if named and not (writing and named.bound) else None
        if named and company and named.fits(Fit.NORMALISED):
            return await self._only_open_lead(said, company, writing=writing)
        looked = await self._leads.among_all_if(said, titled, writing=writing)
        if writing and named and named.fits(Fit.PART) and looked.is_part:
            looked = await self._either(said, named, looked)
        looked = await self._open_ones(looked, said, writing=writing)
        if company and not looked.fits(Fit.PART):
            return await self._only_open_lead(said, company, writing=writing)
        if not looked.fits(Fit.NORMALISED) and (
            at_company := await self._lead_at(said, looked, writing=writing)
        ):
            return at_company
        if named and named.matches and looked.matches is None:
            return await self._lead_of_one(said, named, looked, writing=writing)
        return await self._decided(self._leads, said, looked, writing=writing)

    async def _lead_at(self, said: str, titled: Looked[Lead], *, writing: bool) -> Meant | None:
        """Of `pilot project at Acme` the lead there; None where there is none.

        Raises AmbiguousReferenceError where `titled` fits too, or nothing does and there are leads.
        """
        title, company = name_and_company(said)
        if not company or says_only(title, self._leads.noun):
            return None
        note = None
        try:
            there = await self._named_within(company, writing=writing)
            homes = [await self._companies.get(there.id)] if there else []
            note = there.note if there else None
        except AmbiguousReferenceError as error:
            homes = list(error.records) if error.fit and error.count <= MAX_CANDIDATES else []
        theirs, bound = await self._leads_at(homes)
        looked = Looked(self._leads.best(title, theirs), bound)
        if looked.matches is None:
            if len(homes) == 1 and theirs and titled.matches is None:
                problem = f'{clean(homes[0].label, MAX_NAME_CHARS)} has no lead "{cut(title)}".'
                raise await self._ambiguous(
                    self._leads, problem, await self._rows.open_leads(theirs) or theirs
                )
            return None
        looked = await self._open_ones(looked, said, writing=writing)
        if titled.matches and titled.fits(Fit.PART) and looked.matches:
            found = {lead.id: lead for lead in (*looked.matches.found, *titled.matches.found)}
            looked = replace(looked, matches=replace(looked.matches, found=list(found.values())))
        meant = await self._decided(self._leads, said, looked, writing=writing)
        return replace(meant, note=_join(note, meant.note) or None, certain=False)

    async def _only_lead_with(self, people: list[Contact], said: str, *, writing: bool) -> Meant:
        """The one open lead of a person; where it is not one, theirs or their companies' to choose from."""
        if writing:
            # Which stages are open is documented: without them nobody can tell.
            await self._rows.stages()
        pages = [
            await self._client.leads.search(LeadFilter(contact_id=person.id), limit=SEARCH_ROWS)
            for person in people
        ]
        ids = {person.id for person in people}
        theirs = [lead for page in pages for lead in page.records if lead.contact_id in ids]
        open_leads = await self._rows.open_leads(theirs)
        bound = _join(*(self._leads.more_than_seen(page) for page in pages))
        if len(open_leads) == 1 and not (writing and open_leads[0].stage_id is None):
            looked = Looked(Matches(Fit.PART, open_leads), bound)
            meant = await self._decided(self._leads, said, looked, writing=writing)
            return replace(meant, note=bound or None, certain=False)
        called = clean(people[0].label, MAX_NAME_CHARS)
        many = f"{len(open_leads)} open leads" if open_leads else "no open lead"
        problem = f"{called} has {'one open lead as far as can be seen' if len(open_leads) == 1 else many}."
        homes = {person.company_id for person in people if person.company_id} if not theirs else ()
        theirs = theirs or (await self._leads_at([await self._companies.get(one) for one in homes]))[0]
        if not theirs:
            raise NothingLikeItError(problem, self._leads.plural)
        raise await self._ambiguous(self._leads, problem, open_leads or theirs)

    async def _leads_at(self, companies: Sequence[Company]) -> tuple[list[Lead], str]:
        """Those of as many companies as there are candidates; and what was not looked at."""
        theirs: dict[str, Lead] = {}
        bound = ""
        for company in companies[:MAX_CANDIDATES]:
            page = await self._client.leads.search(LeadFilter(company_id=company.id), limit=SEARCH_ROWS)
            theirs |= {lead.id: lead for lead in page.records if lead.company_id == company.id}
            bound = bound or self._leads.more_than_seen(page)
        return list(theirs.values()), bound

    async def _sharing_a_word(self, kind: Finder[Any], said: str) -> list[Any]:
        """What may be meant where nothing fits; of leads, those of a company whose name shares a word too."""
        like = await kind.sharing_a_word(said)
        if kind is self._leads and not like:
            like, _ = await self._leads_at(await self._companies.sharing_a_word(said))
            like = await self._rows.open_leads(like) or like
        return like

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
        return me, f"`me` is taken for {self._reader().id(me)}, the only owner of companies that was seen."

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
        starting = [owner for owner in seen if SHORT_ID.fullmatch(word) and owner.startswith(word)]
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
            listed = {self._reader().line(names.get(one), one): Meant(one, names.get(one)) for one in known}
            raise AmbiguousReferenceError(f"Several ids start with {word}.", listed)
        if known and names.kind(known[0]) not in (None, kind.noun):
            return await self._of_other_kind(kind, known[0], name, writing=writing)
        if known:
            return await self._named_so(kind, known[0], name)
        if name and "·" not in said:
            return await self._bracketed(kind, word, name, writing=writing)
        return await self._by_start(kind, word, name)

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

    async def _by_start(self, kind: Finder[E], word: str, name: str) -> Meant | None:
        """What has an id that was perhaps shown before this process began; None where there is none, for a
        name can look like this too."""
        looked = await kind.among_all(those(lambda record: record.id.startswith(word)))
        records = looked.matches.found if looked.matches else []
        if len(records) == 1 and not looked.bound:
            return await self._named_so(kind, records[0].id, name)
        if records:
            raise await self._ambiguous(kind, _join(f"Ids start with {word}.", looked.bound), records)
        return None

    async def _named_so(self, kind: Finder[E], full: str, name: str) -> Meant:
        """What an id names; a name and an id that are of two records name neither."""
        known = self._memory.names.get(full)
        if name and known is None:
            known = kind.name_of(await kind.get(full))
        if name and known and not may_be_called(name, known, legal=kind.of_companies):
            raise UnresolvedReferenceError(
                f'{self._reader().id(full)} is "{cut(known)}", not "{cut(name)}": say which one is meant.'
            )
        return Meant(full, known)

    async def _of_other_kind(self, kind: Finder[E], full: str, name: str, *, writing: bool) -> Meant:
        """Of a company's id its lead may be meant, as of its name."""
        known = self._memory.names.kind(full)
        if kind is self._leads and known == self._companies.noun:
            await self._named_so(self._companies, full, name)
            return await self._only_open_lead(full, await self._companies.get(full), writing=writing)
        raise UnresolvedReferenceError(f"{full} is the id of a {known}, not of a {kind.noun}.")

    async def _company(self, said: str, *, writing: bool) -> Looked[Company]:
        """By name, and by the domain of its website or mail: who is called like a website may not have it."""
        site = domain(said)
        of_site = await self._of_site(site, writing=writing) if site else None
        if of_site is None or of_site.matches is None:
            return await self._companies.search_for(said, writing=writing)
        named = await self._companies.called(said)
        found = {company.id: company for company in (*named, *of_site.matches.found)}
        for person in await self._at_address(said):
            # Who writes from there may be of another one.
            if person.company_id and person.company_id not in found:
                found[person.company_id] = await self._companies.get(person.company_id)
        return Looked(Matches(Fit.EXACT, list(found.values())), of_site.bound)

    async def _near_company(self, said: str, *, writing: bool) -> Looked[Company] | None:
        """The same without reading all that there are, where that may be spared: of a name it may."""
        return await (self._company(said, writing=writing) if domain(said) else self._companies.near(said))

    async def _of_site(self, site: str, *, writing: bool) -> Looked[Company]:
        """Several may have it, and of that no search of names tells: a write looks among all."""

        def is_theirs(company: Company) -> bool:
            return site in site_of(company.website, company.email)

        theirs = those(is_theirs)
        few = await self._companies.few()
        if few is not None:
            return Looked(theirs(few))
        name = site.split(".", maxsplit=1)[0].replace("-", " ")
        for query in dict.fromkeys([name, *name.split()[:1]]) if not writing else ():
            page = await self._companies.searched(query)
            if page and (found := theirs(page.records)):
                return Looked(found, self._companies.more_than_seen(page))
        return await self._companies.among_all(theirs)

    async def _of_address(self, address: str, said: str) -> Looked[Contact]:
        """Whoever has this very address; what is only like it is a close match."""

        def look(people: list[Contact]) -> Matches[Contact] | None:
            if theirs := [one for one in people if (one.email or "").casefold() == address]:
                return Matches(Fit.EXACT, theirs)
            like = best(said, people, lambda contact: [contact.email or ""], legal=False)
            return Matches(Fit.CLOSE, like.found) if like else None

        few = await self._contacts.few()
        if few is not None:
            return Looked(look(few))
        page = await self._contacts.searched(address)
        found = Looked(look(page.records), self._contacts.more_than_seen(page)) if page else Looked(None)
        return found if found.fits(Fit.EXACT) else await self._contacts.among_all(look)

    async def _at_address(self, said: str) -> list[Contact]:
        """Who has the e-mail address that was said; nobody where it is none."""
        address = ADDRESS.search(said)
        if address is None:
            return []
        few = await self._contacts.few()
        people = await self._contacts.spelt_so(address[1]) if few is None else few
        return [one for one in people if (one.email or "").casefold() == address[1].casefold()]

    async def _nobody(
        self, name: str, company: str, there: Meant | None, people: Page[Contact] | None
    ) -> UnresolvedReferenceError:
        """What to say where a company has nobody of that name: who it has, and who is called so elsewhere."""
        looked = await self._contacts.search_for(name, writing=False)
        elsewhere = looked.matches.found if looked.matches else []
        if there and people:
            at = clean(there.name or company, MAX_NAME_CHARS)
            problem = _join(f'Nobody at {at} is called "{cut(name)}".', *people.notes)
            few = len(elsewhere) == 1 or not people.records
            elsewhere = [*(elsewhere if few else []), *people.records]
        else:
            problem = f'No contact "{cut(name)}" at "{cut(company)}": no such company was found.'
        found = list({one.id: one for one in elsewhere}.values())
        if not found:
            return UnresolvedReferenceError(_join(problem, "search_contacts lists what there is."))
        return await self._ambiguous(self._contacts, problem, found)

    async def _open_ones(self, looked: Looked[Lead], said: str, *, writing: bool) -> Looked[Lead]:
        """Of leads that part of a title fits, those that are open, if there are any.

        A closed one is not reopened by half its name: writing, it has to be said in full.
        """
        if looked.matches is None or looked.matches.fit is not Fit.PART:
            return looked
        open_leads = await self._rows.open_leads(looked.matches.found)
        if writing:
            # Of what shows no stage nobody can tell.
            open_leads = [lead for lead in open_leads if lead.stage_id]
        if not open_leads and writing:
            problem = f'No open lead "{cut(said)}".'
            raise await self._ambiguous(self._leads, problem, looked.matches.found)
        closed = len(looked.matches.found) - len(open_leads) if open_leads and not writing else 0
        too = f"{closed} that fit too {'is' if closed == 1 else 'are'} closed." if closed else ""
        found = Matches(Fit.PART, open_leads or looked.matches.found)
        return replace(looked, matches=found, bound=_join(looked.bound, too))

    async def _only_open_lead(self, said: str, company: Company, *, writing: bool) -> Meant:
        """The one open lead of the company; a write does not rely on a filter that could not be verified."""
        if writing:
            # Which stages are open is documented: without them nobody can tell.
            await self._rows.stages()
        page, namesakes = await self._leads_of(company, said)
        open_leads = await self._rows.open_leads(page.records)
        others = [lead for lead in namesakes if [lead.id] != [one.id for one in open_leads]]
        if others:
            problem = f'"{cut(said)}" is a company, and another lead.'
            both = {lead.id: lead for lead in (*open_leads, *others)}
            raise await self._ambiguous(self._leads, problem, list(both.values()))
        whole = not (page.has_more or page.bounded)
        if (
            len(open_leads) == 1
            and whole
            and not (writing and (page.unverified or open_leads[0].stage_id is None))
        ):
            name = clean(open_leads[0].label, MAX_NAME_CHARS)
            return Meant(open_leads[0].id, name, _join(*page.notes) or None, certain=False)
        called = clean(company.label, MAX_NAME_CHARS)
        if not page.records:
            problem = f'{called} has no lead, and no lead is called "{cut(said)}".'
            if like := await self._leads.sharing_a_word(company.label):
                raise await self._ambiguous(self._leads, problem, like)
            raise UnresolvedReferenceError(problem)
        how_many = f"{len(open_leads)} open leads" if open_leads else "no open lead"
        if len(open_leads) == 1:
            how_many = "one open lead as far as can be seen"
        raise await self._ambiguous(self._leads, f"{called} has {how_many}.", open_leads or page.records)

    async def _lead_of_one(
        self, said: str, named: Looked[Company], looked: Looked[Lead], *, writing: bool
    ) -> Meant:
        """Where no lead is called so: the lead of the only company that a read may take for it; else those of
        all companies that may be meant, to choose from."""
        companies = named.matches.found if named.matches else []
        try:
            taken = await self._decided(self._companies, said, named, writing=writing)
        except AmbiguousReferenceError as error:
            leads, _ = await self._leads_at(companies)
            if not leads:
                return await self._decided(self._leads, said, looked, writing=writing)
            leads = await self._rows.open_leads(leads) or leads
            problem = _join(f'No lead "{cut(said)}".', looked.bound, error.problem)
            raise await self._ambiguous(self._leads, problem, leads) from error
        meant = await self._only_open_lead(said, companies[0], writing=writing)
        return replace(meant, note=_join(taken.note, meant.note))

    async def _either(self, said: str, named: Looked[Company], titled: Looked[Lead]) -> Looked[Lead]:
        """What is part of a title here, and a company's name or part of it there: neither is plainly meant,
        unless both come to one open lead."""
        companies = named.matches.found if named.matches else []
        theirs, _ = await self._leads_at(companies)
        titles = titled.matches.found if titled.matches else []
        every = list({lead.id: lead for lead in (*titles, *theirs)}.values())
        leads = await self._rows.open_leads(every) or every
        if len(leads) > 1:
            problem = f'"{cut(said)}" is part of titles, and of a company\'s name.'
            raise await self._ambiguous(self._leads, problem, leads)
        return replace(titled, matches=Matches(Fit.PART, leads))

    async def _leads_of(self, company: Company, said: str) -> tuple[Page[Lead], list[Lead]]:
        """The company's leads, and all that are called what was said.

        Where one page has all leads, that is all it takes; where there are many companies, it hardly has.
        """
        of_company, titled = None, None
        if await self._companies.few() is not None:
            of_company = await self._leads.page(None)
        if (
            of_company is None
            or of_company.has_more
            or of_company.bounded
            or any("company_id" not in one.model_fields_set for one in of_company.records)
        ):
            wanted = LeadFilter(company_id=company.id)
            of_company = await self._client.leads.search(wanted, limit=SEARCH_ROWS)
            self._leads.learn(of_company.records)
            titled = await self._leads.spelt_so(said)
        matches = self._leads.best(said, of_company.records if titled is None else titled)
        own = [one for one in of_company.records if titled is not None or one.company_id == company.id]
        return replace(of_company, records=own), (
            matches.found if matches and matches.fit <= Fit.NORMALISED else []
        )

    async def _decided(self, kind: Finder[E], said: str, looked: Looked[E], *, writing: bool) -> Meant:
        """The one record that is meant, or an error that says why it is none."""
        matches = looked.matches
        if matches is None:
            raise NothingLikeItError(_join(f'No {kind.noun} "{cut(said)}".', looked.bound), kind.plural)
        called = clean(kind.name_of(matches.found[0]), MAX_NAME_CHARS)
        close = matches.fit > Fit.PART
        if len(matches.found) > 1 or (writing and (close or looked.bound)):
            fits = f"more than one {kind.noun}" if len(matches.found) > 1 else f"one {kind.noun}"
            problem = f'No {kind.noun} is called "{cut(said)}".' if close else f'"{cut(said)}" fits {fits}.'
            raise await self._ambiguous(
                kind, _join(problem, looked.bound), matches.found, fit=not (close or looked.bound)
            )
        unseen = "; what is spelt otherwise was not looked at" * (looked.searched and matches.fit >= Fit.PART)
        taken = f'No {kind.noun} is called "{cut(said)}";' if close else f'"{cut(said)}" is'
        note = sentence(f"{taken} taken for {called}{unseen}") if close or unseen else ""
        legal = kind.of_companies
        whole = any(
            core(said, legal=legal) == core(name, legal=legal) for name in kind.names_of(matches.found[0])
        )
        certain = matches.fit is Fit.EXACT or (matches.fit <= Fit.NORMALISED and whole)
        return Meant(matches.found[0].id, called, _join(note, looked.bound) or None, certain)

    async def _ambiguous(
        self, kind: Finder[E], problem: str, records: Sequence[E], *, fit: bool = True
    ) -> AmbiguousReferenceError:
        shown = records[:MAX_CANDIDATES]
        for one in shown:
            # How short an id can be said depends on the others.
            self._memory.shown.short(one.id)
        meant = [Meant(one.id, clean(kind.name_of(one), MAX_NAME_CHARS)) for one in shown]
        candidates = dict(zip(await self.lines(kind.noun, shown), meant, strict=True))
        return AmbiguousReferenceError(problem, candidates, len(records), records, fit=fit)

    async def lines(self, kind: str, records: Sequence[Any]) -> list[str]:
        """Records as candidates are shown; of other kinds by their names."""
        if kind == "company":
            return await self._company_lines(records)
        if kind == "contact":
            return await self._contact_lines(records)
        if kind == "lead":
            return await self._lead_lines(records)
        called = [getattr(one, "name", None) or getattr(one, "subject", None) for one in records]
        ids = [self._reader().id(one.id) for one in records]
        return [self._reader().line(name, one) for name, one in zip(called, ids, strict=True)]

    async def _company_lines(self, companies: Sequence[Company]) -> list[str]:
        return [company_line(row, self._reader()) for row in await self._rows.companies(companies)]

    async def _contact_lines(self, contacts: Sequence[Contact]) -> list[str]:
        return [contact_line(row, self._reader()) for row in await self._rows.contacts(contacts)]

    async def _lead_lines(self, leads: Sequence[Lead]) -> list[str]:
        return [lead_line(row, self._reader()) for row in await self._rows.leads(leads)]

    def _reader(self) -> Reader:
        return Reader(self._memory.shown)


def _which_company(companies: AmbiguousReferenceError, said: str) -> UnresolvedReferenceError:
    """Which of several companies is no choice between their people or deals, so that nobody can be asked."""
    listed = "\n".join(f"- {line}" for line in companies.candidates)
    return UnresolvedReferenceError(
        f'Which company is meant in "{cut(said)}"? Say its id in place of its name:\n{listed}'
    )


def _join(*sentences: str | None) -> str:
    return " ".join(sentence for sentence in sentences if sentence)
