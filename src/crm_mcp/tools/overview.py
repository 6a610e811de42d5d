"""Tools that look over everything: a search of all kinds, and the pipeline in numbers."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from functools import partial
from heapq import nsmallest
from operator import itemgetter
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import Field

from crm_mcp.crm.activities import Activity, TaskFilter
from crm_mcp.crm.companies import Company, CompanyFilter
from crm_mcp.crm.contacts import Contact, ContactFilter
from crm_mcp.crm.contract import searchable
from crm_mcp.crm.leads import Lead, LeadFilter
from crm_mcp.crm.pipeline import PipelineStage
from crm_mcp.lines import ContactRow, LeadRow, is_overdue
from crm_mcp.matching import Fit, best
from crm_mcp.results import Hit, Money, PipelineGroup, PipelineSummary, SearchResult
from crm_mcp.rows import is_open
from crm_mcp.tenant import Tenant
from crm_mcp.tools.activities import DONE_NOT_SHOWN
from crm_mcp.tools.catalogue import Effect, Toolset, tool
from crm_mcp.tools.leads import is_idle, is_owned
from crm_mcp.tools.parameters import CompanyRef, Crm, OwnerFilter
from crm_mcp.tools.parts import at_once
from crm_mcp.tools.searching import OTHER_ACCENTS, Search, close_notes
from crm_mcp.wording import money

Findable: TypeAlias = Company | Contact | Lead

MAX_HITS = 10
CLOSE_SECONDS = 5.0
PAGES_AT_ONCE = 4
MAX_STALE = 5
MAX_OVERDUE = 5
MAX_GROUPS = 15


@tool(effect=Effect.READ, toolset=Toolset.READ, title="Search the CRM")
async def search_crm(crm: Crm, query: str) -> SearchResult:
    """Find companies, contacts and leads at once, best first: for when it is not plain which is meant."""
    searchable(query)
    notes: list[str] = []
    wanted = {
        "companies": CompanyFilter(q=query),
        "contacts": ContactFilter(q=query),
        "leads": LeadFilter(q=query),
    }
    searches: list[Search[Any]] = [Search(crm, plural, filter_, query) for plural, filter_ in wanted.items()]
    brought = await at_once(notes, **{one.plural: one.anyhow_spelt() for one in searches})
    found = [(page, unseen) for _, page, unseen in filter(None, brought.values())]
    notes += [note for page, _ in found for note in page.notes]
    best_ones = _best(query, [page.records for page, _ in found])
    if not best_ones:
        return await _close(crm, query, notes)
    notes += [OTHER_ACCENTS] if any(unseen for _, unseen in found) else []
    hits = await _hits(crm, best_ones)
    count = sum(page.total or len(page.records) + page.has_more for page, _ in found)
    known = len(found) == len(brought) and all(page.total is not None for page, _ in found)
    if count > len(hits):
        notes.append("There are more; search_companies, search_contacts and search_leads list all.")
    return SearchResult(hits=hits, notes=notes, **{"total" if known else "at_least": count})


def _best(query: str, found: Iterable[Iterable[Findable]]) -> list[Findable]:
    """Of what was found of each kind, the best. The best of each kind is among them, and of what fits
    equally well the kinds take turns, so that none crowds out the others."""
    every: list[tuple[bool, int, int, int, Findable]] = []
    for kind, records in enumerate(found):
        turns: Counter[int] = Counter()
        ranked = sorted(((_fit(query, one.label), one) for one in records), key=itemgetter(0))
        for place, (fit, one) in enumerate(ranked):
            every.append((place > 0, fit, turns[fit], kind, one))
            turns[fit] += 1
    best = nsmallest(MAX_HITS, every, key=itemgetter(0, 1, 2, 3))
    return [one[-1] for one in sorted(best, key=itemgetter(1, 3, 2))]


async def _hits(crm: Tenant, found: list[Findable]) -> list[Hit]:
    hits: dict[str, Hit] = {}
    for company in await crm.rows.companies([one for one in found if isinstance(one, Company)]):
        hits[company.id] = Hit(kind="company", id=company.id, name=company.name, detail=company.website or "")
    rest = [one for one in found if not isinstance(one, Company)]
    await crm.rows.learn_companies(one.company_id for one in rest)
    for contact in await crm.rows.contacts([one for one in rest if isinstance(one, Contact)]):
        hits[contact.id] = Hit(kind="contact", id=contact.id, name=contact.name, detail=_who(contact))
    for lead in await crm.rows.leads([one for one in rest if isinstance(one, Lead)]):
        hits[lead.id] = Hit(kind="lead", id=lead.id, name=lead.title, detail=_deal(lead))
    return [hits[one.id] for one in found]


async def _close(crm: Tenant, query: str, notes: list[str]) -> SearchResult:
    """What a reading tool would take for a name that the CRM does not find, or offer for it."""
    missed: list[str] = []
    near = {plural: crm.refs.near(plural, query) for plural in crm.refs.kinds}
    found = await at_once(missed, CLOSE_SECONDS, **near)
    close = [part or [] for part in found.values()]
    how = "comes close"
    if not any(close):
        how = "shares a word with it"
        sharing = {plural: kind.sharing_a_word(query) for plural, kind in crm.refs.kinds.items()}
        shared = await at_once(missed, CLOSE_SECONDS, **sharing)
        close = [part or [] for part in shared.values()]
    hits = await _hits(crm, _best(query, close))
    notes += await close_notes(crm, found, query, hits, how)
    return SearchResult(hits=hits, total=sum(map(len, close)), notes=notes)


def _who(contact: ContactRow) -> str:
    return ", ".join(part for part in (contact.job_title, contact.company, contact.email) if part)


def _deal(lead: LeadRow) -> str:
    return ", ".join(part for part in (lead.company, lead.stage, money(lead.value, lead.currency)) if part)


def _fit(said: str, name: str) -> int:
    matches = best(said, [name], lambda name: [name])
    return matches.fit if matches else Fit.CLOSE + 1


@tool(effect=Effect.READ, toolset=Toolset.READ, title="Summarize the pipeline")
async def summarize_pipeline(
    crm: Crm,
    by: Literal["stage", "owner", "company"] = "stage",
    company: CompanyRef = "",
    owner: OwnerFilter = "",
    idle_days: Annotated[
        int, Field(description="From how many days on a lead is stale.", ge=1, le=36_500)
    ] = 30,
) -> PipelineSummary:
    """All open leads counted: sums and forecast per currency, stale leads, overdue tasks. For "how is the
    pipeline"."""
    at_company = await crm.refs.company(company) if company else None
    owner_id, owner_note = await crm.refs.owner_id(owner) if owner else (None, None)
    owners = (owner_id,) if owner else ()
    wanted = LeadFilter(company_id=at_company.id if at_company else None)
    stages = await crm.rows.stages()
    tally = _Tally(by, stages, owners, idle_days)
    walk, told = crm.client.leads.walk(wanted), crm.reading("leads")
    async for leads in walk.pages(at_once=PAGES_AT_ONCE):
        tally.add(leads)
        await told(walk.met, walk.told_total)
    if by == "company":
        await crm.rows.learn_companies(tally.keys())
    said = [at_company.note if at_company else None, owner_note]
    notes = [*walk.notes(), *filter(None, said), *tally.notes()]
    theirs = {*tally.leads, *([at_company.id] if at_company else [])}
    overdue, overdue_count = await _overdue(crm, theirs if company or owner else None, notes)
    return PipelineSummary(
        counted=tally.open,
        complete=walk.complete,
        by=by,
        groups=tally.groups(partial(_name, crm, stages, by)),
        company=company or None,
        company_name=at_company.name if at_company else None,
        owner=owner or None,
        total=tally.total(),
        idle_days=idle_days,
        stale=await crm.rows.leads(tally.stalest()),
        stale_total=tally.stale_count,
        overdue_tasks=await crm.rows.activities(overdue),
        overdue_total=overdue_count,
        notes=notes,
    )


