"""All the kinds of writes there are: one for each operation that changes the CRM."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from crm_mcp.crm import activities, companies, contacts, leads, outreach, pipeline
from crm_mcp.crm.client import Write
from crm_mcp.crm.contract import Body, Entity, Record
from crm_mcp.crm.errors import (
    NotFoundError,
    PermissionDeniedError,
    RefusedError,
)
from crm_mcp.preview import Named, Wire, email_lines, in_order, recipient, shown, text_of, whole
from crm_mcp.same import COMPANIES, CONTACTS, LEADS, STAGES
from crm_mcp.wording import MAX_NAME_CHARS, clean, on_one_line, sentence, worded
from crm_mcp.writes import (
    CLOCK_TOLERANCE,
    KEPT_BY_CRM,
    MAX_PART_CHARS,
    MAX_TITLE_CHARS,
    THERE_BEFORE,
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
    is_alike,
    is_older,
    leads_in,
    sent_by,
    written,
)

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient

# As far as an activity is looked for whose answer was lost.
MAX_PAGES = 100


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


class UpdateContact(Update):
    """A change of a contact, whose company is its primary membership, too: another company may end that."""

    async def seen(self, crm: CrmClient, write: Write) -> Seen:
        seen = await super().seen(crm, write)
        if seen.record is None or "companyId" not in sent_by(write):
            return seen
        try:
            every = await crm.contacts.memberships(write.ids["contact_id"])
        except (PermissionDeniedError, NotFoundError):
            return Seen(seen.record | {MEMBERSHIPS: None})
        return Seen(seen.record | {MEMBERSHIPS: [_place_of(one) for one in every]})

    def also_ends(self, write: Write, seen: Seen) -> bool:
        return _is_hidden(write, seen.record) or bool(_ending(write, seen.record))

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        yield from super().details(write, seen, named)
        if _is_hidden(write, seen.record):
            yield "Nobody can see which membership may end with it."
        if ending := _ending(write, seen.record):
            yield f"May end with it: {_place(ending, named)}"

    def notes(self, before: Wire | None, after: Wire | None) -> Iterator[str]:
        for place in (before or {}).get(MEMBERSHIPS) or ():
            if place.get("isPrimary") and (after or {}).get("companyId") != place.get("companyId"):
                yield sentence(f"It may have ended the contact's {_place(place, str)}")

    def left_behind(self, done: Done) -> Iterator[str]:
        if "companyId" in done.body:
            yield "The contact's memberships may be others than before: only the company is taken back."
        for place in (done.before or {}).get(MEMBERSHIPS) or ():
            if place.get("title") and place.get("companyId") == (done.before or {}).get("companyId"):
                yield f"Its {_place(place, str)} may not come back as it was."


# Where the memberships of a contact are kept.
MEMBERSHIPS = "memberships"


def _ending(write: Write, record: Wire | None) -> Wire | None:
    """The membership that another company takes the place of, where that could not be taken back: it has a
    title, or others would be in its place."""
    company, places = sent_by(write).get("companyId"), (record or {}).get(MEMBERSHIPS) or ()
    for place in places:
        if place.get("isPrimary") and place.get("companyId") != company:
            return place if place.get("title") or len(places) > 1 else None
    return None


def _is_hidden(write: Write, record: Wire | None) -> bool:
    """Whether it is another company, and nobody can see which membership that ends."""
    found = record or {}
    if MEMBERSHIPS not in found or found.get("companyId", "") in (None, sent_by(write).get("companyId")):
        return False
    places = found[MEMBERSHIPS]
    return places is None or (bool(places) and not any("isPrimary" in place for place in places))


def _place_of(membership: contacts.Membership) -> Wire:
    """What tells it, without what the CRM keeps by itself."""
    told = {name: value for name, value in membership.wire.items() if name not in KEPT_BY_CRM}
    nested = told.get("company")
    company = membership.company_id or (nested.get("id") if isinstance(nested, dict) else None)
    return told | {"companyId": company}


def _place(place: Wire, named: Named) -> str:
    company = named(str(place.get("companyId")))
    called = place.get("companyName") or company
    title = f" as {place['title']}" if place.get("title") else ""
    return clean(f"membership of {called}{title}", MAX_TITLE_CHARS)


class Link(Create):
    """A contact's new membership in a company."""

    def left_behind(self, done: Done) -> Iterator[str]:
        if done.body.get("isPrimary"):
            yield PRIMARY_IS_LEFT

    def claim(self, write: Write) -> str:
        return _contact_of(write)

    async def _matching(self, crm: CrmClient, write: Write) -> tuple[list[Entity], bool]:
        every = await crm.contacts.memberships(write.ids["contact_id"])
        return [one for one in every if one.company_id == sent_by(write).get("companyId")], True

    async def seen(self, crm: CrmClient, write: Write) -> Seen:
        matching, _ = await self._matching(crm, write)
        return Seen({THERE_BEFORE: [one.id for one in matching]})

    async def stands(self, crm: CrmClient, write: Write, after: Wire | None) -> bool:
        matching, _ = await self._matching(crm, write)
        made = (after or {}).get("id")
        return any(made in (None, one.id) for one in matching)

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        return f"of {named(write.ids['contact_id'])} in {named(str(sent_by(write).get('companyId')))}"


