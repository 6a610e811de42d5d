from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx2
import pytest

from .crms import hiding, without_nulls
from .expected import ACTIVITY, activity_line, facts, listed, moment, prose, short, task_line

pytestmark = pytest.mark.anyio

Call = Callable[..., Awaitable[Any]]
Find = Callable[..., dict[str, Any]]


@pytest.fixture
def licence(find: Find) -> dict[str, Any]:
    """A lead of Acme Inc."""
    return find("leads", title="Acme annual licence")


@pytest.fixture
def harbour(find: Find) -> str:
    """A company that is not the lead's."""
    return find("companies", name="Harbour & Pine Trading Ltd")["id"]


@pytest.fixture
def rows(sandbox: Any) -> Callable[..., list[dict[str, Any]]]:
    """`rows(condition, *parameters)`: activities, named leads and companies, newest first."""

    def rows(condition: str, *parameters: str) -> list[dict[str, Any]]:
        return sandbox.all(
            "SELECT activities.*, leads.title AS lead, companies.name AS company FROM activities"  # noqa: S608
            " LEFT JOIN leads ON leads.id = lead_id"
            " LEFT JOIN companies ON companies.id = activities.company_id"
            f" WHERE {condition} ORDER BY occurred_at DESC, activities.id",
            *parameters,
        )

    return rows


def shown(row: dict[str, Any], company: str | None = None) -> dict[str, Any]:
    """An activity as structured content has it; where its lead has a name, its company is not looked up."""
    return facts(row, f"{ACTIVITY} lead", company=company if row["lead"] else row["company"])


async def test_an_activity_logged_on_a_lead_takes_company_and_contact_from_it(
    call: Call, find: Find, rows: Callable[..., Any], licence: dict[str, Any]
) -> None:
    logged = await call(
        "log_activity",
        type="meeting",
        subject="Demo",
        lead="Acme annual licence",
        body="Went well.",
        occurred_at="2030-05-06T09:00:00+02:00",
        duration_minutes=45,
    )

    [activity] = rows("subject = 'Demo'")
    expected = {
        "type": "meeting",
        "body": "Went well.",
        "occurred_at": "2030-05-06T07:00:00.000Z",
        "duration_minutes": 45,
        "lead_id": licence["id"],
        "company_id": licence["company_id"],
        "contact_id": licence["contact_id"],
    }
    assert activity | expected == activity
    row = f"2030-05-06 07:00 UTC · meeting · Demo · Acme annual licence · lead {short(licence['id'])}"
    assert logged == (f"Logged as meeting.\n- {row} · Acme Inc.", {"activity": shown(activity, "Acme Inc.")})
    latest = await call("list_activities", lead="Acme annual licence", limit=1)
    assert latest.text.partition("\n")[2] == prose(f"- {row}")
    assert latest.facts["activities"] == [logged.facts["activity"]]


async def test_an_activity_can_be_logged_on_a_company_or_a_contact(
    call: Call, find: Find, licence: dict[str, Any], harbour: str
) -> None:
    logged = [
        await call("log_activity", type="call", subject="Hello", **about)
        for about in (
            {"company": "Harbour & Pine"},
            {"contact": "Anna Müller"},
            {"lead": "Acme annual licence", "company": "Harbour & Pine"},
        )
    ]

    about = ("lead_id", "company_id", "contact_id")
    records = [find("activities", id=answer.facts["activity"]["id"]) for answer in logged]
    assert [tuple(record[name] for name in about) for record in records] == [
        (None, harbour, None),
        (None, None, licence["contact_id"]),
        (licence["id"], harbour, licence["contact_id"]),
    ]
    when = [moment(record["occurred_at"]) for record in records]
    assert [answer.text for answer in logged] == [
        f"Logged as call.\n- {when[0]} · call · Hello · Harbour & Pine Trading Ltd",
        f"Logged as call with Anna Müller.\n- {when[1]} · call · Hello",
        f"Logged as call.\n- {when[2]} · call · Hello · Acme annual licence · lead {short(licence['id'])}"
        # The lead is Acme's: that the call named another company can be seen.
        " · Harbour & Pine Trading Ltd",
    ]
    _, listed = await call("list_activities", company="Harbour & Pine", limit=50)
    assert {records[0]["id"], records[2]["id"]} <= {activity["id"] for activity in listed["activities"]}


async def test_an_activity_about_nothing_is_not_logged(refusal: Call, wire: Any) -> None:
    assert await refusal("log_activity", type="note", subject="Hello", body="Hi") == (
        "Say what it is about: `lead`, `company` or `contact`. Nothing was logged."
    )
    assert wire.sent == []


