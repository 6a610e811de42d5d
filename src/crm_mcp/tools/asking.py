"""Asking the person which record is meant, on both protocol eras; a client that cannot be asked never is."""

# The annotations of the resolvers below name each other: as strings the SDK could not evaluate them, so that
# `from __future__ import annotations` is missing here.

from collections.abc import Awaitable, Callable, Iterable, Mapping
from functools import partial
from typing import Annotated, Any, Literal, TypeVar, cast

import anyio
from mcp.server.mcpserver import AcceptedElicitation, Context, Elicit, ElicitationResult, Resolve
from mcp.types.version import is_version_at_least
from pydantic import BaseModel, Field, create_model

from crm_mcp.access import CrmAccess
from crm_mcp.calls import CALL, NOTHING_SENT
from crm_mcp.candidates import Meant
from crm_mcp.crm.errors import (
    CrmError,
    InvalidInputError,
    NotFoundError,
    RefusedError,
    UnresolvedReferenceError,
)
from crm_mcp.crm.outreach import EmailConnection
from crm_mcp.crm.pipeline import PipelineStage
from crm_mcp.ledger import Change
from crm_mcp.picking import AmbiguousReferenceError, find_connection
from crm_mcp.tenant import Advance
from crm_mcp.tools.parameters import Crm
from crm_mcp.wording import MAX_NAME_CHARS, clean, clock, sentence

T = TypeVar("T")
R = TypeVar("R", Meant, PipelineStage)

# Since this version questions ride on the call's result; before, they need a way back to the client.
ASKS_IN_RESULTS = "2026-07-28"
MAX_AT_ONCE = 8

# What is meant by each thing that was said, or what is wrong with it.
Found = dict[str, T | CrmError]


class Choice(BaseModel):
    """Which candidates a person means, as they were shown; a question gives it a field for each."""


def can_ask(ctx: Context[CrmAccess]) -> bool:
    """Whether a question would reach a person; asking a client that cannot is a protocol error."""
    declared = ctx.client_capabilities.elicitation if ctx.client_capabilities else None
    if CALL.get().unaskable or declared is None or (declared.form is None and declared.url is not None):
        return False
    version = ctx.protocol_version
    in_result = version is not None and is_version_at_least(version, ASKS_IN_RESULTS)
    return in_result or ctx.session.can_send_request


async def each(
    said: Iterable[str], find: Callable[[str], Awaitable[T]], advance: Advance | None = None
) -> Found[T]:
    """Look for each, a few at once. What is wrong with no single one, such as the rate limit, ends the call:
    nothing is done yet."""
    found: dict[str, T | CrmError | None] = dict.fromkeys(said)
    left = len(found)
    failures: list[CrmError] = []
    limit = anyio.CapacityLimiter(MAX_AT_ONCE)

    async def look_up(one: str) -> None:
        nonlocal left
        async with limit:
            try:
                found[one] = await find(one)
            except (UnresolvedReferenceError, InvalidInputError, NotFoundError) as error:
                found[one] = error
            except CrmError as error:
                failures.append(error)
                tasks.cancel_scope.cancel()
                return
        left -= 1
        if advance:
            await advance(1, left, f"{one}: looked up")

    async with anyio.create_task_group() as tasks:
        for one in found:
            tasks.start_soon(look_up, one)
    if failures:
        raise failures[0]
    return cast("Found[T]", found)


def written_to(parameter: str, find: Callable[[str], Awaitable[R]]) -> Callable[[str], Awaitable[R]]:
    """Finds the record that is meant, for a write.

    A call made again means what it meant, though nothing is called so by now; where another record is, it may
    be that one, or a retry: neither is meant.
    """

    async def found(said: str) -> R:
        before = CALL.get().meant_before(parameter, said)
        if before is None:
            return await find(said)
        change, full = before
        try:
            now = await find(said)
        except AmbiguousReferenceError as error:
            if not error.offered:
                problem = f"{_did(change)} {error.problem}"
                raise AmbiguousReferenceError(
                    problem, error.candidates, error.count, error.records, fit=error.fit
                ) from error
        except (UnresolvedReferenceError, NotFoundError):
            pass
        else:
            if now.id == full:
                return now
            raise RefusedError(
                f'{_did(change)} What "{clean(said, MAX_NAME_CHARS)}" fits now is another record than then, '
                f"which was {full}: if it is meant, say {now.id}. {NOTHING_SENT}"
            )
        return await find(full)

    return found


