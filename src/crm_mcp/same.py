"""Which records of the CRM are the same as one that is to be created."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from crm_mcp.crm.companies import CompanyFilter
from crm_mcp.crm.contacts import ContactFilter
from crm_mcp.crm.leads import LeadFilter
from crm_mcp.matching import core, site_of, words

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient
    from crm_mcp.crm.contract import Entity

Wire = dict[str, Any]
ROWS = 100


async def same_companies(crm: CrmClient, sent: Wire) -> list[Entity]:
    """Those of the same name, but for case, accents and legal forms, and those of the same domain."""
    name, sites = core(str(sent.get("name"))), site_of(sent.get("website"), sent.get("email"))
    found: dict[str, Entity] = {}
    for query in _queries(name, *(site.split(".")[0].replace("-", " ") for site in sites)):
        for one in (await crm.companies.search(CompanyFilter(q=query), limit=ROWS)).records:
            if core(one.label) == name or sites & site_of(one.website, one.email):
                found[one.id] = one
    return list(found.values())


async def same_contacts(crm: CrmClient, sent: Wire) -> list[Entity]:
    """Those of the same e-mail address; and namesakes at the company, where their addresses do not differ."""
    email, name, home = str(sent.get("email") or "").casefold(), _person(sent), sent.get("companyId")
    found: dict[str, Entity] = {}
    for query in dict.fromkeys([*([email] if email else []), *_queries(name)]):
        for one in (await crm.contacts.search(ContactFilter(q=query), limit=ROWS)).records:
            theirs = (one.email or "").casefold()
            namesake = bool(name) and _person(one.wire) == name and "" in (email, theirs)
            if (email and email == theirs) or (namesake and home in (None, one.company_id)):
                found[one.id] = one
    return list(found.values())


async def same_leads(crm: CrmClient, sent: Wire) -> list[Entity]:
    """Those of the same title at the same company."""
    title, home = words(str(sent.get("title"))), sent.get("companyId")
    found: dict[str, Entity] = {}
    for query in _queries(" ".join(title)):
        for one in (await crm.leads.search(LeadFilter(q=query, company_id=home), limit=ROWS)).records:
            if words(one.label) == title and one.company_id == home:
                found[one.id] = one
    return list(found.values())


async def same_stages(crm: CrmClient, sent: Wire) -> list[Entity]:
    """Those of the same name."""
    name = words(str(sent.get("name")))
    return [one for one in await crm.pipeline.stages() if words(one.name) == name]


def _queries(*names: str) -> Iterable[str]:
    """The longest word of each: a search for all of a name may not find another spelling of it."""
    return dict.fromkeys(max(name.split(), key=len) for name in names if name.split())


def _person(wire: Wire) -> str:
    return " ".join(words(" ".join(str(wire.get(part) or "") for part in ("firstName", "lastName"))))
