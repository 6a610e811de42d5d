"""One call for many records: what became of each, and where it stops."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio
import httpx2
import pytest
import stamina
from mcp import Client
from mcp.types import ProgressNotification

from crm_mcp.crm import CrmClient
from crm_mcp.crm.companies import NewCompany

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]
Refusal = Callable[..., Awaitable[str]]
Find = Callable[..., dict[str, Any]]

LIST = "7c0a5a4e-3c1d-4b58-9a61-52f0d1c7b9e3"
TITLES = [
    "Quint annual licence",
    "Alpenblick framework contract",
    "Umbra annual licence",
    "Ysel site expansion",
]


@pytest.fixture
def ids(find: Find) -> list[str]:
    return [find("leads", title=title)["id"] for title in TITLES]


def stages(sandbox: Any, ids: list[str]) -> list[str]:
    names = {
        row["id"]: row["name"]
        for row in sandbox.all("SELECT l.id, s.name FROM leads l JOIN stages s ON s.id = l.stage_id")
    }
    return [names[lead] for lead in ids]


def limited_after(writes: int, crm: httpx2.AsyncBaseTransport) -> httpx2.MockTransport:
    """A CRM that takes so many writes and then no more."""
    left = writes

    async def answer(request: httpx2.Request) -> httpx2.Response:
        nonlocal left
        if request.method != "GET":
            left -= 1
            if left < 0:
                return httpx2.Response(429, json={"error": "Slow down."})
        return await crm.handle_async_request(request)

    return httpx2.MockTransport(answer)


async def test_several_leads_are_moved_in_one_call(call: Call, sandbox: Any, ids: list[str]) -> None:
    text, facts = await call(
        "move_lead_stage", leads=["Quint", TITLES[1], ids[2], "Ysel Textil"], stage="Won"
    )
    items = [
        {"item": said, "outcome": "done", "detail": title}
        for said, title in zip(["Quint", TITLES[1], ids[2], "Ysel Textil"], TITLES, strict=True)
    ]
    assert facts == {"batch": {"done": 4, "failed": 0, "unknown": 0, "not_attempted": 0, "items": items}}
    assert text.splitlines()[:2] == [
        "Moving to Won: 4 done, 0 failed, 0 not attempted.",
        "- done · Quint · Quint annual licence",
    ]
    assert stages(sandbox, ids) == ["Won"] * 4


async def test_one_that_is_not_clear_does_not_stop_the_others(
    call: Call, sandbox: Any, ids: list[str]
) -> None:
    before = stages(sandbox, ids)
    text, facts = await call(
        "move_lead_stage", leads=["Quint", "Xqwzt", "Kestrel Solar", "Umbra"], stage="Lost"
    )
    batch = facts["batch"]
    assert [item["outcome"] for item in batch["items"]] == ["done", "failed", "failed", "done"]
    assert batch["items"][1] == {
        "item": "Xqwzt",
        "outcome": "failed",
        "detail": 'No lead "Xqwzt". search_leads lists what there is.',
    }
    assert batch["items"][2]["detail"].startswith("Kestrel Solar Ltd has 2 open leads. Say the id of the one")
    # The candidates are there to choose from: in the text too.
    assert "Kestrel training package · Kestrel Solar Ltd · Proposal" in text
    assert stages(sandbox, ids) == ["Lost", before[1], "Lost", before[3]]


async def test_a_close_match_is_not_moved(call: Call, wire: Any) -> None:
    _, facts = await call("move_lead_stage", leads=["Quynt Medica"], stage="Won")
    assert [item["outcome"] for item in facts["batch"]["items"]] == ["failed"]
    assert wire.writes == []


async def test_the_rate_limit_stops_it_and_the_rest_is_named(
    call: Call, wire: Any, sandbox: Any, ids: list[str]
) -> None:
    before = stages(sandbox, ids)
    wire.inner = limited_after(1, wire.inner)
    with stamina.set_testing(True, attempts=1):
        text, facts = await call("move_lead_stage", leads=ids, stage="Won")
    assert facts["batch"] == {
        "done": 1,
        "failed": 1,
        "unknown": 0,
        "not_attempted": 2,
        "items": [
            {"item": ids[0], "outcome": "done", "detail": TITLES[0]},
            {
                "item": ids[1],
                "outcome": "failed",
                "detail": 'The CRM\'s rate limit is reached: "Slow down". Nothing was done. '
                "Try again in a minute.",
            },
            {"item": ids[2], "outcome": "not attempted", "detail": ""},
            {"item": ids[3], "outcome": "not attempted", "detail": ""},
        ],
    }
    assert text.startswith("Moving to Won: 1 done, 1 failed, 2 not attempted.\n")
    assert stages(sandbox, ids) == ["Won", *before[1:]]


async def test_a_rate_limit_before_all_are_found_ends_it_before_the_first_is_done(
    refusal: Refusal, wire: Any, ids: list[str]
) -> None:
    crm = wire.inner

    async def answer(request: httpx2.Request) -> httpx2.Response:
        if request.url.path.endswith("/leads"):
            return httpx2.Response(429, json={"error": "Slow down."})
        response: httpx2.Response = await crm.handle_async_request(request)
        return response

    wire.inner = httpx2.MockTransport(answer)
    with stamina.set_testing(True, attempts=1):
        assert await refusal("move_lead_stage", leads=[ids[0], "Umbra annual licence"], stage="Won") == (
            'The CRM\'s rate limit is reached: "Slow down". Nothing was done. Try again in a minute.'
        )
    assert wire.writes == []


async def test_an_activity_is_logged_on_several_leads(call: Call, wire: Any, ids: list[str]) -> None:
    text, facts = await call("log_activity", type="call", subject="Fair", leads=[*ids, "Xqwzt"])
    assert [(item["outcome"], item["detail"]) for item in facts["batch"]["items"][:1]] == [("done", ids[0])]
    assert text.startswith("Logging as call: 4 done, 1 failed, 0 not attempted.\n")
    assert [(write.path, write.body) for write in wire.writes] == [
        (f"/api/crm/leads/{lead}/activities", {"type": "call", "subject": "Fair"}) for lead in ids
    ]


async def test_how_far_it_is_is_told_after_each(client: Client, ids: list[str]) -> None:
    told: list[tuple[float, float | None, str | None]] = []

    async def progress(done: float, total: float | None, message: str | None) -> None:
        told.append((done, total, message))

    arguments = {"leads": [ids[0], "Xqwzt", ids[1]], "stage": "Won"}
    await client.call_tool("move_lead_stage", arguments, progress_callback=progress)
    looked_up, outcomes = told[:3], told[3:]
    assert [(done, total) for done, total, _ in looked_up] == [(1, 3), (2, 3), (3, 3)]
    assert {what for _, _, what in looked_up} == {f"{one}: looked up" for one in arguments["leads"]}
    assert outcomes == [(4, 6, f"{ids[0]}: done"), (5, 6, "Xqwzt: failed"), (6, 6, f"{ids[1]}: done")]


@pytest.fixture
async def many(crm: CrmClient, wire: Any) -> list[str]:
    """The names of companies in a CRM with more of them than a page has."""
    names = [f"Vexa {number}" for number in range(100)]
    for name in names:
        await crm.companies.create(NewCompany(name=name))
    wire.sent.clear()
    return names


async def test_many_names_are_looked_up_a_few_at_once_and_stay_in_order(
    call: Call, wire: Any, many: list[str]
) -> None:
    server, now, most = wire.inner, 0, 0

    async def far(request: httpx2.Request) -> httpx2.Response:
        nonlocal now, most
        now += 1
        most = max(most, now)
        await anyio.sleep(0.01)
        now -= 1
        return await server.handle_async_request(request)

    wire.inner = httpx2.MockTransport(far)
    _, facts = await call("add_to_marketing_list", list_id=LIST, companies=many[:40])
    assert [item["item"] for item in facts["batch"]["items"]] == many[:40]
    assert {item["outcome"] for item in facts["batch"]["items"]} == {"done"}
    assert most == 8


async def test_what_several_look_ups_need_is_read_once(call: Call, wire: Any, many: list[str]) -> None:
    server = wire.inner

    async def far(request: httpx2.Request) -> httpx2.Response:
        await anyio.sleep(0.01)
        return await server.handle_async_request(request)

    wire.inner = httpx2.MockTransport(far)
    unknown = [f"Xqw{number}zt" for number in range(8)]
    _, facts = await call("add_to_marketing_list", list_id=LIST, companies=[many[0], *unknown])
    assert [item["outcome"] for item in facts["batch"]["items"]] == ["done", *["failed"] * 8]
    # The first page, to see whether it is all; then both pages, to compare the names with all.
    assert len([one for one in wire.sent if one.method == "GET" and "q" not in one.query]) == 3


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_cancelling_stops_between_two_leads(
    open_client: Any, wire: Any, sandbox: Any, ids: list[str], mode: str
) -> None:
    """The one in flight is done whole; what was done is told, since the call has no answer."""
    before = stages(sandbox, ids)
    second, answer = anyio.Event(), anyio.Event()
    crm = wire.inner

    async def slow(request: httpx2.Request) -> httpx2.Response:
        if request.method != "GET" and len(wire.writes) == 2:
            second.set()
            await answer.wait()
        response: httpx2.Response = await crm.handle_async_request(request)
        return response

    wire.inner = httpx2.MockTransport(slow)
    told: list[tuple[float, float | None, str | None]] = []
    stopped = anyio.Event()

    async def note(done: float, total: float | None, message: str | None) -> None:
        if (done, total, message) not in told:
            told.append((done, total, message))
        if message and message.startswith("Stopped"):
            stopped.set()

    async def heard(message: Any) -> None:
        # A client that cancelled takes no more progress for the call; the notification still comes.
        if isinstance(message, ProgressNotification):
            await note(message.params.progress, message.params.total, message.params.message)

    client = await open_client(message_handler=heard, mode=mode)

    async def move() -> None:
        await client.call_tool("move_lead_stage", {"leads": ids, "stage": "Won"}, progress_callback=note)

    with anyio.fail_after(10):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(move)
            await second.wait()
            tasks.cancel_scope.cancel()
            with anyio.CancelScope(shield=True):
                # The server has heard of it once it answers something else.
                await client.call_tool("list_pipeline_stages", {})
                answer.set()
        await stopped.wait()
    # The connection goes on, and nothing more of the batch happens.
    await client.call_tool("list_pipeline_stages", {})
    assert stages(sandbox, ids) == ["Won", "Won", *before[2:]]
    assert len(wire.writes) == 2
    outcomes = told[len(ids) :]
    assert outcomes == [(5, 8, f"{ids[0]}: done"), (6, 8, "Stopped: 2 done, 0 failed, 2 not attempted.")]


@pytest.mark.parametrize(
    ("tool", "arguments"),
    [
        ("move_lead_stage", {"stage": "Won"}),
        ("move_lead_stage", {"stage": "Won", "lead": "Acme", "leads": ["Quint"]}),
        ("move_lead_stage", {"stage": "Nowhere", "leads": ["Quint"]}),
        ("move_lead_stage", {"stage": "Won", "leads": ["Quint"] * 26}),
    ],
)
async def test_what_is_said_wrongly_moves_nothing(
    refusal: Refusal, wire: Any, tool: str, arguments: dict[str, Any]
) -> None:
    await refusal(tool, **arguments)
    assert wire.writes == []


async def test_a_lead_that_is_named_twice_is_done_once(call: Call, wire: Any) -> None:
    _, facts = await call("log_activity", type="note", subject="N", leads=[TITLES[0], TITLES[0].upper()])
    assert facts["batch"] == {
        "done": 1,
        "failed": 0,
        "unknown": 0,
        "not_attempted": 0,
        "items": [
            {"item": TITLES[0], "outcome": "done", "detail": TITLES[0]},
            {"item": TITLES[0].upper(), "outcome": "named twice", "detail": "it was done once"},
        ],
    }
    assert len(wire.writes) == 1


async def test_a_company_that_is_named_twice_is_put_on_a_list_once(call: Call, wire: Any) -> None:
    _, facts = await call("add_to_marketing_list", list_id=LIST, companies=["Acme Inc.", "acme"])
    assert [item["outcome"] for item in facts["batch"]["items"]] == ["done", "named twice"]
    assert (facts["batch"]["done"], len(facts["company_ids"])) == (1, 1)


async def test_what_is_meant_is_settled_before_the_first_write(call: Call, wire: Any) -> None:
    """Kestrel has two open leads: that one is won does not make the other the one that is meant."""
    _, facts = await call(
        "move_lead_stage", stage="Won", leads=["Kestrel site expansion", "Kestrel Solar Ltd"]
    )
    assert [item["outcome"] for item in facts["batch"]["items"]] == ["done", "failed"]
    assert len(wire.writes) == 1


async def test_after_an_unknown_outcome_nothing_more_is_attempted(call: Call, wire: Any) -> None:
    crm = wire.inner

    async def silent(request: httpx2.Request) -> httpx2.Response:
        if request.method != "GET":
            raise httpx2.ReadTimeout("no answer", request=request)
        response: httpx2.Response = await crm.handle_async_request(request)
        return response

    wire.inner = httpx2.MockTransport(silent)
    _, facts = await call("move_lead_stage", stage="Won", leads=TITLES[:2])
    assert [item["outcome"] for item in facts["batch"]["items"]] == ["unknown", "not attempted"]
    assert len(wire.writes) == 1


async def test_of_a_batch_that_is_repeated_it_is_said_what_was_done_before(call: Call, wire: Any) -> None:
    await call("log_activity", type="call", subject="Fair", leads=TITLES[:2])
    text, facts = await call("log_activity", type="call", subject="Fair", leads=TITLES)
    before = "; done before, and not sent again"
    names = [TITLES[0] + before, TITLES[1] + before, *TITLES[2:]]
    assert [(one["outcome"], one["detail"]) for one in facts["batch"]["items"]] == [
        ("done", name) for name in names
    ]
    assert text.splitlines() == [
        "Logging as call: 4 done, 0 failed, 0 not attempted.",
        *(
            f"- done · {said}" + (f" · {name}" if name != said else "")
            for said, name in zip(TITLES, names, strict=True)
        ),
    ]
    assert len(wire.writes) == 4
