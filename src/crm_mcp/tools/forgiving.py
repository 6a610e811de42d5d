"""What is forgiven in a tool's arguments because it is unmistakable; all else is an error."""

from __future__ import annotations

import difflib
import json
import re
from contextlib import suppress
from typing import Any

from crm_mcp.crm.errors import InvalidInputError

DATE_AND_TIME = re.compile(r"\s*(\d{4}-\d\d-\d\d)[T ](\d\d:\d\d)(?::\d\d(?:\.\d+)?)?(?:Z|[+-]\d\d:?\d\d)?\s*")
BOOLEANS = {
    **dict.fromkeys(("true", "yes", "y", "t", "on", "1"), True),
    **dict.fromkeys(("false", "no", "n", "f", "off", "0"), False),
}
# What people say for a value of the CRM's.
SYNONYMS = {"archived": "inactive", "archive": "inactive", "done": "applied"}
# Whose currency is plain; a dollar is several.
CURRENCIES = {"€": "EUR", "£": "GBP"}
MONEY = re.compile(r"([€£$¥]|[A-Z]{3})?\s*([0-9][0-9.,'’\s]{0,30}?)\s*([€£$¥]|[A-Z]{3})?")
AMOUNT = re.compile(r"((?!0)[0-9]{1,3}(?:([.,'’\s])[0-9]{3})(?:\2[0-9]{3})*|[0-9]+)(?:(?!\2)[.,]([0-9]+))?")
# 45000 to some, 45 to others.
EITHER = re.compile(r"(?!0)[0-9]{1,3}[.,][0-9]{3}")
RECORD_PARAMETERS = ("lead", "contact", "company", "stage", "list_id")


def forgiven_name(given: str, schema: dict[str, Any], arguments: dict[str, Any]) -> str | None:
    """The parameter that a name can only mean: `company_id` is `company`, `id` the record's."""
    properties = schema["properties"]
    bare = given.removesuffix("_id")
    if bare in properties and bare not in arguments:
        return bare
    if given in ("id", "record_id"):
        free = [name for name in RECORD_PARAMETERS if name in properties and name not in arguments]
        if "lead" in free and "stage" in free:
            free.remove("stage")
        # A tool for one record needs it; what else it takes of records are fields.
        free = [name for name in free if name in schema.get("required", [])] or free
        return free[0] if len(free) == 1 else None
    return None


def forgiven_value(name: str, value: Any, schema: dict[str, Any], notes: list[str]) -> Any:
    """The value as the schema wants it, where only its spelling differs; `notes` tells of a cut limit."""
    if "enum" in schema:
        return _spelled(value, schema["enum"])
    if schema.get("type") == "array":
        values = _listed(value)
        allowed = schema["items"].get("enum")
        return [_spelled(one, allowed) for one in values] if allowed else values
    if schema.get("type") in ("boolean", "string") and "format" not in schema:
        sign = value.strip() if name == "currency" and isinstance(value, str) else ""
        return CURRENCIES.get(sign) or _of_type(schema["type"], value)
    if schema.get("format") == "date" and isinstance(value, str):
        with_time = DATE_AND_TIME.fullmatch(value)
        if with_time and with_time[2] != "00:00":
            notes.append(f"`{name}` is a day: the time of {value} was left out.")
        return with_time[1] if with_time else value.strip()
    highest = schema.get("maximum")
    if name == "limit" and highest and _is_above(value, highest):
        notes.append(f"`limit` is at most {highest}; {value} was asked for.")
        return highest
    return value.strip().removesuffix("%") if name == "probability" and isinstance(value, str) else value


def _of_type(wanted: str, value: Any) -> Any:
    """A boolean that was said as a text or a number, a text that was said as a number or as a list of one.

    Here, and not where the tool reads it: what else decides about the call must see the same.
    """
    if wanted == "boolean":
        return BOOLEANS.get(str(value).strip().lower(), value)
    if isinstance(value, list) and len(value) == 1 and isinstance(value[0], str):
        return value[0]
    return str(value) if type(value) in (int, float) else value


def forgiven_money(value: str, currency: str) -> dict[str, Any]:
    """`value` as a number, and the `currency` that it was said in; as it is where it is no money.

    Raises InvalidInputError for an amount or a currency that may be another one.
    """
    said = MONEY.fullmatch(value.strip())
    if not said:
        return {"value": value}
    amount = None if EITHER.fullmatch(said[2]) else AMOUNT.fullmatch(said[2])
    if not amount:
        raise InvalidInputError(
            f"`value`: write '{value[:60]}' as a plain number, such as 45000 or 45000.50. Nothing was done."
        )
    number = float(f"{re.sub(r'[^0-9]', '', amount[1])}.{amount[3] or 0}")
    signs = {CURRENCIES.get(sign, sign) for sign in (said[1], said[3], currency.strip().upper()) if sign}
    codes = {sign for sign in signs if sign.isalnum()}
    # A dollar sign says too little alone, and too much beside `EUR`.
    if len(codes) > 1 or (signs > codes and codes <= {*CURRENCIES.values()}):
        raise InvalidInputError(
            f"Say as `currency` which one is meant: {' or '.join(sorted(signs))}. Nothing was done."
        )
    return {"value": number, **({"currency": codes.pop()} if codes else {})}


def _spelled(value: Any, allowed: list[str]) -> Any:
    """The allowed value that differs only in case, plural or punctuation."""
    if not isinstance(value, str):
        return value
    for wanted in (_letters(value), SYNONYMS.get(_letters(value))):
        for one in allowed:
            if wanted in (_letters(one), *_plurals(_letters(one))):
                return one
    return value


def _plurals(word: str) -> tuple[str, ...]:
    return (f"{word}s", f"{word.removesuffix('y')}ies") if word.endswith("y") else (f"{word}s",)


def closest(value: Any, allowed: list[str]) -> str:
    """` (did you mean ...?)`, where one of the allowed values is near."""
    near = difflib.get_close_matches(str(value).casefold(), allowed, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""


def _letters(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum())


def _listed(value: Any) -> list[Any]:
    """A list as it is or as its JSON; all else is one item of a list.

    How many there are decides whether a person is asked: so nobody after us may find a list in a text.
    """
    if isinstance(value, list):
        return value
    with suppress(ValueError, RecursionError):
        if isinstance(value, str) and isinstance(read := json.loads(value), list):
            return read
    return [value]


def _is_above(value: Any, highest: float) -> bool:
    try:
        return float(value) > highest
    except (TypeError, ValueError):
        return False


def is_blank(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def unknown_argument(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
    hint = f" Did you mean `{close[0]}`?" if close else ""
    every = ", ".join(known) or "none"
    return f"There is no argument `{name[:60]}`.{hint} Arguments: {every}. Nothing was done."
