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
from crm_mcp.preview import recipient
from crm_mcp.timeline_kinds import READS
from crm_mcp.wording import MAX_NAME_CHARS, clean, clock, on_one_line, sentence
from crm_mcp.writes import Done

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient
    from crm_mcp.crm.client import Write
    from crm_mcp.ledger import Attempt, Change, Ledger
    from crm_mcp.writes import Kind, Seen

# A start of an id that is longer than the shortest.
LONGER_CHARS = 13
# The fields by which it is told whom an e-mail reaches.
REACHING = {"email", "contactId"}
# The fields by which a record is told to be the same.
TELLING = {"name", "title", "website", "email", "firstName", "lastName", "companyId", "isPrimary"}


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


def _sets_the_same(change: Change, earlier: Change) -> bool:
    """Whether it set a field of it, of the same record; a contact's company is its primary membership."""
    if (change.operation, change.subject) == (earlier.operation, earlier.subject):
        return bool(change.body.keys() & earlier.body.keys())
    return _sets_primary(change) and _sets_primary(earlier)


def _sets_primary(change: Change) -> bool:
    """Whether it says which company is a contact's first, or ends what may be."""
    said = change.operation == UPDATE_CONTACT.name and "companyId" in change.body
    return said or change.body.get("isPrimary") is True or change.operation == DELETE_MEMBERSHIP.name


async def why_overwritten(
    crm: CrmClient, ledger: Ledger, kind: Kind, call: Call, earlier: Change, attempt: Attempt
) -> str | None:
    """A call made again must not take back what somebody else set since it was made first; what this person
    had done since, or asks for in other words, is another wish."""
    if call.undoes or earlier.subject is None or earlier.arguments != attempt.arguments:
        return None
    if kind.is_new and kind.record != "stage":
        return await _why_not_made_anew(crm, ledger, kind, call, earlier)
    if not kind.is_idempotent or earlier.claim is None:
        return None
    ours = _ours_since(ledger, earlier, claim=earlier.claim)
    if any(_sets_the_same(one, earlier) for one in ours):
        return None
    done = Done(earlier.targets, earlier.body, earlier.before, earlier.after, earlier.opened_at)
    since = await kind.since(crm, done, earlier.subject.id)
    now = await kind.now(crm, earlier.targets) or {} if since else {}
    # What the CRM changed along with something of this person's is nobody else's.
    since = [one for one in since if not any(_left(our, one.field, now) for our in ours)]
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


def _left(change: Change, field: str, now: Mapping[str, Any]) -> bool:
    """Whether the field became with the change what it is."""
    before, after = change.before or {}, change.after if isinstance(change.after, dict) else {}
    return field in after and before.get(field) != after[field] == now.get(field)


async def _why_not_made_anew(
    crm: CrmClient, ledger: Ledger, kind: Kind, call: Call, earlier: Change
) -> str | None:
    subject = earlier.subject
    if subject is None:
        return None
    claims = {f"{kind.record} {subject.id}", str(earlier.claim) if kind.record == "membership" else ""}
    ours = [one for claim in claims if claim for one in _ours_since(ledger, earlier, claim=claim)]
    if any(_makes_another(one) for one in (*ours, *_ours_since(ledger, earlier, subject=subject))):
        return None
    now = await kind.now(crm, {**earlier.targets, f"{kind.record}_id": subject.id})
    called = clean(kind.called(now) or "another", MAX_NAME_CHARS)
    what = f'"{called}" now' if now else "gone"
    way = _other_words(call, earlier) if kind.record == "membership" else "`repeat` makes another."
    return f"{_same_call(earlier)}, and what it made is {what}. {way}"


def _makes_another(change: Change) -> bool:
    """Whether a record is gone with it, or may be called or found otherwise."""
    return KINDS[change.operation].ends or change.outcome == "undone" or bool(TELLING & change.body.keys())


def why_otherwise_now(ledger: Ledger, kind: Kind, seen: Seen, call: Call, attempt: Attempt) -> str | None:
    """A call made again that would send another write than before: somebody changed what it is about."""
    if call.undoes or call.arguments.get("repeat") or attempt.claim is None:
        return None
    before = [one for one in call.before if one.claim == attempt.claim and one.outcome == "applied"]
    if not before or any(one.key == attempt.key for one in before):
        return None
    was = before[0]
    told = f"{_same_call(was)}: {sentence(was.title)}"
    if kind.is_email:
        ours = any(REACHING & one.body.keys() for one in _ours_since(ledger, was))
        if ours or _address(was.before) == _address(seen.record):
            return None
        now = f"It would go to {recipient(seen.record)} now."
        return f"{told} {now} `repeat` sends it, where a person approves that."
    since = _ours_since(ledger, was, claim=attempt.claim)
    if any(not KINDS[one.operation].hangs for one in since):
        return None
    return f"{told} Somebody changed that since. {_other_words(call, was)}"


def _ours_since(ledger: Ledger, change: Change, **about: Any) -> list[Change]:
    """What this person did after it."""
    later = ledger.changes(
        entity=change.entity,
        principal=change.principal,
        since=change.opened_at,
        outcomes=["applied", "undone"],
        **about,
    )
    return [one for one in later if one.id != change.id]


def _same_call(change: Change) -> str:
    return f"The same call was made at {clock(change.opened_at)} (change {change.id})"


def _other_words(call: Call, change: Change) -> str:
    """The record's id, in a length in which it was not said: that makes it another call."""
    about = change.targets.get("contact_id") or (change.subject.id if change.subject else "")
    said = [value for value in call.arguments.values() if isinstance(value, str)]
    short, longer = about[:MIN_SHORT_CHARS], about[:LONGER_CHARS]
    word = longer if short in said else short
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
    each = (value if isinstance(value, list | tuple) else [value] for value in arguments.values())
    said = [one.strip().lower() for one in chain(*each) if isinstance(one, str)]
    return any(len(start) >= MIN_SHORT_CHARS and full.startswith(start) for start in said)
