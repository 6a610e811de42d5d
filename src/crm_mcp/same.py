"""Which records of the CRM are the same as one that is to be created."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any, TypeVar

from crm_mcp.crm.companies import Company, CompanyFilter
from crm_mcp.crm.contacts import Contact, ContactFilter
from crm_mcp.crm.leads import Lead, LeadFilter
from crm_mcp.matching import core, longest_word, site_of, words

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient
    from crm_mcp.crm.contract import Entity
    from crm_mcp.crm.paging import Walk

E = TypeVar("E", bound="Entity")

Wire = dict[str, Any]
# Of each search: one that finds more is not read to its end.
MAX_PAGES = 20


async def same_companies(crm: CrmClient, sent: Wire) -> list[Entity]:
    """Those of the same name, but for case, accents and legal forms, and those of the same domain."""
    said = str(sent.get("name"))
    sites = site_of(sent.get("website"), sent.get("email"))

    def is_same(one: Company) -> bool:
        return core(one.label) == core(said) or bool(sites & site_of(one.website, one.email))

    names = [said, *(site.split(".")[0] for site in sites)]
    queries = [query for name in names for query in longest_word(name)]
    return await _those(lambda q: crm.companies.walk(CompanyFilter(q=q)), queries, is_same)


async def same_contacts(crm: CrmClient, sent: Wire) -> list[Entity]:
    """Those of the same e-mail address; and namesakes at the company, where their addresses do not differ."""
    email, home = str(sent.get("email") or "").casefold(), sent.get("companyId")
    said = _person(sent)
    name = words(said)

    def is_same(one: Contact) -> bool:
        theirs = (one.email or "").casefold()
        namesake = bool(name) and words(_person(one.wire)) == name and "" in (email, theirs)
        return bool(email and email == theirs) or (namesake and home in (None, one.company_id))

    queries = [*([email] if email else []), *longest_word(said, legal=False)]
    return await _those(lambda q: crm.contacts.walk(ContactFilter(q=q)), queries, is_same)


async def same_leads(crm: CrmClient, sent: Wire) -> list[Entity]:
    """Those of the same title at the same company."""
    said, home = str(sent.get("title")), sent.get("companyId")
    title = words(said)

    def is_same(one: Lead) -> bool:
        return words(one.label) == title and one.company_id == home

    queries = longest_word(said, legal=False)
    return await _those(lambda q: crm.leads.walk(LeadFilter(q=q, company_id=home)), queries, is_same)


async def same_stages(crm: CrmClient, sent: Wire) -> list[Entity]:
    """Those of the same name."""
    name = words(str(sent.get("name")))
    return [one for one in await crm.pipeline.stages() if words(one.name) == name]


async def _those(
    search: Callable[[str], Walk[E]], queries: Iterable[str], is_same: Callable[[E], bool]
) -> list[Entity]:
    """What is the same of all that the searches find: the first page may not have it."""
    found: dict[str, Entity] = {}
    for query in {query.casefold(): query for query in queries}.values():
        async for records in search(query).pages(MAX_PAGES):
            found |= {one.id: one for one in records if is_same(one)}
    return list(found.values())


def _person(wire: Wire) -> str:
    return " ".join(str(wire.get(part) or "") for part in ("firstName", "lastName"))
