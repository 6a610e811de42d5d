"""Writes are sent once, looked for when nobody answered, and can be taken back."""

import json
from collections.abc import Awaitable, Callable
from itertools import chain, repeat
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client

from crm_mcp import gate
from crm_mcp.crm import CrmClient
from crm_mcp.crm.companies import NewCompany
from crm_mcp.crm.contacts import ContactChanges
from crm_mcp.crm.leads import NewLead
from crm_mcp.gate import Policy
from crm_mcp.ledger import Change, Ledger

pytestmark = pytest.mark.anyio

Find = Callable[..., dict[str, Any]]
OpenClient = Callable[..., Awaitable[Client]]
MOVE = {"lead": "Acme annual licence", "stage": "Qualified"}
CALL = {"type": "call", "subject": "Hello", "lead": "Acme annual licence"}
MAIL = {"lead": "Acme annual licence", "subject": "Hello", "body": "Dear Anna"}


@pytest.fixture
def changes(ledger_file: Any) -> Callable[[], list[Change]]:
    """`changes()`: what the ledger has, the oldest first."""

    def changes() -> list[Change]:
        ledger = Ledger.open(ledger_file)
        try:
            return ledger.changes()[::-1]
        finally:
            ledger.shut()

    return changes


async def text_of(client: Client, tool: str, *, fails: bool = False, **arguments: Any) -> str:
    result = await client.call_tool(tool, arguments)
    [block] = result.content
    assert block.type == "text"
    assert result.is_error is fails, block.text
    return block.text


async def facts_of(client: Client, tool: str, **arguments: Any) -> dict[str, Any]:
    result = await client.call_tool(tool, arguments)
    assert not result.is_error, result.content
    assert result.structured_content is not None
    return result.structured_content


def losing_the_answer(inner: httpx2.AsyncBaseTransport, *, before: bool = False) -> httpx2.MockTransport:
    """A CRM whose connection breaks on writes: after they were done, or before."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method != "GET" and before:
            raise httpx2.ReadError("broken", request=request)
        response = await inner.handle_async_request(request)
        if request.method != "GET":
            raise httpx2.ReadError("broken", request=request)
        return response

    return httpx2.MockTransport(answer)


def keeping_otherwise(inner: httpx2.AsyncBaseTransport, other: dict[str, Any]) -> httpx2.MockTransport:
    """A CRM that gives no answer to a POST, and shows another record afterwards than was sent."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method != "POST":
            return await inner.handle_async_request(request)
        body = {**json.loads(request.content), **other}
        headers = {name: value for name, value in request.headers.items() if name != "content-length"}
        theirs = httpx2.Request("POST", request.url, headers=headers, content=json.dumps(body).encode())
        assert (await inner.handle_async_request(theirs)).is_success
        raise httpx2.ReadError("broken", request=request)

    return httpx2.MockTransport(answer)


def failing_writes(inner: httpx2.AsyncBaseTransport, status: int) -> httpx2.MockTransport:
    """A CRM that does no write, and answers with this status."""

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            return await inner.handle_async_request(request)
        return httpx2.Response(status)

    return httpx2.MockTransport(answer)


# Repeats


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("move_lead_stage", MOVE),
        ("log_activity", CALL),
        ("create_company", {"name": "Newcomer AG", "phone": "1"}),
        ("create_lead", {"title": "New deal", "company": "Acme Inc."}),
        ("update_company", {"company": "Acme Inc.", "phone": "1"}),
        ("send_outbound_email", MAIL),
        # What is gone has no name any more.
        ("delete_lead", {"lead": "Acme annual licence"}),
        ("delete_contact", {"contact": "anna.muller@acme-inc.example"}),
        (
            "unlink_contact_from_company",
            {"contact": "Anna Müller at Acme Inc.", "company": "Acme Industries"},
        ),
    ],
)
async def test_the_same_write_again_is_answered_and_not_sent(
    client: Client, wire: Any, tool: str, arguments: dict[str, Any]
) -> None:
    first = await facts_of(client, tool, **arguments)
    second = await facts_of(client, tool, **arguments)
    assert second == first | {"repeat": True}
    assert len(wire.writes) == 1


async def test_a_delete_made_again_does_not_reach_a_namesake(
    client: Client, wire: Any, find: Find, sandbox: Any, changes: Any
) -> None:
    await facts_of(client, "delete_lead", lead="Acme annual licence")
    sandbox.execute("UPDATE leads SET title = 'Acme annual licence' WHERE title = 'Quint annual licence'")
    text = await text_of(client, "delete_lead", lead="Acme annual licence", fails=True)
    [done, refused] = changes()
    assert text == (
        f"The same call did this at {done.opened_at:%H:%M} UTC (change {done.id}): Delete lead Acme annual "
        "licence. What fits it now is another record: if that one is meant too, say its id. "
        "Nothing was sent to the CRM."
    )
    assert (len(wire.writes), refused.outcome) == (1, "refused")
    await facts_of(client, "delete_lead", lead=find("leads", title="Acme annual licence")["id"])
    assert len(wire.writes) == 2


