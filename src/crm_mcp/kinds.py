"""All the kinds of writes there are: one for each operation that changes the CRM."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from crm_mcp.crm import activities, companies, contacts, leads, outreach, pipeline
from crm_mcp.crm.client import Write
from crm_mcp.crm.contract import Body, Entity
from crm_mcp.crm.errors import RefusedError
from crm_mcp.membership_kinds import Link, Relink, Unlink, UpdateContact
from crm_mcp.preview import Named, Wire, in_order, shown
from crm_mcp.same import COMPANIES, CONTACTS, LEADS, STAGES
from crm_mcp.timeline_kinds import Log, Send
from crm_mcp.wording import MAX_NAME_CHARS, clean
from crm_mcp.writes import (
    MAX_PART_CHARS,
    CannotTell,
    Create,
    Delete,
    Done,
    Kind,
    NotDone,
    NotUndoableError,
    Seen,
    Since,
    Trail,
    Update,
    Verdict,
    WasDone,
    facts,
    leads_in,
    sent_by,
    written,
)

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient


class Move(Update):
    """A lead's move to another stage; why it was lost is the CRM's to forget when it is open again."""

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        # The title says from where to where: of a batch a person should see all of it.
        return (line for line in super().details(write, seen, named) if not line.startswith("stage: "))

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        lead = clean(self.called(seen.record) or named(write.ids["lead_id"]), MAX_PART_CHARS)
        before, after = (seen.record or {}).get("stageId"), sent_by(write).get("stageId")
        from_there, there = (clean(named(str(stage)), MAX_PART_CHARS) for stage in (before, after))
        return f"{lead} from {from_there} to {there}" if seen.record else f"{lead} to {there}"

    def _undoable(self, body: Wire) -> list[str]:
        return [name for name in body if name == "stageId"]

    def changed_since(self, done: Done, now: Wire | None) -> Iterator[Since]:
        yield from super().changed_since(done, now)
        reason = (now or {}).get("lostReason")
        there = now is not None and now.get("stageId") == done.body.get("stageId")
        if there and reason != (done.after or done.body).get("lostReason", reason):
            yield Since("lostReason", f"lost reason is {shown(reason, str)} now")

    def undoing(self, done: Done) -> Write:
        back, why = super().undoing(done), (done.before or {}).get("lostReason")
        if _stays(done) and done.body.get("lostReason") and not why:
            raise NotUndoableError("The CRM does not forget why a deal was lost that stays so.")
        if why == (done.after or {}).get("lostReason"):
            return back
        return written(self.operation, done.ids, sent_by(back) | ({"lostReason": why} if why else {}))


def _stays(done: Done) -> bool:
    """Whether it is in the stage where it was before."""
    return (done.before or {}).get("stageId") == done.body.get("stageId")


class CreateCompany(Create):
    """A new company, which the CRM can archive and not delete."""

    def left_behind(self, done: Done) -> Iterator[str]:
        yield "The company is archived, and still there: the CRM deletes none."


class DeleteStage(Delete):
    """A stage's end; its leads go to another one."""

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        yield "This cannot be taken back."
        target = sent_by(write).get("reassignToStageId")
        where = f"moved to {clean(named(str(target)), MAX_NAME_CHARS)}" if target else "left without a stage"
        yield from (f"{one[0].upper()}{one[1:]}: {where}" for one in seen.hanging)
        yield from facts(seen.record, named)

    def refuse(self, write: Write, seen: Seen) -> None:
        count = (seen.record or {}).get("leadCount")
        if count and not sent_by(write).get("reassignToStageId"):
            raise RefusedError(
                f"There {'is' if count == 1 else 'are'} {leads_in(count)}: say where to in `move_leads_to`. "
                "Nothing was deleted."
            )


class Extend(Kind):
    """Companies put on a marketing list, which nobody can look at."""

    is_idempotent = True

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        yield "This cannot be taken back."
        yield from (f"- {clean(named(company), MAX_NAME_CHARS)}" for company in sent_by(write)["companyIds"])

    def subject(self, write: Write, after: Wire | None) -> str | None:
        return str(sent_by(write)["listId"])

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        sent = sent_by(write)
        count = len(sent["companyIds"])
        return f"{named(sent['listId'])} by {count} {'company' if count == 1 else 'companies'}"


