"""What a person is shown of a write, in plain words; of an e-mail its text, and what leads elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from html.parser import HTMLParser
from textwrap import wrap
from typing import Any

from crm_mcp.wording import MAX_NAME_CHARS, clean, on_one_line

Wire = dict[str, Any]
# What an id stands for, or the id where nobody knows.
Named = Callable[[str], str]

BLOCKS = frozenset({"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre"})
MAX_VALUE_CHARS = 500
UNBRACKETED = str.maketrans("<>", "‹›")
MAX_LINES = 2_000
LINE_CHARS = 200
MAX_LINKS = 20
MAX_LINK_CHARS = 200


def label(wire: Wire | None) -> str:
    """What a record is called, by what it holds; empty where nothing tells."""
    found = wire or {}
    person = " ".join(str(found[part]) for part in ("firstName", "lastName") if found.get(part))
    return str(found.get("name") or found.get("title") or person or found.get("email") or "")


def worded(field: str) -> str:
    """A field of the CRM as people call it: `stageId` is `stage`, `jobTitle` is `job title`."""
    return re.sub(r"(?<=[a-z])([A-Z])", r" \1", re.sub("(?:Id|Pct)$", "", field)).lower()


def shown(value: Any, named: Named) -> str:
    """A value in words: names for ids, `nothing` for null; cut where it is long, with its length said."""
    if value in (None, ""):
        return "nothing"
    return clean(named(value) if isinstance(value, str) else str(value), MAX_VALUE_CHARS)


def recipient(seen: Wire | None) -> str:
    """`Anna Müller <anna@acme.example>`, or that the CRM does not tell."""
    found = seen or {}
    if not found.get("to"):
        return f"whoever the CRM takes for the contact of {clean(str(found.get('lead')), MAX_NAME_CHARS)}"
    # A name may look like an address, but only the address stands in brackets.
    name = clean(str(found.get("contact")), MAX_NAME_CHARS).translate(UNBRACKETED)
    return f"{name} <{clean(found['to'], MAX_VALUE_CHARS).translate(UNBRACKETED)}>"


def in_order(names: Iterable[str]) -> str:
    return ", ".join(clean(name, MAX_NAME_CHARS) for name in names)


def email_lines(html: str) -> Iterator[str]:
    """Each link and each image that is fetched from elsewhere, then the text, a line a paragraph.

    The text is last, for an error shows only the start; and quoted, so that it cannot pass for our lines.
    """
    email = _read(html)
    yield from _first("links", [f"Link: {link}" for link in _addresses(email.links)], MAX_LINKS)
    images = [f"Image from elsewhere: {image}" for image in _addresses(email.images)]
    yield from _first("images", images, MAX_LINKS)
    yield "Text:"
    paragraphs = [on_one_line(part) for part in "".join(email.text).split("\n")]
    lines = [line for paragraph in paragraphs for line in wrap(paragraph, LINE_CHARS)]
    yield from _first("lines", [f"> {line}" for line in lines], MAX_LINES)


def text_of(html: str) -> str:
    """What an e-mail says, on one line: a CRM may follow its links, or keep no tags."""
    return on_one_line("".join(_read(html).text))


def _read(html: str) -> _Email:
    email = _Email()
    email.feed(html)
    email.close()
    return email


def _addresses(found: list[str]) -> list[str]:
    return [clean(one, MAX_LINK_CHARS) for one in dict.fromkeys(found)]


def _first(what: str, lines: list[str], limit: int) -> Iterator[str]:
    yield from lines[:limit]
    if len(lines) > limit:
        yield f"({len(lines) - limit} more {what} are not shown)"


class _Email(HTMLParser):
    """The parts of an e-mail that a person reads or that reach elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.links: list[str] = []
        self.images: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if tag in BLOCKS:
            self.text.append("\n")
        if tag == "img" and named.get("alt"):
            self.text.append(f" [{named['alt']}] ")
        for name, value in named.items():
            if tag == "img" and name == "src" and value:
                self.images.append(value)
            elif value and (name == "href" or "//" in value or value.startswith(("mailto:", "tel:"))):
                self.links.append(value)

    def handle_endtag(self, tag: str) -> None:
        if tag in BLOCKS:
            self.text.append("\n")

    def handle_data(self, data: str) -> None:
        self.text.append(data.replace("\n", " "))