@pytest.mark.parametrize(
    ("tool", "arguments", "detail"),
    [
        ("move_lead_stage", {"lead": "Nobody's", "stage": "Won"}, 'No lead "Nobody\'s".'),
        ("create_lead", {"title": "Deal", "company": "Nowhere"}, 'No company "Nowhere".'),
        ("undo_change", {"change": "abcdefgh"}, 'There is no change "abcdefgh" in the ledger.'),
    ],
)
async def test_a_call_that_came_to_no_write_is_on_record(
    client: Client, wire: Any, changes: Any, tool: str, arguments: dict[str, Any], detail: str
) -> None:
    await text_of(client, tool, **arguments, fails=True)
    [refused] = changes()
    assert (refused.tool, refused.arguments, refused.outcome) == (tool, arguments, "refused")
    assert refused.detail.startswith(detail)
    assert wire.writes == []


async def test_a_call_that_met_no_crm_is_on_record_as_failed(client: Client, wire: Any, changes: Any) -> None:
    wire.inner = httpx2.MockTransport(lambda _: httpx2.Response(503))
    await text_of(client, "delete_lead", lead="Acme annual licence", fails=True)
    [failed] = changes()
    assert (failed.tool, failed.outcome) == ("delete_lead", "failed")


async def test_a_call_that_only_reads_is_not_on_record(client: Client, changes: Any) -> None:
    await text_of(client, "get_lead", lead="Nobody's", fails=True)
    assert changes() == []


async def test_an_old_activity_of_a_busy_lead_is_a_repeat_and_found_after_a_lost_answer(
    client: Client, wire: Any, sandbox: Any
) -> None:
    """Neither of them stands on the first page of what is logged there."""
    for number in range(101):
        await facts_of(client, "log_activity", **(CALL | {"subject": f"Note {number}"}))
    old = CALL | {"occurred_at": "2020-01-01T10:00:00Z"}
    first = await facts_of(client, "log_activity", **old)
    assert await facts_of(client, "log_activity", **old) == first | {"repeat": True}
    older = CALL | {"occurred_at": "2019-01-01T10:00:00Z"}
    healthy = wire.inner
    wire.inner = losing_the_answer(healthy)
    await text_of(client, "log_activity", **older, fails=False)
    wire.inner = healthy
    await facts_of(client, "log_activity", **older)
    [logged] = sandbox.all("SELECT count(*) AS times FROM activities WHERE occurred_at LIKE '2019-01-01%'")
    assert logged["times"] == 1


async def test_a_write_in_other_words_is_the_same(client: Client, wire: Any, find: Find) -> None:
    first = await facts_of(client, "move_lead_stage", **MOVE)
    lead = find("leads", title="Acme annual licence")["id"]
    again = await facts_of(client, "move_lead_stage", lead=lead[:8], stage="qualified")
    assert (again["repeat"], again["change_ids"]) == (True, first["change_ids"])
    assert len(wire.writes) == 1


async def test_a_change_there_and_back_is_no_repeat(client: Client, find: Find) -> None:
    for phone in ("1", "2", "1"):
        await facts_of(client, "update_company", company="Acme Inc.", phone=phone)
    assert find("companies", name="Acme Inc.")["phone"] == "1"


async def test_what_somebody_else_changed_since_is_written_again(
    client: Client, sandbox: Any, find: Find
) -> None:
    await facts_of(client, "update_company", company="Acme Inc.", phone="1")
    sandbox.execute("UPDATE companies SET phone = '2' WHERE name = 'Acme Inc.'")
    await facts_of(client, "update_company", company="Acme Inc.", phone="1")
    assert find("companies", name="Acme Inc.")["phone"] == "1"


async def test_what_was_created_and_deleted_is_created_again(client: Client, find: Find) -> None:
    first = await facts_of(client, "create_lead", title="New deal")
    await facts_of(client, "delete_lead", lead="New deal")
    second = await facts_of(client, "create_lead", title="New deal")
    assert "repeat" not in second
    assert find("leads", title="New deal")["id"] == second["lead"]["id"] != first["lead"]["id"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE contacts SET email = 'anna@new.example' WHERE id = (SELECT contact_id FROM leads WHERE {})",
        "UPDATE leads SET contact_id = (SELECT id FROM contacts WHERE last_name = 'Castelli') WHERE {}",
    ],
    ids=["another address", "another contact"],
)
async def test_the_same_text_to_another_address_is_another_email(
    client: Client, wire: Any, sandbox: Any, changes: Any, statement: str
) -> None:
    await facts_of(client, "send_outbound_email", **MAIL)
    sandbox.execute(statement.format("title = 'Acme annual licence'"))
    second = await facts_of(client, "send_outbound_email", **MAIL)
    assert "repeat" not in second
    assert len(wire.writes) == 2
    assert len({change.after["to"] for change in changes()}) == 2


