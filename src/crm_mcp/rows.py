"""Records as rows with names: what a record only names by id is looked up once and remembered."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING

import anyio

from crm_mcp.crm.activities import Activity
from crm_mcp.crm.companies import Companies, Company
from crm_mcp.crm.contacts import Contact, Contacts
from crm_mcp.crm.errors import CrmError, NotFoundError
from crm_mcp.crm.leads import Lead, Leads
from crm_mcp.crm.pipeline import PipelineStage
from crm_mcp.lines import ActivityRow, CompanyRow, ContactRow, LeadRow

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient
    from crm_mcp.memory import Memory

PAGE = 100
# More unknown names than this are worth a page of the list; the rest of them is looked up one by
# one, as many at once as the client lets.
FEW = 12
MAX_SINGLE_LOOKUPS = 50


class Rows:
    """Makes rows, in one tenant's CRM. A name that cannot be had costs a short id in its place, no error."""

    def __init__(self, crm: CrmClient, memory: Memory) -> None:
        self._crm = crm
        self._names = memory.names
        self._recent = memory.recent

    async def stages(self) -> list[PipelineStage]:
        """The stages, for their names and kinds: kept for seconds, so their counts may be old."""
        stages = await self._recent.get("stages", "", self._crm.pipeline.stages)
        for stage in stages:
            self._names.learn(stage.id, stage.name, "stage")
        return stages

    async def open_leads(self, leads: Iterable[Lead]) -> list[Lead]:
        """Those that are open, by what they say themselves and by their stages' kinds."""
        stages = await self.known_stages()
        return [lead for lead in leads if is_open(lead, stages)]

    async def companies(self, companies: Iterable[Company]) -> list[CompanyRow]:
        rows = [CompanyRow.of(company, name=company.label) for company in companies]
        for row in rows:
            self._names.learn(row.id, row.name, "company")
        return rows

    async def contacts(self, contacts: Sequence[Contact]) -> list[ContactRow]:
        await self.learn_companies(contact.company_id for contact in contacts)
        for contact in contacts:
            self._names.learn(contact.id, contact.label, "contact")
        return [
            ContactRow.of(contact, name=contact.label, company=self._names.get(contact.company_id))
            for contact in contacts
        ]

    async def leads(self, leads: Sequence[Lead]) -> list[LeadRow]:
        if not leads:
            return []
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self.learn_companies, [lead.company_id for lead in leads])
            stages = {stage.id: stage.name for stage in await self.known_stages()}
        for lead in leads:
            self._names.learn(lead.id, lead.label, "lead")
        return [
            LeadRow.of(
                lead,
                title=lead.label,
                stage=stages.get(lead.stage_id or ""),
                company=self._names.get(lead.company_id),
            )
            for lead in leads
        ]

    async def known_stages(self) -> list[PipelineStage]:
        """The same; none where they cannot be had."""
        with suppress(CrmError):
            return await self.stages()
        return []

    async def activities(self, activities: Sequence[Activity]) -> list[ActivityRow]:
        await self._learn("lead", "leads", (activity.lead_id for activity in activities), self._crm.leads)
        await self.learn_companies(one.company_id for one in activities if not one.lead_id)
        return [
            ActivityRow.of(
                activity,
                lead=self._names.get(activity.lead_id),
                company=self._names.get(activity.company_id),
            )
            for activity in activities
        ]

    async def learn_companies(self, ids: Iterable[str | None]) -> None:
        """Make sure that the names of these companies are known, as far as that is cheap."""

        await self._learn("company", "companies", ids, self._crm.companies)

    async def company_names(self, ids: Iterable[str | None]) -> dict[str, str]:
        """What these companies are called, as far as that is cheap to know."""
        wanted = {identifier for identifier in ids if identifier}
        await self.learn_companies(wanted)
        return {one: name for one in wanted if (name := self._names.get(one))}

    async def learn_anew(
        self,
        companies: Iterable[str | None],
        contacts: Iterable[str | None],
        leads: Iterable[str | None],
    ) -> None:
        """What these records are called now, as far as that is cheap; what cannot be read is called as it
        was."""
        learn = partial(self._learn, anew=True)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(learn, "company", "companies", companies, self._crm.companies)
            tasks.start_soon(learn, "contact", "contacts", contacts, self._crm.contacts)
            tasks.start_soon(learn, "lead", "leads", leads, self._crm.leads)

    async def _learn(
        self,
        kind: str,
        plural: str,
        ids: Iterable[str | None],
        every: Companies | Contacts | Leads,
        *,
        anew: bool = False,
    ) -> None:
        """A page of the list names many, single calls the rest; what is left stays unnamed."""

        async def page() -> set[str]:
            records = (await every.search(limit=PAGE)).records
            for record in records:
                self._names.learn(record.id, record.label, kind)
            return {record.id for record in records}

        async def one(record_id: str) -> None:
            try:
                self._names.learn(record_id, (await every.get(record_id)).label, kind)
            except NotFoundError:
                self._names.forget(record_id)
            except CrmError:
                pass

        wanted = {identifier for identifier in ids if identifier}
        missing = [identifier for identifier in wanted if anew or not self._names.get(identifier)]
        with suppress(CrmError):
            if len(missing) > FEW and anew:
                listed = await page()
                missing = [identifier for identifier in missing if identifier not in listed]
            elif len(missing) > FEW:
                await self._recent.get(f"{plural} page", "", page)
                missing = [identifier for identifier in missing if not self._names.get(identifier)]
        async with anyio.create_task_group() as tasks:
            for identifier in missing[:MAX_SINGLE_LOOKUPS]:
                tasks.start_soon(one, identifier)


def is_open(lead: Lead, stages: Iterable[PipelineStage]) -> bool:
    """Not closed, and in no stage that is for closed ones: of the two only the stage's kind is documented."""
    kind = next((stage.kind for stage in stages if stage.id == lead.stage_id), None)
    return lead.closed_at is None and kind in (None, "open")
