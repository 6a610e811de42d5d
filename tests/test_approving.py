"""What is guarded is only done with a person's word, in both protocol eras, whatever anyone tries."""

import dataclasses
import json
import re
from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx2
import pytest
from mcp import Client
from mcp.client.context import ClientRequestContext
from mcp.types import ElicitRequestParams, ElicitResult

from crm_mcp.calls import GUARDED, Policy
from crm_mcp.kinds import KINDS
from crm_mcp.ledger import Ledger
from crm_mcp.tools.surface import published

from .writing import Held, losing_the_answer, showing, without

pytestmark = pytest.mark.anyio

Find = Callable[..., dict[str, Any]]
OpenClient = Callable[..., Awaitable[Client]]
Options = dict[str, Any]

ASKING = Policy()
ERAS = {"modern": {}, "legacy": {"mode": "legacy"}}
DELETE = ("delete_lead", {"lead": "Acme annual licence"})
MAIL = (
    "send_outbound_email",
    {
        "lead": "Acme annual licence",
        "subject": "Our offer",
        "body": "Dear Anna,\n\nsee [this](https://evil.example/x) ![p](https://track.example/p.png).\n\nMax",
    },
)
REORDER = (
    "reorder_pipeline_stages",
    {"stages": ["Lost", "Won", "Negotiation", "Proposal", "Qualified", "New"]},
)


