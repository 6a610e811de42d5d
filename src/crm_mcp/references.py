"""What a caller may say for a record, and the record that is meant."""

from __future__ import annotations

import difflib
from typing import Annotated

from pydantic import AfterValidator

from crm_mcp.crm.contract import UUID_PATTERN, plain
from crm_mcp.crm.errors import UnresolvedReferenceError
from crm_mcp.crm.outreach import EmailConnection
from crm_mcp.crm.pipeline import PipelineStage


def _an_id(value: str) -> str:
    if not UUID_PATTERN.fullmatch(value.strip()):
        raise ValueError("must be an id (a UUID), as the search tools show it")
    return value.strip().lower()


Id = Annotated[str, AfterValidator(_an_id)]


def find_stage(stages: list[PipelineStage], said: str) -> PipelineStage:
    """The stage with that id, name or system key; case, accents and spaces don't matter.

    Raises UnresolvedReferenceError, naming the closest stage and all there are.
    """
    wanted = plain(said)
    by_id = [stage for stage in stages if stage.id == said.strip().lower()]
    by_name = [
        stage for stage in stages if wanted in (plain(stage.name), plain(stage.system_key or stage.name))
    ]
    found = by_id or by_name
    if len(found) == 1:
        return found[0]
    names = ", ".join(stage.name for stage in stages)
    if found:
        same = ", ".join(f"{stage.name} ({stage.id})" for stage in found)
        raise UnresolvedReferenceError(f'"{said}" means more than one stage: {same}. Say the id.')
    close = difflib.get_close_matches(wanted, [plain(stage.name) for stage in stages], n=1)
    hint = next((f' Did you mean "{stage.name}"?' for stage in stages if plain(stage.name) in close), "")
    raise UnresolvedReferenceError(f'No stage "{said[:60]}".{hint} Stages: {names or "none"}.')


def find_connection(connections: list[EmailConnection], said: str) -> EmailConnection:
    """The mailbox with that id or address; without a word, the one that is active.

    Raises UnresolvedReferenceError, listing the mailboxes.
    """
    wanted = said.strip().lower()
    active = [connection for connection in connections if is_active(connection)]
    named = [one for one in connections if wanted in (one.id, (one.email or "").lower())]
    found = named if wanted else active
    if len(found) == 1 and is_active(found[0]):
        return found[0]
    every = "; ".join(f"{one.email} ({one.channel}, {one.status}, {one.id})" for one in connections) or "none"
    if wanted and not named:
        problem = f'No e-mail connection "{said[:60]}".'
    elif wanted:
        problem = f"The e-mail connection {named[0].email} is {named[0].status}, so it cannot send."
    elif active:
        problem = "Several e-mail connections are active: say which as `connection`."
    else:
        problem = "No e-mail connection is active; one is connected in the CRM's own settings."
    raise UnresolvedReferenceError(f"{problem} Connections: {every}. Nothing was sent.")


def is_active(connection: EmailConnection) -> bool:
    """Whether it can send; the values of `status` are undocumented, so these are the likely ones."""
    return (connection.status or "active").lower() in ("active", "connected", "ok", "enabled")
