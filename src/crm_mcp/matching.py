"""How well a name that was said fits the names there are; knows nothing of CRMs."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import lru_cache
from itertools import pairwise
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from crm_mcp.crm.contract import plain

T = TypeVar("T")

# Compared after `plain`; dots are gone by then.
LEGAL_SUFFIXES = frozenset(
    [
        "ab",
        "ag",
        "зао",
        "ооо",
        "haftungsbeschrankt",
        "cie",
        "spzoo",
        "sro",
        "doo",
        "bhd",
        "sdn",
        "cv",
        "bvba",
        "lda",
        "ltda",
        "kft",
        "aps",
        "as",
        "asa",
        "bv",
        "co",
        "corp",
        "corporation",
        "eg",
        "ek",
        "ev",
        "gbr",
        "gmbh",
        "inc",
        "incorporated",
        "kg",
        "kgaa",
        "kk",
        "limited",
        "llc",
        "llp",
        "lp",
        "ltd",
        "mbh",
        "nv",
        "ohg",
        "oy",
        "oyj",
        "plc",
        "pte",
        "pty",
        "sa",
        "sarl",
        "sas",
        "se",
        "sl",
        "spa",
        "srl",
        "ug",
    ]
)
AND = frozenset(["and", "und", "et", "og", "och", "+"])
# Of three letters or more: what is shorter tells no name apart anyway, nor does a number alone.
SMALL = frozenset("and das del dem den der des die for las les los the und van von zum zur".split())  # noqa: SIM905
SAME_FORM = {"incorporated": "inc", "limited": "ltd", "corporation": "corp"}
# By the name before the country or `.com`: whoever has such an address shares it with everybody.
FREE_MAIL = frozenset(
    (  # noqa: SIM905  # as many lines would hide the code around them
        "aol bluewin bol btinternet comcast daum free freenet gmail gmx googlemail hanmail hey "
        "hispeed hotmail icloud laposte libero live mac mail mailbox me msn naver o2 orange outlook "
        "posteo proton protonmail qq rediffmail rogers sbcglobal seznam sfr shaw sky skynet sunrise "
        "t-online telenet telus terra tiscali uol verizon virginmedia wanadoo web wp yahoo yandex "
        "ymail ziggo zoho 126 163 arcor att cox earthlink fastmail tuta tutanota onet interia inbox list "
        "rambler ukr virgilio alice kpnmail planet chello aon email centrum freemail abv sina docomo nifty "
        "bigpond xtra rocketmail pm neuf vodafone ono hushmail sapo ig "
    ).split()
)
# Hosts on which many have their pages: a path there is theirs, and the host nobody's.
SHARED_HOSTS = frozenset(
    (  # noqa: SIM905  # as above
        "facebook.com github.com google.com instagram.com linkedin.com medium.com twitter.com x.com "
        "wordpress.com xing.com youtube.com etsy.com tiktok.com linktr.ee g.page amazon.com amazon.de "
        "amazon.fr amazon.it amazon.es ebay.com ebay.de ebay.fr ebay.it"
    ).split()
)
# Those of scripts that put no space before or after them.
UNSPACED_FORMS = re.compile("㈱|[(（]株[)）]|株式会社|有限会社|合同会社|股份有限公司|有限公司|주식회사")
# Legal forms that are spelt as several words.
SPLIT_FORMS = re.compile(r"\bA/S\b|\bsp\.? ?z ?o\. ?o\.?", re.IGNORECASE)
CLOSE_ENOUGH = 85.0
# A slip in so few letters makes a name too unlike for that.
SHORT = range(4, 6)
MIN_START_CHARS = 3
MIN_PART_CHARS = 5
# A day, by which people say it in several orders: the year goes first; `12/03/2026` may be two.
DAYS = (
    re.compile(r"(?<![\d.-])(?P<year>\d{4})-(?P<month>\d{1,2})-(?P<day>\d{1,2})(?![\d-])"),
    # Of a span only the end has all of it: that is no day.
    re.compile(r"(?<![\d.–-])(?P<day>\d{1,2})\. ?(?P<month>\d{1,2})\. ?(?P<year>\d{4}|\d{2})(?![\d.])"),
    re.compile(r"(?<![\d.–-])(?P<day>\d{1,2})\. ?(?P<month>\d{1,2})\.(?![\d.])"),
)
# One number, and no date or thousands.
DECIMAL = re.compile(r"(?<!\d)(?<!\d[.,])(\d+)[.,](\d{1,2})(?!\d|,\d|\.)")
# And with what divides its thousands.
THOUSANDS = re.compile(r"(?<![\d.,])(\d{1,3})((?:[.,'’ \xa0\u202f]\d{3})+)(?![\d]|[.,]\d)")
# Several numbers one after the other.
NUMBERS = re.compile(r"(?<!\S)\d[\d_]*(?: \d[\d_]*)+(?!\S)")
# How letters with dots, rings and strokes are written out.
OUT = str.maketrans({"ä": "ae", "ö": "oe", "ü": "ue", "ø": "oe", "å": "aa", "æ": "ae", "đ": "dj", "þ": "th"})
WRITTEN_OUT = re.compile("[aou]e|aa|dj|th", re.IGNORECASE)
# With the vowel signs of India's and South-East Asia's scripts, which are no letters to `\w`.
WORD = re.compile(r"[\w\u0900-\u0963\u0966-\u1aaf]+|[+#]+")
# Scripts that put no spaces between words: Thai to Burmese, Khmer, kana, Han, and Hangul's compounds.
UNSPACED = re.compile(
    r"[\u0e00-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\U00020000-\U0003ffff]{2,}"
)


class Fit(IntEnum):
    """How a name fits, best first: what is spelt as it was said, but for its legal form, before what has
    other accents, spaces or signs. What is only within its words, or close to them, is a guess: good enough
    to read by, never to write by."""

    EXACT = 0
    SPELT = 1
    NORMALISED = 2
    PART = 3
    WITHIN = 4
    CLOSE = 5


@dataclass(frozen=True, slots=True)
class Matches(Generic[T]):
    """Those that fit best, all equally well."""

    fit: Fit
    found: list[T]


def words(text: str) -> list[str]:
    """The words of a name as people compare them; `Müller & Söhne GmbH` is `muller sohne gmbh`, and
    `Release 2.1` is `release 2_1`; of a day the year is first, and the month."""
    joined = SPLIT_FORMS.sub(lambda form: re.sub(r"\W", "", form[0]), text)
    for day in DAYS:
        joined = day.sub(_in_order, joined)
    joined = THOUSANDS.sub(lambda number: number[1] + re.sub(r"\D", "", number[2]), joined)
    joined = DECIMAL.sub(r"\1_\2", joined)
    return WORD.findall(plain(re.sub(r"(?<=[^\W\d])\.(?=\w|\s|$)|['’]", "", joined)))


def _in_order(day: re.Match[str]) -> str:
    parts = day.groupdict()
    year = f"20{parts['year']}"[-4:] if parts.get("year") else ""
    return f" {year} {int(parts['month']):02} {int(parts['day']):02} "


# One call may look for 25 names among the same ten thousand of each kind.
@lru_cache(maxsize=1 << 15)
def core(text: str, *, legal: bool = True) -> str:
    """A name without what doesn't tell it apart: case, accents, punctuation and, if `legal`, legal forms.

    Only companies have those: `Sá` is a surname.
    """
    every = words(text)
    # What `&` is read as; the sign itself is no word.
    every = [word for word in every if word not in AND] or every
    while legal and len(every) > 1 and every[-1] in LEGAL_SUFFIXES:
        every.pop()
    return " ".join(every)


def without_forms(name: str, *, legal: bool = True) -> str:
    """A name as it is spelt, without bare signs and, if `legal`, legal forms."""
    telling = [word for word in name.split() if core(word) and not (legal and core(f"x {word}") == "x")]
    return " ".join(telling) or name


def longest_word(name: str, *, legal: bool = True) -> list[str]:
    """The longest word, as it is spelt and without accents: a search may know only one of the two."""
    longest = max(re.findall(r"\w+", without_forms(name, legal=legal)), key=len, default="")
    return [*([longest] if longest else []), *([] if longest.isascii() else [plain(longest)])]


def domain(text: str) -> str:
    """The host of a website or e-mail address without `www.`; empty where there is none."""
    text = text.strip().casefold()
    try:
        parts = urlsplit(text if "//" in text else f"//{text}")
        host = parts.hostname or ""
    except ValueError:
        return ""
    bare, page = host.removeprefix("www.").rstrip("."), parts.path.strip("/")
    if re.search(r"\s", text):
        return ""
    if page and ".".join(host.split(".")[-2:]) in SHARED_HOSTS:
        # The page is theirs.
        return f"{bare}/{page}"
    return bare if re.fullmatch(r"[\w-]+(\.[\w-]+)+", bare) else ""


def site_of(website: str | None, email: str | None) -> set[str]:
    """The domains that are a company's own: its website's, and its mail's unless anybody can have that."""
    mail = domain(email or "")
    return {domain(website or ""), "" if mail.split(".")[0] in FREE_MAIL else mail} - {""}


