"""Why a write that could be sent is not wanted: it would reach another record than is meant, or too many."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

from crm_mcp.calls import DAY_SECONDS, REPEAT_SECONDS, Call, Policy
from crm_mcp.crm.contacts import DELETE_MEMBERSHIP, UPDATE_CONTACT
from crm_mcp.kinds import KINDS
from crm_mcp.matching import core
from crm_mcp.memory import MIN_SHORT_CHARS, Memory
from crm_mcp.preview import recipient, shown
from crm_mcp.timeline_kinds import READS
from crm_mcp.wording import MAX_NAME_CHARS, clean, clock, on_one_line, sentence, worded
from crm_mcp.writes import Done

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient
    from crm_mcp.crm.client import Write
    from crm_mcp.ledger import Attempt, Change, Ledger
    from crm_mcp.writes import Kind, Seen

# A start of an id that is longer than the shortest.
LONGER_CHARS = 13
# The fields by which a record is told to be the same.
TELLING = ("name", "title", "firstName", "lastName", "email", "website", "companyId")
# Those that tell which company is a contact's first.
PRIMARY = ("companyId", "isPrimary")


def why_renamed(memory: Memory, kind: Kind, write: Write, seen: Seen, call: Call) -> str | None:
    """What was said was looked up some seconds ago, and may be another one's name now."""
    about, now = kind.subject(write, None) or "", kind.called(seen.record)
    known = memory.names.get(about)
    if not (known and now) or core(known) == core(now) or call.undoes or _says(call.arguments, about):
        return None
    memory.names.learn(about, now)
    memory.recent.drop("companies", "contacts", "leads", "stages")
    return (
        f'What was called "{clean(known, MAX_NAME_CHARS)}" is called "{clean(now, MAX_NAME_CHARS)}" now. '
        f"If it is meant all the same, say {about}."
    )


async def why_overwritten(
    crm: CrmClient, ledger: Ledger, kind: Kind, call: Call, earlier: Change
) -> str | None:
    """A call made again must not take back what somebody else set since it was made first; what this person
    had done since, or asks for in other words, is another wish."""
    is_again = any(one.key == earlier.key for one in call.before)
    if call.undoes or earlier.subject is None or earlier.claim is None or not is_again:
        return None
    if kind.is_new:
        return await _why_not_made_anew(crm, ledger, kind, call, earlier)
    if not kind.is_idempotent:
        return None
    done = Done(earlier.targets, earlier.body, earlier.before, earlier.after, earlier.opened_at)
    since = await kind.since(crm, done, earlier.subject.id)
    now = await kind.now(crm, earlier.targets) or {} if since else {}
    ours = _ours_since(ledger, earlier, claim=earlier.claim)
    since = [one for one in since if not _is_ours(ours, one.field, now)]
    if earlier.outcome == "unknown":
        # What is as it was before was not done; who `me` is nobody can tell.
        before = earlier.before or {}
        same = {name for name in earlier.body if now.get(name) == before.get(name)}
        since = [one for one in since if one.field not in same and earlier.body.get(one.field) != "me"]
    # What is gone the CRM itself refuses to change.
    if not since or not all(one.field for one in since):
        return None
    what = "; ".join(one.what for one in since)
    return f"{_same_call(earlier)}, and somebody changed it since: {what}. {_other_words(call, earlier)}"


async def _why_not_made_anew(
    crm: CrmClient, ledger: Ledger, kind: Kind, call: Call, earlier: Change
) -> str | None:
    """What was made is another by now, or gone: where that is nothing of this person's."""
    subject, made = earlier.subject, earlier.after or {}
    if subject is None:
        return None
    now = await kind.now(crm, {**earlier.targets, f"{kind.record}_id": subject.id})
    ours = _ours_since(ledger, earlier, subject=subject)
    if kind.record in ("contact", "membership"):
        # Its memberships are told of the contact.
        ours += _ours_since(ledger, earlier, claim=f"contact {earlier.targets.get('contact_id', subject.id)}")
    if now is None:
        is_ours = any(one.subject == subject and KINDS[one.operation].ends for one in ours)
        what = [] if is_ours or any(_moves_contact(one) for one in ours) else ["it is gone"]
    else:
        other = [name for name in TELLING if name in made and now.get(name) != made[name]]
        what = [
            f"{worded(name)} is {shown(now.get(name), str)} now"
            for name in other
            if not _is_ours(ours, name, now)
        ]
    if not what:
        return None
    how = _all_the_same(kind, call, earlier)
    return f"{_same_call(earlier)}, and somebody changed what it made: {'; '.join(what)}. {how}"