@pytest.mark.parametrize("besides", [{"lead": "Acme annual licence"}, {"company": "Acme Inc"}])
async def test_an_activity_on_many_leads_is_on_nothing_else(
    refusal: Call, wire: Any, besides: dict[str, str]
) -> None:
    leads = ["Acme annual licence", "Acme pilot project"]
    assert await refusal("log_activity", type="note", subject="Hello", leads=leads, **besides) == (
        "Say either `leads`, or `lead` and `company`. Nothing was logged."
    )
    assert wire.writes == []


async def test_a_period_that_ends_before_it_begins_is_an_error(refusal: Call, wire: Any) -> None:
    assert await refusal("list_activities", company="Acme", since="2030-02-01", until="2030-01-31") == (
        "`since` (2030-02-01) is after `until` (2030-01-31): no day is in both."
    )
    assert wire.sent == []


async def test_a_period_may_be_a_day_and_may_be_to_come(call: Call) -> None:
    for at in (
        "2090-01-30T23:59:00Z",
        "2090-01-31T00:00:00Z",
        "2090-01-31T23:59:00Z",
        "2090-02-01T00:00:00Z",
    ):
        await call("log_activity", type="note", subject=at, company="Acme Inc.", occurred_at=at)
    on_the_day = await call("list_activities", since="2090-01-31", until="2090-01-31")
    assert [one["subject"] for one in on_the_day.facts["activities"]] == [
        "2090-01-31T23:59:00Z",
        "2090-01-31T00:00:00Z",
    ]
    later = await call("list_activities", since="2090-02-02")
    assert (later.text, later.facts["total"]) == ("Activities, newest first: 0", 0)


async def test_list_activities_shows_the_newest_and_tells_how_many_there_are(
    call: Call, rows: Callable[..., Any]
) -> None:
    every = rows("true")
    assert await call("list_activities", limit=3) == (
        f"Activities, newest first: 3 of {len(every)}; page=2 shows the next\n"
        + prose(*listed(map(activity_line, every[:3]))),
        {
            "shown": 3,
            "total": len(every),
            "next_page": 2,
            "activities": [shown(row) for row in every[:3]],
        },
    )


START = datetime(2020, 1, 1, tzinfo=UTC)


def listing(days: Sequence[int], *, tells_total: bool = True, cap: int = 100) -> httpx2.MockTransport:
    """A CRM that lists an activity for each of these days in this order, some at a time."""

    def answer(request: httpx2.Request) -> httpx2.Response:
        if not request.url.path.endswith("/activities"):
            return httpx2.Response(404)
        page, size = (int(request.url.params[name]) for name in ("page", "pageSize"))
        size = min(size, cap)
        rows = [
            {"id": str(day), "type": "call", "occurredAt": (START + timedelta(days=day)).isoformat()}
            for day in days[(page - 1) * size : page * size]
        ]
        total = {"total": len(days)} if tells_total else {}
        return httpx2.Response(200, json={"activities": rows, "page": page, "pageSize": size, **total})

    return httpx2.MockTransport(answer)


def days_of(answer: Any) -> list[int]:
    return [int(activity["id"]) for activity in answer.facts["activities"]]


@pytest.mark.parametrize("filters", [{}, {"type": "call"}])
@pytest.mark.parametrize("step", [1, 77])
async def test_the_newest_activities_come_first_in_whatever_order_the_crm_lists_them(
    call: Call, wire: Any, filters: dict[str, str], step: int
) -> None:
    wire.inner = listing([day * step % 250 for day in range(250)])
    pages = [await call("list_activities", limit=50, page=page, **filters) for page in (1, 5)]
    assert [days_of(page) for page in pages] == [list(range(249, 199, -1)), list(range(49, -1, -1))]
    assert [(page.facts["total"], page.facts.get("next_page")) for page in pages] == [(250, 2), (250, None)]


@pytest.mark.parametrize(("page", "requests"), [(1, 3), (2, 2), (63, 2), (64, 1)])
async def test_of_many_that_come_oldest_first_the_last_pages_are_read(
    call: Call, wire: Any, page: int, requests: int
) -> None:
    wire.inner = listing(range(3_120))
    found = await call("list_activities", limit=50, page=page)
    sent = len(wire.sent)
    last = 3_119 - (page - 1) * 50
    assert days_of(found) == list(range(last, max(last - 50, -1), -1))
    assert (found.facts["total"], found.facts.get("next_page")) == (3_120, page + 1 if last > 50 else None)
    assert sent == requests


