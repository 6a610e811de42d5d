"""Which records of the CRM are the same as one that is to be created."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from crm_mcp.crm.companies import Company, CompanyFilter
from crm_mcp.crm.contacts import Contact, ContactFilter
from crm_mcp.crm.leads import Lead, LeadFilter
from crm_mcp.crm.pipeline import PipelineStage
from crm_mcp.matching import core, longest_word, site_of, words

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient
    from crm_mcp.crm.contract import Entity
    from crm_mcp.crm.paging import Walk

E = TypeVar("E", bound="Entity")

Wire = Mapping[str, Any]
# A search that finds more is not read to its end; nor is what lists all.
SEARCH_PAGES = 5
LARGE_SECONDS = 300.0
MAX_PAGES = 20
PAGES_AT_ONCE = 4
# Each new company is compared with the same many: what their addresses come to is worked out once.
_sites = lru_cache(maxsize=1 << 15)(site_of)


@dataclass(frozen=True, slots=True)
class Sameness(Generic[E]):
    """When records of a kind are the same: `test` tells it of one, `near` brings those that may be, and None
    in place of those that nobody looked at."""

    record: type[E]
    test: Callable[[Wire], Callable[[E], bool]]
    near: Callable[[CrmClient, Wire], AsyncIterator[list[E] | None]]

    async def found(self, crm: CrmClient, sent: Wire) -> tuple[list[Entity], bool]:
        """Those there are of what is sent; and whether all that may be could be looked at."""
        is_same, is_all = self.test(sent), True
        same: dict[str, Entity] = {}
        async for near in self.near(crm, sent):
            same |= {one.id: one for one in near or () if is_same(one)}
            is_all = is_all and near is not None
        return list(same.values()), is_all

    def of(self, sent: Wire, other: Wire) -> bool:
        """Whether two that are to be created are the same."""
        return self.test(sent)(self.record.from_wire({**other, "id": ""}))


def _same_company(sent: Wire) -> Callable[[Company], bool]:
    """Of the same name, but for case, accents and legal forms, or of the same domain."""
    name, sites = core(str(sent.get("name"))), site_of(sent.get("website"), sent.get("email"))
    return lambda one: core(one.label) == name or bool(sites & _sites(one.website, one.email))


async def _near_companies(crm: CrmClient, sent: Wire) -> AsyncIterator[list[Company] | None]:
    """All where one request brings them; and of whose domain it is no search of names tells."""
    sites = site_of(sent.get("website"), sent.get("email"))
    everybody = crm.companies.walk(CompanyFilter())
    every_page = everybody.pages(MAX_PAGES, PAGES_AT_ONCE)
    async for page in every_page if sites else _on_a_page(crm, "companies", everybody):
        yield page
    if everybody.complete:
        return
    if sites:
        yield None
    name = str(sent.get("name"))
    said = [name, *longest_word(name)]
    async for found in _searched(lambda q: crm.companies.walk(CompanyFilter(q=q)), said):
        yield found


def _same_contact(sent: Wire) -> Callable[[Contact], bool]:
    """Of the same e-mail address; or a namesake at the company, where the addresses do not differ."""
    email, home = str(sent.get("email") or "").casefold(), sent.get("companyId")
    name = words(_person(sent))

    def is_same(one: Contact) -> bool:
        theirs = (one.email or "").casefold()
        if email and theirs:
            return email == theirs
        return bool(name) and home in (None, one.company_id) and words(_person(one.wire)) == name

    return is_same


async def _near_contacts(crm: CrmClient, sent: Wire) -> AsyncIterator[list[Contact] | None]:
    """At the company nobody is missed, however they are spelt; nor where one request brings everybody."""
    everybody = crm.contacts.walk(ContactFilter())
    async for page in _on_a_page(crm, "contacts", everybody):
        yield page
    if everybody.complete:
        return
    if home := sent.get("companyId"):
        yield (await crm.companies.contacts(home)).records
    said = [str(sent.get("email") or "").casefold(), _person(sent), *longest_word(_person(sent), legal=False)]
    async for found in _searched(lambda q: crm.contacts.walk(ContactFilter(q=q)), said):
        yield found


def _same_lead(sent: Wire) -> Callable[[Lead], bool]:
    """Of the same title at the same company."""
    title, home = words(str(sent.get("title"))), sent.get("companyId")
    return lambda one: one.company_id == home and words(one.label) == title


async def _near_leads(crm: CrmClient, sent: Wire) -> AsyncIterator[list[Lead] | None]:
    """At the company none is missed, however it is spelt; elsewhere a search must find it."""
    home, title = sent.get("companyId"), str(sent.get("title"))
    if home:
        there = crm.leads.walk(LeadFilter(company_id=home))
        async for page in there.pages(MAX_PAGES, PAGES_AT_ONCE):
            yield page
        if there.complete:
            return
    said = [title, *longest_word(title, legal=False)]
    async for found in _searched(lambda q: crm.leads.walk(LeadFilter(q=q, company_id=home)), said):
        yield found


def _same_stage(sent: Wire) -> Callable[[PipelineStage], bool]:
    """Of the same name."""
    name = words(str(sent.get("name")))
    return lambda one: words(one.name) == name


async def _near_stages(crm: CrmClient, _sent: Wire) -> AsyncIterator[list[PipelineStage] | None]:
    yield await crm.pipeline.stages()


async def _on_a_page(crm: CrmClient, plural: str, everybody: Walk[E]) -> AsyncIterator[list[E]]:
    """All of a kind where one page has them; that there are more is not asked with each write."""
    if time.monotonic() < crm.large.get(plural, 0.0):
        return
    async for page in everybody.pages(1):
        yield page
    if not everybody.complete:
        crm.large[plural] = time.monotonic() + LARGE_SECONDS


async def _searched(search: Callable[[str], Walk[E]], said: Iterable[str]) -> AsyncIterator[list[E] | None]:
    """What is spelt as it was said first, then what has a word of it."""
    for q in {one.strip().casefold(): one.strip() for one in said if one.strip()}.values():
        walk = search(q)
        async for page in walk.pages(SEARCH_PAGES):
            yield page
        if not walk.complete:
            yield None


def _person(wire: Wire) -> str:
    return " ".join(str(wire.get(part) or "") for part in ("firstName", "lastName")).strip()


COMPANIES = Sameness(Company, _same_company, _near_companies)
CONTACTS = Sameness(Contact, _same_contact, _near_contacts)
LEADS = Sameness(Lead, _same_lead, _near_leads)
STAGES = Sameness(PipelineStage, _same_stage, _near_stages)
