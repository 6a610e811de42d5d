"""Asking the person which record is meant, on both protocol eras; a client that cannot be asked never is."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from functools import partial
from typing import Annotated, Any, Literal

from mcp.server.mcpserver import AcceptedElicitation, Context, Elicit, ElicitationResult, Resolve
from mcp.types.version import is_version_at_least
from pydantic import BaseModel, Field, create_model

from crm_mcp.access import CrmAccess
from crm_mcp.crm.errors import UnresolvedReferenceError
from crm_mcp.references import AmbiguousReferenceError, Meant
from crm_mcp.tools.parameters import Crm

# Since this version questions ride on the call's result; before, they need a way back to the client.
ASKS_IN_RESULTS = "2026-07-28"


class Choice(BaseModel):
    """Which candidate a person means, as it was shown; empty where nobody was asked."""

    which: str = ""


def can_ask(ctx: Context[CrmAccess]) -> bool:
    """Whether a question would reach a person; asking a client that cannot is a protocol error."""
    declared = ctx.client_capabilities.elicitation if ctx.client_capabilities else None
    if declared is None or (declared.form is None and declared.url is not None):
        return False
    version = ctx.protocol_version
    in_result = version is not None and is_version_at_least(version, ASKS_IN_RESULTS)
    return in_result or ctx.session.can_send_request


# What a lookup brought: the record, an ambiguity to ask about, or None where nothing was said.
Found = Meant | AmbiguousReferenceError | None


async def _found(said: str, find: Callable[[str], Awaitable[Meant]]) -> Found:
    try:
        return await find(said) if said else None
    except AmbiguousReferenceError as error:
        return error


def _which(ctx: Context[CrmAccess], found: Found) -> Choice | Elicit[Choice]:
    if not isinstance(found, AmbiguousReferenceError) or not can_ask(ctx):
        return Choice()
    options: Any = Literal[tuple(found.candidates)]
    schema = create_model("Choice", __base__=Choice, which=(options, Field(title="Which one?")))
    return Elicit(f"{found.problem} Which one is meant?", schema)


async def _meant(
    ctx: Context[CrmAccess],
    question: str,
    found: Found,
    answer: ElicitationResult[Choice],
    find: Callable[[str], Awaitable[Meant]],
) -> Meant | None:
    """What was found or what the person chose; where they declined, the error with the candidates rises.

    Where what fits changed while the person was asked, the answer is to another question than the one that
    stands now: nothing is decided without it.
    """
    if not isinstance(found, AmbiguousReferenceError):
        if f"{__name__}:{question}" in (ctx.input_responses or {}):
            raise UnresolvedReferenceError(
                "What fits changed while the person was asked. Nothing was done; call again."
            )
        return found
    if isinstance(answer, AcceptedElicitation) and answer.data.which:
        return await find(answer.data.which.rpartition(" · ")[2])
    declined = "The person was asked and chose none; nothing was done." if can_ask(ctx) else ""
    raise AmbiguousReferenceError(f"{found.problem} {declined}".strip(), found.candidates, found.count)


async def _found_company(company: str, crm: Crm) -> Found:
    return await _found(company, partial(crm.refs.company, writing=True))


async def _which_company(
    ctx: Context[CrmAccess], found: Annotated[Found, Resolve(_found_company)]
) -> Choice | Elicit[Choice]:
    return _which(ctx, found)


async def _meant_company(
    ctx: Context[CrmAccess],
    crm: Crm,
    found: Annotated[Found, Resolve(_found_company)],
    answer: Annotated[ElicitationResult[Choice], Resolve(_which_company)],
) -> Meant | None:
    return await _meant(ctx, "_which_company", found, answer, partial(crm.refs.company, writing=True))


async def _found_contact(contact: str, crm: Crm) -> Found:
    return await _found(contact, partial(crm.refs.contact, writing=True))


async def _which_contact(
    ctx: Context[CrmAccess], found: Annotated[Found, Resolve(_found_contact)]
) -> Choice | Elicit[Choice]:
    return _which(ctx, found)


async def _meant_contact(
    ctx: Context[CrmAccess],
    crm: Crm,
    found: Annotated[Found, Resolve(_found_contact)],
    answer: Annotated[ElicitationResult[Choice], Resolve(_which_contact)],
) -> Meant | None:
    return await _meant(ctx, "_which_contact", found, answer, partial(crm.refs.contact, writing=True))


async def _found_lead(lead: str, crm: Crm) -> Found:
    return await _found(lead, partial(crm.refs.lead, writing=True))


async def _which_lead(
    ctx: Context[CrmAccess], found: Annotated[Found, Resolve(_found_lead)]
) -> Choice | Elicit[Choice]:
    return _which(ctx, found)


async def _meant_lead(
    ctx: Context[CrmAccess],
    crm: Crm,
    found: Annotated[Found, Resolve(_found_lead)],
    answer: Annotated[ElicitationResult[Choice], Resolve(_which_lead)],
) -> Meant | None:
    return await _meant(ctx, "_which_lead", found, answer, partial(crm.refs.lead, writing=True))


MeantCompany = Annotated[Meant, Resolve(_meant_company)]
MeantContact = Annotated[Meant, Resolve(_meant_contact)]
MeantLead = Annotated[Meant, Resolve(_meant_lead)]
MaybeCompany = Annotated[Meant | None, Resolve(_meant_company)]
MaybeContact = Annotated[Meant | None, Resolve(_meant_contact)]
MaybeLead = Annotated[Meant | None, Resolve(_meant_lead)]
