"""The one way to the CRM for writes: each once, on record, with a person's word where that is needed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Literal, NoReturn

import anyio

from crm_mcp.crm.errors import CrmError, OutcomeUnknownError, RefusedError, UnexpectedResponseError
from crm_mcp.wording import on_one_line

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient
    from crm_mcp.crm.client import Write
    from crm_mcp.crm.contract import Entity, Record
    from crm_mcp.ledger import Attempt, Change, Ledger, NeverSent, Outcome, Subject
    from crm_mcp.lost import Traces
    from crm_mcp.tenant import Tenant
    from crm_mcp.writes import Kind, Seen

Send = Callable[[], Awaitable[Any]]

# How long the same write again is taken for a repeat; and one of which nobody knows whether it was done.
REPEAT_SECONDS = 600
UNKNOWN_SECONDS = 86_400
POLL_SECONDS = 0.05
LEASE_MARGIN_SECONDS = 5.0
MAX_UNGUARDED_BATCH = 10
MAX_CANDIDATES = 5
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
# The tools that do what these operations do; others are called like their operations.
TOOL_OF = {
    "create_company_membership": "link_contact_to_company",
    "update_company_membership": "link_contact_to_company",
    "delete_company_membership": "unlink_contact_from_company",
}
# The arguments of tools that hold what people wrote to each other.
BODIES = ("body",)
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
        listed = tool in self.guard or _is_email_again(tool, arguments)
        return listed or any(len(value) > MAX_UNGUARDED_BATCH for value in many)

    def trusts_client(self, tool: str, arguments: Mapping[str, Any]) -> bool:
        """Whether a client that calls it has asked a person; of the same e-mail again we ask ourselves."""
        return self.approval == "client" and not _is_email_again(tool, arguments)


@dataclass(frozen=True, slots=True)
class Planned:
    """A write as a rehearsal met it: what a person should see, and the digest of what there was before."""

    attempt: Attempt
    details: Sequence[str]
    before: str


@dataclass(slots=True)
class Call:
    """A call of a tool: what was asked, and what becomes of its writes."""

    tool: str
    arguments: Mapping[str, Any]
    guarded: bool = False
    # Where its writes are collected instead of sent.
    rehearsal: list[Planned] | None = None
    # What was named and cannot be meant, so that no write is about it.
    left_out: list[str] = field(default_factory=list)
    # What a person approved: by the writes' keys, the digests of what there was before.
    approval: str | None = None
    approved: Mapping[str, str] = field(default_factory=dict)
    # The approval about which the client's person was asked during it.
    asked: str | None = None
    undoes: str | None = None
    # Whether the client has failed at a question.
    unaskable: bool = False
    # Whether the ledger has what became of it.
    on_record: bool = False
    changes: list[str] = field(default_factory=list)
    repeats: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


# Whose writes these are.
CALL: ContextVar[Call] = ContextVar("CALL")


def digest(value: Any) -> str:
    """Of anything that JSON can say; equal things have equal ones."""
    canonical = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.sha256(canonical.encode(errors="replace")).hexdigest()


class Gate:
    """Lets the writes of one tenant through, each once.

    What is equal to a write that was just done brings that one's answer; what is equal to one in flight waits
    for it. A write that brought no answer is looked for in the CRM before anything else is done about it.
    """

    def __init__(self, tenant: Tenant, ledger: Callable[[], Ledger], policy: Policy, principal: str) -> None:
        self._tenant = tenant
        self._crm: CrmClient = tenant.client
        self._ledger = ledger
        self._policy = policy
        self._principal = principal

    async def __call__(self, write: Write, send: Send) -> Any:
        """The CRM's JSON, as the write's answer or as the recorded one of its equal.

        What was sent is waited for, although the call is cancelled. Raises RefusedError, and whatever sending
        raises.
        """
        from crm_mcp.writes import KINDS  # noqa: PLC0415  # only writing needs it

        kind, call = KINDS[write.operation.name], CALL.get()
        if call.undoes and TOOL_OF.get(write.operation.name, write.operation.name) in self._policy.guard:
            call.guarded = True
        if call.rehearsal is not None:
            return await self._rehearsed(kind, write, call, call.rehearsal)
        return await self._once(kind, write, call, send)

    async def _rehearsed(self, kind: Kind, write: Write, call: Call, rehearsal: list[Planned]) -> Any:
        """Nothing is sent; what would be goes into the rehearsal, and a repeat would not."""
        seen = await kind.seen(self._crm, write)
        await self._learn_names(write, seen)
        attempt = self._attempt(kind, write, seen, call)
        earlier = self._ledger().earlier(attempt, window_seconds=UNKNOWN_SECONDS)
        if earlier and not await self._goes_anew(kind, write, call, earlier, attempt):
            call.on_record = True
            return _restored(earlier.after, write)
        try:
            await self._refuse_unwanted(kind, write, seen, call, attempt)
        except RefusedError as error:
            self._record(attempt, "refused", str(error))
            raise
        details = list(kind.details(write, seen, self._named))
        if earlier:
            was = "may have been" if earlier.outcome == "unknown" else "was"
            details.insert(0, f"The same {was} done at {earlier.opened_at:%H:%M} UTC already.")
        rehearsal.append(Planned(attempt, details, digest(seen.what_counts())))
        return None

    async def _learn_names(self, write: Write, seen: Seen) -> None:
        """What a person is shown should have names for ids."""
        rows = self._tenant.rows
        with suppress(CrmError):
            await rows.stages()
        either = (seen.record or {}, write.body.to_wire() if write.body else {})
        await rows.learn_companies(wire.get("companyId") for wire in either)
        await rows.learn_contacts([write.ids.get("contact_id"), *(wire.get("contactId") for wire in either)])

    async def _once(self, kind: Kind, write: Write, call: Call, send: Send) -> Any:
        from crm_mcp.journal import LedgerError  # noqa: PLC0415
        from crm_mcp.writes import Seen  # noqa: PLC0415

        while True:
            # To whom it goes makes it another e-mail; all else is seen when nobody else can change it.
            seen = await kind.seen(self._crm, write) if kind.is_email else None
            attempt = self._attempt(kind, write, seen or Seen(), call)
            try:
                begun = self._ledger().begin(
                    attempt, window_seconds=UNKNOWN_SECONDS, lease_seconds=self._lease_seconds
                )
                if not begun.is_new and await self._goes_anew(kind, write, call, begun.change, attempt):
                    # One that another process began since then still stands in the way.
                    begun = self._ledger().begin(
                        attempt,
                        window_seconds=_age(begun.change).total_seconds(),
                        lease_seconds=self._lease_seconds,
                    )
            except LedgerError as error:
                raise RefusedError(f"{error} {NOTHING_SENT}") from error
            call.on_record = True
            if begun.is_new:
                return await self._sent(kind, write, seen, call, begun.change, send)
            if begun.change.outcome == "applied" and begun.change.key == attempt.key:
                call.repeats.append(begun.change.id)
                return _restored(begun.change.after, write)
            await self._until_closed(begun.change)

    async def _until_closed(self, change: Change) -> None:
        """What is in flight decides; only the ledger is asked whether it still is."""
        await anyio.sleep(POLL_SECONDS)
        while self._ledger().get(change.id).outcome == "pending":  # noqa: ASYNC110  # of another process
            await anyio.sleep(POLL_SECONDS)

    @property
    def _lease_seconds(self) -> float:
        return self._crm.timeouts.total_seconds + LEASE_MARGIN_SECONDS

    def _attempt(self, kind: Kind, write: Write, seen: Seen, call: Call) -> Attempt:
        from crm_mcp.ledger import Attempt, Subject  # noqa: PLC0415

        about = kind.subject(write, None)
        hidden = self._hidden(kind)
        return Attempt(
            principal=self._principal,
            entity=self._crm.identity,
            tool=call.tool,
            arguments=_kept(call, hidden),
            operation=write.operation.name,
            targets=dict(write.ids),
            body=_without(write.body.to_wire() if write.body else {}, hidden),
            title=kind.title(write, seen, self._named),
            key=self._key(write, kind.aim(seen)),
            subject=Subject(kind.record, about) if about else None,
            before=seen.record,
            approval=call.approval,
            undoes=call.undoes,
            claim=kind.claim(write) or None,
        )

    def _hidden(self, kind: Kind) -> Sequence[str]:
        return kind.bodies if self._policy.digest_bodies else ()

    def _key(self, write: Write, aim: Any) -> str:
        body = write.body.to_wire() if write.body else None
        return digest([write.operation.name, dict(write.ids), body, aim])

    def _named(self, said: str) -> str:
        """What an id stands for, where that is known."""
        return self._tenant.memory.names.get(said) or said

    def _check_approval(self, change: Change, call: Call, seen: Seen) -> None:
        """Raises RefusedError for what a person must approve and did not."""
        if not call.guarded or self._policy.trusts_client(call.tool, call.arguments):
            return
        if change.key not in call.approved:
            raise RefusedError(f"Nobody approved: {change.title}. {NOTHING_SENT}")
        if call.approved[change.key] != digest(seen.what_counts()):
            raise RefusedError(
                f"The record changed since it was shown, so that the approval is void. {NOTHING_SENT}"
            )

    def _refuse(self, attempt: Attempt, problem: str, listed: Sequence[str] = ()) -> NoReturn:
        self._record(attempt, "refused", problem)
        raise RefusedError("\n".join([f"{problem} {NOTHING_SENT}", *listed]))

    async def _listed(self, kind: Kind, records: Sequence[Record]) -> list[str]:
        lines = await self._tenant.refs.lines(kind.record, records[:MAX_CANDIDATES]) if records else []
        return [f"- {line}" for line in lines]

    def _record(self, attempt: Attempt, outcome: NeverSent, problem: str) -> None:
        self._ledger().refused(attempt, outcome, problem)
        CALL.get().on_record = True

    async def _goes_anew(
        self, kind: Kind, write: Write, call: Call, earlier: Change, attempt: Attempt
    ) -> bool:
        """Whether the write is to be done although an equal one was lately, or may have been."""
        from crm_mcp import lost  # noqa: PLC0415

        if earlier.outcome == "pending" or earlier.key != attempt.key:
            return False
        if kind.is_email and call.arguments.get("repeat") and call.rehearsal is None and not call.approved:
            self._refuse(attempt, "The same e-mail again needs a person's approval.")
        if earlier.outcome == "unknown":
            traces = await self._found(kind, write, earlier)
            if traces.ours is None:
                if problem := lost.why_not_again(kind, call.arguments, earlier, traces):
                    self._refuse(attempt, problem, await self._listed(kind, traces.like))
                if call.rehearsal is None and lost.is_not_done(kind, earlier, traces):
                    self._ledger().close(earlier.id, "failed", detail="The CRM did not show it later.")
                return True
        return (
            _age(earlier) > timedelta(seconds=REPEAT_SECONDS)
            or bool(call.arguments.get("repeat"))
            or not await kind.stands(self._crm, write, earlier.subject and earlier.subject.id)
        )

    async def _sent(
        self, kind: Kind, write: Write, seen: Seen | None, call: Call, change: Change, send: Send
    ) -> Any:
        try:
            if seen is None:
                seen = await kind.seen(self._crm, write)
            self._check_approval(change, call, seen)
            await self._refuse_unwanted(kind, write, seen, call, change)
        except CrmError as error:
            outcome: Outcome = "refused" if isinstance(error, RefusedError) else "failed"
            self._close_unsent(change, outcome, str(error))
            raise
        except BaseException:
            # Cancelled, or nobody knows what.
            self._close_unsent(change, "failed", "It ended before it was sent.")
            raise
        renewed = self._ledger().renew(
            change.id,
            lease_seconds=self._lease_seconds,
            before=seen.record,
            title=kind.title(write, seen, self._named),
        )
        if renewed is None:
            problem = f"It took so long that somebody else may have taken it over. {NOTHING_SENT}"
            self._close_unsent(change, "failed", problem)
            raise RefusedError(problem)
        with anyio.CancelScope(shield=True):
            return await self._done(kind, write, call, renewed, send)

    def _close_unsent(self, change: Change, outcome: Outcome, problem: str) -> None:
        from crm_mcp.journal import LedgerError  # noqa: PLC0415

        # Who took it over has closed it.
        with suppress(LedgerError):
            self._ledger().close(change.id, outcome, detail=problem)

    async def _done(self, kind: Kind, write: Write, call: Call, change: Change, send: Send) -> Any:
        from crm_mcp.journal import LedgerError  # noqa: PLC0415

        try:
            answer = await send()
        except (OutcomeUnknownError, UnexpectedResponseError) as error:
            return await self._after_silence(kind, write, call, change, error)
        except CrmError as error:
            self._ledger().close(change.id, "failed", detail=str(error))
            raise
        call.changes.append(change.id)
        after = None
        try:
            after = await self._after(kind, write, change, answer)
            self._close(kind, write, change, after)
        except LedgerError as error:
            call.notes.append(f"This was done, but it is not on record that it was: {error}")
        return answer if after is None else after

    async def _refuse_unwanted(
        self, kind: Kind, write: Write, seen: Seen, call: Call, attempt: Attempt
    ) -> None:
        """Raises RefusedError. Before it is sent the claim is held, so that nobody comes in between."""
        from crm_mcp import lost  # noqa: PLC0415

        kind.refuse(write, seen)
        if problem := lost.why_not_now(self._ledger(), kind, write, attempt):
            raise RefusedError(f"{problem} {NOTHING_SENT}")
        if kind.is_email:
            self._refuse_too_many(seen, attempt)
        if kind.ends:
            self._refuse_namesake(attempt)
        if call.arguments.get("allow_duplicate") or call.arguments.get("repeat"):
            return
        same = await kind.same(self._crm, write)
        if same:
            problem = (
                f"This {kind.record} seems to be there already. {NOTHING_SENT} Use the one that is there; "
                "if it is another one, say `allow_duplicate`:"
            )
            raise RefusedError("\n".join([problem, *await self._listed(kind, same)]))

    def _refuse_namesake(self, attempt: Attempt) -> None:
        """A call made again must not end what is called like the record that it ended before."""
        done = done_before(self._ledger(), attempt)
        if done and done.targets != attempt.targets:
            raise RefusedError(
                f"The same call did this at {done.opened_at:%H:%M} UTC (change {done.id}): {done.title}. "
                f"What fits it now is another record: if that one is meant too, say its id. {NOTHING_SENT}"
            )

    def _refuse_too_many(self, seen: Seen, attempt: Attempt) -> None:
        """E-mail is bounded by what the ledger has, whatever the arguments say."""
        now = datetime.now(UTC)
        day = self._ledger().changes(
            since=now - timedelta(days=1),
            outcomes=("applied", "unknown"),
            tool=attempt.tool,
            entity=attempt.entity,
        )
        sent = [one for one in day if one.operation == attempt.operation]
        hour = [one for one in sent if one.opened_at >= now - timedelta(hours=1)]
        to = _address(seen.record)
        theirs = [one for one in sent if to and _address(one.before) == to]
        for what, found, most in (
            ("an hour", hour, self._policy.emails_per_hour),
            ("a day", sent, self._policy.emails_per_day),
            (f"a day to {to}", theirs, self._policy.emails_per_recipient),
        ):
            if len(found) >= most:
                raise RefusedError(f"At most {most} e-mails {what} are sent from here. {NOTHING_SENT}")

    async def _after(self, kind: Kind, write: Write, change: Change, answer: Any) -> Any:
        """The record as it is now, looked for where the CRM's answer does not show it."""
        record: Entity | None = write.operation.answer.read(answer)
        if record is not None:
            return record.wire
        with suppress(CrmError):
            if kind.is_new:
                return (await self._traces(kind, write, change)).ours
            return await kind.now(self._crm, write.ids)
        return None

    def _close(self, kind: Kind, write: Write, change: Change, after: Any) -> None:
        from crm_mcp.ledger import Subject  # noqa: PLC0415

        about = kind.subject(write, after if isinstance(after, dict) else None)
        subject: Subject | None = Subject(kind.record, about) if about else None
        if isinstance(after, dict):
            after = _without(after, self._hidden(kind))
        self._ledger().close(change.id, "applied", after=after, subject=subject)

    async def _after_silence(
        self, kind: Kind, write: Write, call: Call, change: Change, error: CrmError
    ) -> Any:
        """No usable answer came: what the CRM shows decides, and where it shows nothing, nobody knows."""
        from crm_mcp.journal import LedgerError  # noqa: PLC0415

        found = None
        may_be_late = isinstance(error, OutcomeUnknownError) and error.may_be_late
        late_seconds = self._policy.late_seconds if may_be_late else 0
        # What the ledger cannot be told now reads as unknown later.
        with suppress(CrmError, LedgerError):
            change = self._ledger().close(change.id, "unknown", detail=str(error), late_seconds=late_seconds)
            found = (await self._found(kind, write, change)).ours
        if found is None:
            raise type(error)(f"{error} (Change {change.id}; {kind.absence.value}.)") from error
        call.changes.append(change.id)
        call.notes.append("The CRM's answer was lost, but it shows that this was done.")
        return found

    async def _found(self, kind: Kind, write: Write, change: Change) -> Traces:
        """What the CRM shows of a change without an answer; that it was done is on record then."""
        traces = await self._traces(kind, write, change)
        if traces.ours is not None:
            self._close(kind, write, change, traces.ours)
        return traces

    async def _traces(self, kind: Kind, write: Write, change: Change) -> Traces:
        from crm_mcp.lost import look  # noqa: PLC0415

        return await look(self._crm, self._ledger(), kind, write, change)