async def test_a_repeat_on_purpose_is_sent(client: Client, wire: Any) -> None:
    await facts_of(client, "log_activity", **CALL)
    second = await facts_of(client, "log_activity", **CALL, repeat=True)
    assert "repeat" not in second
    assert len(wire.writes) == 2


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("create_company", {"name": "Newcomer AG"}),
        ("log_activity", CALL),
        ("update_company", {"company": "Acme Inc.", "phone": "1"}),
    ],
)
async def test_the_same_write_twice_at_once_is_sent_once(
    client: Client, wire: Any, tool: str, arguments: dict[str, Any]
) -> None:
    async with anyio.create_task_group() as tasks:
        for _ in range(5):
            tasks.start_soon(lambda: facts_of(client, tool, **arguments))
    assert len(wire.writes) == 1


async def test_what_was_before_a_write_is_what_the_one_before_it_left(
    open_client: OpenClient, wire: Any, changes: Any
) -> None:
    """Of two processes that change one record, the second one looks when the first one is done."""
    first, second = await open_client(), await open_client()
    patch = Held(wire.inner, lambda request: request.method == "PATCH")
    wire.inner = httpx2.MockTransport(patch)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: facts_of(first, "update_company", company="Acme Inc.", phone="1"))
        await patch.met.wait()
        tasks.start_soon(lambda: facts_of(second, "update_company", company="Acme Inc.", phone="2"))
        while sum(request.path.endswith("/companies") for request in wire.sent) < 2:  # noqa: ASYNC110
            await anyio.sleep(0.01)  # of the other process
        patch.let_go.set()
    before, after = changes()
    assert [before.after["phone"], after.before["phone"], after.after["phone"]] == ["1", "1", "2"]


# Leases

LEASE_SECONDS = 0.2
NEWCOMER = {"name": "Newcomer AG"}


@pytest.fixture
def _first_lease_is_short(monkeypatch: pytest.MonkeyPatch) -> None:
    """So that it lapses while a test holds the call that has it."""
    leases = chain([LEASE_SECONDS], repeat(60.0))
    monkeypatch.setattr(gate.Gate, "_lease_seconds", property(lambda _: next(leases)))


class Held:
    """A CRM that keeps the first of some requests waiting: it is `met`, until it is `let_go`."""

    def __init__(self, inner: httpx2.AsyncBaseTransport, which: Callable[[httpx2.Request], bool]) -> None:
        self._inner, self._which = inner, which
        self.met, self.let_go = anyio.Event(), anyio.Event()

    async def __call__(self, request: httpx2.Request) -> httpx2.Response:
        response = await self._inner.handle_async_request(request)
        if self._which(request) and not self.met.is_set():
            self.met.set()
            await self.let_go.wait()
        return response


@pytest.mark.usefixtures("_first_lease_is_short")
@pytest.mark.parametrize("name", ["Newcomer AG", "Newcomer GmbH"], ids=["equal", "the same"])
async def test_a_write_that_another_process_took_over_is_not_sent(
    open_client: OpenClient, wire: Any, changes: Any, name: str
) -> None:
    slow, other = await open_client(), await open_client()
    search = Held(wire.inner, lambda request: "q" in request.url.params)
    wire.inner = httpx2.MockTransport(search)
    texts = []

    async def create_slowly() -> None:
        texts.append(await text_of(slow, "create_company", **NEWCOMER, fails=True))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(create_slowly)
        await search.met.wait()
        await anyio.sleep(LEASE_SECONDS)
        await facts_of(other, "create_company", name=name)
        search.let_go.set()
    assert texts == [
        "It took so long that somebody else may have taken it over. Nothing was sent to the CRM."
    ]
    assert len(wire.writes) == 1
    assert [change.outcome for change in changes()] == ["failed", "applied"]


