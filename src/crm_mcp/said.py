"""How people say which record they mean: ids, addresses, names with a company."""

from __future__ import annotations

import re

SHORT_ID = re.compile(r"[0-9a-f]{8}[0-9a-f-]{0,28}", re.IGNORECASE)
# An e-mail address, as a mail client copies it with the name before it, or alone.
ADDRESS = re.compile(r"(?:^\s*|<|mailto:)([^\s<>@:]+@[^\s<>@]+\.[^\s<>@]+?)(?:>|\s*$)", re.IGNORECASE)


def name_and_company(said: str) -> tuple[str, str]:
    """`Anna at Acme` in its two parts; the second is empty where it has one."""
    parts = re.split(r"\s+(?:at|@|from|of|bei|chez)\s+", said.strip(), maxsplit=1, flags=re.IGNORECASE)
    return (parts[0], parts[1]) if len(parts) == 2 else (said, "")


def cut(said: str) -> str:
    return said if len(said) <= 60 else said[:59] + "…"
