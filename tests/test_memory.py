import gc
import weakref
from collections.abc import Awaitable, Callable

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from crm_mcp import memory
from crm_mcp.memory import MAX_KEPT, MAX_SHOWN, MIN_SHORT_CHARS, Memory, Names, Recent, ShownIds

pytestmark = pytest.mark.anyio

A = "aaaaaaaa-0000-4000-8000-000000000001"
AA = "aaaaaaaa-0000-4000-8000-000000000002"
B = "bbbbbbbb-0000-4000-8000-000000000003"


def numbered(number: int) -> str:
    return f"{number:08x}-0000-4000-8000-000000000000"


def counting() -> Callable[[], Awaitable[int]]:
    """Something to fetch that is another one each time."""
    fetched = 0

    async def fetch() -> int:
        nonlocal fetched
        fetched += 1
        return fetched

    return fetch


def test_an_id_is_shown_by_its_first_eight_characters() -> None:
    shown = ShownIds()
    assert [shown.short(A), shown.short(B), shown.short(A)] == ["aaaaaaaa", "bbbbbbbb", "aaaaaaaa"]
    assert shown.starting_with("aaaaaaaa") == [A]


def test_an_id_that_begins_like_another_that_was_shown_is_shown_longer() -> None:
    shown = ShownIds()
    shown.short(A)
    assert shown.short(AA) == AA
    assert shown.short(A) == A
    assert shown.starting_with("aaaaaaaa") == [A, AA]
    assert shown.starting_with(A) == [A]


def test_nothing_starts_like_what_was_never_shown() -> None:
    assert ShownIds().starting_with("aaaaaaaa") == []


@given(st.lists(st.uuids().map(str) | st.text("ab-", min_size=1, max_size=12), unique=True))
def test_what_is_shown_last_of_an_id_means_it_alone(ids: list[str]) -> None:
    shown = ShownIds()
    for full in ids:
        shown.short(full)
    short = {full: shown.short(full) for full in ids}
    assert all(
        full.startswith(start) and len(start) >= min(MIN_SHORT_CHARS, len(full))
        for full, start in short.items()
    )
    for full, start in short.items():
        assert start == full or shown.starting_with(start) == [full]


def test_the_ids_that_were_shown_first_are_forgotten_first() -> None:
    shown = ShownIds()
    for number in range(MAX_SHOWN + 1):
        shown.short(numbered(number))
    assert shown.starting_with(numbered(0)) == []
    assert shown.starting_with(numbered(MAX_SHOWN)) == [numbered(MAX_SHOWN)]


async def test_an_answer_is_kept_for_its_kind_and_key() -> None:
    recent, fetch = Recent(), counting()
    answers = [
        await recent.get(kind, key, fetch)
        for kind, key in [("leads", "a"), ("leads", "a"), ("leads", "b"), ("companies", "a"), ("leads", "a")]
    ]
    assert answers == [1, 1, 2, 3, 1]


async def test_an_answer_is_not_kept_beyond_its_time() -> None:
    recent, fetch = Recent(seconds=0.0), counting()
    assert [await recent.get("leads", "a", fetch) for _ in range(2)] == [1, 2]


async def test_what_is_over_takes_no_room() -> None:
    """A kept scan is megabytes, and nobody may ask for it again."""
    recent = Recent(seconds=0.0)

    async def scan() -> set[str]:
        return {"much"}

    kept = weakref.ref(await recent.get("leads", "scan", scan))
    await recent.get("companies", "a", counting())
    gc.collect()
    assert kept() is None


async def test_a_drop_forgets_its_kinds_alone() -> None:
    recent, fetch = Recent(), counting()
    for kind in ("leads", "contacts", "stages"):
        await recent.get(kind, "a", fetch)
    recent.drop("leads", "stages")
    assert [await recent.get(kind, "a", fetch) for kind in ("leads", "contacts", "stages")] == [4, 2, 5]


async def test_an_answer_that_was_on_its_way_during_a_drop_is_not_kept() -> None:
    recent, old, on_its_way, dropped = Recent(), "before", anyio.Event(), anyio.Event()

    async def slow() -> str:
        on_its_way.set()
        await dropped.wait()
        return old

    async def fresh() -> str:
        return "after"

    with anyio.fail_after(5):
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(recent.get, "leads", "a", slow)
            await on_its_way.wait()
            recent.drop("leads")
            dropped.set()
    assert await recent.get("leads", "a", fresh) == "after"


async def test_a_failure_is_not_kept() -> None:
    recent, fetch = Recent(), counting()

    async def fail() -> int:
        raise ConnectionError

    with pytest.raises(ConnectionError):
        await recent.get("leads", "a", fail)
    assert await recent.get("leads", "a", fetch) == 1


async def test_the_oldest_answers_make_room() -> None:
    recent, fetch = Recent(), counting()
    for number in range(MAX_KEPT + 1):
        await recent.get("leads", str(number), fetch)
    assert await recent.get("leads", str(MAX_KEPT), fetch) == MAX_KEPT + 1
    assert await recent.get("leads", "0", fetch) == MAX_KEPT + 2


def test_the_last_name_learnt_is_the_name() -> None:
    names = Names()
    names.learn(A, "Acme")
    names.learn(A, "Acme Inc.")
    assert (names.get(A), names.get(B), names.get(None)) == ("Acme Inc.", None, None)


def test_names_are_bounded() -> None:
    names = Names()
    for number in range(MAX_SHOWN + 1):
        names.learn(numbered(number), "x")
    assert (names.get(numbered(0)), names.get(numbered(MAX_SHOWN))) == (None, "x")


def test_the_names_of_a_kind_are_known_once_all_passed_by_and_kept_up_to_date() -> None:
    names = Names()
    names.learn(A, "Acme", "company")
    names.learn(B, "Anna", "contact")
    assert names.every("company") is None
    names.learnt_all("company", "Only 1 companies were looked at, there are more.")
    names.learn(A, "Acme Inc.")
    names.learn(AA, "Zeta", "company")
    assert names.every("company") == (
        {A: "Acme Inc.", AA: "Zeta"},
        "Only 1 companies were looked at, there are more.",
    )
    assert names.every("contact") is None
    names.forget_all("company")
    assert names.every("company") is None


def test_all_names_of_a_kind_are_not_known_for_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "ALL_SECONDS", 0.0)
    names = Names()
    names.learnt_all("company", "")
    assert names.every("company") is None


def test_not_all_names_are_known_where_there_was_no_room_for_them() -> None:
    names = Names()
    names.learnt_all("company", "")
    for number in range(MAX_SHOWN):
        names.learn(numbered(number), "x", "company")
    known = names.every("company")
    assert known is not None
    assert len(known[0]) == MAX_SHOWN
    names.learn(A, "x", "contact")
    assert names.every("company") is None


def test_each_memory_is_its_own() -> None:
    one, other = Memory(), Memory()
    one.names.learn(A, "Acme")
    one.shown.short(A)
    assert (other.names.get(A), other.shown.starting_with(A)) == (None, [])


async def test_what_a_write_goes_by_is_not_as_old_as_what_a_read_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    recent, fetch, now = Recent(seconds=30), counting(), [100.0]
    monkeypatch.setattr(memory.time, "monotonic", lambda: now[0])
    for after, older in [(0, 1), (9, 1), (11, 2), (12, 2)]:
        now[0] = 100.0 + after
        recent.drop_older(10)
        assert await recent.get("stages", "", fetch) == older
    now[0] += 28
    assert await recent.get("stages", "", fetch) == 2
