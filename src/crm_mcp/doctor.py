"""Whether a CRM is what the contract believes, as far as reading can tell."""

from __future__ import annotations

import re
import shutil
import textwrap
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, Literal, Protocol

from pydantic import ValidationError
from pydantic.fields import FieldInfo

from crm_mcp.crm import CrmClient, openapi
from crm_mcp.crm.comparison import compare_openapi, read_openapi
from crm_mcp.crm.contract import (
    ASSUMED,
    DOCUMENTED,
    Answer,
    Check,
    Evidence,
    Filter,
    Operation,
    PagedFilter,
    Record,
    Rows,
)
from crm_mcp.crm.errors import (
    AuthenticationError,
    CrmError,
    InvalidInputError,
    NotFoundError,
    PermissionDeniedError,
    RateLimitedError,
    UnavailableError,
)
from crm_mcp.crm.pipeline import LIST_STAGES, PipelineStage

__all__ = ["Finding", "compare_openapi", "examine", "read_openapi", "table"]

Status = Literal["ok", "unknown", "warning", "problem"]

LATENCY_CALLS = 5
MIN_TABLE_WIDTH = 96
NO_TERMINAL_WIDTH = 160
MIN_WRAP = 24


@dataclass(frozen=True, slots=True)
class Finding:
    """What one check told, `unknown` where it could not be made; `milliseconds` where it timed the CRM."""

    check: str
    status: Status
    detail: str
    milliseconds: int | None = None

    def cells(self) -> tuple[str, ...]:
        took = "" if self.milliseconds is None else f"{self.milliseconds} ms"
        return self.status, self.check, took, self.detail


async def examine(crm: CrmClient) -> list[Finding]:
    """Ask the CRM, by GETs only, whether it is what the contract believes."""
    try:
        stages = await _ask_for_stages(crm)
    except CrmError as error:
        return [
            Finding("key and entity", "problem", f"{error} {_remedy(error)}"),
            Finding("everything else", "warning", "Not checked: the CRM has to answer the key first."),
        ]
    return [
        Finding("key and entity", "ok", "Accepted."),
        Finding("read scope", "ok", "The key may read."),
        Finding("write scope", "unknown", "Not probed: only a write would tell."),
        await _settled("latency", _latency(crm)),
        _stage_shape(stages),
        *[finding async for finding in _Survey(crm).findings()],
    ]


def _remedy(error: CrmError) -> str:
    match error:
        case AuthenticationError():
            return "Create a key in the CRM's settings and configure that one."
        case PermissionDeniedError():
            return "Check that the entity id is the key's own, and that the key has `read:crm`."
        case UnavailableError(status=None):
            return "Check the base URL, and that this machine can reach it."
        case UnavailableError() | RateLimitedError():
            return "The settings may be right: run this again."
        case _:
            return "Check the base URL: it is the part before /api/crm."


async def _settled(check: str, finding: Awaitable[Finding]) -> Finding:
    """The finding, or what kept it from being made."""
    try:
        return await finding
    except RateLimitedError as error:
        return Finding(check, "warning", str(error))
    except CrmError as error:
        return Finding(check, "problem", str(error))


@dataclass(frozen=True, slots=True)
class _AsItCame(Answer[Any]):
    """The JSON, before anything is made of it."""

    def read(self, raw: Any) -> Any:
        return raw


async def _ask_for_stages(crm: CrmClient) -> Any:
    return await crm.call(replace(LIST_STAGES, answer=_AsItCame()))


async def _latency(crm: CrmClient) -> Finding:
    seconds = []
    for _ in range(LATENCY_CALLS):
        start = time.perf_counter()
        await _ask_for_stages(crm)
        seconds.append(time.perf_counter() - start)
    return Finding("latency", "ok", f"The median of {LATENCY_CALLS} reads.", _milliseconds(median(seconds)))


def _milliseconds(seconds: float) -> int:
    return round(seconds * 1000)


def _stage_shape(raw: Any) -> Finding:
    """The one list whose every field is documented."""
    try:
        rows = [stage.wire for stage in LIST_STAGES.answer.read(raw).records]
    except CrmError as error:
        return Finding("stages", "problem", str(error))
    odd = sorted({complaint for row in rows for complaint in _complaints(row)})
    if odd:
        return Finding("stages", "problem", f"Not as documented: {', '.join(odd)}.")
    return Finding("stages", "ok", f"Every field is as documented; stages: {len(rows)}.")


def _complaints(stage: dict[str, Any]) -> Iterator[str]:
    for info in PipelineStage.model_fields.values():
        if Evidence.of(info) is DOCUMENTED and info.alias not in stage:
            yield f"`{info.alias}` is missing"
    try:
        PipelineStage.model_validate(stage, strict=True, by_alias=True, by_name=False)
    except ValidationError as error:
        for problem in error.errors(include_url=False, include_input=False):
            yield f"`{problem['loc'][0]}` has another type"