class Reorder(Kind):
    """Another order of the stages."""

    is_idempotent = True

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        record = seen.record or {}
        names = dict(zip(record.get("stageIds", ()), record.get("names", ()), strict=False))
        order = [names.get(stage, stage) for stage in sent_by(write)["stageIds"]]
        if order == record.get("names"):
            yield "It is so already: nothing would change."
        yield f"{in_order(record.get('names', ()))} → {in_order(order)}"

    def claim(self, write: Write) -> str:
        return self.record

    async def seen(self, crm: CrmClient, write: Write) -> Seen:
        return Seen(await self.now(crm, {}))

    async def now(self, crm: CrmClient, ids: Mapping[str, str]) -> Wire | None:
        stages = await crm.pipeline.stages()
        return {"stageIds": [stage.id for stage in stages], "names": [stage.name for stage in stages]}

    async def look(self, crm: CrmClient, write: Write, trail: Trail) -> Verdict:
        now, wanted = await self.now(crm, {}) or {}, sent_by(write)["stageIds"]
        if now["stageIds"] != wanted:
            return NotDone() if now == trail.before else CannotTell()
        # Whoever set it: a late one may still come, and undo what is done after it.
        was_there = (trail.before or {}).get("stageIds") == wanted
        return CannotTell() if was_there or trail.done_by_others() else WasDone({})

    async def stands(self, crm: CrmClient, write: Write, after: Wire | None) -> bool:
        now = await self.now(crm, {}) or {}
        return bool(now["stageIds"] == sent_by(write)["stageIds"])

    def undoing(self, done: Done) -> Write:
        if not done.before:
            raise NotUndoableError("Nobody knows how it was before.")
        return Write(self.operation, {}, pipeline.StageOrder(stage_ids=done.before["stageIds"]))

    def changed_since(self, done: Done, now: Wire | None) -> Iterator[Since]:
        if (now or {}).get("stageIds") != done.body.get("stageIds"):
            yield Since("stageIds", f"the order is {in_order((now or {}).get('names', ()))} now")

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        return ""


async def _company(crm: CrmClient, ids: Mapping[str, str]) -> Entity:
    return await crm.companies.get(ids["company_id"])


async def _contact(crm: CrmClient, ids: Mapping[str, str]) -> Entity:
    return await crm.contacts.get(ids["contact_id"])


async def _lead(crm: CrmClient, ids: Mapping[str, str]) -> Entity:
    return await crm.leads.get(ids["lead_id"])


async def _stage(crm: CrmClient, ids: Mapping[str, str]) -> Entity | None:
    return next((one for one in await crm.pipeline.stages() if one.id == ids["stage_id"]), None)


async def _membership(crm: CrmClient, ids: Mapping[str, str]) -> Entity | None:
    every = await crm.contacts.memberships(ids["contact_id"])
    return next((one for one in every if one.id == ids["membership_id"]), None)


def _archiving(ids: Mapping[str, str]) -> Write:
    body: Body = companies.CompanyChanges(status="inactive")
    return Write(companies.UPDATE_COMPANY, ids, body)


KINDS: dict[str, Kind] = {
    kind.operation.name: kind
    for kind in (
        CreateCompany(companies.CREATE_COMPANY, "company", _company, COMPANIES, _archiving),
        Update(companies.UPDATE_COMPANY, "company", _company, "Update"),
        Create(
            contacts.CREATE_CONTACT,
            "contact",
            _contact,
            CONTACTS,
            lambda ids: Write(contacts.DELETE_CONTACT, ids, None),
        ),
        UpdateContact(contacts.UPDATE_CONTACT, "contact", _contact, "Update"),
        Delete(contacts.DELETE_CONTACT, "contact", _contact, "Delete"),
        Link(
            contacts.CREATE_MEMBERSHIP,
            "membership",
            _membership,
            None,
            lambda ids: Write(contacts.DELETE_MEMBERSHIP, ids, None),
        ),
        Relink(contacts.UPDATE_MEMBERSHIP, "membership", _membership, "Update the"),
        Unlink(contacts.DELETE_MEMBERSHIP, "membership", _membership, "End the"),
        Create(leads.CREATE_LEAD, "lead", _lead, LEADS, lambda ids: Write(leads.DELETE_LEAD, ids, None)),
        Update(leads.UPDATE_LEAD, "lead", _lead, "Update"),
        Move(leads.MOVE_LEAD, "lead", _lead, "Move"),
        Delete(leads.DELETE_LEAD, "lead", _lead, "Delete"),
        Create(
            pipeline.CREATE_STAGE,
            "stage",
            _stage,
            STAGES,
            lambda ids: Write(pipeline.DELETE_STAGE, ids, pipeline.StageRemoval()),
        ),
        Update(pipeline.UPDATE_STAGE, "stage", _stage, "Update"),
        Reorder(pipeline.REORDER_STAGES, "the stages", "Reorder"),
        DeleteStage(pipeline.DELETE_STAGE, "stage", _stage, "Delete"),
        Log(activities.LOG_LEAD_ACTIVITY, "activity", "Log"),
        Log(activities.LOG_ACTIVITY, "activity", "Log"),
        Send(outreach.SEND_EMAIL, "e-mail", "Send"),
        Extend(outreach.ADD_TO_MARKETING_LIST, "marketing list", "Extend"),
    )
}
