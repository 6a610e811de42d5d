"""Whatever goes wrong with what is read before a write and after it: it is done once or not at all, and the
ledger tells which."""

import json
import re
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from itertools import count
from uuid import NAMESPACE_URL, uuid5

import httpx2
import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.types import CallToolResult, ElicitRequestParams, ElicitResult

from crm_mcp import finding
from crm_mcp.access import CrmAccess
from crm_mcp.calls import Policy
from crm_mcp.crm import CrmClient, Timeouts
from crm_mcp.crm import client as crm_client
from crm_mcp.ledger import Ledger
from crm_mcp.sandbox.store import Store
from crm_mcp.server import build_server
from crm_mcp.tools.catalogue import Toolset

from .faults import WRITES, Write
from .misbehaving import (
    HTML,
    Behaviour,
    Exchange,
    MisbehavingCrm,
    after,
    answer,
    answering,
    drip,
    endless,
    hang,
    json_answer,
    reset,
)

pytestmark = pytest.mark.anyio

KIND = {write.operation: write for write in WRITES}
CREATE, UPDATE, MOVE, LOG, SEND, DELETE = SOME = [
    KIND[name]
    for name in (
        "create_company",
        "update_company",
        "move_lead_stage",
        "log_lead_activity",
        "send_outbound_email",
        "delete_contact",
    )
]
PATIENT_SECONDS = 20
NOTHING_SENT = r"Nothing was sent to the CRM\."


@dataclass(frozen=True)
class Fault:
    """What a CRM does with reads; `says` is what the assistant is told of it when it comes before a write."""

    name: str
    act: Behaviour
    says: str
    outcome: str = "failed"
    # How long its answer is waited for, and how long for all of it.
    read_seconds: float = PATIENT_SECONDS
    total_seconds: float = PATIENT_SECONDS
    # Whether each meeting takes long, so that only some writes meet it.
    is_slow: bool = False
    # Whether a record can be looked at all the same.
    shows_records: bool = False


def refuse(exchange: Exchange) -> None:
    exchange.crm.refuse_connections()
    exchange.reset()


def list_without_end(exchange: Exchange) -> None:
    """Each page of a list is full, of records that nobody has seen before; there is always one more."""
    value = json.loads(exchange.done().partition(b"\r\n\r\n")[2])
    if "total" in value:
        name = next(name for name, rows in value.items() if isinstance(rows, list))
        page = f"{exchange.path} {exchange.query.get('page')}"
        row = next(iter(value[name]), {})
        value[name] = [row | {"id": str(uuid5(NAMESPACE_URL, f"{page} {number}"))} for number in range(100)]
        value["total"] = 10**6
    exchange.send(json_answer(200, value))


def no_answer(error: str) -> str:
    return rf"The CRM did not answer \({error}\)\. Try again later\. {NOTHING_SENT}"