# Where the ids of the contact's primary memberships are kept.
PRIMARY_BEFORE = "primary_before"
PRIMARY_AFTER = "primary_after"
PRIMARY_IS_LEFT = "The contact's primary company may be another one than before."


def _primary(memberships: Iterable[contacts.Membership]) -> str | None:
    return next((one.id for one in memberships if one.is_primary), None)


def _contact_of(write: Write) -> str:
    # Which membership is the primary one is told of all of them, and of the contact, whose company it is.
    return f"contact {write.ids['contact_id']}"


def _membership_called(write: Write, seen: Seen, named: Named) -> str:
    company = named(str((seen.record or {}).get("companyId", "")))
    return f"of {named(write.ids['contact_id'])} in {company}"


class Relink(Update):
    """A change of a contact's membership, whose title is the contact's there."""

    def claim(self, write: Write) -> str:
        return _contact_of(write)

    async def seen(self, crm: CrmClient, write: Write) -> Seen:
        every = await crm.contacts.memberships(write.ids["contact_id"])
        record = next((one.wire for one in every if one.id == write.ids["membership_id"]), None)
        return Seen(record and record | {PRIMARY_BEFORE: _primary(every)})

    def undoing(self, done: Done) -> Write:
        """The CRM does not let a contact have no primary company: the former one is made it again."""
        before, former = done.before or {}, (done.before or {}).get(PRIMARY_BEFORE)
        if not _became_primary(done):
            return super().undoing(done)
        if any(before.get(name) != value for name, value in done.body.items() if name != "isPrimary"):
            raise NotUndoableError("It changed two things, which the CRM cannot change back at once.")
        if not former:
            raise NotUndoableError("Nobody knows which company was the contact's primary one before.")
        body = contacts.MembershipChanges(is_primary=True)
        return Write(self.operation, {**done.ids, "membership_id": former}, body)

    async def since(self, crm: CrmClient, done: Done, record_id: str) -> list[Since]:
        if not _became_primary(done):
            return await super().since(crm, done, record_id)
        every = await crm.contacts.memberships(done.ids["contact_id"])
        chosen = [one for one in every if one.is_primary and one.id != record_id]
        if chosen:
            return [_primary_is(chosen[0])]
        former = (done.before or {}).get(PRIMARY_BEFORE)
        if former not in [one.id for one in every]:
            return [Since("", "the membership that was the primary one is gone")]
        return []

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        return _membership_called(write, seen, named)


def _primary_is(membership: contacts.Membership) -> Since:
    company = membership.company_name or membership.company_id
    return Since("isPrimary", f"the contact's primary company is {company} now")


def _became_primary(done: Done) -> bool:
    """Whether it made this company the contact's primary one."""
    return done.body.get("isPrimary") is True and (done.before or {}).get("isPrimary") is False


class Unlink(Delete):
    """The end of a contact's membership, which a new one takes back."""

    def left_behind(self, done: Done) -> Iterator[str]:
        if (done.before or {}).get("isPrimary") and PRIMARY_AFTER not in (done.after or {}):
            yield PRIMARY_IS_LEFT

    async def look(self, crm: CrmClient, write: Write, trail: Trail) -> Verdict:
        try:
            every = await crm.contacts.memberships(write.ids["contact_id"])
        except NotFoundError:
            return WasDone({})
        if any(one.id == write.ids["membership_id"] for one in every):
            return NotDone()
        return WasDone({PRIMARY_AFTER: _primary(every)})

    def claim(self, write: Write) -> str:
        return _contact_of(write)

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        yield from facts(seen.record, named)

    def undoing(self, done: Done) -> Write:
        before = done.before or {}
        if not before.get("companyId"):
            raise NotUndoableError("The CRM did not show which company it was.")
        kept = {name: before[name] for name in ("companyId", "title") if before.get(name)}
        if before.get("isPrimary") and PRIMARY_AFTER in (done.after or {}):
            kept["isPrimary"] = True
        body = contacts.NewMembership.model_validate(kept, by_alias=True, by_name=False)
        return Write(contacts.CREATE_MEMBERSHIP, {"contact_id": done.ids["contact_id"]}, body)

    async def since(self, crm: CrmClient, done: Done, record_id: str) -> list[Since]:
        every = await crm.contacts.memberships(done.ids["contact_id"])
        before, after = done.before or {}, done.after or {}
        if any(one.company_id == before.get("companyId") for one in every):
            return [Since("", "it is there again")]
        chosen = [one for one in every if one.is_primary and one.id != after.get(PRIMARY_AFTER, one.id)]
        return [_primary_is(chosen[0])] if chosen and before.get("isPrimary") else []

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        return _membership_called(write, seen, named)


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