def _is_ours(ours: Sequence[Change], field: str, now: Mapping[str, Any]) -> bool:
    """Whether a field is what this person made of it, or the CRM along with something of theirs."""
    if field in PRIMARY and any(_sets_primary(one) for one in ours):
        return True
    return any(_left(one, field, now) for one in ours)


def _left(change: Change, field: str, now: Mapping[str, Any]) -> bool:
    """Whether the field became with the change what it is."""
    before, after = change.before or {}, change.after if isinstance(change.after, dict) else change.body
    return field in after and before.get(field) != after[field] == now.get(field)


def _sets_primary(change: Change) -> bool:
    """Whether it says which company is a contact's first, or ends what may be."""
    is_end = change.operation == DELETE_MEMBERSHIP.name
    return is_end or change.body.get("isPrimary") is True or _moves_contact(change)


def _moves_contact(change: Change) -> bool:
    return change.operation == UPDATE_CONTACT.name and "companyId" in change.body


def why_otherwise_now(ledger: Ledger, kind: Kind, seen: Seen, call: Call, attempt: Attempt) -> str | None:
    """A call made again that somebody took back, or that would send another write than before because
    somebody changed what it is about."""
    if call.undoes or call.arguments.get("repeat") or attempt.claim is None:
        return None
    before = [one for one in call.before if one.claim == attempt.claim and one.outcome != "unknown"]
    equal = [one for one in before if one.key == attempt.key]
    if not before or (equal and equal[0].outcome == "applied"):
        return None
    if equal:
        return _why_taken_back(ledger, kind, call, equal[0])
    was, record = before[0], seen.record or {}
    told = f"{_same_call(was)}: {sentence(was.title)}"
    if kind.is_email:
        ours = any(_sends_there(one, was, record, attempt) for one in _ours_since(ledger, was))
        if ours or _address(was.before) == _address(record):
            return None
        now = f"It would go to {recipient(record)} now."
        return f"{told} {now} `repeat` sends it, where a person approves that."
    company = record.get("companyId")
    ours = any(
        one.subject == attempt.subject or (_moves_contact(one) and one.body["companyId"] == company)
        for one in _ours_since(ledger, was, claim=attempt.claim)
    )
    return None if ours else f"{told} Somebody changed that since. {_other_words(call, was)}"


def _why_taken_back(ledger: Ledger, kind: Kind, call: Call, was: Change) -> str | None:
    taken_back = ledger.get(was.undone_by or "")
    if taken_back.principal == was.principal:
        return None
    by = f"{taken_back.principal} took it back (change {taken_back.id})"
    return f"{_same_call(was)}, and {by}. {_all_the_same(kind, call, was)}"


def _sends_there(change: Change, was: Change, seen: Mapping[str, Any], email: Attempt) -> bool:
    """Whether it gave the reader this address, or the deal this reader."""
    if change.body.get("email") == seen.get("to"):
        return True
    contact, lead = seen.get("contactId"), email.body.get("leadId")
    of_lead = change.subject is not None and change.subject.id == lead
    return of_lead and change.body.get("contactId") == contact != (was.before or {}).get("contactId")


def _ours_since(ledger: Ledger, change: Change, **about: Any) -> list[Change]:
    """What this person did after it, or may have done; not what only hangs on the record."""
    later = ledger.changes(
        entity=change.entity,
        principal=change.principal,
        since=change.opened_at,
        outcomes=["applied", "undone", "unknown"],
        **about,
    )
    return [one for one in later if one.id != change.id and not KINDS[one.operation].hangs]


def _same_call(change: Change) -> str:
    return f"The same call was made at {clock(change.opened_at)} (change {change.id})"