NO_JSON = rf"The CRM answered 200 with something that is not JSON \({{}}\)\. Try again later\. {NOTHING_SENT}"
RESET = Fault("reset", reset, no_answer("ReadError"))
TIME_OUT = Fault("no answer in time", hang, no_answer("ReadTimeout"), read_seconds=0.05)
FAILED = Fault(
    "500",
    answering(json_answer(500, {})),
    rf"The CRM failed with status 500\. Try again later\. {NOTHING_SENT}",
)
PAGE = Fault(
    "200 with an HTML page",
    answering(answer(200, HTML, content_type="text/html")),
    NO_JSON.format("text/html, 15 bytes"),
)
OTHER_SHAPE = Fault(
    "200 with JSON of another shape",
    answering(json_answer(200, {"status": "ok"})),
    rf"The CRM did not send a [\w ]+, but an object with `status`\. Try again later\. {NOTHING_SENT}",
)
ENDLESS_PAGE = Fault(
    "an endless page",
    endless,
    rf"The CRM's answer is longer than 32 MiB; it was not read on\. Try again later\. {NOTHING_SENT}",
    is_slow=True,
)
ENDLESS_LIST = Fault(
    "a list without end",
    list_without_end,
    # What is looked for cannot be found there, or is not what it was.
    r"(?s)(No |\").* Only 300 \w+ were looked at, there are more\..*|The record changed since .*",
    outcome="refused",
    shows_records=True,
)
FAULTS = (
    Fault(
        "connection refused",
        refuse,
        # The one that was open is reset.
        rf"No connection to the CRM at 127\.0\.0\.1 \(ConnectError\)\. Nothing was sent; try again later\.|"
        rf"{no_answer('ReadError')}",
    ),
    RESET,
    TIME_OUT,
    Fault(
        "429 with `Retry-After`",
        answering(json_answer(429, {}, retry_after="30")),
        r"The CRM's rate limit is reached\. Nothing was done\. Try again in 30 s\.",
    ),
    Fault(
        "429",
        answering(json_answer(429, {})),
        r"The CRM's rate limit is reached\. Nothing was done\. Try again in a minute\.",
    ),
    FAILED,
    *(
        Fault(str(status), answering(json_answer(status, {})), FAILED.says.replace("500", str(status)))
        for status in (502, 503)
    ),
    PAGE,
    Fault(
        "truncated JSON",
        answering(answer(200, b'{"id": "1')),
        NO_JSON.format("application/json, 9 bytes"),
    ),
    OTHER_SHAPE,
    Fault("a slow drip", drip, no_answer("TimeoutError"), total_seconds=0.5, is_slow=True),
    ENDLESS_PAGE,
    ENDLESS_LIST,
)


class Reading(httpx2.AsyncBaseTransport):
    """Real sockets; after so many reads it tells of each, and waits for its answer as long as said."""

    def __init__(self, read_seconds: float) -> None:
        self._inner = httpx2.AsyncHTTPTransport()
        self._read_seconds = read_seconds
        self.spared: float = 0
        self.before_read: Callable[[], object] | None = None

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET" and self.before_read:
            self.spared -= 1
            if self.spared < 0:
                self.before_read()
                wait = {"read": self._read_seconds}
                request.extensions["timeout"] = request.extensions["timeout"] | wait
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.fixture
def crm(sandbox: Store) -> Iterator[MisbehavingCrm]:
    with MisbehavingCrm(sandbox) as crm:
        yield crm


@pytest.fixture
def transport(fault: Fault) -> Reading:
    return Reading(fault.read_seconds)


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """In memory: that it reaches the disk is not what is asked here."""
    ledger = Ledger.open(None)
    yield ledger
    ledger.shut()


async def approve(_context: ClientRequestContext, _params: ElicitRequestParams) -> ElicitResult:
    return ElicitResult(action="accept", content={"approve": True})


