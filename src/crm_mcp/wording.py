"""How a fact is worded: days, money, short ids, and text from the CRM made safe to read."""

from __future__ import annotations

import re
import secrets
from dataclasses import dataclass, field
from datetime import UTC, date, datetime

from crm_mcp.memory import ShownIds

MAX_NAME_CHARS = 60
# The longest e-mail address that there can be.
MAX_ADDRESS_CHARS = 254
MAX_PART_CHARS = 350
NEAR_DAYS = 45
MAX_CURRENCY_CHARS = 8
# From here on digits say no more than a power of ten.
MAX_PLAIN_VALUE = 1e18
# Shown as nothing although Unicode counts them as printable: fillers, joiners and variation selectors.
BLANK = re.compile(
    "[\u034f\u115f\u1160\u17b4\u17b5\u180b-\u180f\u2800\u3164\ufe00-\ufe0f\uffa0\U000e0100-\U000e01ef]"
)
NOTE = re.compile(r"^(note)\s*:", re.IGNORECASE)
MARK = re.compile(r"<(?=\s*/?\s*crm\b)", re.IGNORECASE)


@dataclass(frozen=True)
class Reader:
    """Who a text is for: the ids that can be said short to it, and when it reads.

    `mark` bounds what people wrote in the CRM; it is new for each response, so that no record can hold it.
    """

    shown: ShownIds = field(default_factory=ShownIds)
    now: datetime = field(default_factory=lambda: datetime.now(UTC))
    mark: str = field(default_factory=lambda: secrets.token_hex(4))
    name_chars: int = MAX_NAME_CHARS
    address_chars: int = MAX_ADDRESS_CHARS
    near_days: int = NEAR_DAYS
    spares: bool = False

    def line(self, *parts: str | None) -> str:
        """Facts in a line."""
        return " · ".join(_short(part, MAX_PART_CHARS) for part in parts if part)

    def name(self, text: str | None) -> str | None:
        """What people call something; it may be cut."""
        return text and _short(text, self.name_chars)

    def address(self, text: str | None) -> str | None:
        """A website, an e-mail address, a telephone number: whole or not at all, for a part is of no use."""
        return text if text and len(text) <= self.address_chars else None

    def spare(self, part: str | None) -> str | None:
        """What tells the least of a record, and goes before its name is cut."""
        return None if self.spares else part

    def id(self, full: str) -> str:
        return self.shown.short(full)

    def called(self, name: str | None, full: str | None, kind: str) -> str | None:
        """A record's name; where nobody knows it, its kind and short id, which is not that of the line."""
        return self.name(name) or (f"{kind} {self.id(full)}" if full else None)

    def day(self, on: date | datetime | None) -> str | None:
        """`2026-11-25 (in 2 days)`; what is far is only said as a date."""
        if on is None:
            return None
        day = on.astimezone(self.now.tzinfo).date() if isinstance(on, datetime) else on
        distance = (day - self.now.date()).days
        near = {0: " (today)", 1: " (tomorrow)", -1: " (yesterday)"}.get(distance)
        if near is None and abs(distance) <= self.near_days:
            near = f" (in {distance} days)" if distance > 0 else f" ({-distance} days ago)"
        return f"{day}{near or ''}"

    def moment(self, at: datetime | None) -> str | None:
        """A day with its time, in UTC."""
        return f"{self.day(at)} {at:%H:%M} UTC" if at else None


def money(value: float | None, currency: str | None) -> str | None:
    if value is None:
        return None
    plain = abs(value) < MAX_PLAIN_VALUE
    amount = f"{value:,.{0 if float(value).is_integer() else 2}f}" if plain else f"{value:g}"
    return f"{_short(currency or '', MAX_CURRENCY_CHARS)} {amount}".strip()


def clean(text: str, limit: int) -> str:
    """Text from the CRM on one line, without what nobody can see or what looks like a mark of ours.

    A longer one is cut, with its length said.
    """
    line = on_one_line(text)
    return line if len(line) <= limit else f"{line[:limit]}… (cut, {len(line)} characters)"


def _short(text: str, limit: int) -> str:
    """The same, cut without a word: of a name its start is enough."""
    # A dot between spaces is ours, between two facts.
    line = on_one_line(text).replace(" · ", " - ")
    return line if len(line) <= limit else f"{line[: limit - 1].rstrip()}…"


def on_one_line(text: str) -> str:
    line = " ".join(_visible(text).split())
    return NOTE.sub(r"\1;", MARK.sub("‹", line))


def _visible(text: str, kept: str = "") -> str:
    """Without characters that cannot be seen; white space other than `kept` becomes a space."""
    shown = BLANK.sub("", text)
    if shown.isprintable():
        return shown
    return "".join(
        char if char.isprintable() or char in kept else " " if char.isspace() else "" for char in shown
    )


def clock(at: datetime) -> str:
    """`17:20 UTC`, with its day where that is not today."""
    day = "" if at.date() == datetime.now(UTC).date() else f"{at:%Y-%m-%d} "
    return f"{day}{at:%H:%M} UTC"


def sentence(text: str) -> str:
    """With a full stop, unless it ends like `Acme Inc.` or `Hello?`"""
    return text if text.endswith((".", "?", "!")) else f"{text}."


def worded(field: str) -> str:
    """A field of the CRM as people call it: `stageId` is `stage`, `jobTitle` is `job title`."""
    return re.sub(r"(?<=[a-z])([A-Z])", r" \1", re.sub("(?:Id|Pct)$", "", field)).lower()