@pytest.mark.usefixtures("_first_lease_is_short")
async def test_what_is_on_its_way_has_a_lease_that_began_when_it_was_sent(
    open_client: OpenClient, wire: Any, changes: Any
) -> None:
    slow, other = await open_client(), await open_client()
    post = Held(wire.inner, lambda request: request.method == "POST")
    wire.inner = httpx2.MockTransport(post)
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: facts_of(slow, "create_company", **NEWCOMER))
        await post.met.wait()
        await anyio.sleep(LEASE_SECONDS)
        assert [change.outcome for change in changes()] == ["pending"]
        tasks.start_soon(lambda: facts_of(other, "create_company", **NEWCOMER))
        await anyio.sleep(LEASE_SECONDS)
        post.let_go.set()
    assert len(wire.writes) == 1
    assert [change.outcome for change in changes()] == ["applied"]


# What is there already


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("create_company", {"name": "ACME, Inc"}),
        ("create_company", {"name": "Acme Holding", "website": "https://www.acme-inc.example/about"}),
        ("create_contact", {"first_name": "Somebody", "email": "Anna.Muller@acme-inc.example"}),
        ("create_contact", {"first_name": "anna", "last_name": "Muller", "company": "Acme Inc."}),
        ("create_lead", {"title": "acme annual  licence", "company": "Acme Inc."}),
        ("create_pipeline_stage", {"name": "qualified"}),
    ],
)
async def test_what_is_there_already_is_not_created_but_on_purpose(
    client: Client, wire: Any, changes: Any, tool: str, arguments: dict[str, Any]
) -> None:
    text = await text_of(client, tool, **arguments, fails=True)
    kind = tool.rpartition("_")[2]
    head, candidate = text.splitlines()
    assert head == (
        f"This {kind} seems to be there already. Nothing was sent to the CRM. Use the one that is there; "
        "if it is another one, say `allow_duplicate`:"
    )
    assert candidate.startswith("- ")
    assert [change.outcome for change in changes()] == ["refused"]
    assert wire.writes == []
    if tool != "create_pipeline_stage":
        await facts_of(client, tool, **arguments, allow_duplicate=True)
        assert len(wire.writes) == 1


@pytest.mark.parametrize(
    ("tool", "arguments", "other"),
    [
        ("create_company", {"name": "Zürnßen GmbH"}, {"phone": "1"}),
        ("create_contact", {"first_name": "Jürgen", "last_name": "Völlers"}, {"phone": "1"}),
        ("create_lead", {"title": "Überholung"}, {"value": 1}),
    ],
)
async def test_what_is_spelt_with_accents_is_not_created_twice(
    client: Client, wire: Any, tool: str, arguments: dict[str, Any], other: dict[str, Any]
) -> None:
    await facts_of(client, tool, **arguments)
    assert "seems to be there already" in await text_of(client, tool, **arguments, **other, fails=True)
    assert len(wire.writes) == 1


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("create_company", {"name": "Zz Twinning"}),
        ("create_contact", {"first_name": "Zz", "last_name": "Twinning"}),
        ("create_lead", {"title": "Zz Twinning"}),
    ],
)
async def test_what_is_there_is_seen_behind_the_first_page_of_a_search(
    client: Client, crm: CrmClient, tool: str, arguments: dict[str, Any]
) -> None:
    await facts_of(client, tool, **arguments)
    for number in range(105):
        await crm.companies.create(NewCompany(name=f"Aa {number} Twinning"))
        await crm.contacts.create(ContactChanges(first_name=f"Aa {number}", last_name="Twinning"))
        await crm.leads.create(NewLead(title=f"Aa {number} Twinning"))
    other = {"value": 1} if tool == "create_lead" else {"phone": "1"}
    assert "seems to be there already" in await text_of(client, tool, **arguments, **other, fails=True)


async def test_two_that_are_the_same_and_not_equal_are_one_when_created_at_once(
    client: Client, sandbox: Any
) -> None:
    async def create(phone: str) -> None:
        await client.call_tool(
            "create_company", {"name": f"Newcomer {'AG' if phone == '1' else 'GmbH'}", "phone": phone}
        )

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(create, str(number % 2))
    assert len(sandbox.all("SELECT id FROM companies WHERE name LIKE 'Newcomer%'")) == 1


# Lost answers


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("create_company", {"name": "Newcomer AG"}),
        ("create_contact", {"first_name": "New", "last_name": "Comer", "company": "Acme Inc."}),
        ("create_lead", {"title": "New deal", "company": "Acme Inc."}),
        ("create_pipeline_stage", {"name": "Trial"}),
        ("update_company", {"company": "Acme Inc.", "phone": "1"}),
        ("move_lead_stage", MOVE),
        ("delete_lead", {"lead": "Acme annual licence"}),
        ("log_activity", CALL),
        ("log_activity", {**CALL, "type": "task"}),
        ("log_activity", {"type": "call", "subject": "Hello", "company": "Acme Inc."}),
        ("send_outbound_email", MAIL),
        ("link_contact_to_company", {"contact": "Anna Müller", "company": "Kestrel Solar Ltd"}),
        ("unlink_contact_from_company", {"contact": "Anna Müller", "company": "Acme Inc."}),
    ],
)
async def test_what_was_done_although_the_answer_was_lost_is_found(
    client: Client, wire: Any, changes: Any, tool: str, arguments: dict[str, Any]
) -> None:
    inner, wire.inner = wire.inner, losing_the_answer(wire.inner)
    first = await facts_of(client, tool, **arguments)
    assert first["notes"][0] == "The CRM's answer was lost, but it shows that this was done."
    wire.inner = inner
    if not tool.startswith(("delete", "unlink")):
        await facts_of(client, tool, **arguments)
    assert [change.outcome for change in changes()] == ["applied"]
    assert len(wire.writes) == 1