@pytest.fixture
async def client(
    fault: Fault, crm: MisbehavingCrm, transport: Reading, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[Client]:
    """Of a server that asks a person about what is guarded; one that soon has enough."""
    monkeypatch.setattr(crm_client, "ATTEMPTS", 1)
    monkeypatch.setattr(finding, "SCAN_PAGES", 3)
    access = CrmAccess(
        lambda: CrmClient(
            crm.url,
            crm.credentials.api_key,
            crm.credentials.entity_id,
            transport=transport,
            timeouts=Timeouts(total_seconds=fault.total_seconds),
        ),
        open_ledger=lambda: ledger,
        policy=Policy(late_seconds=0),
    )
    server = build_server(access, frozenset(Toolset), read_only=False, sandbox=False)
    async with Client(server, elicitation_callback=approve) as client:
        yield client


def text_of(result: CallToolResult) -> str:
    [block] = result.content
    assert block.type == "text"
    return block.text


async def undoing(client: Client) -> Write:
    """The taking back of something that was done before."""
    arguments = {"contact": "Anna Moreau", "phone": "9"}
    done = (await client.call_tool("update_contact", arguments)).structured_content
    assert done is not None
    [change] = done["change_ids"]
    effects = "SELECT count(*) = 0 FROM contacts WHERE phone = '9'"
    return Write("update_contact", "undo_change", {"change": change}, effects)


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_what_fails_before_a_write_sends_nothing_and_is_no_more_when_it_has_passed(
    client: Client, crm: MisbehavingCrm, transport: Reading, sandbox: Store, ledger: Ledger, fault: Fault
) -> None:
    """The CRM fails from the first read on, then from the second on, until that comes after the write."""
    some = [CREATE, UPDATE, MOVE] if fault.is_slow else [*SOME, await undoing(client)]
    for write in some:
        for spared in count():
            result = await meeting(fault, spared, write, client, crm, transport)
            [change] = [one for one in ledger.changes(limit=1) if one.tool == write.tool]
            if not result.is_error:
                break
            text = text_of(result)
            assert re.fullmatch(fault.says, text), (write.tool, spared, text)
            assert (change.outcome, sandbox.number(write.effects), crm.tried) == (fault.outcome, 0, [])
            assert text.startswith(change.detail)
        assert (change.outcome, sandbox.number(write.effects), len(crm.written)) == ("applied", 1, 1)
        await client.call_tool(write.tool, write.arguments)
        assert (sandbox.number(write.effects), len(crm.written)) == (1, 1)
    assert_each_word_counts_once(ledger)
    assert ledger.verify().broken is None


async def meeting(
    fault: Fault, spared: int, write: Write, client: Client, crm: MisbehavingCrm, transport: Reading
) -> CallToolResult:
    """The call, all of whose reads but so many meet the fault; afterwards the CRM is well."""
    crm.tried.clear()
    crm.written.clear()
    transport.spared = spared
    transport.before_read = lambda: setattr(crm, "on_read", fault.act)
    result = await client.call_tool(write.tool, write.arguments)
    transport.before_read = None
    crm.behave()
    return result


def assert_each_word_counts_once(ledger: Ledger) -> None:
    approved = [change.approval for change in ledger.changes() if change.approval]
    assert len(set(approved)) == len(approved)
    assert {ledger.approval(one).state for one in approved} <= {"used"}


ANSWERS: dict[str, Behaviour] = {
    "no word of the record": after(answering(answer(204, b""))),
    "lost, done": after(reset),
    "lost, not done": reset,
}


@pytest.mark.parametrize("said", ANSWERS)
@pytest.mark.parametrize(
    "fault",
    [TIME_OUT, FAILED, PAGE, OTHER_SHAPE, ENDLESS_PAGE, ENDLESS_LIST],
    ids=lambda fault: fault.name,
)
async def test_what_fails_after_a_write_makes_no_lie_of_it(
    client: Client,
    crm: MisbehavingCrm,
    transport: Reading,
    sandbox: Store,
    ledger: Ledger,
    fault: Fault,
    said: str,
) -> None:
    """Where nobody can look, what the CRM said stands; and where it said nothing, nobody knows."""
    for write in SOME:

        def fail(exchange: Exchange) -> None:
            crm.on_read = fault.act
            transport.before_read = lambda: None
            ANSWERS[said](exchange)

        crm.on_write = fail
        crm.tried.clear()
        crm.written.clear()
        result = await client.call_tool(write.tool, write.arguments)
        [change] = ledger.changes(limit=1)
        effects = sandbox.number(write.effects)
        assert effects == (said != "lost, not done")
        if said == "no word of the record":
            assert (result.is_error, change.outcome) == (False, "applied"), text_of(result)
        elif fault.shows_records:
            assert change.outcome == "unknown" or (change.outcome, effects) == ("applied", 1)
        else:
            assert (result.is_error, change.outcome) == (True, "unknown")
            assert text_of(result).startswith("The request was sent, but no answer came (ReadError)")
        if not fault.shows_records:
            # As long as nobody can look it is not sent again.
            await client.call_tool(write.tool, write.arguments)
            assert len(crm.tried) == 1
        transport.before_read = None
        crm.behave()
        await client.call_tool(write.tool, write.arguments)
        # An e-mail of which nobody knows is not sent again.
        assert sandbox.number(write.effects) == (effects or write is not SEND)
        assert len(crm.written) == (effects or write is not SEND)
        assert ledger.get(change.id).outcome == truth(write, said)
    assert ledger.verify().broken is None


def truth(write: Write, said: str) -> str:
    """What the ledger says in the end of the first call."""
    if said != "lost, not done":
        return "applied"
    return "unknown" if write is SEND else "failed"
