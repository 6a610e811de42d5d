"""How an endpoint is declared: its operation, its models, and how well each fact is known.

Everything about the wire is derived from these declarations: requests, the OpenAPI document, the contract
page, the doctor's probes. The facts themselves stand in the family modules; their source is the CRM's
reference page (see `docs/contract.md`).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import Enum
from typing import Annotated, Any, Generic, Literal, Self, TypeVar
from urllib.parse import quote

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, PrivateAttr, ValidationError
from pydantic.alias_generators import to_camel
from pydantic.fields import FieldInfo

from crm_mcp.crm.errors import InvalidInputError, UnexpectedResponseError

BASE_PATH = "/api/crm"
MAX_SEARCHED_CHARS = 200
ENVELOPES = ("data", "items", "results", "result", "item")
UUID_PATTERN = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}", re.IGNORECASE)


class Evidence(Enum):
    """How well a fact about the wire is known; stands as metadata on every field and parameter."""

    DOCUMENTED = "documented"
    OBSERVED = "observed"
    ASSUMED = "assumed"

    @classmethod
    def of(cls, info: FieldInfo) -> Evidence:
        return next(mark for mark in info.metadata if isinstance(mark, cls))


DOCUMENTED, OBSERVED, ASSUMED = Evidence.DOCUMENTED, Evidence.OBSERVED, Evidence.ASSUMED


def _in_utc(value: datetime) -> datetime:
    try:
        return value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC)
    except OverflowError as error:
        raise ValueError("the time in UTC is outside the years 1 to 9999") from error


Timestamp = Annotated[datetime, AfterValidator(_in_utc)]
Uuid = Annotated[str, Field(json_schema_extra={"format": "uuid"})]


class WireModel(BaseModel):
    """Python names inside, camelCase on the wire. Validators are built on first use, for start-up's sake."""

    model_config = ConfigDict(
        alias_generator=to_camel,
        populate_by_name=True,
        defer_build=True,
        coerce_numbers_to_str=True,
        allow_inf_nan=False,
    )

    @classmethod
    def wire_name(cls, name: str) -> str:
        return cls.model_fields[name].alias or name


class Record(WireModel):
    """Something the CRM sent. Fields that nobody documented are kept too: `wire` is the object as it came."""

    _wire: dict[str, Any] = PrivateAttr(default_factory=dict)

    @property
    def wire(self) -> dict[str, Any]:
        return self._wire

    @property
    def unknown(self) -> dict[str, Any]:
        """The fields that came and are not declared here, under their wire names."""
        declared = {info.alias for info in type(self).model_fields.values()}
        return {name: value for name, value in self._wire.items() if name not in declared}

    @classmethod
    def from_wire(cls, raw: dict[str, Any]) -> Self:
        """Read a record; an assumed field of another type than assumed is left unset (and stays in `wire`).

        Raises UnexpectedResponseError when what is missing or odd is not merely assumed.
        """
        try:
            record = cls.model_validate(raw, by_alias=True, by_name=False)
        except ValidationError as error:
            record = cls._without_odd_fields(raw, error)
        record._wire = raw
        return record

    @classmethod
    def _without_odd_fields(cls, raw: dict[str, Any], error: ValidationError) -> Self:
        odd = {str(problem["loc"][0]) for problem in error.errors(include_url=False)}
        by_wire_name = {info.alias: info for info in cls.model_fields.values()}
        needed = [name for name in odd if by_wire_name[name].is_required()]
        if needed:
            raise UnexpectedResponseError(
                f"The CRM sent a {cls.__name__} without a usable `{needed[0]}`: {describe(raw)}."
            ) from error
        usable = {name: value for name, value in raw.items() if name not in odd}
        return cls.model_validate(usable, by_alias=True, by_name=False)


class Entity(Record):
    """A record that the CRM names by id."""

    id: Annotated[str, ASSUMED]


class Body(WireModel):
    """What a POST, PATCH or DELETE sends: the fields that were set; `None` clears a field."""

    model_config = ConfigDict(extra="forbid")

    def to_wire(self) -> dict[str, Any]:
        return self.model_dump(mode="json", by_alias=True, exclude_unset=True)

    def not_kept_by(self, record: Record) -> tuple[list[str], list[str]]:
        """The fields that `record`, read back, shows with another value than was sent, and those that it
        does not show at all: a CRM drops a name that it does not know."""
        sent = self.model_dump(exclude_unset=True)
        shown = [name for name in sent if self.wire_name(name) in record.wire]
        values = {name: getattr(record, name, record.wire[self.wire_name(name)]) for name in shown}
        other = [
            name for name in shown if not (_is_me(name, sent[name]) or _is_kept(sent[name], values[name]))
        ]
        return other, [name for name in sent if name not in values and sent[name] is not None]

    def is_shown_by(self, record: Record) -> bool:
        """Whether the record is in every field what was sent, for certain: who `me` is nobody can tell."""
        sent = self.model_dump(exclude_unset=True)
        return not any(self.not_kept_by(record)) and not any(map(_is_me, sent, sent.values()))


