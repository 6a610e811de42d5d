"""Why a write that could be sent is not wanted: it would reach another record than is meant, or too many."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from itertools import chain
from typing import TYPE_CHECKING, Any

from crm_mcp.calls import DAY_SECONDS, REPEAT_SECONDS, Call, Policy
from crm_mcp.crm.contacts import UPDATE_CONTACT
from crm_mcp.matching import core
from crm_mcp.memory import MIN_SHORT_CHARS, Memory
from crm_mcp.preview import text_of
from crm_mcp.wording import MAX_NAME_CHARS, clean, clock, on_one_line
from crm_mcp.writes import Done

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient
    from crm_mcp.crm.client import Write
    from crm_mcp.ledger import Attempt, Change, Ledger
    from crm_mcp.writes import Kind, Seen


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
    """Whether it says which company is a contact's first."""
    return change.body.get("isPrimary") is True or (
        change.operation == UPDATE_CONTACT.name and "companyId" in change.body
    )


async def why_overwritten(
    crm: CrmClient, ledger: Ledger, kind: Kind, call: Call, earlier: Change, attempt: Attempt
) -> str | None:
    """A call made again must not take back what somebody else set since it was made first; what this person
    had done since, or asks for in other words, is another wish."""
    if not kind.is_idempotent or call.undoes or earlier.arguments != attempt.arguments:
        return None
    if earlier.subject is None or earlier.claim is None:
        return None
    later = ledger.changes(
        claim=earlier.claim,
        entity=earlier.entity,
        principal=earlier.principal,
        since=earlier.opened_at,
        outcomes=["applied", "undone"],
    )
    if any(one.id != earlier.id and _sets_the_same(one, earlier) for one in later):
        return None
    done = Done(earlier.targets, earlier.body, earlier.before, earlier.after, earlier.opened_at)
    since = await kind.since(crm, done, earlier.subject.id)
    if earlier.outcome == "unknown":
        # What is as it was before was not done; who `me` is nobody can tell.
        before, now = earlier.before or {}, await kind.now(crm, earlier.targets) or {}
        same = {name for name in earlier.body if now.get(name) == before.get(name)}
        since = [one for one in since if one.field not in same and earlier.body.get(one.field) != "me"]
    # What is gone the CRM itself refuses to change.
    if not since or not all(one.field for one in since):
        return None
    about = earlier.targets.get("contact_id") or earlier.subject.id
    word = "its name" if _says(call.arguments, about) else about[:MIN_SHORT_CHARS]
    return (
        f"The same call was made at {clock(earlier.opened_at)} (change {earlier.id}), and somebody "
        f"changed it since: {'; '.join(one.what for one in since)}. Ask the person; to do it all the same, "
        f"say {word} for the record."
    )


def emails_of_the_day(ledger: Ledger, attempt: Attempt) -> list[Change]:
    """All that went out here, or may have, newest first."""
    day = ledger.changes(
        since=datetime.now(UTC) - timedelta(seconds=DAY_SECONDS),
        outcomes=("applied", "unknown"),
        tool=attempt.tool,
        entity=attempt.entity,
    )
    return [one for one in day if one.operation == attempt.operation]


def reads_the_same(day: Sequence[Change], seen: Seen, attempt: Attempt) -> Change | None:
    """What this person sent of late to the same reader that differs in nothing that it says: in a link, its
    looks, the mailbox or the deal."""
    since, ours = datetime.now(UTC) - timedelta(seconds=REPEAT_SECONDS), [*_reading(seen.record, attempt)]
    for one in day:
        is_other = one.key != attempt.key and one.principal == attempt.principal
        if is_other and one.opened_at >= since:
            both = zip(ours, _reading(one.before, one), strict=True)
            if all(mine == theirs for mine, theirs in both):
                return one
    return None


def why_reads_the_same(day: Sequence[Change], seen: Seen, attempt: Attempt) -> str | None:
    like = reads_the_same(day, seen, attempt)
    if like is None:
        return None
    return f"{told(like)} (change {like.id}): {like.title}. `repeat` sends it, where a person approves that."


def told(like: Change) -> str:
    was = "may have been" if like.outcome == "unknown" else "was"
    return f"What reads the same {was} sent at {clock(like.opened_at)}"


def _reading(seen: dict[str, Any] | None, email: Attempt) -> Iterator[str]:
    """To whom it goes, and what they read; one after the other, for its text is read last."""
    body = email.body
    yield _address(seen) or str(body.get("leadId"))
    yield on_one_line(str(body.get("subject")))
    yield text_of(str(body.get("htmlBody")))


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
