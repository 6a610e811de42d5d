"""The kinds of writes that people tell in words: activities and e-mails."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any

from crm_mcp.calls import digest
from crm_mcp.crm import activities, leads
from crm_mcp.crm.client import Write
from crm_mcp.crm.contract import Record
from crm_mcp.crm.errors import RefusedError
from crm_mcp.preview import Named, Wire, email_lines, recipient, text_of, whole
from crm_mcp.wording import MAX_NAME_CHARS, clean, on_one_line, worded
from crm_mcp.writes import (
    CLOCK_TOLERANCE,
    THERE_BEFORE,
    CannotTell,
    Kind,
    NotDone,
    Seen,
    Trail,
    Verdict,
    WasDone,
    is_alike,
    is_older,
    sent_by,
)

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient

# As far as an activity is looked for whose answer was lost.
MAX_PAGES = 100
# Where it is kept which entry of a timeline a lost e-mail was found to be.
ENTRY = "entry_id"
# Where it is kept what a reader of an e-mail reads, for the text itself may be kept as another digest.
READS = "reads"
# What `status` may say of an e-mail that was not sent; the values are undocumented.
SAYS_NO = frozenset({"failed", "failure", "error", "rejected", "bounced", "blocked"})


class Log(Kind):
    """An activity: the CRM can neither change nor delete it."""

    is_new = True
    is_told = True
    hangs = True
    bodies = ("body",)

    def same(self, write: Write, seen: Seen) -> Any:
        """Whatever the white space in its texts."""
        sent = {name: whole(value, str) for name, value in sent_by(write).items()}
        return [dict(write.ids), sent]

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
        """Whatever the white space in its text; to whom it goes makes it another one."""
        sent = {name: " ".join(value.split()) for name, value in sent_by(write).items()}
        return [(seen.record or {}).get("to"), sent]

    def claim(self, write: Write) -> str:
        # How many were sent is counted before one more is.
        return "send an e-mail"

    def meets(self, write: Write, other: Wire) -> bool:
        return False

    async def seen(self, crm: CrmClient, write: Write) -> Seen:
        """Who it goes to, as far as the CRM lets us know, and the e-mails that its timeline shows already."""
        sent = sent_by(write)
        lead = await crm.leads.get(sent["leadId"])
        contact = await crm.contacts.get(lead.contact_id) if lead.contact_id else None
        return Seen(
            {
                "lead": lead.label,
                # Empty where the CRM says that there is none.
                "contactId": lead.contact_id or ("" if "contact_id" in lead.model_fields_set else None),
                "contact": contact and contact.label,
                "to": contact and contact.email,
                READS: digest([on_one_line(sent["subject"]), text_of(sent["htmlBody"])]),
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
