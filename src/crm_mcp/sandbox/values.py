"""The kinds of value that bodies and queries are made of, with their bounds."""

import re
from datetime import UTC, date, datetime
from typing import Annotated, Final, Literal

from pydantic import AfterValidator, Field, ValidationInfo

from crm_mcp.sandbox.store import utc

Role = Literal["prospect", "customer", "vendor", "both"]
Status = Literal["active", "inactive"]
ActivityType = Literal["call", "email", "meeting", "note", "task"]
StageKind = Literal["open", "won", "lost"]
Channel = Literal["gmail", "outlook"]

_UUID: Final = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
_UNSTORABLE: Final = re.compile("[\0\ud800-\udfff]")
_EMAIL: Final = re.compile(r"[^@\s]+@[^@\s]+")


def is_uuid(text: str) -> bool:
    return _UUID.fullmatch(text.lower()) is not None


def _uuid(text: str) -> str:
    if not is_uuid(text):
        raise ValueError("must be a UUID")
    return text.lower()


def _owner(text: str, info: ValidationInfo) -> str:
    me: str = (info.context or {})["me"]
    return me if text == "me" else _uuid(text)


def _owner_filter(text: str, info: ValidationInfo) -> str:
    return text if text == "unassigned" else _owner(text, info)


def _text(text: str) -> str:
    # NUL ends a text within SQLite's search; half of a surrogate pair has no UTF-8.
    if _UNSTORABLE.search(text):
        raise ValueError("contains a character that cannot be stored")
    return text


def _required_text(text: str) -> str:
    if not text.strip():
        raise ValueError("must not be empty")
    return _text(text)


def _email(text: str) -> str:
    if not _EMAIL.fullmatch(text):
        raise ValueError("must be an e-mail address")
    return _text(text)


def _currency(text: str) -> str:
    if not re.fullmatch("[A-Z]{3}", text):
        raise ValueError("must be three capital letters")
    return text


def _day(text: str) -> str:
    if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", text, re.ASCII):
        raise ValueError("must be a date, YYYY-MM-DD")
    return date.fromisoformat(text).isoformat()


def _moment(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
        return utc(moment if moment.tzinfo else moment.replace(tzinfo=UTC))
    except (ValueError, OverflowError):
        raise ValueError("must be an ISO-8601 timestamp") from None


Uuid = Annotated[str, AfterValidator(_uuid)]
Owner = Annotated[str, AfterValidator(_owner)]
OwnerFilter = Annotated[str, AfterValidator(_owner_filter)]
Text = Annotated[str, AfterValidator(_text)]
RequiredText = Annotated[str, AfterValidator(_required_text)]
Email = Annotated[str, AfterValidator(_email)]
Currency = Annotated[str, AfterValidator(_currency)]
Day = Annotated[str, AfterValidator(_day)]
Moment = Annotated[str, AfterValidator(_moment)]
Percent = Annotated[float, Field(ge=0, le=100)]
# The upper bound keeps sums within what SQLite counts exactly.
Money = Annotated[float, Field(ge=0, le=1e12)]
Minutes = Annotated[int, Field(ge=0, le=1_000_000)]
