"""A call of a tool that may write: what an operator lets pass, what is planned of it, what is on record."""

from __future__ import annotations

import hashlib
import json
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    from crm_mcp.crm.client import Write
    from crm_mcp.ledger import Attempt, Change, Ledger

# How long the same write again is taken for a repeat, and how long a person is told that it was done before.
REPEAT_SECONDS = 600
DAY_SECONDS = 86_400
# In place of an approval's id, where the operator trusts the client to have asked.
TRUSTED_CLIENT = "client"
MAX_UNGUARDED_BATCH = 10
GUARDED = frozenset(
    {
        "send_outbound_email",
        "add_to_marketing_list",
        "delete_contact",
        "delete_lead",
        "unlink_contact_from_company",
        "delete_pipeline_stage",
        "reorder_pipeline_stages",
    }
)
# The arguments of tools that hold what people wrote to each other.
BODIES = ("body",)
# The CRM's fields that do.
TEXTS = ("body", "htmlBody")
# How what stands in a text's place begins.
DIGEST = "sha256:"
# More writes than any call makes: what is older than those of its last one tells nothing.
MAX_MADE_BEFORE = 30
MAX_UNCHECKED = 50
MAX_UNCHECKED_CHARS = 200
NOTHING_SENT = "Nothing was sent to the CRM."


@dataclass(frozen=True, slots=True)
class Policy:
    """What an operator lets pass; `approval` tells how guarded tools get a person's word."""

    approval: Literal["ask", "client", "never"] = "ask"
    guard: frozenset[str] = GUARDED
    approval_seconds: float = 600.0
    # For how long the CRM may still do what it gave no answer to.
    late_seconds: float = 60.0
    emails_per_hour: int = 30
    emails_per_day: int = 100
    emails_per_recipient: int = 5
    digest_bodies: bool = False

    def guards(self, tool: str, arguments: Mapping[str, Any]) -> bool:
        """Whether a person must approve it: a tool on the list, the same e-mail again, or a batch of more
        than ten records."""
        many = (value for value in arguments.values() if isinstance(value, list | tuple))
        listed = tool in self.guard or is_email_again(tool, arguments)
        return listed or any(len(value) > MAX_UNGUARDED_BATCH for value in many)

    def may_guard(self, tool: str, arguments: Mapping[str, Any]) -> bool:
        """Whether only a look at the record tells that: what is taken back, and what another company ends."""
        moves = bool(arguments.get("company")) or "company" in (arguments.get("clear") or ())
        undoes = tool == "undo_change" and not arguments.get("preview")
        return undoes or (tool == "update_contact" and moves)

    def trusts_client(self, tool: str, arguments: Mapping[str, Any]) -> bool:
        """Whether a client that calls it has asked a person; of the same e-mail again we ask ourselves."""
        return self.approval == "client" and not is_email_again(tool, arguments)


@dataclass(frozen=True, slots=True)
class Planned:
    """A write as a rehearsal met it: what a person should see, and the digest of what there was before."""

    attempt: Attempt
    details: Sequence[str]
    before: str
    # The equal change that was done before, or may have been.
    again: str = ""


@dataclass(slots=True)
class Call:
    """A call of a tool: what was asked, and what becomes of its writes."""

    tool: str
    arguments: Mapping[str, Any]
    # Its writes have it on record, so that a call made again is told from another one.
    id: str = field(default_factory=lambda: secrets.token_hex(6))
    # What the same call did lately, or may have done, newest first: this may be that one, made again.
    before: Sequence[Change] = ()
    # What its references mean: by the parameter, what was said, and the record's id.
    meant: dict[str, dict[str, str]] = field(default_factory=dict)
    guarded: bool = False
    # Where its writes are collected instead of sent.
    rehearsal: list[Planned] | None = None
    # What was named and cannot be meant, so that no write is about it, and why.
    left_out: Mapping[str, str] = field(default_factory=dict)
    # What a person approved: by the writes' keys, the digests of what there was before.
    approval: str | None = None
    approved: Mapping[str, str] = field(default_factory=dict)
    # The approval about which the client's person was asked during it.
    asked: str | None = None
    undoes: str | None = None
    # Whether the client has failed at a question.
    unaskable: bool = False
    # Whether a request of it has left.
    sent: bool = False
    # What raises RefusedError where it must not be sent any more, once nobody else can change the record.
    check: Callable[[], Awaitable[None]] | None = None
    # Whether the ledger has what became of it.
    on_record: bool = False
    changes: list[str] = field(default_factory=list)
    repeats: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def resumes(self, change: Change) -> bool:
        """Whether it is the call of a change that brought no answer, made again, and not one on purpose."""
        lost = (one for one in self.before if one.outcome == "unknown" or one.lost)
        return any(one.call == change.call for one in lost if one.call)

    def meant_before(self, parameter: str, said: str) -> tuple[Change, str] | None:
        """The change of the same call, if this may be it made again, and the id of what was meant by it."""
        day, found = datetime.now(UTC) - timedelta(seconds=DAY_SECONDS), None
        for change in self.before:
            meant: str | None = (change.meant or {}).get(parameter, {}).get(said)
            is_other = self.arguments.get("repeat") and not self.resumes(change)
            if meant and change.opened_at >= day and not is_other:
                found = change, meant
                if meant in (*change.targets.values(), *change.body.values()):
                    # Of a batch, the one that is about it.
                    return found
        return found