def _all_the_same(kind: Kind, call: Call, change: Change) -> str:
    """How it is done again on purpose."""
    if not kind.is_new or kind.record == "membership":
        return _other_words(call, change)
    if kind.record == "stage":
        return "Ask the person: after ten minutes the same call makes another."
    return "`repeat` makes another."


def _other_words(call: Call, change: Change) -> str:
    """The record's id, in a length in which it was not said: that makes it another call."""
    about = change.targets.get("contact_id") or (change.subject.id if change.subject else "")
    short, longer = about[:MIN_SHORT_CHARS], about[:LONGER_CHARS]
    word = longer if short in _each_said(call.arguments) else short
    return f"Ask the person; to do it all the same, say {word} for the record."


def emails_of_the_day(ledger: Ledger, attempt: Attempt) -> list[Change]:
    """All that went out here, or may have, newest first."""
    day = ledger.changes(
        since=datetime.now(UTC) - timedelta(seconds=DAY_SECONDS),
        outcomes=("applied", "unknown"),
        tool=attempt.tool,
        entity=attempt.entity,
    )
    return [one for one in day if one.operation == attempt.operation]


def reads_the_same(
    day: Sequence[Change], seen: Seen, attempt: Attempt, *, seconds: float = DAY_SECONDS
) -> Change | None:
    """What this person sent of late to the same reader that differs in nothing that it says: in a link, its
    looks, the mailbox or the deal. Of what may have been sent a day is late."""
    now, ours = datetime.now(UTC), _reading(seen.record, attempt)
    for one in day:
        is_other = one.key != attempt.key and one.principal == attempt.principal
        is_done = one.outcome == "applied" and not one.lost
        since = now - timedelta(seconds=seconds if is_done else DAY_SECONDS)
        if is_other and one.opened_at >= since and _reading(one.before, one) == ours:
            return one
    return None


def why_reads_the_same(day: Sequence[Change], seen: Seen, attempt: Attempt) -> str | None:
    like = reads_the_same(day, seen, attempt, seconds=REPEAT_SECONDS)
    if like is None:
        return None
    return f"{told(like)} (change {like.id}): {like.title}. `repeat` sends it, where a person approves that."


def told(like: Change) -> str:
    was = "may have been" if like.outcome == "unknown" else "was"
    return f"What reads the same {was} sent at {clock(like.opened_at)}"


def _reading(seen: dict[str, Any] | None, email: Attempt) -> tuple[str, str | None]:
    """To whom it goes, and what they read."""
    return _address(seen) or str(email.body.get("leadId")), (seen or {}).get(READS)


def why_too_many(sent: Sequence[Change], policy: Policy, seen: Seen, attempt: Attempt) -> str | None:
    """E-mail is bounded by what the ledger has, whatever the arguments say."""
    now = datetime.now(UTC)
    hour = [one for one in sent if one.opened_at >= now - timedelta(hours=1)]
    to = _address(seen.record)
    # Where the CRM does not tell, there is one person behind each lead.
    theirs = [
        one
        for one in sent
        if (to in (_address(one.before), _address(one.after)) if to else one.subject == attempt.subject)
    ]
    for what, found, most in (
        ("an hour", hour, policy.emails_per_hour),
        ("a day", sent, policy.emails_per_day),
        (f"a day to {to or 'this lead'}", theirs, policy.emails_per_recipient),
    ):
        if len(found) >= most:
            return f"At most {most} e-mails {what} are sent from here."
    return None


def _address(seen: dict[str, Any] | None) -> str:
    """Where an e-mail goes, as people tell addresses apart."""
    return on_one_line(str((seen or {}).get("to") or "")).casefold()


def _says(arguments: Mapping[str, Any], full: str) -> bool:
    """Whether one of the arguments is the id, or the start of it."""
    said = _each_said(arguments)
    return any(len(start) >= MIN_SHORT_CHARS and full.startswith(start) for start in said)


def _each_said(arguments: Mapping[str, Any]) -> list[str]:
    each = (value if isinstance(value, list | tuple) else [value] for value in arguments.values())
    return [one.strip().lower() for one in chain(*each) if isinstance(one, str)]
