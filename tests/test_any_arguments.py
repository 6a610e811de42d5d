"""Whatever a tool is called with: an answer or an error in words, and no write but those on record."""

import math
import re
from collections.abc import Callable, Iterator
from functools import cache
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from mcp import Client
from mcp.server.mcpserver import MCPServer

from crm_mcp.access import CrmAccess
from crm_mcp.calls import GUARDED, Policy
from crm_mcp.ledger import Ledger
from crm_mcp.server import build_server
from crm_mcp.tools.catalogue import Toolset
from crm_mcp.tools.surface import published

pytestmark = pytest.mark.anyio

Schema = dict[str, Any]
Serving = Callable[[Any], MCPServer[CrmAccess]]

SCHEMAS = {facts["tool"]["name"]: facts["tool"]["inputSchema"] for facts in published()}
CRASH = re.compile(r"Error executing|Traceback|File \"|pydantic|\.py\b|Exception|\w+Error\b")
WRITING = [facts["tool"]["name"] for facts in published() if facts["effect"] != "read"]
SENT = ("applied", "failed", "unknown", "undone")
LATEST = "the latest change"
STAGES = ["New", "Qualified", "Proposal", "Negotiation", "Won", "Lost"]
LEADS = ["Acme annual licence", "Quint annual licence"]
# What means something in the demo company, by the parameter's name or its format, so that calls get far.
MEANT: dict[str, list[Any]] = {
    "lead": LEADS,
    "leads": [LEADS, LEADS[:1]],
    "company": ["Acme Inc.", "Kestrel Solar Ltd"],
    "companies": [["Acme Inc.", "Kestrel Solar Ltd"]],
    "contact": ["Anna Müller", "Anna at Acme"],
    "stage": STAGES,
    "move_leads_to": STAGES,
    "stages": [STAGES[::-1], STAGES],
    "owner": ["me"],
    "list_id": ["11111111-1111-4111-8111-111111111111"],
    "change": [LATEST],
    "email": ["ada@acme.example"],
    "website": ["https://acme.example"],
    "connection": [""],
    "currency": ["EUR"],
    "date": ["2031-01-31"],
    "date-time": ["2031-01-31T09:00:00Z"],
}
# fmt: off
ODD = [
    "", " ", "\x00", "\ud800", "a\udfffb", "\u202e", "null", "[]", "[[]]", "{}", "NaN", "-1", "1e400",
    "0" * 5_000, "[" * 2_000, "é" * 20_000, "\n" * 100, "%s%n{0}", "'; DROP TABLE x", "..", "<crm a>", "🦆",
]
# fmt: on
WILD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**63) - 1, 10**400, math.nan, math.inf, -0.0, 1e308, 5e-324])
    | st.sampled_from(ODD)
    | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def fitting(name: str, schema: Schema) -> st.SearchStrategy[Any]:
    """Values as the tool wants them."""
    low, high = schema.get("minimum"), schema.get("maximum")
    if meant := MEANT.get(name) or MEANT.get(schema.get("format", "")):
        return st.sampled_from(meant)
    match schema:
        case {"enum": allowed}:
            return st.sampled_from(allowed)
        case {"type": "array", "items": items}:
            return st.lists(fitting("", items), max_size=2)
        case {"type": "string"}:
            return st.sampled_from(["Hello", "x"]) | st.text(max_size=30)
    return {
        "integer": st.integers(low, high),
        "number": st.floats(low or 0, high or 1e9),
        "boolean": st.booleans(),
    }[schema["type"]]


def arguments(schema: Schema) -> st.SearchStrategy[dict[str, Any]]:
    """Mostly what the tool takes; now and then anything, under any name."""
    values = {name: fitting(name, one) for name, one in schema["properties"].items()}
    required = {name: values.pop(name) for name in schema.get("required", [])}
    few = st.lists(st.sampled_from(sorted(values)), max_size=2, unique=True) if values else st.just([])
    good = few.flatmap(lambda names: st.fixed_dictionaries(required | {name: values[name] for name in names}))
    one_odd = st.dictionaries(st.sampled_from([*schema["properties"], "id", "approved"]), WILD, max_size=1)
    anything = st.dictionaries(st.sampled_from([*schema["properties"], "x"]) | st.text(max_size=9), WILD)
    return st.one_of(good, good, st.builds(lambda fit, odd: fit | odd, good, one_odd), anything)


