"""How a function is declared to be a tool, and all that are."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from enum import Enum
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from crm_mcp.rendering import Result

FAMILIES = ("overview", "companies", "contacts", "leads", "activities", "outreach", "pipeline", "changes")


class Effect(Enum):
    """What a call does; the hints that a host decides by follow from it.

    An update overwrites, so by MCP's words it is destructive; what leaves for people outside the CRM is
    open-world.
    """

    READ = "read"
    CREATE = "create"
    UPDATE = "update"
    DELETE = "delete"
    REACH_OUT = "reach out"

    def hints(self) -> dict[str, bool]:
        """MCP's tool annotations, all four of them."""
        return {
            "readOnlyHint": self is Effect.READ,
            "destructiveHint": self in (Effect.UPDATE, Effect.DELETE, Effect.REACH_OUT),
            "idempotentHint": self in (Effect.READ, Effect.UPDATE, Effect.DELETE),
            "openWorldHint": self is Effect.REACH_OUT,
        }


class Toolset(Enum):
    """A group of tools that an operator switches on together."""

    READ = "read"
    SALES = "sales"
    EMAIL = "email"
    LISTS = "lists"
    DELETE = "delete"
    PIPELINE = "pipeline"


DEFAULT_TOOLSETS = frozenset({Toolset.READ, Toolset.SALES, Toolset.EMAIL})

ToolFunction = Callable[..., Awaitable["Result"]]
F = TypeVar("F", bound=ToolFunction)
# Takes a tool's arguments by name, and raises InvalidInputError for what they cannot mean together.
Check = Callable[..., object]


@dataclass(frozen=True, slots=True)
class Declaration:
    """A function, and the MCP facts about it that its signature does not tell."""

    function: ToolFunction
    effect: Effect
    toolset: Toolset
    title: str
    check: Check | None = None


_declared: dict[str, Declaration] = {}


def tool(*, effect: Effect, toolset: Toolset, title: str, check: Check | None = None) -> Callable[[F], F]:
    """Declare a function as a tool.

    Its parameters are the input schema, the `Result` that it returns the output schema, its docstring the
    description. Run `make surface` after a change: clients see the committed description. What `check`
    refuses is refused before anything is looked up or anyone is asked.
    """

    def declare(function: F) -> F:
        _declared[function.__name__] = Declaration(function, effect, toolset, title, check)
        return function

    return declare


@cache
def declarations() -> dict[str, Declaration]:
    """Every declared tool by name, in the order of the families."""
    for family in FAMILIES:
        import_module(f"crm_mcp.tools.{family}")
    return _declared
