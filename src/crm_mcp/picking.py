"""Which one is meant of what a short list holds: a stage, a mailbox; and the error where it is not plain."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from itertools import islice
from typing import Any

from crm_mcp.crm.contract import plain
from crm_mcp.crm.errors import UnresolvedReferenceError
from crm_mcp.crm.outreach import EmailConnection
from crm_mcp.crm.pipeline import PipelineStage
from crm_mcp.matching import Fit, best
from crm_mcp.said import SHORT_ID, cut
from crm_mcp.wording import MAX_NAME_CHARS, clean

MAX_CANDIDATES = 5


class AmbiguousReferenceError(UnresolvedReferenceError):
    """More than one record fits what was said, or none does well enough; a person can be asked which.

    `candidates` holds what would be meant by each, under the line that shows it; `count` is how many fit,
    `records` are all of them where they are records, and `fit` is false where they are only close, or where
    there may be others; `offered` are those of which none is what was said.
    """

    def __init__(
        self,
        problem: str,
        candidates: Mapping[str, Any],
        count: int | None = None,
        records: Sequence[Any] = (),
        *,
        fit: bool = True,
        offered: bool = False,
    ) -> None:
        self.problem = problem
        self.count = len(candidates) if count is None else count
        self.records = records
        self.fit = fit
        self.offered = offered
        self.candidates = dict(islice(candidates.items(), MAX_CANDIDATES))
        more = [f"(and {self.count - MAX_CANDIDATES} more)"] if self.count > MAX_CANDIDATES else []
        # As in our lists: no record's name can begin a line as ours do.
        listed = "\n".join([*(f"- {line}" for line in self.candidates), *more])
        super().__init__(f"{problem} Say the id of the one that is meant:\n{listed}")


def find_stage(stages: list[PipelineStage], said: str) -> PipelineStage:
    """The stage with that id, short id, name or system key, or of that kind where one stage has it.

    Raises AmbiguousReferenceError or UnresolvedReferenceError, naming all stages.
    """
    word = said.strip().lower()
    by_id = [stage for stage in stages if SHORT_ID.fullmatch(word) and stage.id.startswith(word)]
    by_kind = [stage for stage in stages if stage.kind == plain(said)]
    matches = best(said, stages, lambda stage: [stage.name, stage.system_key or ""], legal=False)
    named = matches.found if matches and matches.fit <= Fit.NORMALISED else []
    for found in (by_id, named, by_kind):
        if len(found) == 1:
            return found[0]
        if found:
            listed = {f"{_name(stage)} · {stage.id}": stage for stage in found}
            raise AmbiguousReferenceError(f'"{cut(said)}" fits more than one stage.', listed, records=found)
    names = list(map(_name, stages))
    # Short names are far from each other with the first slip, so that a suggestion may be looser.
    close = [_name(matches.found[0])] if matches else get_close_matches(said.strip().capitalize(), names, n=1)
    hint = f' Did you mean "{close[0]}"?' if close else ""
    raise UnresolvedReferenceError(f'No stage "{cut(said)}".{hint} Stages: {", ".join(names) or "none"}.')


def _name(stage: PipelineStage) -> str:
    return clean(stage.name, MAX_NAME_CHARS)


def find_connection(connections: list[EmailConnection], said: str) -> EmailConnection:
    """The mailbox with that id, short id or address, or the active one of that channel, or of all.

    Raises AmbiguousReferenceError with the active ones that fit, or UnresolvedReferenceError, listing all.
    """
    wanted = said.strip().lower()
    named = [one for one in connections if _is_named(one, wanted)]
    of_channel = [one for one in connections if wanted in ("", (one.channel or "").lower())]
    fitting = named or of_channel
    active = [one for one in fitting if is_active(one)]
    if len(active) == 1:
        return active[0]
    if active:
        fit = f'fit "{cut(said)}"' if wanted else "are active"
        listed = {_mailbox(one): one for one in active}
        raise AmbiguousReferenceError(f"Several e-mail connections {fit}.", listed)
    if wanted and fitting:
        problem = f"The e-mail connection {_mailbox(fitting[0])} cannot send."
    elif wanted:
        problem = f'No e-mail connection "{cut(said)}".'
    else:
        problem = "No e-mail connection is active; one is connected in the CRM's own settings."
    every = "; ".join(map(_mailbox, connections)) or "none"
    raise UnresolvedReferenceError(f"{problem} Connections: {every}. Nothing was sent.")


def _is_named(connection: EmailConnection, wanted: str) -> bool:
    by_id = SHORT_ID.fullmatch(wanted) and connection.id.lower().startswith(wanted)
    return bool(by_id) or (bool(wanted) and wanted == (connection.email or "").lower())


def _mailbox(connection: EmailConnection) -> str:
    email = clean(connection.email or "?", MAX_NAME_CHARS)
    return f"{email} ({connection.channel}, {connection.status}, {connection.id})"


def is_active(connection: EmailConnection) -> bool:
    """Whether it can send; the values of `status` are undocumented, so these are the likely ones."""
    return (connection.status or "active").lower() in ("active", "connected", "ok", "enabled")
