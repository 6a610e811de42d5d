"""Which deal is meant: by its title, by the company that has one, by both, by its person's address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Protocol

from crm_mcp.candidates import Candidates, Meant, Split, joined
from crm_mcp.crm.companies import Company
from crm_mcp.crm.contacts import Contact
from crm_mcp.crm.errors import UnresolvedReferenceError
from crm_mcp.crm.leads import Lead, LeadFilter
from crm_mcp.crm.paging import Page
from crm_mcp.ends import DealsAtEnds, Named, ends_of
from crm_mcp.finding import SEARCH_ROWS, Finder, Looked, only
from crm_mcp.matching import Fit, Matches, core, fitting, is_spelt, may_be_at
from crm_mcp.memory import Memory
from crm_mcp.people import People
from crm_mcp.picking import MAX_CANDIDATES, AmbiguousReferenceError
from crm_mcp.rows import Rows
from crm_mcp.said import bare_names, cut, names_and_companies, says_only
from crm_mcp.wording import MAX_NAME_CHARS, clean

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient


class Around(Protocol):
    """What finds the companies by which deals are called."""

    async def near_company(self, said: str, *, writing: bool) -> Looked[Company] | None: ...

    async def split(self, said: str, *, writing: bool) -> Split: ...


class Deals:
    """Finds the deal that is meant, in one tenant's CRM. Raises what References raises."""

    def __init__(
        self,
        client: CrmClient,
        memory: Memory,
        rows: Rows,
        companies: Finder[Company],
        leads: Finder[Lead],
        candidates: Candidates,
        around: Around,
        people: People,
    ) -> None:
        self._client = client
        self._memory = memory
        self._rows = rows
        self._companies = companies
        self._leads = leads
        self._candidates = candidates
        self._around = around
        self._people = people

    async def find(self, said: str, *, writing: bool) -> Meant:
        """A company that is called just so goes first, unless the lead of another one is called that too. All
        companies are only read for it where the CRM's search brings neither such a company nor a title that
        is good enough: writing, one that is spelt so.
        """
        people, unseen = await self._people.at_address(said, writing=writing)
        if people:
            return await self._only_lead_with(people, unseen, said, writing=writing)
        recent = self._memory.recent

        async def among_all_companies(near: Looked[Company] | None = None) -> Looked[Company]:
            look = partial(self._companies.among_all_if, said, near, writing=True)
            return await recent.get("companies", f"of lead {said}", look)

        near = partial(self._around.near_company, said, writing=writing)
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
            return await self.only_open_lead(said, company, writing=writing)
        looked = await self._leads.among_all_if(said, titled, writing=writing)
        if named and named.fits(Fit.PART) and looked.is_part:
            looked = await self._either(said, named, looked)
        looked = await self._open_ones(looked, said, writing=writing)
        if company and not looked.fits(Fit.PART):
            return await self.only_open_lead(said, company, writing=writing)
        # A read may take a whole title as it is; of a write it has to be spelt so.
        is_title = any(is_spelt(said, one.label) for one in looked.found)
        is_title = is_title or (looked.fits(Fit.NORMALISED) and not writing)
        if not is_title and (at_company := await self._lead_at(said, looked, writing=writing)):
            return at_company
        at_ends = await self._at_ends(said, looked, writing=writing)
        looked = at_ends if at_ends.matches else looked
        if named and named.matches and looked.matches is None:
            return await self._lead_of_one(said, named, looked, writing=writing)
        if looked.matches is None:
            looked = replace(looked, bound=joined(looked.bound, self._companies.unseen, unseen))
        return await self._candidates.decided(self._leads, said, looked, writing=writing)

    async def _lead_at(self, said: str, titled: Looked[Lead], *, writing: bool) -> Meant | None:
        """Of `pilot project at Acme` the lead there; None where there is none, or where it is a whole title
        and but part of one there.

        Raises AmbiguousReferenceError where `titled` fits as well, or nothing does and there are leads.
        """
        if not names_and_companies(said):
            return None
        split = await self._around.split(said, writing=writing)
        title, several = split.name, split.several
        if says_only(title, self._leads.noun):
            return None
        note = split.there.note if split.there else None
        homes = [await self._companies.get(split.there.id)] if split.there else []
        if several and several.fit and several.count <= MAX_CANDIDATES:
            homes = list(several.records)
        theirs, bound = await self.leads_at([home.id for home in homes])
        # `deal` may be part of the title, or say what it is.
        titles = [title, *bare_names(title, self._leads.noun)]
        ways = [Looked(self._leads.best(one, theirs), bound) for one in titles]
        looked = next((way for way in ways if way.fits(Fit.PART)), ways[-1])
        if looked.matches is None:
            # `the Bank of America deal` says no bank at America.
            is_name = any(
                core(home.label) != core(split.company) and f" {core(home.label)} " in f" {core(said)} "
                for home in homes
            )
            if len(homes) == 1 and theirs and titled.matches is None and not is_name:
                problem = f'{clean(homes[0].label, MAX_NAME_CHARS)} has no lead "{cut(title)}".'
                offered = await self._rows.open_leads(theirs) or theirs
                raise await self._candidates.ambiguous(self._leads, problem, offered, offered=True)
            return None
        if writing:
            await self._refuse_closed(said, looked, fitting(title, theirs, self._leads.names_of, legal=False))
        if not looked.fits(Fit.NORMALISED):
            looked = await self._or_elsewhere(title, split.company, looked, homes, writing=writing)
        is_better = titled.matches and looked.matches and titled.matches.fit < looked.matches.fit >= Fit.PART
        if is_better and titled.fits(Fit.PART) and not bound:
            return None
        looked = await self._open_ones(looked, said, writing=writing)
        if titled.matches and titled.fits(Fit.PART) and looked.matches:
            found = {lead.id: lead for lead in (*looked.matches.found, *titled.matches.found)}
            looked = replace(looked, matches=replace(looked.matches, found=list(found.values())))
        meant = await self._candidates.decided(self._leads, said, looked, writing=writing)
        return replace(meant, note=joined(note, meant.note) or None, certain=False)

    async def _refuse_closed(self, said: str, looked: Looked[Lead], theirs: list[Lead]) -> None:
        """A closed deal is not plainly meant, where an open one at the company may be."""
        open_leads = await self._rows.open_leads(theirs)
        found = {lead.id for lead in looked.found}
        if looked.fits(Fit.NORMALISED) and open_leads and not found & {lead.id for lead in open_leads}:
            both = [*looked.found, *open_leads]
            raise await self._candidates.ambiguous(
                self._leads, f'"{cut(said)}" is closed, and another is not.', both
            )

    async def _or_elsewhere(
        self, title: str, company: str, there: Looked[Lead], homes: Sequence[Company], *, writing: bool
    ) -> Looked[Lead]:
        """What fits there but in part, and what has the whole title at another company that may be meant."""
        called = await self._leads.called(title)
        names = await self._rows.company_names(lead.company_id for lead in called.found)
        known = {None, *(home.id for home in homes)}
        also = [
            lead
            for lead in called.found
            if lead.company_id not in known
            and may_be_at(company, names.get(lead.company_id or ""), writing=writing)
        ]
        there = replace(there, bound=joined(there.bound, called.bound if writing else ""))
        if not also:
            return there
        # Where it is not there either, or closed, it is a guess which company was meant.
        is_there = there.fits(Fit.PART) and await self._rows.open_leads(there.found)
        found = there.found if there.fits(Fit.PART) else []
        return replace(there, matches=Matches(Fit.PART if is_there else Fit.CLOSE, [*also, *found]))

    async def _at_ends(self, said: str, titled: Looked[Lead], *, writing: bool) -> Looked[Lead]:
        """Of `Acme pilot` the pilot of Acme, and with it what is called so in part: neither is plainly meant
        then; nothing where it is no company with one of its deals.

        Raises AmbiguousReferenceError where there may be one that was not looked at.
        """
        if titled.fits(Fit.NORMALISED) or (titled.is_part and not writing) or " " not in core(said):
            return Looked(None)
        found, unseen = await self._deals_at(said)
        if writing and found.every:
            # Which stages are open is documented: without them nobody can tell.
            await self._rows.stages()
        open_ids = {lead.id for lead in await self._rows.open_leads(found.every.values())}
        there, part = found.best(open_ids), {lead.id: lead for lead in titled.found if titled.is_part}
        if part and (unseen or not part.keys() >= there.keys()):
            says = "may begin with a company" if part.keys() >= there.keys() else "says a deal of a company"
            problem = joined(f'"{cut(said)}" is part of a title, and {says}.', unseen)
            raise await self._candidates.ambiguous(self._leads, problem, [*(part | there).values()])
        if part or not there:
            return Looked(None)
        in_no_stage = writing and any(not lead.stage_id for lead in there.values())
        unsure = in_no_stage or there.keys() <= found.guessed
        looked = Looked(Matches(Fit.CLOSE if unsure else Fit.PART, list(there.values())), unseen)
        if there.keys() <= found.whole.keys() or there.keys() & open_ids:
            return looked
        return await self._open_ones(looked, said, writing=writing)

    async def _deals_at(self, said: str) -> tuple[DealsAtEnds, str]:
        """The deals of the companies at either end; and what was not looked at."""
        names, unseen = await self._companies.every_name()
        every_end = ends_of(said, names)
        ends = {name: rest for name, rest in every_end.items() if not says_only(rest, self._leads.noun)}
        if unseen and self._companies.may_search:
            every = [await self._companies.called(name) for name in ends]
            names = names | {one.id: one.label for looked in every for one in looked.found}
            unseen = joined(*dict.fromkeys(looked.bound for looked in every))
        found, leads = DealsAtEnds(), dict[str, list[Lead]]()
        for name, rest in ends.items():
            companies = Named.by(name, names)
            if companies.is_cut:
                unseen = joined(unseen, "More companies fit it than were looked at.")
            for full in companies.names:
                if full not in leads:
                    leads[full], bound = await self.leads_at([full])
                    unseen = joined(unseen, bound)
                found.add(rest, companies, leads[full])
        return found, unseen

    async def _only_lead_with(self, people: list[Contact], unseen: str, said: str, *, writing: bool) -> Meant:
        """The one open lead of a person; where it is not one, theirs or their companies' to choose from.

        `unseen` says who was not looked at: others may have the same address.
        """
        people, of_another = await self._people.of_one_address(
            said, people, self._leads.noun, writing=writing
        )
        if writing:
            # Which stages are open is documented: without them nobody can tell.
            await self._rows.stages()
        theirs, bound = await self.leads_with(people)
        open_leads, bound = await self._rows.open_leads(theirs), joined(unseen, bound)
        plain = not (writing and (of_another or any(one.stage_id is None for one in open_leads)))
        if len(open_leads) == 1 and plain:
            looked = Looked(Matches(Fit.PART, open_leads), bound)
            meant = await self._candidates.decided(self._leads, said, looked, writing=writing)
            return replace(meant, note=joined(of_another, bound) or None, certain=False)
        called = clean(people[0].label, MAX_NAME_CHARS)
        many = f"{len(open_leads)} open leads" if open_leads else "no open lead"
        problem = f"{called} has {'one open lead as far as can be seen' if len(open_leads) == 1 else many}."
        problem = of_another or problem
        homes = {person.company_id for person in people if person.company_id} if not theirs else ()
        theirs = theirs or (await self.leads_at(list(homes)))[0]
        if not theirs:
            raise UnresolvedReferenceError(problem)
        raise await self._candidates.ambiguous(
            self._leads, problem, open_leads or theirs, offered=not open_leads
        )

    async def leads_with(self, people: Sequence[Contact]) -> tuple[list[Lead], str]:
        """Those of as many people as there are candidates; and what was not looked at."""
        pages = [
            await self._client.leads.search(LeadFilter(contact_id=person.id), limit=SEARCH_ROWS)
            for person in people[:MAX_CANDIDATES]
        ]
        ids = {person.id for person in people}
        theirs = [lead for page in pages for lead in page.records if lead.contact_id in ids]
        return theirs, joined(*dict.fromkeys(self._leads.more_than_seen(page) for page in pages))

    async def leads_at(self, companies: Sequence[str]) -> tuple[list[Lead], str]:
        """Those of as many companies as there are candidates; and what was not looked at."""
        theirs: dict[str, Lead] = {}
        bound = ""
        for company in companies[:MAX_CANDIDATES]:
            page = await self._client.leads.search(LeadFilter(company_id=company), limit=SEARCH_ROWS)
            theirs |= {lead.id: lead for lead in page.records if lead.company_id == company}
            bound = bound or self._leads.more_than_seen(page)
        return list(theirs.values()), bound

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
            raise await self._candidates.ambiguous(self._leads, problem, looked.matches.found, offered=True)
        closed = len(looked.matches.found) - len(open_leads) if open_leads and not writing else 0
        too = f"{closed} that fit too {'is' if closed == 1 else 'are'} closed." if closed else ""
        found = Matches(Fit.PART, open_leads or looked.matches.found)
        return replace(looked, matches=found, bound=joined(looked.bound, too))

    async def only_open_lead(self, said: str, company: Company, *, writing: bool) -> Meant:
        """The one open lead of the company; a write does not rely on a filter that could not be verified."""
        if writing:
            # Which stages are open is documented: without them nobody can tell.
            await self._rows.stages()
        page, called = await self._leads_of(company, said)
        open_leads = await self._rows.open_leads(page.records)
        others = [lead for lead in called.found if [lead.id] != [one.id for one in open_leads]]
        if others:
            problem = f'"{cut(said)}" is a company, and another lead.'
            both = {lead.id: lead for lead in (*open_leads, *others)}
            raise await self._candidates.ambiguous(self._leads, problem, list(both.values()))
        whole = not (page.has_more or page.bounded)
        if (
            len(open_leads) == 1
            and whole
            and not (writing and (page.unverified or called.bound or open_leads[0].stage_id is None))
        ):
            name = clean(open_leads[0].label, MAX_NAME_CHARS)
            note = joined(*page.notes, called.bound) or None
            return Meant(open_leads[0].id, name, note, certain=False)
        theirs = clean(company.label, MAX_NAME_CHARS)
        if not page.records:
            problem = f'{theirs} has no lead, and no lead is called "{cut(said)}".'
            if like := await self._leads.sharing_a_word(company.label):
                raise await self._candidates.ambiguous(self._leads, problem, like, offered=True)
            raise UnresolvedReferenceError(problem)
        how_many = f"{len(open_leads)} open leads" if open_leads else "no open lead"
        if len(open_leads) == 1:
            how_many = "one open lead as far as can be seen"
        problem = joined(f"{theirs} has {how_many}.", called.bound)
        raise await self._candidates.ambiguous(
            self._leads, problem, open_leads or page.records, offered=not open_leads
        )

    async def _lead_of_one(
        self, said: str, named: Looked[Company], looked: Looked[Lead], *, writing: bool
    ) -> Meant:
        """Where no lead is called so: the lead of the only company that a read may take for it; else those of
        all companies that may be meant, to choose from."""
        companies = named.found
        try:
            taken = await self._candidates.decided(self._companies, said, named, writing=writing)
        except AmbiguousReferenceError as error:
            leads, _ = await self.leads_at([company.id for company in companies])
            if not leads:
                return await self._candidates.decided(self._leads, said, looked, writing=writing)
            leads = await self._rows.open_leads(leads) or leads
            problem = joined(f'No lead "{cut(said)}".', looked.bound, error.problem)
            raise await self._candidates.ambiguous(
                self._leads, problem, leads, fit=error.fit, offered=error.offered
            ) from error
        meant = await self.only_open_lead(said, companies[0], writing=writing)
        return replace(meant, note=joined(taken.note, meant.note))

    async def _either(self, said: str, named: Looked[Company], titled: Looked[Lead]) -> Looked[Lead]:
        """What is part of a title here, and a company's name or part of it there: neither is plainly meant,
        unless both come to one open lead."""
        companies = named.found
        theirs, bound = await self.leads_at([company.id for company in companies])
        every = list({lead.id: lead for lead in (*titled.found, *theirs)}.values())
        leads = await self._rows.open_leads(every) or every
        if len(leads) > 1 or len(companies) > MAX_CANDIDATES or bound:
            problem = joined(f'"{cut(said)}" is part of titles, and of a company\'s name.', bound)
            raise await self._candidates.ambiguous(self._leads, problem, leads)
        return replace(titled, matches=Matches(Fit.PART, leads))

    async def _leads_of(self, company: Company, said: str) -> tuple[Page[Lead], Looked[Lead]]:
        """The company's leads, and all of any company that are called what was said.

        Where one page has all leads, that is all it takes; where there are many companies, it hardly has.
        """
        of_company = None
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
            return of_company, self._leads.just_so(said, *await self._leads.spelt_so(said))
        own = [one for one in of_company.records if one.company_id == company.id]
        return replace(of_company, records=own), self._leads.just_so(said, of_company.records)