async def test_of_many_in_another_order_all_are_read(call: Call, wire: Any) -> None:
    for crm in (listing(range(3_120), tells_total=False), listing(range(3_120), cap=20)):
        wire.inner = crm
        found = await call("list_activities", limit=3)
        assert (days_of(found), found.facts["total"]) == ([3_119, 3_118, 3_117], 3_120)
        assert "notes" not in found.facts


@pytest.mark.parametrize("filters", [{}, {"type": "call"}])
async def test_where_not_all_could_be_read_newer_ones_may_be_missing(
    call: Call, wire: Any, filters: dict[str, str]
) -> None:
    wire.inner = listing(range(450), tells_total=False, cap=2)
    found = await call("list_activities", limit=3, **filters)
    assert days_of(found) == [399, 398, 397]
    bound = "Stopped after 200 requests to the CRM and 400 rows: what follows cannot be reached like this; "
    bound += "narrow the search."
    doubt = "The CRM does not list the newest first: newer ones than these may be missing."
    assert found.facts["notes"] == [bound, doubt]
    wire.inner = listing(range(450)[::-1], tells_total=False, cap=2)
    found = await call("list_activities", limit=3, type="call")
    assert (days_of(found), found.facts["notes"]) == ([449, 448, 447], [bound])


async def test_of_those_that_come_newest_first_none_is_read_from_long_before_the_period(
    call: Call, wire: Any
) -> None:
    wire.inner = listing(range(3_120)[::-1])
    found = await call("list_activities", since=f"{START + timedelta(days=2_990):%Y-%m-%d}", limit=50)
    assert (days_of(found), len(wire.sent)) == (list(range(3_119, 3_069, -1)), 2)
    # Nothing is left to be counted.
    assert (found.facts["total"], found.facts["next_page"]) == (130, 2)


async def test_a_period_is_looked_for_everywhere_where_activities_come_in_no_order(
    call: Call, wire: Any
) -> None:
    wire.inner = listing([day * 77 % 250 for day in range(250)])
    found = await call("list_activities", since=f"{START + timedelta(days=240):%Y-%m-%d}")
    assert days_of(found) == list(range(249, 239, -1))


async def test_list_activities_of_a_type_and_a_period_counts_over_all(
    call: Call, rows: Callable[..., Any]
) -> None:
    since, until = (f"{datetime.now(UTC) - timedelta(days=days):%Y-%m-%d}" for days in (30, 10))
    calls = rows("type = 'call' AND substr(occurred_at, 1, 10) BETWEEN ? AND ?", since, until)
    assert 12 < len(calls) < 30

    pages = [
        await call("list_activities", type="call", since=since, until=until, limit=len(calls) - 2, page=page)
        for page in (1, 2)
    ]

    assert pages == [
        (
            f"Activities, newest first: {len(calls) - 2} of {len(calls)}; page=2 shows the next\n"
            + prose(*listed(map(activity_line, calls[:-2]))),
            {
                "shown": len(calls) - 2,
                "total": len(calls),
                "next_page": 2,
                "activities": [shown(row) for row in calls[:-2]],
            },
        ),
        (
            f"Activities, newest first: 2 of {len(calls)}\n{prose(*listed(map(activity_line, calls[-2:])))}",
            {"shown": 2, "total": len(calls), "activities": [shown(row) for row in calls[-2:]]},
        ),
    ]


async def test_list_activities_of_one_day_has_that_day(call: Call, rows: Callable[..., Any]) -> None:
    on = rows("type = 'call'")[0]["occurred_at"][:10]
    _, found = await call("list_activities", since=on, until=on)
    assert found["activities"] == [shown(row) for row in rows("substr(occurred_at, 1, 10) = ?", on)]


async def test_a_logged_task_is_listed_among_the_leads_tasks(
    call: Call, rows: Callable[..., Any], licence: dict[str, Any]
) -> None:
    logged = await call(
        "log_activity",
        type="task",
        subject="Send offer",
        lead="Acme annual licence",
        due_at="2001-01-01T12:00:00Z",
    )
    [task] = rows("subject = 'Send offer'")
    assert logged == (
        f"Logged as task.\n- {moment(task['occurred_at'])} · task · Send offer · Acme annual licence"
        f" · lead {short(licence['id'])} · Acme Inc. · overdue, due 2001-01-01",
        {"activity": shown(task, "Acme Inc.")},
    )

    of_lead = await call("list_tasks", lead="Acme annual licence")
    of_all = await call("list_tasks", limit=1)

    # The longest overdue one is the first, of its lead and of all.
    open_ones = rows("type = 'task' AND completed_at IS NULL")
    assert of_all == (
        f"Tasks: 1 of {len(open_ones)}; page=2 shows the next\n"
        + prose(
            f"- overdue, due 2001-01-01 · Send offer · Acme annual licence · lead {short(licence['id'])}"
        ),
        {"shown": 1, "total": len(open_ones), "next_page": 2, "tasks": [shown(task, "Acme Inc.")]},
    )
    of_the_lead = sorted(
        (one for one in open_ones if one["lead_id"] == licence["id"]), key=lambda one: one["due_at"]
    )
    assert of_the_lead[0] == task
    assert of_lead == (
        f"Tasks: {len(of_the_lead)}\n{prose(*listed(map(task_line, of_the_lead)))}",
        {
            "shown": len(of_the_lead),
            "total": len(of_the_lead),
            "tasks": [shown(one, "Acme Inc.") for one in of_the_lead],
        },
    )