def is_surely_wrong(schema: Schema, said: dict[str, Any]) -> bool:
    """Whether no forgiveness makes it what the schema wants: judged by that alone, not by our own code."""
    given = {name: value for name, value in said.items() if not is_nothing(value)}
    properties = schema["properties"]
    named = {name if name in properties else name.removesuffix("_id") for name in given} - {"id", "record_id"}
    if named - properties.keys():
        return True
    if not {"id", "record_id"} & given.keys() and not {*schema.get("required", ())} <= named:
        return True
    return any(name in properties and is_wrong(properties[name], value) for name, value in given.items())


def is_nothing(value: Any) -> bool:
    return value is None or (isinstance(value, str) and not value.strip())


def is_wrong(schema: Schema, value: Any) -> bool:
    """As a value for this parameter, or as what a text or a single item can be read as."""
    kind = "enum" if "enum" in schema else schema.get("format", schema["type"])
    if isinstance(value, dict) or (isinstance(value, list) and kind != "array"):
        return True
    match kind:
        case "array":
            items = value if isinstance(value, list) else []
            nested = any(isinstance(one, dict | list) for one in items)
            wrong = nested or len(items) > schema.get("maxItems", len(items))
        case "enum":
            near = {letters(one)[:3] for one in schema["enum"]}
            wrong = not isinstance(value, str) or letters(value)[:3] not in near
        case "integer" | "number":
            wrong = isinstance(value, str) and not any(char.isdigit() for char in value)
        case "boolean":
            wrong = isinstance(value, float) or (isinstance(value, str) and len(value) > len("false"))
        case "date" | "date-time":
            wrong = not re.match(r"\s*\d{4}-\d\d-\d\d", str(value))
        case _:
            wrong = False
    return wrong


def letters(text: str) -> str:
    return "".join(char for char in text.casefold() if char.isalnum()).replace("archived", "inactive")


class Kept(Ledger):
    """A ledger that outlives the servers that use it."""

    def shut(self) -> None:
        """It is in memory."""


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    ledger = Kept.open(None)
    yield ledger
    Ledger.shut(ledger)


@pytest.fixture
def serving(open_crm: Any, ledger: Ledger) -> Serving:
    """`serving(approval)`: a server, the same for all examples: validators take long to build."""

    @cache
    def serving(approval: Any) -> MCPServer[CrmAccess]:
        access = CrmAccess(open_crm, open_ledger=lambda: ledger, policy=Policy(approval=approval))
        return build_server(access, frozenset(Toolset), read_only=False, sandbox=True)

    return serving


@pytest.fixture
def at_the_gate(
    request: pytest.FixtureRequest, ledger: Ledger, record_property: Callable[[str, object], None]
) -> Iterator[None]:
    """Sees afterwards that some call of a tool that writes came to a write: else nothing was shown of it."""
    yield
    tool = request.node.callspec.params["tool"]
    # What came to no write has no operation.
    reached = [change for change in ledger.changes(tool=tool) if change.operation]
    record_property("reached the gate", len(reached))
    assert reached or tool not in WRITING


def words(result: Any) -> str:
    [block] = result.content
    return str(block.text)


# Reading does not depend on who approves.
CASES = [(tool, "client") for tool in SCHEMAS] + [(tool, "ask") for tool in WRITING]


@pytest.mark.usefixtures("at_the_gate")
@pytest.mark.parametrize(("tool", "approval"), CASES)
@settings(
    derandomize=True,
    deadline=None,
    max_examples=5,
    # The CRM and the ledger go on from example to example.
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(data=st.data())
async def test_any_arguments_are_answered_in_words_and_every_write_is_on_record(
    serving: Serving, wire: Any, ledger: Ledger, tool: str, approval: Any, data: st.DataObject
) -> None:
    calls = data.draw(st.lists(arguments(SCHEMAS[tool]), min_size=3, max_size=3))
    async with Client(serving(approval)) as client:
        if tool == "undo_change":
            await client.call_tool("update_company", {"company": "Acme Inc.", "phone": str(len(wire.sent))})
        for said in calls:
            if said.get("change") == LATEST:
                said["change"] = ledger.changes(limit=1)[0].id
            before, sent = len(ledger.changes()), len(wire.writes)
            result = await client.call_tool(tool, said)
            sent = len(wire.writes) - sent
            changes = ledger.changes(limit=len(ledger.changes()) - before)
            assert CRASH.search(words(result)) is None
            assert sent == sum(change.outcome in SENT for change in changes)
            if result.is_error and words(result).endswith("Nothing was done."):
                # What was sent, the CRM rejected.
                outcome = "failed" if sent else "refused"
                assert [one.outcome for one in changes] == [outcome] * (tool in WRITING)
            if is_surely_wrong(SCHEMAS[tool], said):
                assert (sent, result.is_error) == (0, True)
            if approval == "ask" and tool in GUARDED:
                assert sent == 0