def _name(crm: Tenant, stages: list[PipelineStage], by: str, key: str | None) -> str:
    names = {stage.id: stage.name for stage in stages}
    nobody = "unassigned" if by == "owner" else "none"
    return names.get(key or "") or crm.memory.names.get(key) or key or nobody


async def _overdue(crm: Tenant, theirs: set[str] | None, notes: list[str]) -> tuple[list[Activity], int]:
    """The longest overdue tasks, of these records if only those are meant, and how many there are.

    `notes` tells if not all were seen.
    """
    walk, told, now = crm.client.activities.walk_tasks(TaskFilter()), crm.reading("tasks"), datetime.now(UTC)
    longest: list[tuple[datetime, str, Activity]] = []
    count = 0
    silent = telling = False
    async for tasks in walk.pages(at_once=PAGES_AT_ONCE):
        silent = silent or any("completed_at" not in task.model_fields_set for task in tasks)
        telling = telling or any(task.completed_at for task in tasks)
        overdue = [
            (task.due_at, task.id, task)
            for task in tasks
            if task.due_at and task.completed_at is None and is_overdue(task.due_at, now)
            if theirs is None or {task.lead_id, task.company_id} & theirs
        ]
        count += len(overdue)
        longest = nsmallest(MAX_OVERDUE, [*longest, *overdue])
        await told(walk.met, walk.told_total)
    untold = [DONE_NOT_SHOWN] if silent and not telling else []
    notes += [f"Overdue tasks: {note}" for note in (*walk.notes(), *untold)]
    return [task for _, _, task in longest], count


