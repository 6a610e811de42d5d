"""A tool as the server holds it: listed from its committed description, strict about its arguments."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable, Iterable
from functools import cached_property
from typing import Any

import anyio
from mcp.server.context import CallNext, HandlerResult, ServerMiddleware, ServerRequestContext
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp.server.mcpserver.utilities.func_metadata import ArgModelBase, FuncMetadata
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, InputRequiredResult, TextContent, ToolAnnotations
from pydantic import ValidationError

from crm_mcp.access import CrmAccess
from crm_mcp.calls import CALL, NOTHING_SENT, Call, unchecked
from crm_mcp.crm.errors import CrmError, InvalidInputError
from crm_mcp.memory import WRITING_SECONDS
from crm_mcp.tools.catalogue import Check, Effect, Toolset, declarations
from crm_mcp.tools.forgiving import (
    closest,
    forgiven_money,
    forgiven_name,
    forgiven_value,
    is_blank,
    unknown_argument,
)
from crm_mcp.tools.surface import published

# As o200k_base counts tool descriptions; measured over the default surface.
BYTES_PER_TOKEN = 4.3
COUNTED = "Counted is what a model sees: name, description and input schema, not the output schema."
MAX_ERROR_BYTES = 7_900
# How an error ends that says what was not done, in words of its own.
SAYS_NOTHING = re.compile(r"(?:^|\. )Nothing was [a-z ]+(?:; [a-z ]+)?\.$", re.MULTILINE)

# What is remembered for seconds of records.
RECORDS = ("companies", "contacts", "leads", "companies page", "contacts page", "leads page")
# By what a tool is named after: what is dropped after it, where that is not all.
DROPS = {
    "lead": ("leads", "leads page"),
    "contact": ("contacts", "contacts page"),
    "activity": ("leads", "leads page"),
}

OnWrite = Callable[[Context[Any, Any], Any], Awaitable[None]]


def load_tools(toolsets: frozenset[Toolset], *, read_only: bool, on_write: OnWrite) -> list[Tool]:
    """The tools of `toolsets`, the reading ones first; read-only wins over every toolset."""
    return [_listed(facts, on_write) for facts in _chosen(toolsets, read_only=read_only)]


def _chosen(toolsets: frozenset[Toolset], *, read_only: bool) -> list[dict[str, Any]]:
    order = [toolset.value for toolset in Toolset]
    chosen = [
        facts
        for facts in published()
        if Toolset(facts["toolset"]) in toolsets and (facts["effect"] == Effect.READ.value or not read_only)
    ]
    return sorted(chosen, key=lambda facts: order.index(facts["toolset"]))


def _listed(facts: dict[str, Any], on_write: OnWrite) -> Tool:
    tool = facts["tool"]
    return PublishedTool(
        fn=_called_through_run,
        name=tool["name"],
        title=tool["title"],
        description=tool["description"],
        parameters=tool["inputSchema"],
        fn_metadata=FuncMetadata(arg_model=ArgModelBase, output_schema=tool["outputSchema"]),
        is_async=True,
        annotations=ToolAnnotations.model_validate(tool["annotations"]),
        on_write=on_write,
        drops=_dropped_after(tool["name"], facts["toolset"]),
    )


def _dropped_after(tool: str, toolset: str) -> tuple[str, ...]:
    """People and deals are called by their companies too, but not the other way round."""
    if toolset == Toolset.PIPELINE.value:
        return (*RECORDS, "stages")
    return next((kinds for word, kinds in DROPS.items() if word in tool and "company" not in tool), RECORDS)


async def _called_through_run() -> None:
    raise AssertionError("a published tool runs its implementation")


class _CheckedArguments(FuncMetadata):
    """Arguments that are checked together too, each being valid: the SDK resolves nothing before that."""

    check: Check

    def validate_arguments(self, arguments_to_validate: dict[str, Any]) -> dict[str, Any]:
        validated = super().validate_arguments(arguments_to_validate)
        self.check(**validated)
        return validated


class PublishedTool(Tool):
    """A tool whose function is imported, and its validator built, with its first call."""

    on_write: OnWrite
    drops: tuple[str, ...]

    @cached_property
    def _implementation(self) -> Tool:
        declared = declarations()[self.name]
        function = declared.function
        if not self.is_reading:
            from crm_mcp.tools.approving import approving  # noqa: PLC0415

            function = approving(function)
        tool = Tool.from_function(function, structured_output=False)
        if declared.check:
            tool.fn_metadata = _CheckedArguments(arg_model=tool.fn_metadata.arg_model, check=declared.check)
        return tool

    @property
    def is_reading(self) -> bool:
        return bool(self.annotations and self.annotations.read_only_hint)

    async def run(
        self, arguments: dict[str, Any], context: Context[Any, Any], convert_result: bool = False
    ) -> Any:
        access: CrmAccess = context.request_context.lifespan_context
        try:
            said, notes = self._checked(arguments)
        except ToolError as error:
            await self.keep_invalid(access, arguments, error)
            raise
        call = Call(self.name, said)
        calling = CALL.set(call)
        try:
            result = await self._run(said, context, call)
        except BaseException:
            # Cancelled or failed halfway: what was done is done.
            if call.changes:
                await self._tell_of_all(context, call)
            raise
        finally:
            CALL.reset(calling)
            # Also after a failure: what happened may be unknown.
            if not self.is_reading:
                access.memory.recent.drop(*self.drops)
        if isinstance(result, InputRequiredResult) or not convert_result:
            return result
        if result.touched:
            await self.on_write(context, result)
        from crm_mcp.wording import Reader  # noqa: PLC0415

        result.noting(*notes, *call.notes).recorded(call.changes, call.repeats)
        reader = Reader(access.memory.shown)
        return CallToolResult(
            content=[TextContent(text=result.text(reader))], structured_content=result.structured()
        )

    async def _tell_of_all(self, context: Context[Any, Any], call: Call) -> None:
        """Tell whoever watches anything, for there is no result that would say what the call touched."""
        from crm_mcp.rendering import Result  # noqa: PLC0415
        from crm_mcp.tools.changes import RECORDS as WATCHED  # noqa: PLC0415
        from crm_mcp.tools.parts import TELL_SECONDS  # noqa: PLC0415

        anything = Result().after("", *map("crm://{}".format, WATCHED)).recorded(call.changes, ())
        with anyio.move_on_after(TELL_SECONDS, shield=True):
            await self.on_write(context, anything)

    async def _run(self, arguments: dict[str, Any], context: Context[Any, Any], call: Call) -> Any:
        access: CrmAccess = context.request_context.lifespan_context
        try:
            if not self.is_reading:
                access.memory.recent.drop_older(WRITING_SECONDS)
                await access.recall(call)
            return await self._answered(arguments, context, call)
        except UnexpectedToolError as error:
            from crm_mcp.journal import LedgerError  # noqa: PLC0415  # only where something failed

            cause = error.__cause__
            if isinstance(cause, CrmError) and not self.is_reading:
                if done := await self._done_before(access, call, cause):
                    return done
                await access.put_on_record(call, self.title or self.name, cause)
                if not call.sent:
                    raise ToolError(_before_sending(cause)) from cause
            if isinstance(cause, LedgerError) and not (self.is_reading or call.sent):
                raise ToolError(f"{cause} {NOTHING_SENT}") from cause
            if isinstance(cause, CrmError | LedgerError):
                raise ToolError(_cut(str(cause))) from cause
            raise
        except ToolError as error:
            if isinstance(error.__cause__, ValidationError):
                invalid = ToolError(_cut(_in_one_line(error.__cause__)))
                await self.keep_invalid(access, arguments, invalid)
                raise invalid from error.__cause__
            raise

    async def keep_invalid(self, access: CrmAccess, arguments: dict[str, Any], error: ToolError) -> None:
        if not self.is_reading:
            call = Call(self.name, unchecked(arguments, digest_texts=access.policy.digest_bodies))
            await access.put_on_record(call, self.title or self.name, error)

    async def _answered(self, arguments: dict[str, Any], context: Context[Any, Any], call: Call) -> Any:
        """A client that fails at a question, or answers none of its choices, is one that cannot be asked.

        All questions are asked before anything is done.
        """
        try:
            return await self._implementation.run(arguments, context)
        except UnexpectedToolError:
            raise
        except (MCPError, ToolError) as error:
            of_question = str(error.__cause__).startswith("Resolver ")
            if call.unaskable or not (of_question or isinstance(error, MCPError)):
                raise
        call.unaskable, call.asked = True, None
        return await self._implementation.run(arguments, context)

    async def _done_before(self, access: CrmAccess, call: Call, error: CrmError) -> Any:
        """What is gone has no name: a call that ended it, made again, has the answer of the first one."""
        from crm_mcp.crm.errors import NotFoundError, UnresolvedReferenceError  # noqa: PLC0415
        from crm_mcp.picking import AmbiguousReferenceError  # noqa: PLC0415
        from crm_mcp.results import RemovalResult  # noqa: PLC0415
        from crm_mcp.wording import sentence  # noqa: PLC0415

        ends = declarations()[self.name].effect is Effect.DELETE
        is_gone = isinstance(error, NotFoundError | UnresolvedReferenceError)
        # Of several that fit somebody has to choose.
        several = isinstance(error, AmbiguousReferenceError) and not error.offered
        if several or not (ends and is_gone):
            return None
        done = next((change for change in call.before if change.outcome == "applied"), None)
        if done is None or done.subject is None:
            return None
        from crm_mcp.lost import tell  # noqa: PLC0415

        await tell(access.ledger(), done)
        call.repeats.append(done.id)
        return RemovalResult(removed=done.subject.kind, id=done.subject.id).after(sentence(done.title))

    def _checked(self, arguments: dict[str, Any]) -> tuple[dict[str, Any], list[str]]:
        """The arguments as the tool takes them, and notes on what was changed for that.

        Raises ToolError for an argument that the tool does not have, and for a required one that is blank.
        """
        properties: dict[str, Any] = self.parameters["properties"]
        notes: list[str] = []
        said: dict[str, Any] = {}
        for given, value in arguments.items():
            name = given if given in properties else forgiven_name(given, self.parameters, arguments)
            if name is None:
                raise ToolError(unknown_argument(given, list(properties)))
            if name in said:
                raise ToolError(f"`{name}` is said twice, once as `{given}`. Nothing was done.")
            # Models fill in optional arguments with empty strings and nulls.
            if not is_blank(value):
                said[name] = forgiven_value(name, value, properties[name], notes)
        value, currency = said.get("value"), said.get("currency", "")
        if "currency" in properties and isinstance(value, str) and isinstance(currency, str):
            try:
                said |= forgiven_money(value, currency)
            except InvalidInputError as error:
                raise ToolError(str(error)) from error
        missing = [f"`{name}`" for name in self.parameters.get("required", []) if name not in said]
        if missing:
            raise ToolError(f"Required and not given: {', '.join(missing)}. Nothing was done.")
        return said, notes


def keeping_refused(access: CrmAccess, tools: Iterable[Tool]) -> ServerMiddleware[Any]:
    """Middleware around the SDK's own, which refuses answers to questions that were not asked of that call,
    or were altered, and tells the tool nothing of it: those are on record too."""
    writing = {tool.name: tool for tool in tools if isinstance(tool, PublishedTool) and not tool.is_reading}

    async def keep(ctx: ServerRequestContext[Any, Any], call_next: CallNext) -> HandlerResult:
        try:
            return await call_next(ctx)
        except MCPError as error:
            params, data = ctx.params or {}, error.data if isinstance(error.data, dict) else {}
            tool = writing.get(str(params.get("name"))) if ctx.method == "tools/call" else None
            if tool is None or data.get("reason") != "invalid_request_state":
                raise
            refused = ToolError("The answer was given to another call, or altered, or comes too late.")
            said = params.get("arguments")
            await tool.keep_invalid(access, said if isinstance(said, dict) else {}, refused)
            raise MCPError(error.code, f"{error.message}. {NOTHING_SENT}", data) from error

    return keep


def _in_one_line(error: ValidationError) -> str:
    problems = []
    for problem in error.errors(include_url=False, include_context=False):
        where = ".".join(str(part) for part in problem["loc"])
        said = problem["msg"].removeprefix("Value error, ").replace(" after validation", "")
        if problem["type"].startswith("date"):
            said = "say a date as YYYY-MM-DD, with a time as YYYY-MM-DDTHH:MM"
        problems.append(f"`{where}`: {re.sub('^(?:Tuple|List) should have', 'give', said)}")
        if problem["type"] == "literal_error":
            problems[-1] += closest(problem["input"], re.findall(r"'(.*?)'", problem["msg"]))
    return f"{'; '.join(problems)}. Nothing was done."


def _before_sending(error: CrmError) -> str:
    """Of a write that was not sent: nobody shall wonder whether it was done."""
    from crm_mcp.crm.errors import RateLimitedError, RefusedError, UnexpectedResponseError  # noqa: PLC0415

    text = str(error)
    if isinstance(error, RefusedError | RateLimitedError) or SAYS_NOTHING.search(text):
        return _cut(text)
    later = " Try again later." if isinstance(error, UnexpectedResponseError) else ""
    return _cut(text + later, ("\n" if "\n" in text else " ") + NOTHING_SENT)


def _cut(text: str, ending: str = "") -> str:
    """An error is an answer too: no longer than its budget."""
    from crm_mcp.rendering import fits  # noqa: PLC0415

    if fits(text + ending):
        return text + ending
    cut = text.encode()[:MAX_ERROR_BYTES].decode(errors="ignore")
    return f"{cut}… (cut){ending}"


def table(toolsets: frozenset[Toolset], *, read_only: bool) -> str:
    """The tools and what each costs: bytes and about as many tokens as a model's context pays for it."""
    rows = []
    for facts in _chosen(toolsets, read_only=read_only):
        tool = facts["tool"]
        seen = {name: tool[name] for name in ("name", "description", "inputSchema")}
        size = len(json.dumps(seen, ensure_ascii=False, separators=(",", ":")).encode())
        rows.append((tool["name"], facts["toolset"], facts["effect"], size, round(size / BYTES_PER_TOKEN)))
    total = ("total", f"{len(rows)} tools", "", sum(row[3] for row in rows), sum(row[4] for row in rows))
    head = f"{'tool':<30}{'toolset':<10}{'effect':<11}{'bytes':>7}{'~tokens':>9}"
    return "\n".join(
        [head, *(f"{a:<30}{b:<10}{c:<11}{d:>7}{e:>9}" for a, b, c, d, e in (*rows, total)), COUNTED]
    )