@dataclass(frozen=True, slots=True)
class _Survey:
    """One round through all GETs; `lists` holds the rows that each list has shown, by its path."""

    crm: CrmClient
    lists: dict[str, list[Record]] = field(default_factory=dict)

    async def findings(self) -> AsyncIterator[Finding]:
        reads = [operation for operation in openapi.operations() if operation.method == "GET"]
        # Those without an id in their path first: their rows give the others one.
        for operation in sorted(reads, key=lambda read: len(read.path_names)):
            check = f"GET {re.sub('{.*?}', '{id}', operation.path)}"
            yield await _settled(check, self._answer(check, operation))
        for operation in reads:
            for probe in _probes(operation):
                yield await _settled(probe.check, self._filter(probe))
        for operation in reads:
            if operation.filter and issubclass(operation.filter, PagedFilter):
                check = f"{operation.path} pages"
                yield await _settled(check, self._paging(check, operation, operation.filter))

    async def _answer(self, check: str, operation: Operation[Any]) -> Finding:
        parents = self.lists.get(operation.path.partition("/{")[0])
        if operation.path_names and not parents:
            return Finding(check, "unknown", "Not checked: there is no record to ask about.")
        ids: dict[str, Any] = {name: str(parents[0].wire["id"]) for name in operation.path_names if parents}
        start = time.perf_counter()
        answer = await self.crm.call(operation, **ids)
        took = _milliseconds(time.perf_counter() - start)
        if not isinstance(answer, Rows):
            return Finding(check, "ok", "Answers with an object.", took)
        self.lists[operation.path] = answer.records
        return Finding(check, "ok", f"Answers with a list; rows: {len(answer.records)}.", took)

    async def _filter(self, probe: _Probe) -> Finding:
        rows = self.lists.get(probe.operation.path)
        if not rows:
            return Finding(probe.check, "unknown", "Not probed: the list shows no rows to leave out.")
        value = probe.telling_value(rows)
        if value is None:
            return Finding(probe.check, "unknown", "Not probed: the list's rows do not differ in it.")
        query = probe.model.model_validate({probe.name: value}).to_wire()
        try:
            answer = await self.crm.call(probe.operation, query=query)
        except (InvalidInputError, NotFoundError):
            return Finding(probe.check, "ok", "The CRM knows it: it refuses a value that does not exist.")
        return probe.judge(answer.records, value)

    async def _paging(self, check: str, operation: Operation[Any], model: type[PagedFilter]) -> Finding:
        if len(self.lists.get(operation.path, [])) < 2:
            return Finding(check, "unknown", "Not probed: it takes two rows to tell.")
        fetch = self.crm.pages(operation, model())
        first, second = await fetch(1, 1), await fetch(2, 1)
        if len(first.records) != 1:
            return _not_applied(
                check, model.model_fields["page_size"], "More came than the one row asked for."
            )
        if first.records == second.records:
            return _not_applied(check, model.model_fields["page"], "Two pages show the same row.")
        return Finding(check, "ok", "Applied.")


@dataclass(frozen=True, slots=True)
class _Probe:
    """A filter, to be tried with a value that leaves rows out."""

    operation: Operation[Any]
    model: type[Filter]
    name: str
    row_check: Check

    @property
    def info(self) -> FieldInfo:
        return self.model.model_fields[self.name]

    @property
    def check(self) -> str:
        return f"{self.operation.path} filter {self.info.alias}"

    @property
    def allowed(self) -> list[str]:
        """The values of an enum; empty where any text goes."""
        shape = openapi.properties(self.model)[self.model.wire_name(self.name)]
        return [value for value in shape.get("enum", []) if value is not None]

    def telling_value(self, rows: list[Record]) -> str | None:
        """A value that no row can have; of an enum, one that some row does not have."""
        if not self.allowed:
            return str(uuid.uuid4())
        return next((value for value in self.allowed if self._failing(rows, value)), None)

    def judge(self, rows: list[Record], value: str) -> Finding:
        """Rows that should have been left out tell that the CRM has no filter of this name."""
        wrong = self._failing(rows, value) if self.allowed else rows
        if not wrong:
            return Finding(self.check, "ok", "Applied.")
        shown = len(self._failing(wrong, value)) == len(wrong)
        ours = "We filter them ourselves." if shown else "They do not show the field: we cannot filter them."
        return _not_applied(self.check, self.info, f"Rows that do not match came back: {len(wrong)}. {ours}")

    def _failing(self, rows: list[Record], value: str) -> list[Record]:
        return [row for row in rows if self.row_check.passes(row.wire, value) is False]


def _probes(operation: Operation[Any]) -> Iterator[_Probe]:
    if operation.filter:
        for name, info in operation.filter.model_fields.items():
            for mark in info.metadata:
                if isinstance(mark, Check):
                    yield _Probe(operation, operation.filter, name, mark)


def _not_applied(check: str, info: FieldInfo, why: str) -> Finding:
    evidence = Evidence.of(info)
    status: Status = "warning" if evidence is ASSUMED else "problem"
    return Finding(check, status, f"`{info.alias}` ({evidence.value}) is not applied. {why}")


class _Tabular(Protocol):
    def cells(self) -> tuple[str, ...]: ...


def table(rows: Sequence[_Tabular]) -> str:
    """Findings or differences in aligned columns for a terminal; the last column wraps."""
    cells = [row.cells() for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)][:-1]
    whole = max(MIN_TABLE_WIDTH, shutil.get_terminal_size((NO_TERMINAL_WIDTH, 0)).columns)
    return "\n".join(line for row in cells for line in _lines(row, widths, whole))


def _lines(row: tuple[str, ...], widths: list[int], whole: int) -> Iterator[str]:
    head = "".join(f"{cell:<{width}}  " for cell, width in zip(row, widths, strict=False))
    wrapped = textwrap.wrap(row[-1], max(MIN_WRAP, whole - len(head)), break_on_hyphens=False)
    yield head + wrapped[0]
    yield from (" " * len(head) + line for line in wrapped[1:])
