"""What a look-up comes to: the one record that is meant, or those to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from crm_mcp.crm.companies import Company
from crm_mcp.crm.contacts import Contact
from crm_mcp.crm.contract import Entity
from crm_mcp.crm.errors import UnresolvedReferenceError
from crm_mcp.crm.leads import Lead
from crm_mcp.finding import Finder, Looked
from crm_mcp.lines import company_line, contact_line, lead_line
from crm_mcp.matching import Fit, core
from crm_mcp.memory import Memory
from crm_mcp.picking import MAX_CANDIDATES, AmbiguousReferenceError
from crm_mcp.rows import Rows
from crm_mcp.said import cut
from crm_mcp.wording import MAX_NAME_CHARS, Reader, clean, sentence

E = TypeVar("E", bound=Entity)


class NothingLikeItError(UnresolvedReferenceError):
    """Nothing comes close to what was said."""

    def __init__(self, problem: str, plural: str) -> None:
        self.problem = problem
        super().__init__(f"{problem} search_{plural} lists what there is.")


@dataclass(frozen=True, slots=True)
class Meant:
    """The record that is meant: its id, its name where that is known, and a note where it was not plain."""

    id: str
    name: str | None = None
    note: str | None = None
    # By its id or its own whole name, and not by part of it or by its company.
    certain: bool = field(default=True, compare=False)

    def to_be_ended(self, said: str) -> str:
        """The id, for what cannot be taken back; raises UnresolvedReferenceError where it is not certain."""
        if not self.certain:
            raise UnresolvedReferenceError(
                f'"{cut(said)}" is not the whole name of what is meant. If "{self.name}" is, say that or '
                f"{self.id}. Nothing was deleted."
            )
        return self.id


@dataclass(frozen=True, slots=True)
class Split:
    """A name that was said with a company: which that is, or which it may be; neither where there is none."""

    name: str
    company: str
    there: Meant | None = None
    several: AmbiguousReferenceError | None = None


class Candidates:
    """Decides between those that a look-up brought, and shows them with what tells them apart."""

    def __init__(self, memory: Memory, rows: Rows) -> None:
        self._memory = memory
        self._rows = rows

    async def decided(self, kind: Finder[E], said: str, looked: Looked[E], *, writing: bool) -> Meant:
        """The one record that is meant, or an error that says why it is none."""
        matches = looked.matches
        if matches is None:
            raise NothingLikeItError(joined(f'No {kind.noun} "{cut(said)}".', looked.bound), kind.plural)
        called = clean(kind.name_of(matches.found[0]), MAX_NAME_CHARS)
        close = matches.fit > Fit.PART
        if len(matches.found) > 1 or (writing and (close or looked.bound)):
            fits = f"more than one {kind.noun}" if len(matches.found) > 1 else f"one {kind.noun}"
            problem = f'No {kind.noun} is called "{cut(said)}".' if close else f'"{cut(said)}" fits {fits}.'
            raise await self.ambiguous(
                kind,
                joined(problem, looked.bound),
                matches.found,
                fit=not (close or looked.bound),
                offered=bool(close),
            )
        unseen = "; what is spelt otherwise was not looked at" * (looked.searched and matches.fit >= Fit.PART)
        taken = f'No {kind.noun} is called "{cut(said)}";' if close else f'"{cut(said)}" is'
        note = sentence(f"{taken} taken for {called}{unseen}") if close or unseen else ""
        legal = kind.of_companies
        whole = any(
            core(said, legal=legal) == core(name, legal=legal) for name in kind.names_of(matches.found[0])
        )
        certain = matches.fit is Fit.EXACT or (matches.fit <= Fit.NORMALISED and whole)
        return Meant(matches.found[0].id, called, joined(note, looked.bound) or None, certain)

    async def ambiguous(
        self,
        kind: Finder[E],
        problem: str,
        records: Sequence[E],
        *,
        fit: bool = True,
        offered: bool = False,
    ) -> AmbiguousReferenceError:
        shown = records[:MAX_CANDIDATES]
        for one in shown:
            # How short an id can be said depends on the others.
            self._memory.shown.short(one.id)
        meant = [Meant(one.id, clean(kind.name_of(one), MAX_NAME_CHARS)) for one in shown]
        candidates = dict(zip(await self.lines(kind.noun, shown), meant, strict=True))
        return AmbiguousReferenceError(problem, candidates, len(records), records, fit=fit, offered=offered)

    async def lines(self, kind: str, records: Sequence[Any]) -> list[str]:
        """Records as candidates are shown; of other kinds by their names."""
        if kind == "company":
            return await self._company_lines(records)
        if kind == "contact":
            return await self._contact_lines(records)
        if kind == "lead":
            return await self._lead_lines(records)
        called = [getattr(one, "name", None) or getattr(one, "subject", None) for one in records]
        ids = [self.reader().id(one.id) for one in records]
        return [self.reader().line(name, one) for name, one in zip(called, ids, strict=True)]

    async def _company_lines(self, companies: Sequence[Company]) -> list[str]:
        return [company_line(row, self.reader()) for row in await self._rows.companies(companies)]

    async def _contact_lines(self, contacts: Sequence[Contact]) -> list[str]:
        return [contact_line(row, self.reader()) for row in await self._rows.contacts(contacts)]

    async def _lead_lines(self, leads: Sequence[Lead]) -> list[str]:
        return [lead_line(row, self.reader()) for row in await self._rows.leads(leads)]

    def reader(self) -> Reader:
        return Reader(self._memory.shown)


def joined(*sentences: str | None) -> str:
    return " ".join(sentence for sentence in sentences if sentence)
