"""What a person is shown of an e-mail before it goes out: its text, and what in it leads elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from html.parser import HTMLParser
from textwrap import wrap

from crm_mcp.wording import clean, on_one_line

BLOCKS = frozenset({"p", "div", "br", "li", "tr", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "pre"})
MAX_LINES = 2_000
LINE_CHARS = 200
MAX_LINKS = 20
MAX_LINK_CHARS = 200


def email_lines(html: str) -> Iterator[str]:
    """Each link and each image that is fetched from elsewhere, then the text, a line a paragraph.

    The text is last, for an error shows only the start; and quoted, so that it cannot pass for our lines.
    """
    email = _Email()
    email.feed(html)
    email.close()
    yield from _first("links", [f"Link: {link}" for link in _addresses(email.links)], MAX_LINKS)
    images = [f"Image from elsewhere: {image}" for image in _addresses(email.images)]
    yield from _first("images", images, MAX_LINKS)
    yield "Text:"
    paragraphs = [on_one_line(part) for part in "".join(email.text).split("\n")]
    lines = [line for paragraph in paragraphs for line in wrap(paragraph, LINE_CHARS)]
    yield from _first("lines", [f"> {line}" for line in lines], MAX_LINES)


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