async def test_what_another_change_made_is_not_taken_for_what_this_one_did(
    client: Client, wire: Any, changes: Any
) -> None:
    await facts_of(client, "log_activity", **CALL)
    wire.inner = losing_the_answer(wire.inner, before=True)
    await text_of(client, "log_activity", **CALL, repeat=True, fails=True)
    assert [change.outcome for change in changes()] == ["applied", "unknown"]


NOT_DONE = [
    ("create_company", {"name": "Newcomer AG"}),
    ("create_contact", {"first_name": "New", "last_name": "Comer"}),
    ("create_lead", {"title": "New deal"}),
    ("log_activity", CALL),
    ("link_contact_to_company", {"contact": "Anna Müller", "company": "Kestrel Solar Ltd"}),
    ("delete_lead", {"lead": "Acme annual licence"}),
]
PATIENT = Policy(approval="client", late_seconds=600)
IMPATIENT = Policy(approval="client", late_seconds=0)


@pytest.mark.parametrize(
    ("tool", "arguments"), [*NOT_DONE, ("update_company", {"company": "Acme Inc.", "phone": "1"})]
)
async def test_what_was_not_done_is_unknown_first_and_done_when_it_is_called_again(
    open_client: OpenClient, wire: Any, changes: Any, tool: str, arguments: dict[str, Any]
) -> None:
    client = await open_client(policy=IMPATIENT)
    inner, wire.inner = wire.inner, losing_the_answer(wire.inner, before=True)
    text = await text_of(client, tool, **arguments, fails=True)
    [unknown] = changes()
    assert unknown.outcome == "unknown"
    again = "does no harm" if tool == "update_company" else "looks first"
    assert text == (
        "The request was sent, but no answer came (ReadError): it may or may not have been done. "
        f"Look before doing it again. (Change {unknown.id}; the same call again {again}.)"
    )
    wire.inner = inner
    await facts_of(client, tool, **arguments)
    # Whether an update was done, another value does not tell.
    first = "unknown" if tool == "update_company" else "failed"
    assert [change.outcome for change in changes()] == [first, "applied"]


class Late(httpx2.MockTransport):
    """A CRM that gives writes no answer, and does them when it is told to."""

    def __init__(self, inner: httpx2.AsyncBaseTransport) -> None:
        self._inner = inner
        self._late: list[httpx2.Request] = []
        super().__init__(self._answer)

    async def _answer(self, request: httpx2.Request) -> httpx2.Response:
        if request.method == "GET":
            return await self._inner.handle_async_request(request)
        await request.aread()
        self._late.append(request)
        raise httpx2.ReadTimeout("late", request=request)

    async def catch_up(self) -> None:
        for request in self._late:
            assert (await self._inner.handle_async_request(request)).is_success


@pytest.mark.parametrize(("tool", "arguments"), NOT_DONE)
async def test_what_the_crm_may_still_be_doing_is_not_done_again(
    open_client: OpenClient, wire: Any, changes: Any, tool: str, arguments: dict[str, Any]
) -> None:
    client = await open_client(policy=PATIENT)
    healthy, wire.inner = wire.inner, (late := Late(wire.inner))
    await text_of(client, tool, **arguments, fails=True)
    wire.inner = healthy
    text = await text_of(client, tool, **arguments, fails=True)
    [unknown, refused] = changes()
    assert (unknown.outcome, refused.outcome, len(wire.writes)) == ("unknown", "refused", 1)
    assert text == (
        f"The same was tried at {unknown.opened_at:%H:%M} UTC (change {unknown.id}), and its answer was "
        f"lost: the CRM may still be doing it. Try again after {unknown.expires_at:%H:%M:%S} UTC. "
        "Nothing was sent to the CRM."
    )
    await late.catch_up()
    if not tool.startswith("delete"):
        assert (await facts_of(client, tool, **arguments)).get("repeat") or tool.startswith("link")
    assert len(wire.writes) == 1


