"""What stands at either end of what was said, as a company's name does in `Acme pilot`, and the rest."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from crm_mcp.crm.leads import Lead
from crm_mcp.matching import core, fitting
from crm_mcp.picking import MAX_CANDIDATES
from crm_mcp.said import trimmed

MAX_WORDS = 4
# What stands between a title and a company without being of either.
BETWEEN = frozenset(
    ("the our my for with of from at für mit bei von pour de del della du bij voor hos per na dla").split()  # noqa: SIM905
)
OWN = re.compile(r"(?<=\w)['’]s\b")


def ends_of(said: str, names: Mapping[str, str]) -> dict[str, str]:
    """What may be a company's name at either end, of up to four words, and the rest of it; of `Levi's pilot`
    it is `Levi's` where one of these names is like it, and else `Levi`."""
    owned, ends = _ends_of(OWN.sub("", said)), _ends_of(said)
    has_own = any(Named.by(name, names).names for name in ends.keys() - owned.keys())
    return ends if has_own else owned


def _ends_of(said: str) -> dict[str, str]:
    every = core(said, legal=False).split()
    ends: dict[str, str] = {}
    for count in range(1, min(len(every), MAX_WORDS + 1)):
        for name, rest in ((every[:count], every[count:]), (every[-count:], every[:-count])):
            ends[" ".join(trimmed(name, BETWEEN))] = " ".join(trimmed(rest, BETWEEN))
    return {name: rest for name, rest in ends.items() if name and rest}


@dataclass(frozen=True, slots=True)
class Named:
    """The companies whose names stand at an end, by their ids, and those of them that are called just so."""

    names: dict[str, str]
    just_so: frozenset[str]
    # Where more have it in their names than are looked at.
    is_cut: bool

    @classmethod
    def by(cls, name: str, every: Mapping[str, str]) -> Named:
        fit = fitting(name, every.items(), lambda named: named[1:])
        just_so = frozenset(full for full, label in fit if core(label) == core(name))
        return cls(dict(fit[:MAX_CANDIDATES]), just_so, is_cut=len(fit) > MAX_CANDIDATES and not just_so)


@dataclass(slots=True)
class DealsAtEnds:
    """The deals of such companies that the rest fits: all; those of which it is the whole title; those where
    the name is the company's whole one too; and guesses, for another company is called just so."""

    every: dict[str, Lead] = field(default_factory=dict)
    titled: dict[str, Lead] = field(default_factory=dict)
    whole: dict[str, Lead] = field(default_factory=dict)
    guessed: set[str] = field(default_factory=set)

    def add(self, rest: str, companies: Named, leads: list[Lead]) -> None:
        """Those of a company's leads that the rest fits."""
        for lead in fitting(rest, leads, lambda one: [one.label], legal=False):
            self.every[lead.id] = lead
            is_titled = core(lead.label, legal=False) == rest
            if is_titled:
                self.titled[lead.id] = lead
            if lead.company_id in companies.just_so:
                self.guessed.discard(lead.id)
                if is_titled:
                    self.whole[lead.id] = lead
            elif companies.just_so and lead.id not in self.whole:
                self.guessed.add(lead.id)

    def best(self, open_ids: set[str]) -> dict[str, Lead]:
        """Whole names and titles go before parts of them, and what is open before what is closed; what has
        the whole title and is closed is no less meant than what has it in part and is open."""
        if self.whole.keys() & open_ids:
            return self.whole
        # At a company that has it as a whole title, what has it in part is not meant.
        settled = {lead.company_id for full, lead in self.titled.items() if full in open_ids}
        parts = {
            full: lead
            for full, lead in self.every.items()
            if full in open_ids and lead.company_id not in settled
        }
        return self.titled | parts if parts or settled else self.every