async def test_tasks_come_by_due_date_and_those_without_one_last(
    call: Call, rows: Callable[..., Any]
) -> None:
    without = await call("log_activity", type="task", subject="Some day", company="Harbour & Pine")
    [task] = rows("subject = 'Some day'")
    assert without.text == (
        f"Logged as task.\n- {moment(task['occurred_at'])} · task · Some day · Harbour & Pine Trading Ltd"
        " · no due date"
    )
    open_ones = sorted(
        rows("type = 'task' AND completed_at IS NULL AND due_at IS NOT NULL"), key=lambda one: one["due_at"]
    )
    text, found = await call("list_tasks", limit=50)
    assert [{**task, "company": None} for task in found["tasks"]] == [
        {**task, "company": None} for task in [*map(shown, open_ones), without.facts["activity"]]
    ]
    assert text.endswith(prose(*listed(map(task_line, [*open_ones, task]))))


UNTOLD = "The CRM does not show which tasks are done: done ones may be among the open ones."


async def test_where_the_crm_does_not_show_what_is_done_it_is_said(
    call: Call, wire: Any, rows: Callable[..., Any]
) -> None:
    wire.inner = hiding("completedAt", wire.inner)
    text, found = await call("list_tasks", limit=50)
    assert (found["total"], found["notes"]) == (len(rows("type = 'task'")), [UNTOLD])
    assert f"\nNote: {UNTOLD}\n" in text
    assert await call("list_tasks", done=True) == (
        f"Tasks: 0\nNote: {UNTOLD}",
        {"shown": 0, "total": 0, "tasks": [], "notes": [UNTOLD]},
    )
    summary = await call("summarize_pipeline")
    assert f"Overdue tasks: {UNTOLD}" in summary.facts["notes"]


async def test_where_the_crm_only_shows_what_is_done_the_others_are_open(call: Call, wire: Any) -> None:
    plain = await call("list_tasks", limit=50)
    wire.inner = without_nulls(wire.inner)
    assert await call("list_tasks", limit=50) == plain


async def test_done_tasks_come_on_demand_the_latest_first(call: Call, rows: Callable[..., Any]) -> None:
    done = sorted(rows("completed_at IS NOT NULL"), key=lambda one: one["completed_at"], reverse=True)
    assert len(done) > 6
    pages = [await call("list_tasks", done=True, limit=6, page=page) for page in (1, 2)]
    assert [page.text for page in pages] == [
        f"Tasks: 6 of {len(done)}; page=2 shows the next\n{prose(*listed(map(task_line, done[:6])))}",
        f"Tasks: {len(done) - 6} of {len(done)}\n{prose(*listed(map(task_line, done[6:])))}",
    ]
    assert [task for page in pages for task in page.facts["tasks"]] == [shown(row) for row in done]


async def test_tasks_of_leads_that_are_called_the_same_are_told_apart(
    call: Call, sandbox: Any, find: Find, licence: dict[str, Any]
) -> None:
    other = find("leads", title="Quint annual licence")
    sandbox.execute(
        "UPDATE leads SET title = 'Annual licence' WHERE id IN (?, ?)", licence["id"], other["id"]
    )
    sandbox.execute("DELETE FROM activities")
    for lead in (licence["id"], other["id"]):
        await call("log_activity", type="task", subject="Call back", lead=lead)
    text, _ = await call("list_tasks")
    line = "- no due date · Call back · Annual licence · lead"
    assert sorted(row for row in text.splitlines() if row.startswith("- ")) == sorted(
        f"{line} {short(lead['id'])}" for lead in (licence, other)
    )


async def test_of_a_company_the_lead_is_told_whose_activities_are_listed(call: Call) -> None:
    _, by_company = await call("list_activities", lead="Acme")
    _, by_title = await call("list_activities", lead="Acme annual licence")
    assert by_company["notes"] == ["These are of the lead Acme annual licence."]
    assert "notes" not in by_title
    assert by_company["activities"] == by_title["activities"]