def searchable(text: str) -> str:
    """The text; raises InvalidInputError where it is too long for a name, and for a URL."""
    if len(text) > MAX_SEARCHED_CHARS:
        raise InvalidInputError(
            f'"{text[:40]}…" is too long to look for: {len(text)} characters, where a name has '
            f"{MAX_SEARCHED_CHARS} at most. Nothing was done."
        )
    return text


class Filter(WireModel):
    """The query parameters of one operation, `entityId` and the paging apart."""

    model_config = ConfigDict(extra="forbid")

    def to_wire(self) -> dict[str, str]:
        """Raises InvalidInputError for a text that is too long to be searched for."""
        values = self.model_dump(mode="json", by_alias=True, exclude_none=True)
        return {name: searchable(str(value)) for name, value in values.items()}

    def checks(self) -> Iterator[tuple[str, Check, str]]:
        """The filters in force: wire name, how a row can be checked against it, and the value."""
        for name, info in type(self).model_fields.items():
            value = getattr(self, name)
            check = next((mark for mark in info.metadata if isinstance(mark, Check)), None)
            if value is not None and check is not None:
                yield info.alias or name, check, str(value)


class PagedFilter(Filter):
    """A filter of an operation that answers page by page."""

    page: Annotated[int | None, ASSUMED] = None
    page_size: Annotated[int | None, ASSUMED] = None


@dataclass(frozen=True, slots=True)
class Check:
    """Tells whether a row passed a filter; needed because servers ignore a query key they don't know.

    `passes(row, value)` is None where the row does not carry what would tell.
    """

    passes: Callable[[dict[str, Any], str], bool | None]


UNVERIFIABLE = Check(lambda _row, _value: None)


def equals(*wire_names: str, also: str = "", null_tells: bool = True) -> Check:
    """The first of `wire_names` (dots reach into objects) that is set has the value, or `also`.

    Where all that the row carries of them are null, it has no such value; unless `null_tells` is false, for
    rows that can belong to the value in another way.
    """

    def passes(row: dict[str, Any], value: str) -> bool | None:
        carried = [found for name in wire_names for found in _values_at(row, name)]
        if not carried or (not null_tells and not any(carried)):
            return None
        text = next((found.casefold() for found in carried if found is not None), None)
        return text in (value.casefold(), also or value.casefold())

    return Check(passes)


def owned(wire_name: str) -> Check:
    """The owner is the value; `unassigned` means none, `me` cannot be told from the row beyond having one."""

    def passes(row: dict[str, Any], value: str) -> bool | None:
        if wire_name not in row:
            return None
        owner = row[wire_name]
        if value == "unassigned":
            return owner is None
        if value == "me":
            return None if owner else False
        return isinstance(owner, str) and owner.casefold() == value.casefold()

    return Check(passes)


def mentions(*wire_names: str) -> Check:
    """All of the words occur in the named fields; with no names, anywhere in the row.

    Of a search nobody documented what it looks at: a row that shows but some of the words does not tell.
    Another spelling (`Acme, Inc.` for `Acme Inc`) is no contradiction.
    """

    def passes(row: dict[str, Any], value: str) -> bool | None:
        named = [row[name] for name in wire_names] if wire_names and row.keys() >= set(wire_names) else []
        texts = named if wire_names else list(_strings(row))
        text = " ".join(plain(text) for text in texts if isinstance(text, str))
        if not text:
            return None
        words = re.findall(r"\w+", plain(value)) or [plain(value)]
        shown = [word in text for word in words]
        return None if any(shown) and not (wire_names or all(shown)) else all(shown)

    return Check(passes)


# Letters that have no form without their stroke or ligature in Unicode.
STROKES = str.maketrans(
    {"ø": "o", "ł": "l", "đ": "d", "ħ": "h", "ı": "i", "æ": "ae", "œ": "oe", "þ": "th", "ð": "d"}
)


def plain(text: str) -> str:
    """Text as people compare it: no case, no accents, single spaces."""
    if text.isascii():
        return " ".join(text.casefold().split())
    # Compatibility forms may hold capitals, so that case goes after them.
    decomposed = unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", text).casefold())
    bare = "".join(char for char in decomposed.translate(STROKES) if not _is_accent(char))
    return " ".join(unicodedata.normalize("NFC", bare).split())


def _is_accent(char: str) -> bool:
    """Marks of India's and South-East Asia's scripts and of kana make other letters: they are no accents."""
    return bool(unicodedata.combining(char)) and not ("\u0900" <= char <= "\u1aaf" or char in "\u3099\u309a")


def _values_at(row: dict[str, Any], name: str) -> Iterator[str | None]:
    """The text or null at a dotted name; nothing where the row does not carry one."""
    value: Any = row
    for part in name.split("."):
        if not isinstance(value, dict) or part not in value:
            return
        value = value[part]
    if value is None or isinstance(value, str):
        yield value


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for item in value.values() if isinstance(value, dict) else value:
            yield from _strings(item)