@pytest.mark.parametrize(
    ("tool", "lost", "other"),
    [
        ("create_company", {"name": "Newcomer AG"}, {"name": "NEWCOMER", "phone": "1"}),
        ("create_contact", {"last_name": "Comer", "email": "a@b.example"}, {"email": "A@b.example"}),
        ("create_lead", {"title": "New deal", "company": "Acme Inc."}, {"title": "new deal", "value": 1}),
        ("update_company", {"company": "Acme Inc.", "phone": "1"}, {"phone": "2"}),
        ("move_lead_stage", MOVE | {"stage": "Lost"}, {"stage": "Won"}),
    ],
)
async def test_what_the_crm_may_still_do_is_not_overtaken(
    open_client: OpenClient, wire: Any, changes: Any, tool: str, lost: dict[str, Any], other: dict[str, Any]
) -> None:
    """It would be doubled, or come after this one and undo it."""
    client, stranger = await open_client(policy=PATIENT), await open_client(policy=PATIENT)
    healthy, wire.inner = wire.inner, Late(wire.inner)
    await text_of(client, tool, **lost, fails=True)
    wire.inner = healthy
    text = await text_of(stranger, tool, **(lost | other), fails=True)
    [unknown, refused] = changes()
    assert (unknown.outcome, refused.outcome, len(wire.writes)) == ("unknown", "refused", 1)
    assert text == (
        f'The answer to "{unknown.title}" (change {unknown.id}) was lost: the CRM may still be doing it. '
        f"Try again after {unknown.expires_at:%H:%M:%S} UTC. Nothing was sent to the CRM."
    )


@pytest.mark.parametrize(
    ("tool", "lost", "other"),
    [
        ("create_company", {"name": "Newcomer AG"}, {"name": "Latecomer AG"}),
        ("update_company", {"company": "Acme Inc.", "phone": "1"}, {"company": "Acme Industries"}),
        ("log_activity", CALL, {"subject": "Goodbye"}),
        ("send_outbound_email", MAIL, {"subject": "Goodbye"}),
    ],
)
async def test_what_has_nothing_to_do_with_it_need_not_wait(
    open_client: OpenClient, wire: Any, tool: str, lost: dict[str, Any], other: dict[str, Any]
) -> None:
    client = await open_client(policy=PATIENT)
    healthy, wire.inner = wire.inner, Late(wire.inner)
    await text_of(client, tool, **lost, fails=True)
    wire.inner = healthy
    await facts_of(client, tool, **(lost | other))
    assert len(wire.writes) == 2


async def test_what_the_crm_itself_failed_at_need_not_be_waited_for(
    open_client: OpenClient, wire: Any, changes: Any
) -> None:
    client = await open_client(policy=PATIENT)
    healthy = wire.inner
    for status in (502, 500):
        wire.inner = failing_writes(healthy, status)
        await text_of(client, "log_activity", **(CALL | {"subject": str(status)}), fails=True)
    wire.inner = healthy
    await text_of(client, "log_activity", **(CALL | {"subject": "502"}), fails=True)
    await facts_of(client, "log_activity", **(CALL | {"subject": "500"}))
    assert len(wire.writes) == 3


@pytest.mark.parametrize("other", [{"body": " All  is\nwell "}, {"body": "<p>All is well</p>"}], ids=str)
async def test_a_text_that_the_crm_keeps_in_its_own_way_is_still_ours(
    client: Client, wire: Any, changes: Any, other: dict[str, Any]
) -> None:
    wire.inner = keeping_otherwise(wire.inner, other)
    await facts_of(client, "log_activity", **NOTE, lead="Acme annual licence")
    assert [change.outcome for change in changes()] == ["applied"]


async def test_what_may_have_come_of_a_lost_answer_is_shown_and_not_done_again(
    open_client: OpenClient, wire: Any, changes: Any
) -> None:
    client = await open_client(policy=IMPATIENT)
    healthy = wire.inner
    wire.inner = keeping_otherwise(wire.inner, {"body": "All is"})
    note = NOTE | {"lead": "Acme annual licence"}
    await text_of(client, "log_activity", **note, fails=True)
    wire.inner = healthy
    text = await text_of(client, "log_activity", **note, fails=True)
    [unknown, refused] = changes()
    assert (unknown.outcome, refused.outcome) == ("unknown", "refused")
    problem, candidate = text.splitlines()
    assert problem == (
        f"The same was tried at {unknown.opened_at:%H:%M} UTC (change {unknown.id}), and its answer was "
        "lost. The CRM shows what may have come of it: ask the person to look. `repeat` does it again. "
        "Nothing was sent to the CRM."
    )
    assert candidate.startswith("- Hello · ")
    assert len(wire.writes) == 1
    await facts_of(client, "log_activity", **note, repeat=True)
    assert [change.outcome for change in changes()] == ["unknown", "refused", "applied"]


