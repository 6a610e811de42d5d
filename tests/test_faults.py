"""Whatever goes wrong at the CRM: each write is done at most once, and the ledger tells the truth of it."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import replace
from typing import Any

import httpx2
import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.types import ElicitRequestParams, ElicitResult

from crm_mcp.access import CrmAccess
from crm_mcp.calls import Policy
from crm_mcp.crm import CrmClient, Timeouts
from crm_mcp.kinds import KINDS
from crm_mcp.ledger import Change, Ledger
from crm_mcp.sandbox.store import Store
from crm_mcp.server import build_server
from crm_mcp.tools.catalogue import Toolset

from .faults import DOCUMENT, FAULTS, WRITES, Cell, Fault, Write, document, expected, told
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
    well,
)

pytestmark = pytest.mark.anyio

# How long an answer is waited for that never comes; what is done first needs its time on a slow machine.
WRITE_SECONDS = {
    "no answer in time, not done": 0.1,
    "no answer in time, done": 0.4,
    "no answer in time, done later": 0.1,
}
# How long is tried again, where that is to no avail.
TOTAL_SECONDS = {
    "connection refused": 0.75,
    "429": 0.75,
    "a slow drip, done": 0.75,
    "reset, and nothing can be read then, not done": 0.75,
    "reset, and nothing can be read then, done": 0.75,
}
PATIENT_SECONDS = 20
# What is seen with a person's approval as well: of each kind one.
APPROVED = (
    "reset before it is read",
    "reset after it was read, not done",
    "reset after it was read, done",
    "429 with `Retry-After`",
    "500, done",
    "200 with an HTML page, not done",
)
LONG_AGO = "2026-01-31T12:00:00.000Z"
# The timeline has one of the same text, sent before.
OLDER_EMAIL = "UPDATE activities SET type = 'email', subject = 'Our offer', body = '<p>Dear Anna</p>'"
TABLES = ("companies", "contacts", "leads", "activities")


def done_later(exchange: Exchange) -> None:
    exchange.hang()
    exchange.crm.is_behaving.wait()
    exchange.done()


def blinding(behaviour: Behaviour) -> Behaviour:
    """The same, and no read is answered from then on."""

    def in_the_dark(exchange: Exchange) -> None:
        exchange.crm.on_read = reset
        behaviour(exchange)

    return in_the_dark


BEHAVIOURS: dict[str, Behaviour] = {
    "reset after it was read, not done": reset,
    "reset after it was read, done": after(reset),
    "no answer in time, not done": hang,
    "no answer in time, done": after(hang),
    "no answer in time, done later": done_later,
    "429 with `Retry-After`": answering(json_answer(429, {}, retry_after="30")),
    "429": answering(json_answer(429, {})),
    **{f"{status}, not done": answering(json_answer(status, {})) for status in (500, 502, 503)},
    **{f"{status}, done": after(answering(json_answer(status, {}))) for status in (500, 502, 503)},
    "200 with an HTML page, not done": answering(answer(200, HTML, content_type="text/html")),
    "200 with an HTML page, done": after(answering(answer(200, HTML, content_type="text/html"))),
    "truncated JSON, done": after(answering(answer(200, b'{"id": "1'))),
    "connection closed in the answer, done": after(answering(answer(200, b'{"id": "1', length=100))),
    "200 with JSON of another shape, done": after(answering(json_answer(200, [{"status": "ok"}]))),
    "204, not done": answering(answer(204, b"")),
    "a slow drip, done": after(drip),
    "an endless list, done": after(endless),
    "reset, and nothing can be read then, not done": blinding(reset),
    "reset, and nothing can be read then, done": blinding(after(reset)),
}


class Others:
    """Somebody else who writes at the same time what resembles ours."""

    def __init__(self, crm: MisbehavingCrm, sandbox: Store, write: Write) -> None:
        self._crm, self._sandbox, self._write = crm, sandbox, write
        # The ids of what is not ours, and what the query for ours counts of it.
        self.theirs: set[str] = set()
        self.effects = 0

    async def meanwhile(self, request: httpx2.Request) -> None:
        table = request.url.path.rpartition("/")[2]
        for other in self._write.lookalikes:
            await self._do(request, other)
        if self._write.lookalikes and table in TABLES:
            await self._do(request, {})
            self._sandbox.execute(
                f"UPDATE {table} SET created_at = ? WHERE rowid = (SELECT max(rowid) FROM {table})",  # noqa: S608
                LONG_AGO,
            )
        if table in TABLES:
            self.theirs = {row["id"] for row in self._sandbox.all(f"SELECT id FROM {table}")}  # noqa: S608
        if self._write.lookalikes:
            self.effects = self._sandbox.number(self._write.effects)

    async def _do(self, request: httpx2.Request, other: dict[str, Any]) -> None:
        body = json.dumps(json.loads(await request.aread()) | other).encode()
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        theirs = httpx2.Request(request.method, request.url, headers=headers, content=body)
        assert (await self._crm.app.handle_async_request(theirs)).is_success


class Impatient(httpx2.AsyncBaseTransport):
    """Real sockets; tells of each write before it leaves, and waits for its answer as long as said."""

    def __init__(self) -> None:
        self._inner = httpx2.AsyncHTTPTransport()
        self.meanwhile: Callable[[httpx2.Request], Awaitable[None]] | None = None
        self.before_write: Callable[[], object] = lambda: None
        self.write_seconds: float = PATIENT_SECONDS

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        if request.method != "GET":
            meanwhile, self.meanwhile = self.meanwhile, None
            if meanwhile:
                await meanwhile(request)
            request.extensions["timeout"] = request.extensions["timeout"] | {"read": self.write_seconds}
            self.before_write()
        return await self._inner.handle_async_request(request)

    async def aclose(self) -> None:
        await self._inner.aclose()


@pytest.fixture
def crm(sandbox: Store) -> Iterator[MisbehavingCrm]:
    with MisbehavingCrm(sandbox) as crm:
        yield crm


@pytest.fixture
def transport() -> Impatient:
    return Impatient()


@pytest.fixture
def policy() -> Policy:
    return Policy(approval="client")


def late_seconds(fault: Fault) -> float:
    """What comes late is never waited for here; of all else is known that nothing comes any more."""
    return 600 if fault.done == "later" else 0


@pytest.fixture
async def client(
    fault: Fault, crm: MisbehavingCrm, transport: Impatient, ledger: Ledger, policy: Policy
) -> AsyncIterator[Client]:
    key, total_seconds = crm.credentials, TOTAL_SECONDS.get(fault.name, PATIENT_SECONDS)
    access = CrmAccess(
        lambda: CrmClient(
            crm.url,
            key.api_key,
            key.entity_id,
            transport=transport,
            timeouts=Timeouts(total_seconds=total_seconds),
        ),
        open_ledger=lambda: ledger,
        policy=replace(policy, late_seconds=late_seconds(fault)),
    )
    server = build_server(access, frozenset(Toolset), read_only=False, sandbox=False)
    async with Client(server, elicitation_callback=approve) as client:
        yield client


async def approve(_context: ClientRequestContext, _params: ElicitRequestParams) -> ElicitResult:
    return ElicitResult(action="accept", content={"approve": True})


@pytest.fixture
def ledger() -> Iterator[Ledger]:
    """In memory: that it reaches the disk is not what is asked here."""
    ledger = Ledger.open(None)
    yield ledger
    ledger.shut()


def misbehave(fault: Fault, crm: MisbehavingCrm, transport: Impatient) -> None:
    def only_now(act: Callable[[], object]) -> Callable[[], None]:
        def once() -> None:
            act()
            transport.before_write = lambda: None

        return once

    if fault.name == "connection refused":
        transport.before_write = only_now(crm.refuse_connections)
    elif fault.name == "reset before it is read":
        transport.before_write = only_now(lambda: setattr(crm, "at_once", reset))
    else:
        crm.on_write = BEHAVIOURS[fault.name]


async def fares(
    fault: Fault,
    write: Write,
    client: Client,
    crm: MisbehavingCrm,
    transport: Impatient,
    sandbox: Store,
    ledger: Ledger,
) -> Cell:
    """What the write comes to when it meets the fault, and when it is called again."""

    def changes() -> list[Change]:
        return [change for change in ledger.changes()[::-1] if change.operation == write.operation]

    def so_far() -> tuple[int, tuple[str, ...]]:
        assert not {change.subject and change.subject.id for change in changes()} & others.theirs
        effects = sandbox.number(write.effects) - others.effects
        return effects, tuple(change.outcome for change in changes())

    others = Others(crm, sandbox, write)
    transport.meanwhile = others.meanwhile
    crm.written.clear()
    misbehave(fault, crm, transport)
    transport.write_seconds = WRITE_SECONDS.get(fault.name, PATIENT_SECONDS)
    # What somebody else makes at the same time is the same by now, and it is made all the same.
    anyway = {"allow_duplicate": True} if write.lookalikes and write.tool.startswith("create") else {}
    result = await client.call_tool(write.tool, write.arguments | anyway)
    first = so_far()
    [change] = changes()
    [block] = result.content
    assert block.type == "text"
    if change.outcome == "applied":
        assert not result.is_error, block.text
    else:
        assert (result.is_error, block.text) == (True, told(fault, write, change.id))
    transport.write_seconds = PATIENT_SECONDS
    if fault.done == "later":
        # At once, while the CRM is at it still: what would double it is not sent.
        crm.on_write = well
        at_once = await client.call_tool(write.tool, write.arguments | anyway)
        assert (at_once.is_error, len(crm.written)) == ((False, 1) if write.comes_to_the_same else (True, 0))
    crm.behave()
    second = await client.call_tool(write.tool, write.arguments | anyway)
    cell = Cell(*first, *so_far())
    assert second.is_error == (cell.effects_in_all == 0 and not fault.claims), second.content
    if cell.ledger_in_all[0] == "applied" and write.tool != "link_contact_to_company":
        answer = second.structured_content or {}
        is_repeat = fault.done == "later" or cell.ledger_in_all != ("applied", "applied")
        assert answer.get("repeat", False) == is_repeat
    # A value that is set already is set again.
    assert len(crm.written) <= (2 if write.comes_to_the_same else 1)
    return cell


@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)
async def test_a_write_is_done_at_most_once_and_the_ledger_is_right(
    client: Client,
    crm: MisbehavingCrm,
    transport: Impatient,
    sandbox: Store,
    ledger: Ledger,
    fault: Fault,
) -> None:
    sandbox.execute(f"{OLDER_EMAIL} WHERE subject = 'Pricing call'")
    seen = {
        write.operation: await fares(fault, write, client, crm, transport, sandbox, ledger)
        for write in WRITES
    }
    assert seen == {write.operation: expected(fault, write) for write in WRITES}
    assert ledger.verify().broken is None


@pytest.mark.parametrize("policy", [Policy(guard=frozenset(write.tool for write in WRITES))], ids=["ask"])
@pytest.mark.parametrize(
    "fault", [fault for fault in FAULTS if fault.name in APPROVED], ids=lambda fault: fault.name
)
async def test_what_a_person_approved_is_done_at_most_once_too(
    client: Client,
    crm: MisbehavingCrm,
    transport: Impatient,
    sandbox: Store,
    ledger: Ledger,
    fault: Fault,
) -> None:
    sandbox.execute(f"{OLDER_EMAIL} WHERE subject = 'Pricing call'")
    for write in WRITES:
        assert await fares(fault, write, client, crm, transport, sandbox, ledger) == expected(fault, write)
    sent = [change for change in ledger.changes() if change.outcome != "refused"]
    used = [ledger.approval(change.approval or "") for change in sent]
    assert {approval.state for approval in used} == {"used"}
    assert len({approval.id for approval in used}) == len(sent)


def test_every_write_there_is_meets_every_fault() -> None:
    assert sorted(write.operation for write in WRITES) == sorted(KINDS)


def test_the_document_tells_what_was_seen() -> None:
    assert DOCUMENT.read_text("utf-8") == document()
