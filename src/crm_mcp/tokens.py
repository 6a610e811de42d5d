"""How many tokens a text costs a model, told without the whole tokeniser, which takes 75 MB."""

from __future__ import annotations

import re
from base64 import b64decode
from functools import cache, lru_cache
from importlib.resources import files
from itertools import pairwise
from unicodedata import category

# As o200k_base parts a text: no token reaches over the end of a part.
PARTS = re.compile(
    r"[^\r\n\w]?[A-Z]*[^\W\d_A-Z]+|[^\r\n\w]?[A-Z]+|\d{1,3}| ?(?:[^\s\w]|_)+[\r\n/]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)
# Other numerals stand in one part with digits, nobody knows how many.
PARTS_AMONG_NUMERALS = re.compile(PARTS.pattern.replace(r"\d{1,3}", r"\d"))
NUMERALS = frozenset({"Nl", "No"})
LONGEST_PART = 100
KEPT_PARTS = 10_000


def tokens_at_most(text: str) -> int:
    """The tokens of o200k_base that a text takes, or some more: of ordinary text 1.1 to 1.3 times as many.

    Byte pairs are joined in the tokeniser's order, but only into its 50,000 most frequent tokens. The joins
    that are missing would come after these, so that they could only make it fewer.
    """
    numerals = any(not char.isascii() and category(char) in NUMERALS for char in set(text))
    return sum(map(_of_part, (PARTS_AMONG_NUMERALS if numerals else PARTS).findall(text)))


@lru_cache(KEPT_PARTS)
def _of_part(part: str) -> int:
    ends = [at for at in range(1, len(part)) if at % LONGEST_PART == 0 or _parted(part[at - 1], part[at])]
    return sum(_joined(part[start:end].encode()) for start, end in pairwise([0, *ends, len(part)]))


def _parted(left: str, right: str) -> bool:
    """What the expression cannot say of other scripts: where numerals, capitals and marks end a part."""
    if left.isascii() and right.isascii():
        return False
    kinds = category(left), category(right)
    numeral = not NUMERALS.isdisjoint(kinds)
    capital = kinds[1] == "Lu" != kinds[0]
    return numeral or capital or (kinds[0][0] == "M" and kinds[1][0] in "PS")


def _joined(whole: bytes) -> int:
    order = _order()
    joined = [whole[at : at + 1] for at in range(len(whole))]
    while len(joined) > 1:
        pairs = [order.get(joined[at] + joined[at + 1], len(order)) for at in range(len(joined) - 1)]
        first = min(pairs)
        if first == len(order):
            break
        at = pairs.index(first)
        joined[at : at + 2] = [joined[at] + joined[at + 1]]
    return len(joined)


@cache
def _order() -> dict[bytes, int]:
    """The tokens, each with its place in the order in which pairs are joined."""
    with (files("crm_mcp") / "tokens.txt").open("rb") as listed:
        return {b64decode(token): place for place, token in enumerate(listed)}
