"""The one way to the CRM for writes: each once, on record, with a person's word where that is needed."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import anyio

from crm_mcp.calls import (
    CALL,
    DAY_SECONDS,
    NOTHING_SENT,
    REPEAT_SECONDS,
    TRUSTED_CLIENT,
    Call,
    Planned,
    Policy,
    digest,
    kept,
    restored,
    without,
)
from crm_mcp.crm.contract import UUID_PATTERN
from crm_mcp.crm.errors import CrmError, OutcomeUnknownError, RefusedError, UnexpectedResponseError
from crm_mcp.wording import clock, worded

if TYPE_CHECKING:
    from crm_mcp.crm import CrmClient
    from crm_mcp.crm.client import Write
    from crm_mcp.crm.contract import Record
    from crm_mcp.ledger import Attempt, Begun, Change, Ledger, NeverSent, Outcome
    from crm_mcp.tenant import Tenant
    from crm_mcp.writes import Kind, Seen, Verdict

T = TypeVar("T")
Send = Callable[[], Awaitable[Any]]
Wire = dict[str, Any]

POLL_SECONDS = 0.05
# What is in flight is waited for, but not longer than clients wait for a call.
WAIT_SECONDS = 30.0
LEASE_MARGIN_SECONDS = 5.0
# Where the ledger took longer, what was seen before is looked at again.
PROMPT_SECONDS = 0.5
LOOKS = 3
MAX_CANDIDATES = 5
UNLINK = "unlink_contact_from_company"
# The tools that do what these operations do; others are called like their operations.
TOOL_OF = {
    "create_company_membership": "link_contact_to_company",
    "update_company_membership": "link_contact_to_company",
    "delete_company_membership": UNLINK,
}


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
        self._named = tenant.memory.names.named

    async def __call__(self, write: Write, send: Send) -> Any:
        """The CRM's JSON, as the write's answer or as the recorded one of its equal.

        What was sent is waited for, although the call is cancelled. Raises RefusedError, and whatever sending
        raises.
        """
        from crm_mcp.kinds import KINDS  # noqa: PLC0415  # only writing needs it

        kind, call = KINDS[write.operation.name], CALL.get()
        if call.undoes and self._guards_undoing(write, call.undoes):
            call.guarded = True
        if call.guarded and self._policy.trusts_client(call.tool, call.arguments):
            call.approval = TRUSTED_CLIENT
        if call.rehearsal is not None:
            return await self._rehearsed(kind, write, call, call.rehearsal)
        return await self._once(kind, write, call, send)

    def _guards_undoing(self, write: Write, change_id: str) -> bool:
        """Whether a person must approve what takes a change back: the end of what was new, what is guarded
        itself, and what takes back what was, be it by way of other undoings."""
        from crm_mcp.journal import LedgerError  # noqa: PLC0415
        from crm_mcp.kinds import KINDS  # noqa: PLC0415

        guard, undone = self._policy.guard, self._ledger().get(change_id)
        if TOOL_OF.get(write.operation.name, write.operation.name) in guard:
            return True
        while not (undone.tool in guard or KINDS[undone.operation].is_new):
            if undone.undoes is None:
                return False
            try:
                undone = self._ledger().get(undone.undoes)
            except LedgerError:  # nobody knows any more
                break
        return True

    # Before it is sent

    async def _rehearsed(self, kind: Kind, write: Write, call: Call, rehearsal: list[Planned]) -> Any:
        """Nothing is sent; what would be goes into the rehearsal, and a repeat would not."""
        from crm_mcp.lost import why_like_lost  # noqa: PLC0415
        from crm_mcp.unwanted import told  # noqa: PLC0415

        while True:
            seen = await self._seen_whole(kind, write)
            self._guard_what_ends(kind, write, seen, call)
            await self._learn_names(kind, write, seen)
            attempt = self._attempt(kind, write, seen, call)
            earlier = self._ledger().earlier(attempt, window_seconds=DAY_SECONDS)
            if earlier is None or earlier.outcome != "pending":
                break
            await self._until_closed(earlier, attempt)
        if earlier and not await self._goes_anew(kind, write, call, earlier, attempt):
            call.on_record = True
            return restored(self._ledger().get(earlier.id).after, write)
        # What became of it may have been found just now.
        earlier = earlier and self._ledger().get(earlier.id)
        if earlier and earlier.outcome == "failed":
            earlier = None
        try:
            await self._refuse_unwanted(kind, write, seen, call, attempt, again=bool(earlier))
        except RefusedError as error:
            await self._record(attempt, "refused", str(error))
            raise
        details = list(kind.details(write, seen, self._named))
        if earlier and not call.undoes:
            was = "may have been" if earlier.outcome == "unknown" else "was"
            is_gone = earlier.outcome == "applied" and not await kind.stands(self._crm, write, earlier.after)
            gone = ", and is not so any more" if is_gone else ""
            details.insert(0, f"The same {was} done at {clock(earlier.opened_at)} already{gone}.")
        lost = None
        if kind.is_told and call.arguments.get("repeat"):
            lost = await why_like_lost(self._crm, self._ledger(), kind, write, attempt)
        like = self._like(kind, seen, attempt)
        if first := lost or (like and f"{told(like)}."):
            details.insert(0, first)
        done = earlier.id if earlier else ""
        rehearsal.append(Planned(attempt, details, _what_counts(seen, like), done))
        return None

    def _like(self, kind: Kind, seen: Seen, attempt: Attempt) -> Change | None:
        """Of an e-mail, one that reads the same."""
        from crm_mcp.unwanted import emails_of_the_day, reads_the_same  # noqa: PLC0415

        return (
            reads_the_same(emails_of_the_day(self._ledger(), attempt), seen, attempt)
            if kind.is_email
            else None
        )

    async def _learn_names(self, kind: Kind, write: Write, seen: Seen) -> None:
        """What a person is shown should have names for ids."""
        rows = self._tenant.rows
        with suppress(CrmError):
            await rows.stages()
        sent = write.body.to_wire() if write.body else {}
        either = (seen.record or {}, sent)
        ids = {name: full for name, full in write.ids.items() if full != kind.subject(write, None)}
        # As they are called now: what was remembered may be another one's name. That of the record itself is
        # what the write was said by, and is compared with it.
        await rows.learn_anew(
            companies=[*(wire.get("companyId") for wire in either), *sent.get("companyIds", ())],
            contacts=[ids.get("contact_id"), *(wire.get("contactId") for wire in either)],
            leads=[ids.get("lead_id"), sent.get("leadId")],
        )

    async def _once(self, kind: Kind, write: Write, call: Call, send: Send) -> Any:
        from crm_mcp.journal import LedgerError  # noqa: PLC0415
        from crm_mcp.writes import Seen  # noqa: PLC0415

        met: set[str] = set()
        while True:
            # To whom it goes makes it another e-mail; all else is seen when nobody else can change it.
            seen = await kind.seen(self._crm, write) if kind.is_email else None
            attempt = self._attempt(kind, write, seen or Seen(), call)
            asked_at = time.monotonic()
            again = False
            try:
                begun = await self._begun(kind, write, attempt)
                # A call that is made once more while it is on its way is no second one on purpose.
                other = begun.change
                is_ours = other.id in met and other.arguments == attempt.arguments
                is_done = is_ours and other.outcome == "applied"
                if not (begun.is_new or is_done) and await self._goes_anew(
                    kind, write, call, begun.change, attempt
                ):
                    # One that another process began since then still stands in the way.
                    begun, again = await self._begun(kind, write, attempt, despite=begun.change), True
            except LedgerError as error:
                raise RefusedError(f"{error} {NOTHING_SENT}") from error
            call.on_record = True
            if begun.is_new:
                prompt = time.monotonic() - asked_at < PROMPT_SECONDS
                if not prompt:
                    seen = None
                return await self._sent(kind, write, seen, call, begun.change, send, again=again)
            if begun.change.outcome == "applied" and begun.change.key == attempt.key:
                call.repeats.append(begun.change.id)
                if begun.change.arguments == attempt.arguments:
                    await self._tell(begun.change)
                return restored(begun.change.after, write)
            met.add(begun.change.id)
            await self._until_closed(begun.change, attempt)

    async def _begun(
        self, kind: Kind, write: Write, attempt: Attempt, despite: Change | None = None
    ) -> Begun:
        from crm_mcp.lost import collides  # noqa: PLC0415

        again = despite is None or despite.outcome == "applied" or self._is_on_purpose(despite)

        def blocks(other: Change) -> bool:
            # E-mails are counted one after the other.
            return kind.is_email or collides(kind, write, other)

        return await self._on_record(
            lambda ledger: ledger.begin(
                attempt,
                window_seconds=DAY_SECONDS,
                lease_seconds=self._lease_seconds,
                despite=despite.id if despite else "",
                # One that was lost, and is found done by now, is not done again.
                though_applied=again,
                blocks=blocks,
            )
        )

    async def _until_closed(self, change: Change, attempt: Attempt) -> None:
        """What is in flight decides; only the ledger is asked whether it still is.

        Raises RefusedError where that takes longer than anybody waits for a call.
        """
        await anyio.sleep(POLL_SECONDS)
        with anyio.move_on_after(WAIT_SECONDS):
            while self._ledger().get(change.id).outcome == "pending":  # noqa: ASYNC110  # of another process
                await anyio.sleep(POLL_SECONDS)
            return
        await self._refuse(
            attempt,
            f'"{change.title}" (change {change.id}) is on its way since {change.opened_at:%H:%M:%S} UTC. '
            "Try again later.",
        )

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
            arguments=kept(call, hidden),
            operation=write.operation.name,
            targets=dict(write.ids),
            body=without(write.body.to_wire() if write.body else {}, hidden),
            title=kind.title(write, seen, self._named),
            key=digest([write.operation.name, kind.same(write, seen)]),
            subject=Subject(kind.record, about) if about else None,
            before=seen.record,
            approval=call.approval,
            undoes=call.undoes,
            claim=kind.claim(write) or None,
            call=call.id,
            meant=call.meant,
        )

    def _hidden(self, kind: Kind) -> Sequence[str]:
        return kind.bodies if self._policy.digest_bodies else ()

    async def _refuse(self, attempt: Attempt, problem: str, listed: Sequence[str] = ()) -> NoReturn:
        await self._record(attempt, "refused", problem)
        raise RefusedError("\n".join([f"{problem} {NOTHING_SENT}", *listed]))

    async def _listed(self, kind: Kind, records: Sequence[Record]) -> list[str]:
        lines = (
            await self._tenant.refs.candidates.lines(kind.record, records[:MAX_CANDIDATES]) if records else []
        )
        return [f"- {line}" for line in lines]

    async def _record(self, attempt: Attempt, outcome: NeverSent, problem: str) -> None:
        await self._on_record(lambda ledger: ledger.never_sent(attempt, outcome, problem))
        CALL.get().on_record = True

    async def _goes_anew(
        self, kind: Kind, write: Write, call: Call, earlier: Change, attempt: Attempt
    ) -> bool:
        """Whether the write is to be done although an equal one was lately, or may have been."""
        from crm_mcp.lost import why_not_again  # noqa: PLC0415
        from crm_mcp.writes import CannotTell, WasDone  # noqa: PLC0415

        if earlier.outcome == "pending" or earlier.key != attempt.key:
            return False
        again = self._is_on_purpose(earlier)
        if kind.is_email and again and call.rehearsal is None and not call.approved:
            await self._refuse(attempt, "The same e-mail again needs a person's approval.")
        if earlier.outcome == "unknown":
            verdict = await self._settled(kind, write, earlier)
            if isinstance(verdict, WasDone):
                return again
            if problem := why_not_again(kind, call.arguments, earlier, verdict):
                like = verdict.like if isinstance(verdict, CannotTell) else ()
                await self._refuse(attempt, problem, await self._listed(kind, like))
            if isinstance(verdict, CannotTell):
                await self._refuse_to_overwrite(kind, call, earlier, attempt)
            return True
        # Who was not told yet that it was done may be late.
        is_told = not (earlier.lost and earlier.arguments == attempt.arguments)
        if again or (is_told and _age(earlier) > timedelta(seconds=REPEAT_SECONDS)):
            return True
        if await kind.stands(self._crm, write, earlier.after):
            return False
        await self._refuse_to_overwrite(kind, call, earlier, attempt)
        return True

    def _is_on_purpose(self, earlier: Change) -> bool:
        """Whether it is to be done although that was: what was lost, and is asked for once more, is not."""
        call = CALL.get()
        return bool(call.arguments.get("repeat")) and not call.resumes(earlier)

    async def _refuse_to_overwrite(self, kind: Kind, call: Call, earlier: Change, attempt: Attempt) -> None:
        """A call made again must not take back what somebody else changed since it was made first."""
        from crm_mcp.unwanted import why_overwritten  # noqa: PLC0415

        if problem := await why_overwritten(self._crm, self._ledger(), kind, call, earlier):
            problem = UUID_PATTERN.sub(lambda found: self._named(found[0]), problem)
            await self._refuse(attempt, problem)

    async def _refuse_unwanted(
        self, kind: Kind, write: Write, seen: Seen, call: Call, attempt: Attempt, *, again: bool
    ) -> None:
        """Raises RefusedError. Before it is sent the claim is held, so that nobody comes in between."""
        from crm_mcp.lost import why_like_lost, why_not_now  # noqa: PLC0415
        from crm_mcp.unwanted import (  # noqa: PLC0415
            emails_of_the_day,
            why_otherwise_now,
            why_reads_the_same,
            why_renamed,
            why_too_many,
        )

        kind.refuse(write, seen)
        ledger = self._ledger()
        problem = await why_not_now(self._crm, ledger, kind, write, attempt)
        problem = problem or why_renamed(self._tenant.memory, kind, write, seen, call)
        problem = problem or why_otherwise_now(ledger, kind, seen, call, attempt)
        if kind.is_email:
            day = emails_of_the_day(ledger, attempt)
            problem = problem or why_too_many(day, self._policy, seen, attempt)
            if not call.arguments.get("repeat"):
                problem = problem or why_reads_the_same(day, seen, attempt)
        if kind.is_told and not call.arguments.get("repeat"):
            problem = problem or await why_like_lost(self._crm, ledger, kind, write, attempt)
        if problem:
            raise RefusedError(f"{problem} {NOTHING_SENT}")
        on_purpose = call.arguments.get("allow_duplicate") or (again and call.arguments.get("repeat"))
        if seen.same and not on_purpose:
            another = "if it is another one, say `allow_duplicate`:"
            if kind.record == "stage":
                another = "another one needs another name:"
            problem = (
                f"This {kind.record} seems to be there already. {NOTHING_SENT} Use the one that is there; "
                f"{another}"
            )
            raise RefusedError("\n".join([problem, *await self._listed(kind, seen.same)]))
        if seen.unsure and not on_purpose and call.rehearsal is None:
            call.notes.append(
                f"Not every {kind.record} could be compared with it: it may be there twice now."
            )

    def _guard_what_ends(self, kind: Kind, write: Write, seen: Seen, call: Call) -> None:
        """What ends a membership on the way is guarded as the end of one is."""
        if kind.also_ends(write, seen) and UNLINK in self._policy.guard:
            call.guarded = True
            if self._policy.trusts_client(call.tool, call.arguments):
                call.approval = TRUSTED_CLIENT

    def _needs_a_person(self, call: Call) -> bool:
        return call.guarded and not self._policy.trusts_client(call.tool, call.arguments)

    async def _seen_whole(self, kind: Kind, write: Write) -> Seen:
        """With what hangs on the record, for a person is shown that."""
        seen = await kind.seen(self._crm, write)
        return replace(seen, hanging=await kind.hanging(self._crm, write)) if seen.record else seen

    def _check_approval(self, kind: Kind, change: Change, call: Call, seen: Seen) -> None:
        """Raises RefusedError for what a person must approve and did not."""
        if not self._needs_a_person(call):
            return
        if not call.approved:
            raise RefusedError(f"Nobody approved: {change.title}. {NOTHING_SENT}")
        if change.key not in call.approved:
            problem = f'What was approved would be "{change.title}" now, so that the approval is void.'
            raise RefusedError(f"{problem} {NOTHING_SENT}")
        if call.approved[change.key] != _what_counts(seen, self._like(kind, seen, change)):
            what = "The record, or what else was sent," if kind.is_email else "The record"
            raise RefusedError(
                f"{what} changed since it was shown, so that the approval is void. {NOTHING_SENT}"
            )

    # On its way

    async def _sent(
        self,
        kind: Kind,
        write: Write,
        seen: Seen | None,
        call: Call,
        change: Change,
        send: Send,
        *,
        again: bool,
    ) -> Any:
        from crm_mcp.journal import LedgerError  # noqa: PLC0415

        try:
            renewed = await self._looked_at(kind, write, seen, call, change, again=again)
        except CrmError as error:
            outcome: Outcome = "refused" if isinstance(error, RefusedError) else "failed"
            await self._close_unsent(change, outcome, str(error))
            raise
        except LedgerError as error:
            await self._close_unsent(change, "failed", str(error))
            raise RefusedError(f"{error} {NOTHING_SENT}") from error
        except BaseException:
            from crm_mcp.ledger import NEVER_SENT  # noqa: PLC0415

            # Cancelled, or nobody knows what.
            await self._close_unsent(change, "failed", NEVER_SENT)
            raise
        if renewed is None:
            problem = f"It took so long that somebody else may have taken it over. {NOTHING_SENT}"
            await self._close_unsent(change, "failed", problem)
            raise RefusedError(problem)
        call.sent = True
        with anyio.CancelScope(shield=True):
            return await self._done(kind, write, call, renewed, send)

    async def _looked_at(
        self, kind: Kind, write: Write, seen: Seen | None, call: Call, change: Change, *, again: bool
    ) -> Change | None:
        """The change, renewed right after it was seen that it may be sent; None where its lease is over."""
        for _ in range(LOOKS):
            if seen is None:
                whole = self._needs_a_person(call)
                seen = await (self._seen_whole(kind, write) if whole else kind.seen(self._crm, write))
            if call.check:
                await call.check()
            self._guard_what_ends(kind, write, seen, call)
            self._check_approval(kind, change, call, seen)
            await self._refuse_unwanted(kind, write, seen, call, change, again=again)
            asked_at = time.monotonic()
            renewed = await self._renewed(kind, write, seen, change, call)
            if renewed is None or time.monotonic() - asked_at < PROMPT_SECONDS:
                return renewed
            # What was seen is old by now.
            seen = None
        raise RefusedError(f"The ledger is too slow to be sure of what is there. {NOTHING_SENT}")

    async def _renewed(
        self, kind: Kind, write: Write, seen: Seen, change: Change, call: Call
    ) -> Change | None:
        title = kind.title(write, seen, self._named)
        return await self._on_record(
            lambda ledger: ledger.renew(
                change.id,
                lease_seconds=self._lease_seconds,
                late_seconds=self._policy.late_seconds,
                before=seen.record,
                title=title,
                approval=call.approval,
            )
        )

    async def _on_record(self, put: Callable[[Ledger], T]) -> T:
        from crm_mcp.ledger import patiently  # noqa: PLC0415

        return await patiently(lambda: put(self._ledger()))

    async def _tell(self, change: Change) -> None:
        """That it was done has reached who asked for it: the same call after this is another one."""
        from crm_mcp.lost import tell  # noqa: PLC0415

        await tell(self._ledger(), change)

    async def _close_unsent(self, change: Change, outcome: Outcome, problem: str) -> None:
        from crm_mcp.journal import LedgerError  # noqa: PLC0415

        # Who took it over has closed it. What was cancelled is closed, too.
        with suppress(LedgerError), anyio.CancelScope(shield=True):
            await self._on_record(lambda ledger: ledger.close(change.id, outcome, detail=problem))

    async def _done(self, kind: Kind, write: Write, call: Call, change: Change, send: Send) -> Any:
        from crm_mcp.journal import LedgerError  # noqa: PLC0415

        try:
            answer = await send()
        except (OutcomeUnknownError, UnexpectedResponseError) as error:
            return await self._after_silence(kind, write, call, change, error)
        except CrmError as error:
            await self._close_unsent(change, "failed", str(error))
            raise
        try:
            after = await self._after(kind, write, change, answer)
        except OutcomeUnknownError as error:
            return await self._after_silence(kind, write, call, change, error)
        if call.undoes and (lost := _not_kept(kind, write, after)):
            await self._refuse_if_ignored(change, after, lost)
            call.notes.append(f"The CRM shows other values than before: {', '.join(map(worded, lost))}.")
        call.changes.append(change.id)
        call.notes += kind.notes(change.before, after)
        if kind.was_so(write, change.before):
            call.notes.append("It was so before: nothing changed.")
        try:
            await self._close(kind, write, change, after)
        except LedgerError as error:
            call.notes.append(f"This was done, but it is not on record that it was: {error}")
        if after is None and _is_about_another(kind, write, answer):
            return None
        return answer if after is None else after

    async def _refuse_if_ignored(self, change: Change, after: Wire | None, lost: Sequence[str]) -> None:
        """Raises UnexpectedResponseError, on record, where taking a change back changed nothing of it."""
        if any((after or {}).get(name) != (change.before or {}).get(name) for name in change.body):
            return
        problem = f"The CRM did not take it back: it shows other values for {', '.join(map(worded, lost))}."
        await self._close_unsent(change, "failed", problem)
        raise UnexpectedResponseError(problem)

    # After it was sent

    async def _after(self, kind: Kind, write: Write, change: Change, answer: Any) -> Wire | None:
        """The record as it is now, looked for where the CRM's answer does not show it, or only a part.

        Raises OutcomeUnknownError where the CRM then shows that nothing was done: no better than no answer.
        """
        from crm_mcp.journal import LedgerError  # noqa: PLC0415
        from crm_mcp.writes import NotDone, WasDone  # noqa: PLC0415

        record: Record | None = write.operation.answer.read(answer)
        if record is not None and kind.says_no(record):
            raise OutcomeUnknownError("The CRM says that it failed. Look before doing it again.")
        if record is not None and kind.is_answer(write, record):
            return await self._whole(kind, write, record)
        verdict: Verdict | None = None
        now = None
        with suppress(CrmError, LedgerError):
            verdict = await self._look(kind, write, change)
            if not (kind.is_new or isinstance(verdict, WasDone)):
                now = await kind.now(self._crm, write.ids)
        if isinstance(verdict, WasDone):
            return verdict.after or None
        if isinstance(verdict, NotDone):
            raise OutcomeUnknownError(
                "The CRM says that it was done, but does not show it. Look before doing it again."
            )
        if now is None and not kind.is_new:  # of what is new the result says so itself
            CALL.get().notes.append("The CRM accepted this, but does not show it.")
        return now

    async def _whole(self, kind: Kind, write: Write, record: Record) -> Wire:
        """A record, with what the CRM's answer left out of what was sent."""
        if write.body is None or not write.body.not_kept_by(record)[1]:
            return record.wire
        ids = dict(write.ids)
        if kind.is_new:
            ids[f"{kind.record}_id"] = str(record.wire.get("id"))
        with suppress(CrmError):
            return record.wire | (await kind.now(self._crm, ids) or {})
        return record.wire

    async def _after_silence(
        self, kind: Kind, write: Write, call: Call, change: Change, error: CrmError
    ) -> Any:
        """No usable answer came: what the CRM shows decides, and where it shows nothing, nobody knows."""
        from crm_mcp.journal import LedgerError  # noqa: PLC0415
        from crm_mcp.writes import WasDone  # noqa: PLC0415

        # What answered so oddly may not be the CRM, and the CRM still at it.
        may_be_late = not isinstance(error, OutcomeUnknownError) or error.may_be_late
        late_seconds = self._policy.late_seconds if may_be_late else 0
        # What the ledger cannot be told now reads as unknown later.
        with suppress(CrmError, LedgerError):
            change = await self._on_record(
                lambda ledger: ledger.close(
                    change.id, "unknown", detail=str(error), late_seconds=late_seconds
                )
            )
            verdict = await self._look(kind, write, change)
            if isinstance(verdict, WasDone):
                await self._close(kind, write, change, verdict.after)
                await self._tell(self._ledger().get(change.id))
                call.changes.append(change.id)
                call.notes.append("The CRM's answer was lost, but it shows that this was done.")
                return verdict.after
        raise type(error)(f"{error} (Change {change.id}; the same call again looks first.)") from error

    async def _settled(self, kind: Kind, write: Write, change: Change) -> Verdict:
        from crm_mcp.lost import recorded, settle  # noqa: PLC0415

        hidden, was = self._hidden(kind), recorded(change) or write
        return await settle(
            self._crm, self._ledger(), kind, was, change, keep=lambda after: without(after, hidden)
        )

    async def _look(self, kind: Kind, write: Write, change: Change) -> Verdict:
        from crm_mcp.lost import look  # noqa: PLC0415

        return await look(self._crm, self._ledger(), kind, write, change)

    async def _close(self, kind: Kind, write: Write, change: Change, after: Wire | None) -> None:
        from crm_mcp.lost import close  # noqa: PLC0415

        kept = None if after is None else without(after, self._hidden(kind))
        await close(self._ledger(), kind, write, change, kept)


def _what_counts(seen: Seen, like: Change | None) -> str:
    """The digest of what must not change between an approval and its write."""
    return digest([seen.what_counts(), like and like.id])


def _not_kept(kind: Kind, write: Write, after: Wire | None) -> list[str]:
    """The CRM's fields that the record shows otherwise than they were sent."""
    if not after or write.body is None:
        return []
    return [write.body.wire_name(name) for name in write.body.not_kept_by(kind.read(after))[0]]


def _is_about_another(kind: Kind, write: Write, answer: Any) -> bool:
    record: Record | None = write.operation.answer.read(answer)
    return record is not None and not kind.is_answer(write, record)


def _age(change: Change) -> timedelta:
    return datetime.now(UTC) - (change.closed_at or change.opened_at)