class Log(Kind):
    """An activity: the CRM can neither change nor delete it."""

    is_new = True
    is_told = True
    hangs = True
    bodies = ("body",)

    def same(self, write: Write, seen: Seen) -> Any:
        """Whatever the white space in its texts."""
        sent = sent_by(write)
        return [dict(write.ids), {name: whole(value, str) for name, value in sent.items()}]

    def is_answer(self, write: Write, record: Record) -> bool:
        return True

    def claim(self, write: Write) -> str:
        sent = sent_by(write)
        lead = write.ids.get("lead_id") or sent.get("leadId")
        about = {"lead": lead, "company": sent.get("companyId"), "contact": sent.get("contactId")}
        return next((f"{kind} {record_id}" for kind, record_id in about.items() if record_id), "")

    def is_like(self, write: Write, other: Wire) -> bool:
        sent = {**write.ids, **sent_by(write)}
        same = ("type", "subject", "lead_id", "leadId", "companyId", "contactId", "dueAt")
        return all(sent.get(name) == other.get(name) for name in same)

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        yield from (f"{worded(name)}: {whole(value, named)}" for name, value in sent_by(write).items())

    async def look(self, crm: CrmClient, write: Write, trail: Trail) -> Verdict:
        """Among all that is logged on what it is about: in which order the CRM lists it nobody knows."""
        sent = sent_by(write)
        lead, company = write.ids.get("lead_id") or sent.get("leadId"), sent.get("companyId")
        walks = [crm.activities.walk(activities.ActivityFilter(lead_id=lead, company_id=company))]
        if sent.get("type") == "task":
            walks.append(crm.activities.walk_tasks(activities.TaskFilter(lead_id=lead)))
        like: list[activities.Activity] = []
        for walk in walks:
            async for rows in walk.pages(MAX_PAGES):
                like += [one for one in rows if _is_like(one, sent) and not trail.is_anothers(one.id)]
        if write.body is None:
            return CannotTell()
        ages = [(one, _is_newer(one, write, trail.since)) for one in like]
        for one, is_newer in ages:
            if is_newer and is_alike(write.body, one) and not write.body.not_kept_by(one)[1]:
                return WasDone(one.wire)
        perhaps = [one for one, is_newer in ages if _may_be_ours(one, write, trail.since, is_newer=is_newer)]
        return CannotTell(perhaps) if perhaps or not all(walk.complete for walk in walks) else NotDone()

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        sent = sent_by(write)
        about = (
            write.ids.get("lead_id") or sent.get("leadId") or sent.get("companyId") or sent.get("contactId")
        )
        return f"{sent.get('type')} on {named(str(about))}: {sent.get('subject')}"


def _is_like(activity: activities.Activity, sent: Wire) -> bool:
    """Of the same type and subject: else nobody would take one for the other."""
    subject = on_one_line(activity.subject or "")
    return (activity.type, subject) == (sent.get("type"), on_one_line(str(sent.get("subject"))))


def _made_at(activity: activities.Activity, write: Write) -> datetime | None:
    """When it came to be; None where the CRM does not tell."""
    says_when = "occurredAt" in sent_by(write)
    return activity.created_at or (None if says_when else activity.occurred_at)


def _is_newer(activity: activities.Activity, write: Write, since: datetime) -> bool | None:
    made_at = _made_at(activity, write)
    return None if made_at is None else made_at >= since - CLOCK_TOLERANCE


def _may_be_ours(
    activity: activities.Activity, write: Write, since: datetime, *, is_newer: bool | None
) -> bool:
    """Whether it may be what was sent after all, kept otherwise or under another clock."""
    if is_newer:
        return True
    return is_alike(write.body, activity) and not is_older(_made_at(activity, write), since)


