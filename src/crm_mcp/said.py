"""How people say which record they mean: ids, addresses, names with a company or with words around."""

from __future__ import annotations

import re
from urllib.parse import unquote

SHORT_ID = re.compile(r"[0-9a-f]{8}[0-9a-f-]{0,28}", re.IGNORECASE)
# As some programs write a UUID.
UNDIVIDED_ID = re.compile(r"([0-9a-f]{8})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{12})")
# An e-mail address, alone or with the name that a mail program shows, before it or behind.
ADDRESS = re.compile(
    r"(?:mailto:)?(?<!\w)([^\s<>()\[\]:;,@\"“”«»`'][^\s<>()\[\]:;,@\"“”«»`]*@[\w-]+(?:\.[\w-]+)+)",
    re.IGNORECASE,
)
RESOURCE = re.compile(r"crm://([\w-]+)/([^/?#]+)(?:/timeline)?", re.IGNORECASE)
NAME_AND_ID = re.compile(rf"(.*\S)\s*[(\[]({SHORT_ID.pattern})[)\]]", re.IGNORECASE)
NAME_AND_COMPANY = (
    re.compile(r"(.+?)\s*\(([^()]+)\)"),
    re.compile(r"([^,]+?)\s*,\s*(.+)"),
    re.compile(r"(.+)\s+(?:at|@|bei|chez)\s+(.+)", re.IGNORECASE),
    re.compile(r"(.+?)\s+(?:from|of)\s+(.+)", re.IGNORECASE),
)
# How our lines begin where there are several kinds, and what people put before an id.
OF_KIND = re.compile(
    rf"^(?:company|contact|lead) · |^(?:(?:company|contact|lead|id)[ :]+|#)(?={SHORT_ID.pattern}…?$)",
    re.IGNORECASE,
)
# What parts a name from a company or a role in what mail programs show.
APART = re.compile(r"\s[-–—|/]\s|\s+(?:at|@|bei|chez|from|via)\s+", re.IGNORECASE)
ARTICLES = frozenset(["the", "my", "our"])
# Of people they are part of the name.
OTHER_ARTICLES = frozenset(["der", "die", "das", "la", "le", "les", "el"])
LINKS = frozenset(["with", "for", "from", "of", "at", "by", "called", "named", "mit"])
# And before an address.
MAIL = frozenset(["email", "e-mail", "mail", "address"])
# What people say before the name of one of a kind.
BEFORE = {
    "company": frozenset(["company", "account", "firma"]),
    "contact": frozenset(
        (  # noqa: SIM905  # as many lines would hide the code around them
            "contact mr mrs ms miss mx sir dr prof professor med ing herr hr frau fr mme mlle madame "
            "monsieur sra sr señora señor signora signor pan pani meneer mevrouw"
        ).split()
    ),
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
    said = OF_KIND.sub("", said.strip().lstrip("- ")).strip("`")
    name, is_line, rest = said.partition(" · ")
    if is_line:
        return name, rest.lower().rpartition(" · ")[2]
    if bracketed := NAME_AND_ID.fullmatch(said.strip()):
        return bracketed[1], bracketed[2].lower()
    word = said.strip().lower().removeprefix("urn:uuid:").removesuffix("…").strip("{}")
    return "", UNDIVIDED_ID.sub(r"\1-\2-\3-\4-\5", word)


def address_in(said: str) -> str:
    """The e-mail address that was said; empty where it is none, or several."""
    found = {address.casefold(): address for address in ADDRESS.findall(said)}
    return next(iter(found.values())) if len(found) == 1 else ""


def name_with_address(said: str, kind: str) -> str:
    """`Anna Müller` of `Dr. Anna Müller (Acme) <anna@acme.example>`, of `Anna Müller - Acme <…>` and of
    `anna@acme.example (Anna Müller)`; empty of what is an address alone, or with words for the kind."""
    parts = [part.strip(" \"'<>[],;:`“”«»") for part in ADDRESS.split(said)[::2]]
    before, behind = re.sub(r"\([^()]*\)", "", parts[0]).rstrip(" ("), parts[-1]
    # What follows without brackets is a company, or the end of a sentence.
    bracketed = behind.strip("() ") if behind.startswith("(") else ""
    name = APART.split(f"{before or bracketed} ".strip(" (\"'"), maxsplit=1)[0]
    around = MAIL | (LINKS | BEFORE["lead"] | ARTICLES if kind == "lead" else frozenset())
    every = trimmed(name.replace(":", " ").split(), around)
    return core_name(re.sub("['’]s$", "", " ".join(every)), "contact")


def names_and_companies(said: str) -> list[tuple[str, str]]:
    """The parts of `Anna (Acme)`, `Anna, Acme` and `Anna at Acme`, in every way that it can be read."""
    forms = (form.fullmatch(said.strip()) for form in NAME_AND_COMPANY)
    return [(parts[1], parts[2]) for parts in forms if parts]


def bare_names(said: str, kind: str) -> list[str]:
    """Without what says only that it is one of that kind, best first: of `the Acme deal` first `Acme deal`,
    for that may be its name, and then `Acme`; of `Acme's deal` first `Acme's`. Nothing where nothing is left
    out, or nothing is left."""
    every = said.split()
    first, last = 0, len(every)
    before = BEFORE[kind] | ARTICLES | (frozenset() if kind == "contact" else OTHER_ARTICLES)
    while last and _word(every[last - 1]) in BEHIND[kind]:
        last -= 1
    while first < last and _word(every[first]) in before | (LINKS if first else frozenset()):
        first += 1
    articles = int(bool(every) and _word(every[0]) in ARTICLES)
    name = " ".join(every[first:last])
    if not name or name == said.strip():
        return []
    behind = last < len(every)
    options = [every[articles:] if articles else [], every[:last] if behind else [], every[first:last]]
    names = [" ".join(option) for option in options if option and option != every]
    return list(dict.fromkeys([*names, re.sub("['’]s$", "", name) if behind else name]))


def core_name(said: str, kind: str) -> str:
    """Without any word for the kind at its ends, which may be part of a name: `Ford` of `Ford company`."""
    return " ".join(trimmed(said.split(), BEFORE[kind] | ARTICLES))


def trimmed(words: list[str], around: frozenset[str]) -> list[str]:
    """Without those at either end that say nothing."""
    first, last = 0, len(words)
    while first < last and _word(words[last - 1]) in around:
        last -= 1
    while first < last and _word(words[first]) in around:
        first += 1
    return words[first:last]


def says_only(text: str, kind: str) -> bool:
    """Whether a text says no more than that it is one of that kind: `the deal`."""
    return all(_word(word) in BEFORE[kind] | ARTICLES for word in text.split())


def _word(text: str) -> str:
    return text.rstrip(".").casefold()


def cut(said: str) -> str:
    return said if len(said) <= 60 else said[:59] + "…"