def attempted(call: Call, principal: str, entity: str, title: str, policy: Policy) -> Attempt:
    """A call as it was made, of which nobody knows what it would have sent."""
    from crm_mcp.ledger import Attempt  # noqa: PLC0415

    return Attempt(
        principal=principal,
        entity=entity,
        tool=call.tool,
        arguments=_kept(call, BODIES if policy.digest_bodies else ()),
        operation="",
        targets={},
        body={},
        title=title,
        key=digest([call.tool, _kept(call, ())]),
    )


def done_before(ledger: Ledger, attempt: Attempt) -> Change | None:
    """What the same call did within the time of a repeat, whatever its arguments mean now."""
    lately = ledger.changes(
        since=datetime.now(UTC) - timedelta(seconds=REPEAT_SECONDS),
        outcomes=["applied"],
        tool=attempt.tool,
        principal=attempt.principal,
        entity=attempt.entity,
    )
    return next((one for one in lately if one.arguments == attempt.arguments), None)


def _kept(call: Call, hidden: Sequence[str]) -> dict[str, Any]:
    return _without({name: _plain(value) for name, value in call.arguments.items()}, hidden)


def _address(seen: dict[str, Any] | None) -> str:
    """Where an e-mail goes, as people tell addresses apart."""
    return on_one_line(str((seen or {}).get("to") or "")).casefold()


def _without(values: dict[str, Any], hidden: Sequence[str]) -> dict[str, Any]:
    """Texts that the operator does not want kept, as digests."""
    return {
        name: _as_digest(value) if name in hidden and isinstance(value, str) else value
        for name, value in values.items()
    }


def _restored(after: Any, write: Write) -> Any:
    """An answer from the ledger with the texts that were sent, where it only has their digests."""
    if not isinstance(after, dict) or write.body is None:
        return after
    sent = {name: value for name, value in write.body.to_wire().items() if isinstance(value, str)}
    return after | {name: text for name, text in sent.items() if after.get(name) == _as_digest(text)}


def _as_digest(text: str) -> str:
    return f"sha256:{digest(text)}"


def _age(change: Change) -> timedelta:
    return datetime.now(UTC) - (change.closed_at or change.opened_at)


def _is_email_again(tool: str, arguments: Mapping[str, Any]) -> bool:
    return tool == "send_outbound_email" and bool(arguments.get("repeat"))


def _plain(value: Any) -> Any:
    return value if isinstance(value, str | int | float | bool | list | dict | None) else str(value)