def pages_of(address: str | None) -> list[str]:
    """The parts of its path."""
    bare = (address or "").strip().casefold()
    bare = bare.partition("//")[2] or bare
    return list(filter(None, re.split("[?#]", bare)[0].split("/")[1:]))


def shares_page(address: str, website: str | None) -> bool:
    """Whether one is a page below the other: several may have theirs on one host."""
    return all(one == other for one, other in zip(pages_of(address), pages_of(website), strict=False))


def best(
    said: str, things: Iterable[T], names_of: Callable[[T], Sequence[str]], *, legal: bool = True
) -> Matches[T] | None:
    """The things whose names fit best, or None where nothing comes close."""
    graded: dict[Fit, list[T]] = {}
    every = [(thing, names_of(thing)) for thing in things]
    for thing, names in every:
        fits = [fit for name in names if (fit := _fit(said, name, legal=legal)) is not None]
        if fits:
            graded.setdefault(min(fits), []).append(thing)
    if min(graded, default=None) is Fit.PART and Fit.CLOSE in graded:
        # All of one name in another legal form, part of another in this one: neither is plainly meant.
        return Matches(Fit.CLOSE, graded[Fit.PART] + graded[Fit.CLOSE])
    if min(graded, default=None) is Fit.SPELT and said.isascii():
        # Who has no keys for accents may mean those that have them.
        accented = [one for one in graded.get(Fit.NORMALISED, []) if not all(map(str.isascii, names_of(one)))]
        if accented:
            return Matches(Fit.NORMALISED, graded[Fit.SPELT] + accented)
    for fit in sorted(graded):
        rivals = graded.get(Fit.CLOSE, []) if legal and fit in (Fit.SPELT, Fit.NORMALISED) else []
        rivals = [one for one in rivals if any(core(said) == core(name) for name in names_of(one))]
        if rivals and not any(_forms(name) for thing in graded[fit] for name in names_of(thing)):
            # In the form that was said there is none; one that has none is no better than one in another.
            return Matches(Fit.CLOSE, graded[fit] + rivals)
        return Matches(fit, graded[fit])
    within = [
        thing
        for thing, names in every
        if any(_within(core(said), core(name)) or _is_run(core(said), core(name)) for name in names)
    ]
    known = set(map(id, within))
    close = [thing for thing in _close(core(said), every, legal=legal) if id(thing) not in known]
    if within and not close:
        return Matches(Fit.WITHIN, within)
    return Matches(Fit.CLOSE, within + close) if close else None