def _did(change: Change) -> str:
    did = "may have done" if change.outcome == "unknown" else "did"
    at = f"{clock(change.opened_at)} (change {change.id})"
    return f"The same call {did} this at {at}: {sentence(change.title)}"


async def one(said: str, find: Callable[[str], Awaitable[T]]) -> Found[T]:
    return await each([said] if said else [], find)


def asked_each(find: Callable[..., Awaitable[Found[T]]]) -> Callable[..., Awaitable[Found[T]]]:
    """Makes of `find`, which finds what a parameter says, the resolver of what is meant by it.

    What is not clear the person is asked in one question, with a field for each; what they leave out stays
    an error. The SDK hands over arguments by the names of a resolver's parameters: so each parameter of our
    tools is declared by a function that takes it under its name, and only the rest is made here.
    """

    async def which(
        ctx: Context[CrmAccess], found: Annotated[Found[Any], Resolve(find)]
    ) -> Choice | Elicit[Choice]:
        unclear = _unclear(found)
        return _question(unclear, len(found)) if unclear and can_ask(ctx) else Choice()

    # Answers come under this name, and of the same names the SDK would number those of one call.
    which.__qualname__ = f"which{find.__name__}"
    key = f"{which.__module__}:{which.__qualname__}"

    async def meant(
        ctx: Context[CrmAccess],
        found: Annotated[Found[Any], Resolve(find)],
        answer: Annotated[ElicitationResult[Choice], Resolve(which)],
    ) -> Found[T]:
        unclear = _unclear(found)
        if not unclear and key in (ctx.input_responses or {}):
            # The answer is to another question than the one that stands now: nothing is decided without it.
            raise UnresolvedReferenceError(
                "What fits changed while the person was asked. Nothing was done; call again."
            )
        if unclear and can_ask(ctx):
            chosen = answer.data.model_dump() if isinstance(answer, AcceptedElicitation) else {}
            picked = {said: chosen.get(field) for field, said in _fields(unclear).items()}
            found |= {said: _picked(error, picked[said]) for said, error in unclear.items()}
        records = {said: one.id for said, one in found.items() if isinstance(one, Meant | PipelineStage)}
        if records:
            CALL.get().meant[find.__name__.lstrip("_")] = records
        return found

    return meant


def asked(find: Callable[..., Awaitable[Found[T]]]) -> Callable[..., Awaitable[T | None]]:
    """The same for a parameter that says one thing or nothing; what stays unclear is the call's error."""

    async def meant(found: Annotated[Found[T], Resolve(asked_each(find))]) -> T | None:
        for outcome in found.values():
            if isinstance(outcome, CrmError):
                raise outcome
            return outcome
        return None

    return meant


def _unclear(found: Found[Any]) -> dict[str, AmbiguousReferenceError]:
    return {said: error for said, error in found.items() if isinstance(error, AmbiguousReferenceError)}


def _fields(unclear: Iterable[str]) -> dict[str, str]:
    return {f"which_{number}": said for number, said in enumerate(unclear, 1)}