class Person:
    """Answers every question in one way, and keeps what was asked."""

    def __init__(self, **answer: Any) -> None:
        self.answer = ElicitResult(**answer)
        self.asked: list[str] = []

    async def __call__(self, _context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
        self.asked.append(params.message)
        return self.answer


def saying(word: bool) -> Person:
    return Person(action="accept", content={"approve": word})


@pytest.fixture(params=ERAS.values(), ids=ERAS)
def era(request: pytest.FixtureRequest) -> Options:
    options: Options = request.param
    return options


async def call(client: Client, tool: str, arguments: dict[str, Any], *, fails: bool = False) -> str:
    result = await client.call_tool(tool, arguments)
    [block] = result.content
    assert block.type == "text"
    assert result.is_error is fails, block.text
    return block.text


def outcomes(ledger: Ledger) -> list[str]:
    return [change.outcome for change in ledger.changes()[::-1]]


@pytest.mark.parametrize(("tool", "arguments"), [DELETE, MAIL, REORDER])
async def test_a_person_who_approves_is_shown_what_is_done_and_it_is_done(
    open_client: OpenClient, era: Options, wire: Any, ledger: Ledger, tool: str, arguments: dict[str, Any]
) -> None:
    person = saying(True)
    client = await open_client(policy=ASKING, elicitation_callback=person, **era)
    await call(client, tool, arguments)
    [change] = ledger.changes()
    [question] = person.asked
    approval = ledger.approval(str(change.approval))
    assert question == (
        f"An assistant wants to do this in the CRM:\n\n{approval.preview}\n\n(approval {approval.id[:8]})"
    )
    assert approval.preview.splitlines()[0] == change.title
    assert (approval.state, approval.decided_by) == ("used", "asked through the client")
    assert (change.outcome, len(wire.writes)) == ("applied", 1)


async def test_an_email_is_shown_with_all_that_leads_elsewhere(
    open_client: OpenClient, find: Find, sandbox: Any
) -> None:
    person = saying(False)
    client = await open_client(policy=ASKING, elicitation_callback=person)
    await call(client, *MAIL, fails=True)
    [mailbox] = sandbox.all("SELECT email FROM connections WHERE status = 'active'")
    [question] = person.asked
    assert question.splitlines()[2:-2] == [
        "Send e-mail to Anna Müller <anna.muller@acme-inc.example>: Our offer",
        "  To: Anna Müller <anna.muller@acme-inc.example>",
        f"  From: {mailbox['email']}",
        "  Subject: Our offer",
        "  Lead: Acme annual licence",
        "  Link to evil.example: https://evil.example/x",
        "  Image from track.example: https://track.example/p.png",
        "  Text:",
        "  > Dear Anna,",
        "  > see this [p] .",
        "  > Max",
    ]


@pytest.mark.parametrize(
    "person",
    [
        saying(False),
        Person(action="decline"),
        Person(action="cancel"),
        Person(action="accept", content={"approve": False, "answer": "yes"}),
    ],
    ids=["no", "declined", "cancelled", "no with more"],
)
@pytest.mark.parametrize(("tool", "arguments"), [DELETE, MAIL, REORDER])
async def test_without_a_yes_nothing_is_sent(
    open_client: OpenClient,
    era: Options,
    wire: Any,
    ledger: Ledger,
    person: Person,
    tool: str,
    arguments: dict[str, Any],
) -> None:
    client = await open_client(policy=ASKING, elicitation_callback=person, **era)
    text = await call(client, tool, arguments, fails=True)
    assert "Nothing was sent to the CRM." in text.splitlines()[0]
    assert (wire.writes, outcomes(ledger)) == ([], ["declined"])


async def test_a_declined_question_leaves_the_approval_open_and_a_no_ends_it(
    open_client: OpenClient, era: Options, ledger: Ledger, wire: Any
) -> None:
    client = await open_client(policy=ASKING, elicitation_callback=Person(action="decline"), **era)
    text = await call(client, *DELETE, fails=True)
    [waiting] = ledger.waiting()
    assert waiting.id in text
    ledger.decide(waiting.id, approved=True, by="terminal")
    await call(client, *DELETE)
    assert len(wire.writes) == 1
    client = await open_client(policy=ASKING, elicitation_callback=saying(False), **era)
    await call(client, *REORDER, fails=True)
    assert ledger.waiting() == []


async def test_what_a_person_declined_elsewhere_is_said_and_on_record(
    open_client: OpenClient, era: Options, ledger: Ledger, wire: Any
) -> None:
    client = await open_client(policy=ASKING, **era)
    await call(client, *DELETE, fails=True)
    [waiting] = ledger.waiting()
    declined = ledger.decide(waiting.id, approved=False, by="terminal")
    text = await call(client, *DELETE, fails=True)
    assert text.splitlines()[1] == (
        f"A person declined the same at {declined.decided_at:%H:%M} UTC: ask them before trying again."
    )
    assert (outcomes(ledger), wire.writes) == (["refused", "declined"], [])


async def test_an_approval_that_ran_out_is_said_and_on_record(
    open_client: OpenClient, ledger: Ledger, wire: Any
) -> None:
    client = await open_client(policy=dataclasses.replace(ASKING, approval_seconds=0.0))
    await call(client, *DELETE, fails=True)
    text = await call(client, *DELETE, fails=True)
    assert text.splitlines()[1].startswith("The earlier approval ended at ")
    assert (outcomes(ledger), wire.writes) == (["refused", "expired"], [])


async def test_without_elicitation_it_waits_for_an_approval_that_counts_once(
    open_client: OpenClient, era: Options, ledger: Ledger, wire: Any, find: Find
) -> None:
    client = await open_client(policy=ASKING, **era)
    text = await call(client, *DELETE, fails=True)
    [waiting] = ledger.waiting()
    assert text.splitlines()[0] == "A person must approve this. Nothing was sent to the CRM."
    assert text.splitlines()[1:-1] == waiting.preview.splitlines()
    assert f"`crm-mcp approve {waiting.id}`" in text.splitlines()[-1]
    assert "http://127.0.0.1:" in text.splitlines()[-1]
    # Asking again asks for the same.
    await call(client, *DELETE, fails=True)
    assert [one.id for one in ledger.waiting()] == [waiting.id]
    ledger.decide(waiting.id, approved=True, by="terminal")
    await call(client, *DELETE)
    assert ledger.approval(waiting.id).state == "used"
    assert len(wire.writes) == 1


async def test_who_says_yes_after_the_same_was_approved_and_done_elsewhere_is_told_so(
    open_client: OpenClient, era: Options, ledger: Ledger, wire: Any
) -> None:
    class Slow(Person):
        async def __call__(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
            [waiting] = ledger.waiting()
            ledger.decide(waiting.id, approved=True, by="the page")
            await call(other, *DELETE)
            return await super().__call__(context, params)

    other = await open_client(policy=ASKING)
    person = Slow(action="accept", content={"approve": True})
    client = await open_client(policy=ASKING, elicitation_callback=person, **era)
    assert (await call(client, *DELETE)).startswith("Done before, so that nothing was sent again.")
    assert (len(person.asked), len(wire.writes), ledger.waiting()) == (1, 1, [])


async def test_of_calls_at_once_with_one_approval_one_is_sent_and_nobody_is_asked_anew(
    open_client: OpenClient, ledger: Ledger, wire: Any, find: Find
) -> None:
    """Each has begun to look what would be done before the other one does it."""
    policy = Policy(guard=GUARDED | {"move_lead_stage"})
    moves = ("move_lead_stage", {"leads": ["Acme annual licence", "Quint annual licence"], "stage": "Won"})
    first, second = await open_client(policy=policy), await open_client(policy=policy)
    await call(first, *moves, fails=True)
    [waiting] = ledger.waiting()
    ledger.decide(waiting.id, approved=True, by="terminal")
    looking = 0
    both = anyio.Event()

    async def seen_by_both(request: httpx2.Request) -> httpx2.Response:
        nonlocal looking
        response = await inner.handle_async_request(request)
        if second_lead in request.url.path and not both.is_set():
            looking += 1
            if looking == 2:
                both.set()
            await both.wait()
        return response

    second_lead = find("leads", title="Quint annual licence")["id"]
    inner, wire.inner = wire.inner, httpx2.MockTransport(seen_by_both)
    texts = []

    async def move(client: Client) -> None:
        texts.append(await call(client, *moves))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for client in (first, second):
                tasks.start_soon(move, client)
    assert [text.startswith("Done before") for text in sorted(texts)] == [True, False]
    assert (len(wire.writes), ledger.waiting()) == (2, [])


async def test_what_was_approved_and_done_is_no_second_question(
    open_client: OpenClient, era: Options, wire: Any
) -> None:
    person = saying(True)
    client = await open_client(policy=ASKING, elicitation_callback=person, **era)
    first = await call(client, *MAIL)
    again = await call(client, *MAIL)
    assert again == f"Done before, so that nothing was sent again. {first}"
    assert (len(person.asked), len(wire.writes)) == (1, 1)
    await call(client, MAIL[0], MAIL[1] | {"repeat": True})
    assert (len(person.asked), len(wire.writes)) == (2, 2)


async def test_two_that_read_the_same_are_not_both_sent_where_neither_person_was_told_of_the_other(
    open_client: OpenClient, wire: Any
) -> None:
    both = anyio.Event()

    class Waiting(Person):
        async def __call__(self, context: ClientRequestContext, params: ElicitRequestParams) -> ElicitResult:
            answer = await super().__call__(context, params)
            if len(self.asked) == 2:
                both.set()
            await both.wait()
            return answer

    person = Waiting(action="accept", content={"approve": True})
    client = await open_client(policy=ASKING, elicitation_callback=person, mode="legacy")
    texts = []

    async def send(body: str) -> None:
        result = await client.call_tool(MAIL[0], MAIL[1] | {"body": body, "repeat": True})
        texts.append(result.is_error)

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            for body in ("Dear Anna", "**Dear Anna**"):
                tasks.start_soon(send, body)
    assert (sorted(texts), len(wire.writes)) == ([False, True], 1)


async def test_who_is_asked_for_a_repeat_is_told_that_it_is_one(
    open_client: OpenClient, ledger: Ledger
) -> None:
    person = saying(True)
    client = await open_client(policy=ASKING, elicitation_callback=person)
    await call(client, *MAIL)
    await call(client, MAIL[0], MAIL[1] | {"repeat": True})
    [first, _] = ledger.changes()[::-1]
    told = f"  The same was done at {first.opened_at:%H:%M} UTC already."
    assert [told in question.splitlines() for question in person.asked] == [False, True]


@pytest.mark.parametrize(
    ("tool", "arguments", "policy"),
    [
        ("create_lead", {"title": "Acme annual licence", "company": "Acme Inc."}, {}),
        (*MAIL, {"emails_per_hour": 0}),
    ],
    ids=["there already", "too many"],
)
async def test_nobody_is_asked_about_what_is_refused_anyway(
    open_client: OpenClient,
    era: Options,
    wire: Any,
    ledger: Ledger,
    tool: str,
    arguments: dict[str, Any],
    policy: Options,
) -> None:
    person = saying(True)
    guarding = Policy(guard=GUARDED | {"create_lead"}, **policy)
    client = await open_client(policy=guarding, elicitation_callback=person, **era)
    await call(client, tool, arguments, fails=True)
    assert (person.asked, wire.writes, outcomes(ledger)) == ([], [], ["refused"])


async def test_undoing_a_stage_that_holds_leads_is_refused_before_anyone_is_asked(
    open_client: OpenClient, wire: Any, ledger: Ledger
) -> None:
    person = saying(True)
    client = await open_client(policy=ASKING, elicitation_callback=person)
    await call(client, "create_pipeline_stage", {"name": "Trial"})
    [created] = ledger.changes()
    await call(client, "move_lead_stage", {"lead": "Acme annual licence", "stage": "Trial"})
    text = await call(client, "undo_change", {"change": created.id}, fails=True)
    assert "there is 1 lead in it" in text
    assert (person.asked, len(wire.writes)) == ([], 2)


async def test_an_approval_is_void_when_the_record_changed(
    open_client: OpenClient, sandbox: Any, ledger: Ledger, wire: Any
) -> None:
    client = await open_client(policy=ASKING)
    await call(client, *DELETE, fails=True)
    [first] = ledger.waiting()
    ledger.decide(first.id, approved=True, by="terminal")
    sandbox.execute("UPDATE leads SET value = 1 WHERE title = 'Acme annual licence'")
    text = await call(client, *DELETE, fails=True)
    assert text.splitlines()[1] == (
        "The record changed since it was shown, so that the earlier approval is void."
    )
    [second] = ledger.waiting()
    assert (ledger.approval(first.id).state, second.id != first.id, wire.writes) == ("void", True, [])


async def test_an_approval_is_void_when_what_is_not_shown_of_the_record_changed(
    open_client: OpenClient, sandbox: Any, ledger: Ledger, wire: Any
) -> None:
    client = await open_client(policy=Policy(guard=frozenset({"update_company"})))
    update = ("update_company", {"company": "Acme Inc.", "phone": "1"})
    await call(client, *update, fails=True)
    [waiting] = ledger.waiting()
    ledger.decide(waiting.id, approved=True, by="terminal")
    sandbox.execute("UPDATE companies SET notes = 'Blocked' WHERE name = 'Acme Inc.'")
    text = await call(client, *update, fails=True)
    assert "The record changed since it was shown, so that the earlier approval is void." in text
    assert (ledger.approval(waiting.id).state, wire.writes) == ("void", [])


async def test_what_was_lost_and_not_done_is_not_told_as_done(
    open_client: OpenClient, ledger: Ledger, wire: Any, find: Find
) -> None:
    policy = Policy(approval="client", late_seconds=0)
    healthy, wire.inner = wire.inner, losing_the_answer(wire.inner, before=True)
    await call(await open_client(policy=policy), *DELETE, fails=True)
    wire.inner = healthy
    client = await open_client(policy=dataclasses.replace(policy, approval="ask"))
    by_id = (DELETE[0], {"lead": find("leads", title="Acme annual licence")["id"]})
    assert "The same" not in await call(client, *by_id, fails=True)
    [waiting] = ledger.waiting()
    ledger.decide(waiting.id, approved=True, by="terminal")
    await call(client, *by_id)
    assert outcomes(ledger) == ["failed", "refused", "applied"]


async def test_an_approval_is_void_when_something_was_hung_on_what_goes(
    open_client: OpenClient, ledger: Ledger, wire: Any
) -> None:
    client = await open_client(policy=ASKING)
    await call(client, *DELETE, fails=True)
    [first] = ledger.waiting()
    ledger.decide(first.id, approved=True, by="terminal")
    await call(client, "log_activity", {"type": "note", "subject": "Hello", **DELETE[1]})
    text = await call(client, *DELETE, fails=True)
    assert "The record changed since it was shown" in text
    assert (ledger.approval(first.id).state, len(wire.writes)) == ("void", 1)


async def test_what_changes_between_the_word_and_the_request_stops_it(
    open_client: OpenClient, sandbox: Any, ledger: Ledger, wire: Any
) -> None:
    client = await open_client(policy=ASKING)
    await call(client, *DELETE, fails=True)
    [asked] = ledger.waiting()
    ledger.decide(asked.id, approved=True, by="terminal")
    inner = wire.inner

    async def changed_once_it_is_used(request: httpx2.Request) -> httpx2.Response:
        if ledger.approval(asked.id).state == "used":
            sandbox.execute("UPDATE leads SET value = 1 WHERE title = 'Acme annual licence'")
        response: httpx2.Response = await inner.handle_async_request(request)
        return response

    wire.inner = httpx2.MockTransport(changed_once_it_is_used)
    text = await call(client, *DELETE, fails=True)
    assert text == (
        "The record changed since it was shown, so that the approval is void. Nothing was sent to the CRM."
    )
    assert (wire.writes, ledger.approval(asked.id).state) == ([], "used")
    assert [change.outcome for change in ledger.changes()] == ["refused", "refused"]


async def test_an_email_that_would_go_to_another_address_than_was_approved_is_not_sent(
    open_client: OpenClient, sandbox: Any, ledger: Ledger, wire: Any
) -> None:
    client = await open_client(policy=ASKING)
    await call(client, *MAIL, fails=True)
    [asked] = ledger.waiting()
    ledger.decide(asked.id, approved=True, by="terminal")
    inner = wire.inner

    async def readdressed_once_it_is_used(request: httpx2.Request) -> httpx2.Response:
        if ledger.approval(asked.id).state == "used":
            sandbox.execute(
                "UPDATE contacts SET email = 'eve@evil.example' WHERE email LIKE 'anna.muller@%'",
            )
        response: httpx2.Response = await inner.handle_async_request(request)
        return response

    wire.inner = httpx2.MockTransport(readdressed_once_it_is_used)
    text = await call(client, *MAIL, fails=True)
    now = "Send e-mail to Anna Müller <eve@evil.example>: Our offer"
    assert text.startswith(f'What was approved would be "{now}" now, so that the approval is void.')
    assert (wire.writes, ledger.approval(asked.id).state) == ([], "used")
    assert outcomes(ledger) == ["refused", "refused"]


async def test_nobody_is_asked_about_what_is_on_its_way(
    open_client: OpenClient, ledger: Ledger, wire: Any
) -> None:
    trusted, asking = await open_client(), await open_client(policy=ASKING)
    post = Held(wire.inner, lambda request: request.method == "POST")
    wire.inner = httpx2.MockTransport(post)
    answers = []

    async def call_again() -> None:
        answers.append(await asking.call_tool(*MAIL))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(lambda: call(trusted, *MAIL))
        await post.met.wait()
        tasks.start_soon(call_again)
        await anyio.wait_all_tasks_blocked()
        post.let_go.set()
    [answer] = answers
    assert (answer.is_error, answer.structured_content["repeat"]) == (False, True)
    assert (ledger.waiting(), len(wire.writes)) == ([], 1)


async def test_a_question_that_tells_of_no_earlier_one_approves_no_repeat(
    open_client: OpenClient, ledger: Ledger, wire: Any
) -> None:
    """Asked before it was sent, and answered afterwards."""
    trusted, asking = await open_client(), await open_client(policy=ASKING)
    await call(asking, *MAIL, fails=True)
    [first] = ledger.waiting()
    await call(trusted, *MAIL)
    ledger.decide(first.id, approved=True, by="the page")
    text = await call(asking, MAIL[0], MAIL[1] | {"repeat": True}, fails=True)
    [second] = ledger.waiting()
    assert second.id in text
    assert re.search(r"The same was done at \d\d:\d\d UTC already.", second.preview)
    assert (second.id != first.id, len(wire.writes)) == (True, 1)


async def test_an_approval_is_for_nothing_else(open_client: OpenClient, ledger: Ledger, wire: Any) -> None:
    client = await open_client(policy=ASKING)
    await call(client, *MAIL, fails=True)
    [waiting] = ledger.waiting()
    ledger.decide(waiting.id, approved=True, by="terminal")
    for change in ({"subject": "Our offer!"}, {"body": "Other"}, {"lead": "Quint annual licence"}):
        await call(client, MAIL[0], MAIL[1] | change, fails=True)
    assert (wire.writes, ledger.approval(waiting.id).state) == ([], "approved")


async def test_an_approval_of_somebody_else_or_that_ran_out_does_not_count(
    open_client: OpenClient, ledger: Ledger, wire: Any
) -> None:
    client = await open_client(policy=dataclasses.replace(ASKING, approval_seconds=0.0))
    await call(client, *DELETE, fails=True)
    await call(client, *DELETE, fails=True)
    assert (ledger.waiting(), wire.writes) == ([], [])


@pytest.mark.parametrize(("tool", "arguments"), [DELETE, MAIL, REORDER])
async def test_never_means_never(
    open_client: OpenClient, wire: Any, ledger: Ledger, tool: str, arguments: dict[str, Any]
) -> None:
    person = saying(True)
    client = await open_client(policy=Policy(approval="never"), elicitation_callback=person)
    assert await call(client, tool, arguments, fails=True) == (
        f"`{tool}` needs a person's approval, and this server never asks for it. Nothing was sent to the CRM."
    )
    assert (person.asked, wire.writes, outcomes(ledger)) == ([], [], ["refused"])


async def test_a_batch_of_more_than_ten_is_guarded_as_a_whole(
    open_client: OpenClient, era: Options, sandbox: Any, wire: Any, ledger: Ledger
) -> None:
    rows = sandbox.all("SELECT id, title FROM leads WHERE closed_at IS NULL ORDER BY id LIMIT 11")
    person = saying(True)
    client = await open_client(policy=ASKING, elicitation_callback=person, **era)
    arguments = {"leads": [row["id"] for row in rows], "stage": "Qualified"}
    await call(client, "move_lead_stage", arguments)
    [question] = person.asked
    assert question.count("Move lead ") == 11
    assert len(wire.writes) == 11
    await call(client, "move_lead_stage", {**arguments, "leads": arguments["leads"][:10], "stage": "New"})
    assert len(person.asked) == 1


async def test_who_is_asked_about_a_batch_is_told_what_is_left_out_and_nothing_is_called_done(
    open_client: OpenClient, sandbox: Any
) -> None:
    rows = sandbox.all("SELECT id FROM leads WHERE closed_at IS NULL ORDER BY id LIMIT 10")
    person, told = saying(False), []

    async def progress(_done: float, _total: float | None, message: str | None) -> None:
        told.append(message or "")

    client = await open_client(policy=ASKING, elicitation_callback=person)
    arguments = {"leads": [*(row["id"] for row in rows), "Nobody's"], "stage": "Qualified"}
    assert (await client.call_tool("move_lead_stage", arguments, progress_callback=progress)).is_error
    line = 'Not "Nobody\'s": No lead "Nobody\'s". search_leads lists what there is.'
    assert person.asked[0].splitlines()[-3] == line
    assert not [message for message in told if "done" in message]


async def test_what_is_left_out_is_shown_with_what_could_be_meant(
    open_client: OpenClient, sandbox: Any, wire: Any
) -> None:
    rows = sandbox.all("SELECT id FROM leads WHERE closed_at IS NULL ORDER BY id LIMIT 10")
    person = Person(action="decline")
    client = await open_client(policy=ASKING, elicitation_callback=person)
    leads = [*(row["id"] for row in rows), "Kestrel Solar Ltd"]
    text = await call(client, "move_lead_stage", {"leads": leads, "stage": "Qualified"}, fails=True)
    _which, question = person.asked
    for preview in (question, text):
        lines = preview.splitlines()
        place = lines.index(
            'Not "Kestrel Solar Ltd": Kestrel Solar Ltd has 2 open leads. The person was asked and chose '
            "none; nothing was done with it. Say the id of the one that is meant:"
        )
        titles = [line.split(" · ")[0] for line in lines[place + 1 : place + 3]]
        assert titles == ["  - Kestrel training package", "  - Kestrel site expansion"]
    assert wire.writes == []


async def test_undoing_a_create_needs_the_same_word(
    open_client: OpenClient, era: Options, wire: Any, ledger: Ledger
) -> None:
    person = saying(False)
    client = await open_client(policy=ASKING, elicitation_callback=person, **era)
    await call(client, "create_lead", {"title": "New deal"})
    [created] = ledger.changes()
    await call(client, "undo_change", {"change": created.id}, fails=True)
    assert (len(person.asked), len(wire.writes)) == (1, 1)
    person.answer = saying(True).answer
    await call(client, "undo_change", {"change": created.id})
    assert (len(wire.writes), ledger.get(created.id).outcome) == (2, "undone")


async def test_an_operator_adds_to_what_is_guarded_and_takes_from_it(
    open_client: OpenClient, wire: Any
) -> None:
    guard = (GUARDED | {"update_company"}) - {"delete_lead"}
    client = await open_client(policy=Policy(guard=guard))
    await call(client, *DELETE)
    await call(client, "update_company", {"company": "Acme Inc.", "phone": "1"}, fails=True)
    assert len(wire.writes) == 1


async def test_emails_are_bounded_whatever_is_said(open_client: OpenClient, wire: Any) -> None:
    client = await open_client(policy=Policy(approval="client", emails_per_recipient=2))
    for number in range(2):
        await call(client, MAIL[0], MAIL[1] | {"subject": f"Offer {number}"})
    text = await call(client, MAIL[0], MAIL[1] | {"subject": "Offer 3", "repeat": True}, fails=True)
    assert text == (
        "At most 2 e-mails a day to anna.muller@acme-inc.example are sent from here. "
        "Nothing was sent to the CRM."
    )
    assert len(wire.writes) == 2


LEADS = ("Acme annual licence", "Quint annual licence")


async def test_emails_are_bounded_by_the_day_too_and_what_nobody_knows_counts(
    open_client: OpenClient, wire: Any, ledger: Ledger
) -> None:
    client = await open_client(policy=Policy(approval="client", emails_per_day=2, emails_per_hour=99))
    healthy, wire.inner = wire.inner, losing_the_answer(wire.inner, before=True)
    await call(client, MAIL[0], MAIL[1] | {"lead": LEADS[0]}, fails=True)
    wire.inner = healthy
    await call(client, MAIL[0], MAIL[1] | {"lead": LEADS[1]})
    text = await call(client, MAIL[0], MAIL[1] | {"subject": "Another"}, fails=True)
    assert text == "At most 2 e-mails a day are sent from here. Nothing was sent to the CRM."
    assert outcomes(ledger) == ["unknown", "applied", "refused"]


async def test_emails_that_are_sent_at_once_are_bounded_too(
    open_client: OpenClient, wire: Any, sandbox: Any
) -> None:
    policy = Policy(approval="client", emails_per_hour=1)
    first, second = await open_client(policy=policy), await open_client(policy=policy)
    post = Held(wire.inner, lambda request: request.method == "POST")
    wire.inner = httpx2.MockTransport(post)
    other = {**MAIL[1], "subject": "Another offer"}
    texts = []

    async def send_another() -> None:
        texts.append(await call(second, MAIL[0], other, fails=True))

    with anyio.fail_after(20):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(lambda: call(first, *MAIL))
            await post.met.wait()
            tasks.start_soon(send_another)
            while sum(request.path.endswith("/timeline") for request in wire.sent) < 2:  # noqa: ASYNC110
                await anyio.sleep(0.01)  # until it has looked to whom it goes
            await anyio.wait_all_tasks_blocked()
            post.let_go.set()
    assert texts == ["At most 1 e-mails an hour are sent from here. Nothing was sent to the CRM."]
    assert [row["subject"] for row in sandbox.all("SELECT subject FROM outbox")] == ["Our offer"]


async def test_where_nobody_knows_whom_it_goes_to_a_lead_stands_for_its_person(
    open_client: OpenClient, wire: Any
) -> None:
    client = await open_client(policy=Policy(approval="client", emails_per_recipient=1))
    wire.inner = showing(wire.inner, without("contactId", "contact", "to"))
    await call(client, *MAIL)
    text = await call(client, MAIL[0], MAIL[1] | {"body": "Another"}, fails=True)
    assert text == "At most 1 e-mails a day to this lead are sent from here. Nothing was sent to the CRM."
    await call(client, MAIL[0], MAIL[1] | {"lead": LEADS[1]})
    assert len(wire.writes) == 2


async def test_an_address_that_the_crm_chose_counts_and_is_told(
    open_client: OpenClient, wire: Any, sandbox: Any
) -> None:
    client = await open_client(policy=Policy(approval="client", emails_per_recipient=1))
    inner = wire.inner

    async def sends_elsewhere(request: httpx2.Request) -> httpx2.Response:
        response: httpx2.Response = await inner.handle_async_request(request)
        if request.method == "GET":
            return response
        return httpx2.Response(201, json=json.loads(await response.aread()) | {"to": "else@rival.example"})

    wire.inner = httpx2.MockTransport(sends_elsewhere)
    assert "Note: The CRM says that it went to else@rival.example." in await call(client, *MAIL)
    sandbox.execute(
        "UPDATE contacts SET email = 'Else@rival.example' WHERE id ="
        " (SELECT contact_id FROM leads WHERE title = ? OR id = ?)",
        LEADS[1],
        LEADS[1],
    )
    text = await call(client, MAIL[0], MAIL[1] | {"lead": LEADS[1]}, fails=True)
    assert text.startswith("At most 1 e-mails a day to else@rival.example are sent from here.")


@pytest.mark.parametrize(
    "policy",
    [Policy(approval="client"), Policy(guard=frozenset())],
    ids=["although the client is trusted", "although e-mails are not guarded"],
)
async def test_a_repeated_email_needs_a_person(
    open_client: OpenClient, wire: Any, era: Options, policy: Policy
) -> None:
    again = (MAIL[0], MAIL[1] | {"repeat": True})
    alone = await open_client(policy=policy, **era)
    await call(alone, *MAIL)
    text = await call(alone, *again, fails=True)
    assert text.startswith("A person must approve this. Nothing was sent to the CRM.\nSend e-mail to Anna")
    for word, written in ((False, 1), (True, 2)):
        person = saying(word)
        client = await open_client(policy=policy, elicitation_callback=person, **era)
        await call(client, *again, fails=not word)
        assert (len(person.asked), len(wire.writes)) == (1, written)


LIST_ID = "11111111-1111-4111-8111-111111111111"
ACME = {"company": "Acme Inc."}
DEAL = {"lead": "Acme annual licence"}
STAGE = {"stage": "Negotiation"}
MEMBER = {"contact": "Anna Müller", **ACME}
NEW_MEMBER = {"contact": "Anna Müller", "company": "Kestrel Solar Ltd"}
COMPANY = {
    "name": "Newcomer AG",
    "role": "vendor",
    "website": "https://newcomer.example",
    "industry": "Cork",
    "email": "post@newcomer.example",
    "phone": "+49 30 5550199",
    "notes": "Met at the fair",
    "owner": "me",
}
CONTACT = {
    "first_name": "Quentin",
    "last_name": "Comer",
    "email": "quentin@newcomer.example",
    "phone": "+49 30 5550198",
    "job_title": "Cork buyer",
    "company": "Kestrel Solar Ltd",
    "notes": "Met at the fair",
}
LEAD = {
    "title": "New deal",
    "company": "Kestrel Solar Ltd",
    "contact": "Ulrich Castelli",
    "value": 4711.5,
    "currency": "CHF",
    "probability": 37,
    "expected_close_date": "2031-01-31",
    "source": "Cork fair",
    "description": "Stoppers for all",
    "owner": "me",
}
CALLED = {
    "type": "call",
    "subject": "Stoppers",
    "contact": "Ulrich Castelli",
    "body": "All of cork",
    "occurred_at": "2026-01-31T12:13:00Z",
    "duration_minutes": 47,
}
NEW_STAGE = {"name": "Trial", "kind": "open", "default_probability": 37, "color_key": "teal"}
# What each operation is sent for, with as much as the tool takes.
GUARDED_CALLS: list[tuple[str, str, Options]] = [
    ("create_company", "create_company", COMPANY),
    ("update_company", "update_company", ACME | COMPANY | {"status": "inactive"}),
    ("update_company", "update_company", ACME | {"clear": ["website", "industry", "owner"]}),
    ("create_contact", "create_contact", CONTACT),
    ("update_contact", "update_contact", CONTACT | {"contact": "Anna Müller"}),
    ("delete_contact", "delete_contact", {"contact": "Ulrich Castelli"}),
    (
        "create_company_membership",
        "link_contact_to_company",
        NEW_MEMBER | {"title": "CTO", "is_primary": True},
    ),
    ("update_company_membership", "link_contact_to_company", MEMBER | {"title": "CTO", "is_primary": True}),
    ("delete_company_membership", "unlink_contact_from_company", MEMBER),
    ("create_lead", "create_lead", LEAD | STAGE),
    ("update_lead", "update_lead", DEAL | LEAD),
    ("update_lead", "update_lead", DEAL | {"clear": ["value", "contact"]}),
    ("move_lead_stage", "move_lead_stage", DEAL | {"stage": "Lost", "lost_reason": "Stoppers of tin"}),
    ("move_lead_stage", "move_lead_stage", {"leads": [DEAL["lead"], "Acme pilot project"], **STAGE}),
    ("delete_lead", "delete_lead", DEAL),
    ("log_lead_activity", "log_activity", DEAL | CALLED),
    ("log_lead_activity", "log_activity", CALLED | {"leads": [DEAL["lead"], "Acme pilot project"]}),
    ("log_activity", "log_activity", DEAL | ACME | CALLED),
    (
        "log_activity",
        "log_activity",
        ACME | {"type": "task", "subject": "X1", "due_at": "2031-01-31T09:00:00Z"},
    ),
    ("create_pipeline_stage", "create_pipeline_stage", NEW_STAGE),
    ("update_pipeline_stage", "update_pipeline_stage", STAGE | NEW_STAGE),
    ("reorder_pipeline_stages", *REORDER),
    ("delete_pipeline_stage", "delete_pipeline_stage", STAGE | {"move_leads_to": "Proposal"}),
    ("send_outbound_email", *MAIL),
    (
        "add_to_marketing_list",
        "add_to_marketing_list",
        {"list_id": LIST_ID, "companies": list(ACME.values())},
    ),
]
WRITING = {facts["tool"]["name"] for facts in published() if facts["effect"] != "read"}
GUARDING_ALL = Policy(guard=frozenset(WRITING))


def called(sandbox: Any) -> dict[str, str]:
    """What people call the records of the CRM, by their ids."""
    rows = sandbox.all(
        "SELECT id, name FROM companies UNION SELECT id, name FROM stages UNION SELECT id, title FROM leads"
        " UNION SELECT id, first_name || ' ' || last_name FROM contacts"
        " UNION SELECT id, email FROM connections"
        " UNION SELECT m.id, name FROM memberships m JOIN companies ON companies.id = company_id"
    )
    return {LIST_ID: LIST_ID} | {row["id"]: row["name"] for row in rows}


def is_told(question: str, field: str, value: Any, names: dict[str, str]) -> bool:
    """Whether a person can read that this is sent: a record by its name, all else on a line of its own."""
    if field == "channel":  # the mailbox tells it
        return True
    if field == "htmlBody":
        return "\n  > Dear Anna,\n  > see this [p] .\n  > Max\n" in question
    if value in names:
        return names[value] in question
    label = re.sub("([A-Z])", r" \1", re.sub("Id$|Pct$", "", field))
    said = re.escape("nothing" if value is None else str(value))
    return re.search(rf"(?im)^  {label}: (.* → )?{said}$", question) is not None


def not_told(question: str, request: Any, names: dict[str, str]) -> list[tuple[str, Any]]:
    """What a request tells the CRM, and the question does not tell the person."""
    sent = [("", part) for part in request.path.split("/") if part in names]
    for field, value in (request.body or {}).items():
        # A whole number is told as one, and true as yes.
        whole = int(value) if isinstance(value, float) and value.is_integer() else value
        whole = {True: "yes", False: "no"}[value] if isinstance(value, bool) else whole
        sent += [(field, one) for one in (value if isinstance(value, list) else [whole])]
    return [one for one in sent if not is_told(question, *one, names)]


@pytest.mark.parametrize(("operation", "tool", "arguments"), GUARDED_CALLS)
async def test_all_that_is_sent_was_shown(
    open_client: OpenClient,
    sandbox: Any,
    wire: Any,
    ledger: Ledger,
    operation: str,
    tool: str,
    arguments: Options,
) -> None:
    person, names = saying(True), called(sandbox)
    client = await open_client(policy=GUARDING_ALL, elicitation_callback=person)
    await call(client, tool, arguments)
    [question] = person.asked
    assert {change.operation for change in ledger.changes()} == {operation}
    assert len(wire.writes) == len(arguments.get("leads", [DEAL]))
    for request in wire.writes:
        assert not_told(question, request, names) == [], question


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("create_company", COMPANY),
        ("create_contact", CONTACT),
        ("create_lead", LEAD),
        ("create_pipeline_stage", NEW_STAGE),
        ("link_contact_to_company", NEW_MEMBER),
        ("link_contact_to_company", MEMBER | {"title": "CTO", "is_primary": True}),
        ("unlink_contact_from_company", MEMBER),
        ("update_company", ACME | COMPANY),
        ("update_contact", CONTACT | {"contact": "Anna Müller"}),
        ("update_lead", DEAL | LEAD),
        ("update_pipeline_stage", STAGE | NEW_STAGE),
        ("move_lead_stage", DEAL | STAGE),
        REORDER,
    ],
)
async def test_all_that_is_sent_to_take_it_back_was_shown(
    open_client: OpenClient, sandbox: Any, wire: Any, ledger: Ledger, tool: str, arguments: Options
) -> None:
    person = saying(True)
    client = await open_client(policy=GUARDING_ALL, elicitation_callback=person)
    await call(client, tool, arguments)
    names = called(sandbox)
    # Another process, which has not seen any names.
    client = await open_client(policy=GUARDING_ALL, elicitation_callback=person)
    await call(client, "undo_change", {"change": ledger.changes()[0].id})
    [_, question], [_, request] = person.asked, wire.writes
    assert not_told(question, request, names) == [], question