def fitting(
    said: str, things: Iterable[T], names_of: Callable[[T], Sequence[str]], *, legal: bool = True
) -> list[T]:
    """All whose name it is, or part of it, those that fit best first."""
    fits = [([_fit(said, name, legal=legal) for name in names_of(thing)], thing) for thing in things]
    best_of = [(min((fit for fit in each if fit is not None), default=Fit.CLOSE), one) for each, one in fits]
    return [one for fit, one in sorted(best_of, key=lambda pair: pair[0]) if fit <= Fit.PART]


def telling(text: str) -> list[str]:
    """Its words, the longest first, without legal forms and what says little."""
    every = [word for word in words(text) if word not in LEGAL_SUFFIXES and not _says_little(word)]
    return sorted(dict.fromkeys(every), key=len, reverse=True)


def sharing(said: str, things: Iterable[T], names_of: Callable[[T], Sequence[str]]) -> list[T]:
    """The things that have a telling word of it in their names; those that have most of it first."""
    wanted = set(telling(said))
    shared = [
        (sum(map(len, wanted & {word for name in names_of(thing) for word in words(name)})), thing)
        for thing in things
    ]
    return [thing for letters, thing in sorted(shared, key=lambda one: -one[0]) if letters]


def may_be_called(said: str, name: str, *, legal: bool) -> bool:
    """Whether what was said along with an id can be this name: all of it, what is left of it after a cut, or
    a part that has no other legal form."""
    if said.endswith("…") and core(said):
        return core(name, legal=False).startswith(core(said, legal=False))
    fit = _fit(said, name, legal=legal)
    whole = fit is not None and fit <= Fit.NORMALISED
    return whole or (fit is Fit.PART and not (legal and _forms(said)))