R = TypeVar("R", bound=Record)
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rows(Generic[R]):
    """One answer of a list operation, and what the CRM says of its place in the whole."""

    records: list[R]
    total: int | None = None
    page: int | None = None
    page_size: int | None = None


class Answer(Generic[T]):
    """What a 2xx means."""

    def read(self, raw: Any) -> T:
        """Raises UnexpectedResponseError when the shape fits nothing."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class One(Answer[R]):
    """A record: bare, or under its own name or a common envelope."""

    record: type[R]
    key: str = ""

    def read(self, raw: Any) -> R:
        record = _find_record(self.record, self.key, raw)
        if record is None:
            raise UnexpectedResponseError(
                f"The CRM did not send a {self.record.__name__}, but {describe(raw)}."
            )
        return record


@dataclass(frozen=True, slots=True)
class Written(Answer[R | None]):
    """A write's answer: the record where the CRM sends it, None where it sends nothing or something else.

    That the write succeeded is told by the status; the shape of its answer is undocumented, so that an odd
    one must not make the write look like a failure.
    """

    record: type[R]
    key: str = ""

    def read(self, raw: Any) -> R | None:
        try:
            return _find_record(self.record, self.key, raw)
        except UnexpectedResponseError:
            return None


@dataclass(frozen=True, slots=True)
class Done(Answer[None]):
    """A write of which only the success is of interest."""

    def read(self, raw: Any) -> None:
        """Whatever came is of no interest."""


@dataclass(frozen=True, slots=True)
class Many(Answer[Rows[R]]):
    """A list: under its plural name, in a common envelope, or as a bare array."""

    record: type[R]
    key: str

    def read(self, raw: Any) -> Rows[R]:
        outer = raw if isinstance(raw, dict) else {}
        rows = next(
            (outer[name] for name in (self.key, *ENVELOPES) if isinstance(outer.get(name), list)), raw
        )
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise UnexpectedResponseError(f"The CRM did not send a list of {self.key}, but {describe(raw)}.")
        return Rows(
            records=[self.record.from_wire(row) for row in rows],
            total=_whole_number(outer.get("total")),
            page=_whole_number(outer.get("page")),
            page_size=_whole_number(outer.get("pageSize")),
        )


@dataclass(frozen=True, slots=True)
class Operation(Generic[T]):
    """One endpoint of the CRM; `path` names its parameters as Python does, `evidence` is the answer's."""

    name: str
    summary: str
    method: Literal["GET", "POST", "PATCH", "DELETE"]
    path: str
    answer: Answer[T]
    evidence: Evidence
    filter: type[Filter] | None = None
    body: type[Body] | None = None
    error_responses: int = 0
    path_names: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "path_names", tuple(re.findall(r"{(\w+)}", self.path)))

    @property
    def scope(self) -> str:
        return "read:crm" if self.method == "GET" else "write:crm"

    @property
    def wire_path(self) -> str:
        return BASE_PATH + re.sub(r"{(\w+)}", lambda match: f"{{{to_camel(match[1])}}}", self.path)

    def url_path(self, **ids: str) -> str:
        """The path with its ids filled in.

        Raises InvalidInputError for an id that is no UUID, so that nothing else can reach the path.
        """
        for name, value in ids.items():
            if not UUID_PATTERN.fullmatch(value):
                raise InvalidInputError(f"`{value[:60]}` is no {name.replace('_', ' ')}: ids are UUIDs.")
        return BASE_PATH + self.path.format(**{name: quote(value, safe="") for name, value in ids.items()})


def _is_kept(sent: Any, shown: Any) -> bool:
    """A CRM may keep less than microseconds."""
    if isinstance(sent, datetime) and isinstance(shown, datetime):
        return abs((sent - shown).total_seconds()) < 1
    return bool(sent == shown)


def _is_me(name: str, sent: Any) -> bool:
    """It comes back as the user's id."""
    return name == "owner_user_id" and sent == "me"


def describe(raw: Any) -> str:
    """What came, in a few words, for an error: names of fields, never their values."""
    if raw is None:
        return "an empty body"
    if isinstance(raw, dict):
        names = ", ".join(f"`{name[:40]}`" for name in list(raw)[:8])
        return f"an object with {names}" if names else "an empty object"
    if isinstance(raw, list):
        kinds = sorted({type(item).__name__ for item in raw[:100]})
        return f"a list of {len(raw)} ({', '.join(kinds)})" if raw else "an empty list"
    return f"a JSON {type(raw).__name__}"


def _find_record(record: type[R], key: str, raw: Any) -> R | None:
    if not isinstance(raw, dict):
        return None
    required = {info.alias for info in record.model_fields.values() if info.is_required()}
    # A record may have a field that is named like an envelope: what holds the required fields is the record.
    places = (*(raw.get(name) for name in (key, *ENVELOPES)), raw)
    found = (place for place in places if isinstance(place, dict) and required <= place.keys())
    return next(map(record.from_wire, found), None)


def _whole_number(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value >= 0 else None