async def test_an_email_of_which_nobody_knows_is_not_sent_again(
    client: Client, wire: Any, changes: Any
) -> None:
    inner, wire.inner = wire.inner, losing_the_answer(wire.inner, before=True)
    await text_of(client, "send_outbound_email", **MAIL, fails=True)
    wire.inner = inner
    text = await text_of(client, "send_outbound_email", **MAIL, fails=True)
    [unknown, refused] = changes()
    assert (unknown.outcome, refused.outcome) == ("unknown", "refused")
    assert text == (
        f"The same was tried at {unknown.opened_at:%H:%M} UTC (change {unknown.id}), and nobody knows "
        "whether it was done: ask the person to look. `repeat` does it again. Nothing was sent to the CRM."
    )
    assert len(wire.writes) == 1


COMPANY = {"name": "Newcomer AG", "website": "newcomer.example", "industry": "Steel", "phone": "1"}
CONTACT = {"first_name": "New", "last_name": "Comer", "email": "new@acme.example", "phone": "1"}
LEAD = {"title": "New deal", "company": "Acme Inc.", "value": 10, "currency": "EUR", "source": "Fair"}
NOTE = {"type": "note", "subject": "Hello", "body": "All is well", "duration_minutes": 5}
AT_NOON = {"occurred_at": "2026-01-31T12:00:00Z"}
LOOKALIKES = [
    *(
        ("create_company", COMPANY, field)
        for field in ({"industry": "Wood"}, {"phone": "2"}, {"name": "Newcomer GmbH"})
    ),
    *(("create_contact", CONTACT, field) for field in ({"firstName": "Old"}, {"phone": None})),
    *(
        ("create_lead", LEAD, field)
        for field in ({"value": 11}, {"currency": "USD"}, {"source": None}, {"title": "New Deal"})
    ),
    *(
        ("log_activity", NOTE | about, field)
        for about in ({"lead": "Acme annual licence"}, {"company": "Acme Inc."})
        for field in ({"subject": "Hallo"}, {"type": "call"}, {"body": "All is lost"}, {"durationMinutes": 6})
    ),
    ("log_activity", CALL | AT_NOON, {"occurredAt": "2026-01-31T12:01:00Z"}),
    ("send_outbound_email", MAIL, {"subject": "Hallo"}),
    ("send_outbound_email", MAIL, {"htmlBody": "<p>Dear Otto</p>"}),
]


@pytest.mark.parametrize(("tool", "arguments", "other"), LOOKALIKES)
async def test_what_somebody_else_made_is_not_taken_for_ours(
    client: Client, wire: Any, changes: Any, tool: str, arguments: dict[str, Any], other: dict[str, Any]
) -> None:
    wire.inner = keeping_otherwise(wire.inner, other)
    await text_of(client, tool, **arguments, fails=True)
    [change] = changes()
    assert (change.outcome, change.after) == ("unknown", None)
    assert len(wire.writes) == 1


# Taking it back


@pytest.mark.parametrize(
    ("tool", "arguments", "table", "where"),
    [
        ("update_company", {"company": "Acme Inc.", "phone": "1"}, "companies", "name = 'Acme Inc.'"),
        (
            "move_lead_stage",
            {"lead": "Acme annual licence", "stage": "Proposal"},
            "leads",
            "title = 'Acme annual licence'",
        ),
        ("update_lead", {"lead": "Acme annual licence", "clear": ["value"]}, "leads", "title LIKE 'Acme%'"),
        ("update_pipeline_stage", {"stage": "New", "name": "Fresh"}, "stages", "true"),
        (
            "reorder_pipeline_stages",
            {"stages": ["Lost", "Won", "Negotiation", "Proposal", "Qualified", "New"]},
            "stages",
            "true",
        ),
    ],
)
async def test_an_update_is_taken_back_and_taken_back_again(
    client: Client, sandbox: Any, tool: str, arguments: dict[str, Any], table: str, where: str
) -> None:
    def rows() -> list[Any]:
        every = sandbox.all(f"SELECT * FROM {table} WHERE {where} ORDER BY id")  # noqa: S608
        return [{name: row[name] for name in row.keys() if name != "updated_at"} for row in every]  # noqa: SIM118

    before = rows()
    done = await facts_of(client, tool, **arguments)
    after = rows()
    undone = await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert rows() == before != after
    assert undone["undone"]["outcome"] == "undone"
    await facts_of(client, "undo_change", change=undone["change_ids"][0])
    assert rows() == after