def _question(unclear: Mapping[str, AmbiguousReferenceError], of: int) -> Elicit[Choice]:
    """One that stands alone has to be answered or declined; of several, any may be left out."""
    fields: dict[str, Any] = {}
    for field, said in _fields(unclear).items():
        options: Any = Literal[tuple(unclear[said].candidates)]
        title = clean(said, MAX_NAME_CHARS) or "Which one?"
        extra: Any = _as_choice
        several = Field(default=None, title=title, description=unclear[said].problem, json_schema_extra=extra)
        alone = Field(title=title, json_schema_extra=extra)
        fields[field] = (options, alone) if len(unclear) == 1 else (options | None, several)
    [first, *more] = unclear.values()
    left = first.count - len(first.candidates)
    unshown = (
        f" {left} more {'fits' if left == 1 else 'fit'}; if it is one of them, say no." if left > 0 else ""
    )
    message = f"{first.problem} Which one is meant?{unshown}"
    if more:
        message = f"{len(unclear)} of {of} are not clear. Which ones are meant? What is left out is skipped."
    return Elicit(message, create_model("Choice", __base__=Choice, **fields))


def _as_choice(schema: dict[str, Any]) -> None:
    """A form shows an `enum` as choices, of one value too; a bare `const` it may not."""
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]


def _picked(error: AmbiguousReferenceError, line: str | None) -> Any:
    """What the person chose; else the error with the candidates."""
    if line is not None:
        return error.candidates[line]
    declined = f"{error.problem} The person was asked and chose none; nothing was done with it."
    return AmbiguousReferenceError(declined, error.candidates, error.count)


@asked
async def _company(company: str, crm: Crm) -> Found[Meant]:
    return await one(company, written_to("company", partial(crm.refs.company, writing=True)))


@asked
async def _contact(contact: str, crm: Crm) -> Found[Meant]:
    return await one(contact, written_to("contact", partial(crm.refs.contact, writing=True)))


@asked
async def _lead(lead: str, crm: Crm) -> Found[Meant]:
    return await one(lead, written_to("lead", partial(crm.refs.lead, writing=True)))


@asked
async def _stage(stage: str, crm: Crm) -> Found[PipelineStage]:
    return await one(stage, written_to("stage", crm.refs.stage))


@asked
async def _owner(owner: str, crm: Crm) -> Found[str]:
    return await one(owner, crm.refs.new_owner)


@asked
async def _connection(connection: str, crm: Crm) -> Found[EmailConnection]:
    connections = await crm.client.outreach.connections()

    async def mailbox(said: str) -> EmailConnection:
        return find_connection(connections, said)

    # Nothing said is the one that is active.
    return await each([connection], mailbox)


@asked_each
async def _companies(companies: list[str], crm: Crm) -> Found[Meant]:
    find = written_to("companies", partial(crm.refs.company, writing=True))
    return await each(companies, find, crm.advance)


@asked_each
async def _leads(leads: tuple[str, ...], crm: Crm) -> Found[Meant]:
    find = written_to("leads", partial(crm.refs.lead, writing=True))
    return await each(leads, find, crm.advance)


async def _list(list_id: str, crm: Crm) -> str:
    """Never asked about, since the CRM lists none."""
    found = await crm.refs.marketing_list(list_id)
    if found != list_id.strip().lower():
        # What a person is asked about it calls it so.
        crm.memory.names.learn(found, list_id.strip(), "marketing list")
    return found


# Of a tool's own, those that are seldom a question stand first: the older protocol asks one at a time, and
# what is refused anyway is refused before anybody is asked.
MeantCompany = Annotated[Meant, Resolve(_company)]
MeantContact = Annotated[Meant, Resolve(_contact)]
MeantLead = Annotated[Meant, Resolve(_lead)]
MeantStage = Annotated[PipelineStage, Resolve(_stage)]
MeantConnection = Annotated[EmailConnection, Resolve(_connection)]
MaybeCompany = Annotated[Meant | None, Resolve(_company)]
MaybeContact = Annotated[Meant | None, Resolve(_contact)]
MaybeLead = Annotated[Meant | None, Resolve(_lead)]
MaybeStage = Annotated[PipelineStage | None, Resolve(_stage)]
MaybeOwner = Annotated[str | None, Resolve(_owner)]
MeantCompanies = Annotated[Found[Meant], Resolve(_companies)]
MeantList = Annotated[str, Resolve(_list)]
MeantLeads = Annotated[Found[Meant], Resolve(_leads)]