def may_be_at(company: str, name: str | None, *, writing: bool) -> bool:
    """Whether a company that was said can be the one of that name; writing, also where nobody knows it."""
    return writing if name is None else may_be_called(company, name, legal=True)


def is_spelt(said: str, name: str) -> bool:
    """Whether it is the name to the letter, and sign."""
    return said.casefold().split() == name.casefold().split()


def is_of(said: str, name: str, address: str) -> bool:
    """Whether a name that was said with a person's address can be theirs: each of its words is one of theirs,
    or its letter; where one name is known alone, it has that or stands in the address before the `@`."""
    theirs, every = words(name), words(said)
    # Of whom one name is known, the rest may stand in the address, or be known to who says it alone.
    is_short = len(theirs) == 1
    there = [*theirs, *(re.findall(r"\w+", plain(address.partition("@")[0])) if is_short else ())]
    known = is_short and all(any(_is_like(one, word) for word in every) for one in theirs)
    return known or "@" in name or all(any(_is_like(word, one) for one in there) for word in every)


def _is_like(word: str, other: str) -> bool:
    """Whether they are one but for how an umlaut is written, or it is the other's letter: `S.`."""
    same = re.sub("([aou])e", r"\1", word) == re.sub("([aou])e", r"\1", other)
    return same or (len(word) == 1 and other.startswith(word))


def _fit(said: str, name: str, *, legal: bool) -> Fit | None:
    """How it fits, also where who has no keys for `ü` wrote `ue`."""
    fit = _fit_as_spelt(said, name, legal=legal)
    if fit is not None and fit <= Fit.PART:
        return fit
    both = f"{said} {name}"
    if both.isascii() or not WRITTEN_OUT.search(both):
        return fit
    written = _fit_as_spelt(said.lower().translate(OUT), name.lower().translate(OUT), legal=legal)
    return max(written, Fit.NORMALISED) if written is not None and written <= Fit.PART else fit


