"""What a person is shown of a write, in plain words; of an e-mail its text, and what leads elsewhere."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from html.parser import HTMLParser
from textwrap import wrap
from typing import Any
from urllib.parse import unquote

from crm_mcp.wording import MAX_NAME_CHARS, clean, on_one_line

Wire = dict[str, Any]
# What an id stands for, or the id where nobody knows.
Named = Callable[[str], str]

BLOCKS = frozenset(
    (  # noqa: SIM905  # as many lines would hide the code around them
        "p div br hr li dt dd tr td th h1 h2 h3 h4 h5 h6 blockquote pre caption summary article section"
    ).split()
)
MAX_VALUE_CHARS = 500
UNBRACKETED = str.maketrans("<>", "‹›")
# How a reader sees it is not told by its text alone.
MARKS = {"sup": "^", "sub": "_", "del": "~", "s": "~", "strike": "~"}
LINE_CHARS = 200
MAX_LINK_CHARS = 200
# What a mail client makes a link of by itself.
BARE_ADDRESS = re.compile(
    r"(?:https?://|www\.)[^\s<>\"]+|(?<![\w.@/-])(?:[\w-]+\.)+[a-z]{2,}/[^\s<>\"]*", re.IGNORECASE
)


def label(wire: Wire | None) -> str:
    """What a record is called, by what is sent of it; empty where nothing tells."""
    found = wire or {}
    person = " ".join(str(found[part]) for part in ("firstName", "lastName") if found.get(part))
    return person or str(found.get("name") or found.get("title") or found.get("email") or "")


def shown(value: Any, named: Named) -> str:
    """A value in words: names for ids, `nothing` for null; cut where it is long, with its length said."""
    if value in (None, ""):
        return "nothing"
    return clean(_said(value, named), MAX_VALUE_CHARS)


def whole(value: Any, named: Named) -> str:
    """The same, not cut: what a person approves they have to see all of."""
    if value in (None, ""):
        return "nothing"
    return on_one_line(_said(value, named))


def _said(value: Any, named: Named) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(_said(one, named) for one in value)
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return named(value) if isinstance(value, str) else str(value)


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
    text = "".join(email.text)
    yield from _leading("Link to", [*email.links, *BARE_ADDRESS.findall(text)])
    yield from _leading("Image from", email.images)
    yield "Text:"
    paragraphs = [on_one_line(part) for part in text.split("\n")]
    yield from (f"> {line}" for paragraph in paragraphs for line in wrap(paragraph, LINE_CHARS))


def text_of(html: str) -> str:
    """What an e-mail says, on one line: a CRM may follow its links, or keep no tags."""
    return on_one_line("".join(_read(html).text))


def _read(html: str) -> _Email:
    email = _Email()
    email.feed(html)
    email.close()
    return email


def _leading(what: str, addresses: list[str]) -> Iterator[str]:
    """Each with where it leads first: a long address may hide that."""
    for address in dict.fromkeys(addresses):
        if host := _host(address):
            yield f"{what} {host}: {clean(address, MAX_LINK_CHARS)}"
        else:
            yield f"{what} {on_one_line(address)}"


def _host(address: str) -> str:
    """Where a browser goes, which reads `\\` as `/` and needs neither; empty where there is no host.

    By the URL standard's rules, which `urllib` does not follow.
    """
    if address.lower().startswith(("mailto:", "tel:")):
        return ""
    found = re.match(r"(?:[a-z][a-z0-9+.-]*:)?[/\\]*([^/\\?#]*)", address.strip(), re.IGNORECASE)
    host = unquote(found[1].rpartition("@")[2].partition(":")[0]) if found else ""
    try:
        # Letters that look like others give themselves away.
        return on_one_line(host.encode("idna").decode())
    except UnicodeError:
        return on_one_line(host)


class _Email(HTMLParser):
    """The parts of an e-mail that a person reads or that reach elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        self.text: list[str] = []
        self.links: list[str] = []
        self.images: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.text.append(MARKS.get(tag, "\n" if tag in BLOCKS else ""))
        if tag == "img" and named.get("alt"):
            self.text.append(f" [{named['alt']}] ")
        for name, value in named.items():
            if tag == "img" and name == "src" and value:
                self.images.append(value)
            elif value and (name == "href" or "//" in value or value.startswith(("mailto:", "tel:"))):
                self.links.append(value)

    def handle_endtag(self, tag: str) -> None:
        self.text.append(MARKS.get(tag, "\n" if tag in BLOCKS else ""))

    def handle_data(self, data: str) -> None:
        self.text.append(data.replace("\n", " "))