async def test_what_the_crm_changed_along_and_does_not_change_back_is_told(
    client: Client, sandbox: Any
) -> None:
    sandbox.execute("UPDATE leads SET probability_pct = 33 WHERE title = 'Acme annual licence'")
    done = await facts_of(client, "move_lead_stage", lead="Acme annual licence", stage="Won")
    undone = await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert undone["notes"] == ["Other than before the change: probability."]


async def test_what_was_created_is_removed_or_archived(client: Client, sandbox: Any, find: Find) -> None:
    for tool, arguments in (
        ("create_company", {"name": "Newcomer AG"}),
        ("create_contact", {"first_name": "New", "last_name": "Comer"}),
        ("create_lead", {"title": "New deal"}),
        ("create_pipeline_stage", {"name": "Trial"}),
        ("link_contact_to_company", {"contact": "Anna Müller", "company": "Kestrel Solar Ltd"}),
    ):
        done = await facts_of(client, tool, **arguments)
        await facts_of(client, "undo_change", change=done["change_ids"][0])
    assert find("companies", name="Newcomer AG")["status"] == "inactive"
    assert sandbox.all("SELECT id FROM contacts WHERE last_name = 'Comer'") == []
    assert sandbox.all("SELECT id FROM leads WHERE title = 'New deal'") == []
    assert sandbox.all("SELECT id FROM stages WHERE name = 'Trial'") == []


async def test_what_was_changed_since_is_not_taken_back(client: Client, sandbox: Any, find: Find) -> None:
    done = await facts_of(client, "update_company", company="Acme Inc.", phone="1", industry="Steel")
    sandbox.execute("UPDATE companies SET phone = '2' WHERE name = 'Acme Inc.'")
    text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
    assert text == "It was changed since: phone is 2 now. Nothing was undone."
    assert find("companies", name="Acme Inc.")["industry"] == "Steel"


@pytest.mark.parametrize(
    ("create", "hang", "there"),
    [
        (
            ("create_contact", {"first_name": "New", "last_name": "Comer"}),
            ("create_lead", {"title": "New deal", "contact": "New Comer"}),
            "its place in the deal New deal",
        ),
        (
            ("create_lead", {"title": "New deal"}),
            ("log_activity", {"type": "note", "subject": "Hello", "lead": "New deal"}),
            "1 timeline entries",
        ),
        (
            ("create_lead", {"title": "New deal", "contact": "Anna Müller"}),
            ("send_outbound_email", {"lead": "New deal", "subject": "Hello", "body": "Dear Anna"}),
            "1 timeline entries",
        ),
    ],
    ids=["a deal", "an activity", "an e-mail"],
)
async def test_what_was_created_stays_when_something_hangs_on_it(
    client: Client, wire: Any, create: Any, hang: Any, there: str
) -> None:
    done = await facts_of(client, create[0], **create[1])
    await facts_of(client, hang[0], **hang[1])
    text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
    assert text.startswith("It was changed since: ")
    assert text.endswith(f"there is {there}. Nothing was undone.")
    assert [request.method for request in wire.writes] == ["POST", "POST"]


async def test_who_changed_it_since_is_told_where_it_was_us(client: Client) -> None:
    first = await facts_of(client, "update_company", company="Acme Inc.", phone="1")
    second = await facts_of(client, "update_company", company="Acme Inc.", phone="2")
    text = await text_of(client, "undo_change", change=first["change_ids"][0], fails=True)
    assert text == (
        f"It was changed since (change {second['change_ids'][0]}: Update company Acme Inc.): phone is 2 now. "
        "Nothing was undone."
    )


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [("log_activity", CALL), ("send_outbound_email", MAIL), ("delete_lead", {"lead": "Acme annual licence"})],
)
async def test_what_cannot_be_taken_back_says_so(
    client: Client, wire: Any, changes: Any, tool: str, arguments: dict[str, Any]
) -> None:
    done = await facts_of(client, tool, **arguments)
    text = await text_of(client, "undo_change", change=done["change_ids"][0], fails=True)
    change, refused = changes()
    assert text == (
        f'"{change.title}" cannot be undone. The CRM has no way to take this back. Nothing was undone.'
    )
    assert (refused.tool, refused.outcome, refused.detail) == ("undo_change", "refused", text)
    assert len(wire.writes) == 1


async def test_what_was_never_done_or_is_unknown_is_not_taken_back(client: Client, changes: Any) -> None:
    await text_of(client, "create_company", name="Acme Inc.", fails=True)
    [refused] = changes()
    assert await text_of(client, "undo_change", change=refused.id, fails=True) == (
        f"Change {refused.id} was never done (refused). Nothing was undone."
    )
    assert await text_of(client, "undo_change", change="abcdefgh", fails=True) == (
        'There is no change "abcdefgh" in the ledger. Nothing was undone.'
    )