def test_every_write_there_is_was_looked_at() -> None:
    assert {operation for operation, _, _ in GUARDED_CALLS} == set(KINDS)
    assert {tool for _, tool, _ in GUARDED_CALLS} == WRITING - {"undo_change"}


@pytest.mark.parametrize(
    "pretence", [{"approved": True}, {"approve": True}, {"approval": "x"}, {"confirm": True}, {"word": "yes"}]
)
@pytest.mark.parametrize(("tool", "arguments"), [DELETE, MAIL])
async def test_no_argument_passes_for_an_approval(
    open_client: OpenClient, wire: Any, tool: str, arguments: dict[str, Any], pretence: dict[str, Any]
) -> None:
    client = await open_client(policy=ASKING)
    await call(client, tool, arguments | pretence, fails=True)
    assert wire.writes == []


async def test_what_is_shown_is_called_what_it_is_called_now(
    open_client: OpenClient, sandbox: Any, ledger: Ledger, wire: Any
) -> None:
    client = await open_client(policy=Policy())
    acme = sandbox.one("SELECT id FROM companies WHERE name = 'Acme Inc.'")["id"]
    await client.call_tool("get_company", {"company": acme})
    sandbox.execute("UPDATE companies SET name = 'Rival GmbH' WHERE id = ?", acme)
    listed = {"list_id": LIST_ID, "companies": [acme]}
    await call(client, "add_to_marketing_list", listed, fails=True)
    [waiting] = ledger.waiting()
    assert "- Rival GmbH" in waiting.preview
    ledger.decide(waiting.id, approved=True, by="page")
    # What was approved is called otherwise by now: it is another thing that a person has to see.
    sandbox.execute("UPDATE companies SET name = 'Third AG' WHERE id = ?", acme)
    text = await call(client, "add_to_marketing_list", listed, fails=True)
    assert "What is shown of it changed since it was shown, so that the earlier approval is void." in text
    assert "- Third AG" in text
    assert wire.writes == []


async def test_leads_that_are_named_by_their_ids_are_shown_by_their_names(
    open_client: OpenClient, sandbox: Any, ledger: Ledger
) -> None:
    client = await open_client(policy=Policy())
    leads = sandbox.all("SELECT id, title FROM leads LIMIT 11")
    arguments = {"type": "note", "subject": "Hi", "leads": [lead["id"] for lead in leads]}
    await call(client, "log_activity", arguments, fails=True)
    [waiting] = ledger.waiting()
    assert all(lead["title"] in waiting.preview and lead["id"] not in waiting.preview for lead in leads)


async def test_what_is_there_already_is_shown_to_who_approves_another(
    open_client: OpenClient, ledger: Ledger
) -> None:
    client = await open_client(policy=GUARDING_ALL)
    await call(client, "create_company", {"name": "Acme", "allow_duplicate": True}, fails=True)
    [waiting] = ledger.waiting()
    assert "Seems to be there already: Acme Inc." in waiting.preview