class _Sums:
    """Leads and their values per currency."""

    def __init__(self) -> None:
        self.leads = 0
        self.value: defaultdict[str, float] = defaultdict(float)
        self.weighted: defaultdict[str, float] = defaultdict(float)

    def add(self, lead: Lead, probability_pct: float) -> None:
        self.leads += 1
        if lead.value:
            currency = lead.currency or "?"
            self.value[currency] += lead.value
            self.weighted[currency] += lead.value * probability_pct / 100

    def group(self, name: str, record_id: str | None = None) -> PipelineGroup:
        values = [
            Money(currency=currency, value=round(value, 2), weighted=round(self.weighted[currency], 2))
            for currency, value in sorted(self.value.items())
        ]
        return PipelineGroup(name=name, id=record_id, leads=self.leads, values=values)


class _Tally:
    """What is kept of the leads while they pass by: sums, ids, and the stalest few; not the leads."""

    def __init__(
        self, by: str, stages: list[PipelineStage], owners: tuple[str | None, ...], idle_days: int
    ) -> None:
        self.unclear = 0
        # Leads of which nobody can tell whether they are stale.
        self.untold = 0
        self.stale_count = 0
        self.leads: set[str] = set()
        self._by = by
        self._stages = {stage.id: stage for stage in stages}
        self._owners = owners
        self._idle_days = idle_days
        self._total = _Sums()
        self._sums: defaultdict[str | None, _Sums] = defaultdict(_Sums)
        self._in_currency: Counter[str] = Counter()
        self._stalest: list[tuple[datetime, str, Lead]] = []

    def add(self, leads: list[Lead]) -> None:
        for lead in leads:
            if self._is_open(lead):
                owned = is_owned(lead, self._owners)
                self.unclear += owned is None
                if owned:
                    self._count(lead)

    @property
    def open(self) -> int:
        return self._total.leads

    def _is_open(self, lead: Lead) -> bool:
        return is_open(lead, self._stages.values())

    def _count(self, lead: Lead) -> None:
        stage = self._stages.get(lead.stage_id or "")
        default = stage.default_probability_pct if stage else None
        probability = lead.probability_pct if lead.probability_pct is not None else default or 0.0
        self.leads.add(lead.id)
        key = {"stage": lead.stage_id, "owner": lead.owner_user_id, "company": lead.company_id}[self._by]
        self._sums[key].add(lead, probability)
        self._total.add(lead, probability)
        if lead.value:
            self._in_currency[lead.currency or "?"] += 1
        last = lead.last_activity_at or lead.created_at
        idle = is_idle(lead, self._idle_days)
        self.untold += idle is None
        if last and idle:
            self.stale_count += 1
            self._stalest = nsmallest(MAX_STALE, [*self._stalest, (last, lead.id, lead)])

    def keys(self) -> list[str | None]:
        """The largest groups' keys: stages in their order, others by their value and the number of leads."""
        order = {key: place for place, key in enumerate(self._stages)} if self._by == "stage" else {}

        def place(key: str | None) -> tuple[float, ...]:
            sums = self._sums[key]
            return order.get(key or "", len(order)), -sums.value.get(self._currency, 0.0), -sums.leads

        return sorted(self._sums, key=place)[:MAX_GROUPS]

    @property
    def _currency(self) -> str:
        """That of most of the leads: values in several do not add up."""
        return max(self._in_currency, key=lambda one: self._in_currency[one], default="")

    def notes(self) -> list[str]:
        count = len(self._sums)
        by = f"by their value in {self._currency}" if self._currency else "by the number of leads"
        shown = f"The {MAX_GROUPS} largest of {count} groups are shown, {by}."
        unclear = f"{self.unclear} leads do not show their owner, and were left out."
        untold = f"{self.untold} leads do not show their last activity, and may be stale or not."
        said = {shown: count > MAX_GROUPS, unclear: self.unclear, untold: self.untold}
        return [note for note, holds in said.items() if holds]

    def groups(self, name_of: Callable[[str | None], str]) -> list[PipelineGroup]:
        # Companies may be called alike.
        is_company = self._by == "company"
        return [self._sums[key].group(name_of(key), key if is_company else None) for key in self.keys()]

    def total(self) -> PipelineGroup:
        return self._total.group("total")

    def stalest(self) -> list[Lead]:
        return [lead for _, _, lead in self._stalest]