# Where it is kept which entry of a timeline a lost e-mail was found to be.
ENTRY = "entry_id"
# What `status` may say of an e-mail that was not sent; the values are undocumented.
SAYS_NO = frozenset({"failed", "failure", "error", "rejected", "bounced", "blocked"})


class Send(Kind):
    """An e-mail to a lead's contact."""

    is_email = True
    is_told = True
    bodies = ("body", "htmlBody")

    def details(self, write: Write, seen: Seen, named: Named) -> Iterator[str]:
        sent = sent_by(write)
        yield f"To: {recipient(seen.record)}"
        yield f"From: {whole(sent['connectionId'], named)}"
        yield f"Subject: {whole(sent['subject'], str)}"
        yield f"Lead: {clean(str((seen.record or {}).get('lead')), MAX_NAME_CHARS)}"
        yield from email_lines(sent["htmlBody"])

    def subject(self, write: Write, after: Wire | None) -> str | None:
        return str(sent_by(write)["leadId"])

    def same(self, write: Write, seen: Seen) -> Any:
        """What its reader sees, from whichever mailbox and about whichever of their deals."""
        sent = sent_by(write)
        reader = (seen.record or {}).get("to") or sent["leadId"]
        return [reader, on_one_line(sent["subject"]), list(email_lines(sent["htmlBody"]))]

    def claim(self, write: Write) -> str:
        # How many were sent is counted before one more is.
        return "send an e-mail"

    def meets(self, write: Write, other: Wire) -> bool:
        return False

    async def seen(self, crm: CrmClient, write: Write) -> Seen:
        """Who it goes to, as far as the CRM lets us know, and the e-mails that its timeline shows already."""
        lead = await crm.leads.get(sent_by(write)["leadId"])
        contact = await crm.contacts.get(lead.contact_id) if lead.contact_id else None
        return Seen(
            {
                "lead": lead.label,
                # Empty where the CRM says that there is none.
                "contactId": lead.contact_id or ("" if "contact_id" in lead.model_fields_set else None),
                "contact": contact and contact.label,
                "to": contact and contact.email,
                THERE_BEFORE: [entry.id for entry in await _emails(crm, write)],
            }
        )

    def refuse(self, write: Write, seen: Seen) -> None:
        found = seen.record or {}
        if found.get("contactId") == "":
            lead = clean(str(found["lead"]), MAX_NAME_CHARS)
            raise RefusedError(
                f"{lead} has no contact to write to: set one with update_lead. Nothing was sent."
            )
        if found.get("contactId") and not found.get("to"):
            contact = clean(str(found["contact"]), MAX_NAME_CHARS)
            raise RefusedError(f"{contact} has no e-mail address. Nothing was sent.")

    async def look(self, crm: CrmClient, write: Write, trail: Trail) -> Verdict:
        """An e-mail that the timeline does not show may have been sent all the same."""
        before, sent = trail.before or {}, sent_by(write)
        new = [
            one
            for one in await _emails(crm, write)
            if one.id not in before.get(THERE_BEFORE, ())
            and not (one.id and trail.is_anothers(one.id))
            and one.subject == sent["subject"]
            and one.body is not None
            and text_of(one.body) == text_of(sent["htmlBody"])
        ]
        ours = new[trail.done_by_others() :]
        if not ours or THERE_BEFORE not in before:
            return CannotTell()
        return WasDone({"to": before.get("to"), "sentAt": ours[0].wire.get("occurredAt"), ENTRY: ours[0].id})

    def is_like(self, write: Write, other: Wire) -> bool:
        sent = sent_by(write)
        return all(
            on_one_line(str(sent[name])) == on_one_line(str(other.get(name)))
            for name in ("leadId", "subject")
        )

    def is_answer(self, write: Write, record: Record) -> bool:
        return True

    def says_no(self, record: Record) -> bool:
        return str(record.wire.get("status")).casefold() in SAYS_NO

    def notes(self, before: Wire | None, after: Wire | None) -> Iterator[str]:
        meant, told = ((one or {}).get("to") for one in (before, after))
        if meant and told and str(meant).casefold() != str(told).casefold():
            yield f"The CRM says that it went to {clean(str(told), MAX_NAME_CHARS)}."

    def _called(self, write: Write, seen: Seen, named: Named) -> str:
        return f"to {recipient(seen.record)}: {sent_by(write)['subject']}"


async def _emails(crm: CrmClient, write: Write) -> list[leads.TimelineEntry]:
    timeline = await crm.leads.timeline(sent_by(write)["leadId"])
    return [entry for entry in timeline if entry.type == "email"]


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