# Whose writes these are.
CALL: ContextVar[Call] = ContextVar("CALL")


def digest(value: Any) -> str:
    """Of anything that JSON can say; equal things have equal ones."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode(errors="replace")).hexdigest()


def attempted(call: Call, principal: str, entity: str, title: str, policy: Policy) -> Attempt:
    """A call as it was made, of which nobody knows what it would have sent."""
    from crm_mcp.ledger import Attempt  # noqa: PLC0415

    return Attempt(
        principal=principal,
        entity=entity,
        tool=call.tool,
        arguments=kept(call, BODIES if policy.digest_bodies else ()),
        operation="",
        targets={},
        body={},
        title=title,
        key=digest([call.tool, kept(call, ())]),
    )


def made_before(ledger: Ledger, attempt: Attempt) -> list[Change]:
    """What the same call did within the time of a repeat, or did and nobody was told of it, or may have done;
    newest first."""
    now, done, found = datetime.now(UTC), set(), []
    every = ledger.changes(
        outcomes=["applied", "unknown", "undone"],
        tool=attempt.tool,
        principal=attempt.principal,
        entity=attempt.entity,
        arguments=attempt.arguments,
        limit=MAX_MADE_BEFORE,
    )
    for change in every:
        if change.outcome != "unknown":
            done.add(change.key)
            seconds = DAY_SECONDS if change.lost else REPEAT_SECONDS
            if now - (change.closed_at or change.opened_at) <= timedelta(seconds=seconds):
                found.append(change)
        elif change.key not in done:
            found.append(change)
    return found


def kept(call: Call, hidden: Sequence[str]) -> dict[str, Any]:
    return without({name: _plain(value) for name, value in call.arguments.items()}, hidden)


def unchecked(arguments: Mapping[str, Any], *, digest_texts: bool) -> dict[str, Any]:
    """Arguments that a tool does not take, as they are kept: each may be endless, or an e-mail's text."""

    def is_short(value: Any) -> bool:
        is_text = isinstance(value, str) and not digest_texts
        return isinstance(value, bool | None) or (is_text and len(value) <= MAX_UNCHECKED_CHARS)

    return {
        name[:MAX_UNCHECKED_CHARS]: value if is_short(value) else _as_digest(value)
        for name, value in islice(arguments.items(), MAX_UNCHECKED)
    }


def without(values: dict[str, Any], hidden: Sequence[str]) -> dict[str, Any]:
    """Texts that the operator does not want kept, as digests."""
    return {
        name: _as_digest(value) if name in hidden and isinstance(value, str) else value
        for name, value in values.items()
    }


def restored(after: Any, write: Write) -> Any:
    """An answer from the ledger with the texts that were sent, where it only has their digests."""
    if not isinstance(after, dict) or write.body is None:
        return after
    sent = {name: value for name, value in write.body.to_wire().items() if isinstance(value, str)}
    return after | {name: text for name, text in sent.items() if after.get(name) == _as_digest(text)}


def _as_digest(value: Any) -> str:
    return DIGEST + digest(value)


def is_email_again(tool: str, arguments: Mapping[str, Any]) -> bool:
    return tool == "send_outbound_email" and bool(arguments.get("repeat"))


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | list | dict | None) else str(value)
