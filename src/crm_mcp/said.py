"""How people say which record they mean: ids, addresses, names with a company or with words around."""

from __future__ import annotations

import re
from urllib.parse import unquote

SHORT_ID = re.compile(r"[0-9a-f]{8}[0-9a-f-]{0,28}", re.IGNORECASE)
# As some programs write a UUID.
UNDIVIDED_ID = re.compile(r"([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})")
# An e-mail address, as a mail client copies it with the name before it, or alone.
ADDRESS = re.compile(r"(?:^\s*|<|mailto:)([^\s<>@:]+@[^\s<>@]+\.[^\s<>@]+?)(?:>|\s*$)", re.IGNORECASE)
RESOURCE = re.compile(r"crm://([\w-]+)/([^/?#]+)(?:/timeline)?", re.IGNORECASE)
NAME_AND_ID = re.compile(rf"(.*\S)\s*[(\[]({SHORT_ID.pattern})[)\]]", re.IGNORECASE)
NAME_AND_COMPANY = (
    re.compile(r"(.+)\s+(?:at|@|bei|chez)\s+(.+)", re.IGNORECASE),
    re.compile(r"(.+?)\s+(?:from|of)\s+(.+)", re.IGNORECASE),
    re.compile(r"(.+?)\s*\(([^()]+)\)"),
    re.compile(r"([^,]+?)\s*,\s*(.+)"),
)
ARTICLES = frozenset(["the", "my", "our"])
LINKS = frozenset(["with", "for", "from", "of", "at", "by", "called", "named"])
# What people say before the name of one of a kind.
BEFORE = {
    "company": frozenset(["company", "account"]),
    "contact": frozenset(["contact", "mr", "mrs", "ms", "dr", "herr", "frau"]),
    "lead": frozenset(["deal", "lead", "opportunity"]),
}
# And behind it: companies are called `Ford Motor Company`, and people `Wolfram Herr`.
BEHIND = BEFORE | {"company": frozenset[str](), "contact": frozenset[str]()}


def kind_and_said(said: str) -> tuple[str, str]:
    """The kind in the address of a resource of ours, and what stands there; the kind is empty of all else."""
    found = RESOURCE.fullmatch(said.strip())
    return (found[1].lower(), unquote(found[2])) if found else ("", said)


def name_and_id(said: str) -> tuple[str, str]:
    """The two parts of a line of ours, or of a name with the id behind it in brackets; the first is empty of
    what is an id alone, or nothing of the kind."""
    name, is_line, rest = said.strip().lstrip("- ").partition(" · ")
    if is_line:
        return name, rest.lower().rpartition(" · ")[2]
    if bracketed := NAME_AND_ID.fullmatch(said.strip()):
        return bracketed[1], bracketed[2].lower()
    word = said.strip().lower().removeprefix("urn:uuid:").strip("{}")
    return "", UNDIVIDED_ID.sub(r"\1-\2-\3-\4-\5", word)


def name_and_company(said: str) -> tuple[str, str]:
    """The parts of `Anna at Acme`, `Anna (Acme)` and `Anna, Acme`; of what has one the second is empty."""
    for form in NAME_AND_COMPANY:
        if parts := form.fullmatch(said.strip()):
            return parts[1], parts[2]
    return said, ""


def bare_names(said: str, kind: str) -> list[str]:
    """Without what says only that it is one of that kind, best first: `Acme` of `the Acme deal`; of `Acme's
    deal` first `Acme's`, for that may be its name. Nothing where nothing is left out, or nothing is left."""
    every = said.split()
    first, last = 0, len(every)
    while last and _word(every[last - 1]) in BEHIND[kind]:
        last -= 1
    while first < last and _word(every[first]) in BEFORE[kind] | ARTICLES | (LINKS if first else frozenset()):
        first += 1
    name = " ".join(every[first:last])
    if not name or name == said.strip():
        return []
    return list(dict.fromkeys([name, re.sub("['’]s$", "", name) if last < len(every) else name]))


def says_only(text: str, kind: str) -> bool:
    """Whether a text says no more than that it is one of that kind: `the deal`."""
    return all(_word(word) in BEFORE[kind] | ARTICLES for word in text.split())


def _word(text: str) -> str:
    return text.rstrip(".").casefold()


def cut(said: str) -> str:
    return said if len(said) <= 60 else said[:59] + "…"