def _fit_as_spelt(said: str, name: str, *, legal: bool) -> Fit | None:
    wanted, known = core(said, legal=legal), core(name, legal=legal)
    if not wanted or not known:
        return None
    if _letters(said) == _letters(name):
        return Fit.EXACT
    if said.rstrip().endswith(("…", "...")):
        # It was cut.
        start = core(said, legal=False)
        return (
            Fit.PART if len(start) >= MIN_START_CHARS and core(name, legal=False).startswith(start) else None
        )
    if _joined(wanted) == _joined(known):
        if legal and _forms_differ(said, name):
            return Fit.CLOSE
        spelt_so = _spelling(said, legal=legal) == _spelling(name, legal=legal)
        # One that lacks the form is no better than one that has it and other accents.
        lacks_form = legal and _forms(said) - _forms(name)
        return Fit.SPELT if spelt_so and not lacks_form else Fit.NORMALISED
    return _part(said, name, legal=legal)


def _part(said: str, name: str, *, legal: bool) -> Fit | None:
    """How what is but part of a name fits: not in another legal form, nor with its numbers elsewhere."""
    wanted, known = core(said, legal=legal), core(name, legal=legal)
    if legal and LEGAL_SUFFIXES.issuperset(wanted.split()):
        # Whether it is a form there, or a word of the name, as `Spa` may be.
        return None
    parts = known.split()
    # A word that was said twice is not there once.
    twice = any(wanted.split().count(word) > max(1, parts.count(word)) for word in wanted.split())
    has_all = not twice and all(word in parts or _is_unspaced_in(word, known) for word in wanted.split())
    if not (has_all and _counts_alike(wanted, known)):
        return None
    whole, every = core(said, legal=False), core(name, legal=False)
    if legal and _forms(said) - _forms(name) and not set(whole.split()) <= set(every.split()):
        return Fit.CLOSE
    # A part that says too little is only within the name.
    return None if all(map(_says_little, wanted.split())) else Fit.PART


def _counts_alike(wanted: str, known: str) -> bool:
    """Whether its numbers count the same: `Phase 2` is no part of `Version 2 Phase 1`, nor of
    `Phase 1, 2 days`. A longer number is a year or a code, and may stand anywhere but where another does."""
    pairs, there = [*pairwise(wanted.split())], [*pairwise(known.split())]
    if any(f" {run} " not in f" {known} " for run in re.findall(NUMBERS, wanted)):
        return False
    for pair in pairs:
        number, word = pair
        counted = {before for before, after in there if after == word and _is_number(before)}
        if _is_number(number) and not _is_number(word) and counted and number not in counted:
            return False
        word, number = pair
        # `12.03.2026` and `2025/2026` are several.
        runs = re.findall(rf"\b{re.escape(word)}((?: [\d_]+)+)\b", known)
        counted = set(" ".join(runs).split())
        if _is_number(number) and counted and number not in counted:
            return False
    return not pairs or all(
        any(word in pair and pair in there for pair in pairs)
        for word in wanted.split()
        if _is_number(word) and len(word) < 4
    )


def _is_number(word: str) -> bool:
    return word.replace("_", "").isdecimal()


def _says_little(word: str) -> bool:
    return word in SMALL or _is_number(word) or (len(word) < MIN_START_CHARS and not UNSPACED.fullmatch(word))


def _spelling(name: str, *, legal: bool) -> str:
    """A name as it is spelt, but for capitals and, if `legal`, the legal forms at its end.

    Any search for it, or for a word of it, finds it: `ß` is no `ss` here and two spaces are not one, since
    they may not be to a search.
    """
    every = name.strip().lower().split(" ")
    while legal and len(every) > 1 and core(f"x {every[-1]}") == "x":
        every.pop()
    return " ".join(every).rstrip(",")


def _is_unspaced_in(word: str, known: str) -> bool:
    """Where no spaces tell words apart, what begins or ends a name is part of it: 京都 is not, of 東京都."""
    parts = UNSPACED_FORMS.sub(" ", known).split()
    at_an_end = any(part.startswith(word) or part.endswith(word) for part in parts)
    return bool(UNSPACED.fullmatch(word)) and at_an_end


def _within(wanted: str, known: str) -> bool:
    """Whether each word begins one of the name, or stands within one."""
    parts = known.split()
    return bool(wanted) and all(
        word in parts or any(_holds(part, word) for part in parts) for word in wanted.split()
    )


def _is_run(wanted: str, known: str) -> bool:
    """Whether it is some of its words, one after the other, but for spaces: `Greenvalley` of `Green Valley
    Farms`, and `Mc Kinsey` of `McKinsey & Company`."""
    letters, parts = wanted.replace(" ", ""), known.split()
    return len(letters) >= MIN_PART_CHARS and any(
        "".join(parts[first:last]) == letters
        for first in range(len(parts))
        for last in range(first + 1, len(parts) + 1)
    )


@lru_cache(maxsize=1 << 15)
def _joined(name: str) -> str:
    """Without spaces, which do not matter, but for those between digits: `1 12` is not `11 2`."""
    return re.sub(r"(?<!\d) | (?!\d)", "", name)


def _forms_differ(said: str, name: str) -> bool:
    """Whether legal forms are said that cannot be one: a `GmbH` is no `Inc.`, and no `GmbH & Co. KG`."""
    forms = _forms(said), _forms(name)
    return all(forms) and forms[0] != forms[1]


def _forms(text: str) -> set[str]:
    """The legal forms at its end: `AB InBev` begins with none."""
    every = [word for word in words(text) if word not in AND]
    return {SAME_FORM.get(word, word) for word in every[len(core(text).split()) :]}


def _letters(name: str) -> str:
    """All of a name but its capitals, and the signs that people leave out of legal forms."""
    return re.sub(r"[.,](?=\s|$)", "", name.strip().lower())


def _close(wanted: str, things: list[tuple[T, Sequence[str]]], *, legal: bool) -> list[T]:
    """Those whose whole name is much like it; else those that have a word much like each of its words; else
    the one short name that is one slip away. The same without a last word that may be a misspelt legal form.
    """
    from rapidfuzz import fuzz, process  # noqa: PLC0415  # only what nobody spelt right needs it

    def each_word(said: str, name: str, **_options: Any) -> float:
        return min(
            max(100.0 if _holds(word, part) else fuzz.ratio(part, word) for word in name.split())
            for part in said.split()
        )

    # Another number is no slip.
    numbers = set(filter(_is_number, wanted.split()))
    names = [
        (known, thing)
        for thing, called in things
        for name in called
        if (known := core(name)) and numbers.issubset(known.split())
    ]
    every = [name for name, _ in names]
    for spelt in filter(None, (wanted, _without_slip(wanted) if legal else "")):
        for likeness in (fuzz.token_sort_ratio, each_word):
            ranked = process.extract(spelt, every, scorer=likeness, score_cutoff=CLOSE_ENOUGH, limit=None)
            if ranked:
                found = [names[index][1] for _, _, index in ranked]
                return list({id(thing): thing for thing in found}.values())
        short = {name for name in every if len(spelt) in SHORT and spelt.isalpha() and _one_slip(spelt, name)}
        if len(short) == 1:
            return list({id(thing): thing for name, thing in names if name in short}.values())
    return []


def _without_slip(wanted: str) -> str:
    """Without the last word, where that is all but a legal form: `acme` of `acme incc`; else nothing."""
    *telling, last = wanted.split() or [""]
    return (
        " ".join(telling) if any(len(form) > 2 and _one_slip(last, form) for form in LEGAL_SUFFIXES) else ""
    )


def _one_slip(said: str, known: str) -> bool:
    """Whether one letter is wrong, missing or too many, or two are swapped."""
    from rapidfuzz.distance import OSA  # noqa: PLC0415  # as above

    return OSA.distance(said, known, score_cutoff=1) <= 1


def _holds(word: str, part: str) -> bool:
    """A short part has to begin the word: `Ford` has little to do with Oxford."""
    return len(part) >= (MIN_START_CHARS if word.startswith(part) else MIN_PART_CHARS) and part in word
