"""Lists with so many matches that they are neither sorted nor counted."""

from collections.abc import Callable
from typing import Any

import httpx2
import pytest

from crm_mcp.sandbox.listing import MOST_SORTED
from crm_mcp.sandbox.store import Store

Connect = Callable[..., httpx2.AsyncClient]

ORDERS = {
    "companies": "search, id",
    "contacts": "sort_key, id",
    "leads": "updated_at DESC, id",
    "activities": "occurred_at DESC, id",
}


async def listed(connect: Connect, store: Store, path: str, **params: Any) -> dict[str, Any]:
    async with connect(store) as crm:
        answer = await crm.get(path, params=params)
    assert answer.status_code == 200
    return answer.json()


def matching(store: Store, table: str, condition: str, *parameters: str) -> list[str]:
    """The ids of the records that match, in the order of the list."""
    sql = f"SELECT id FROM {table} WHERE {condition} ORDER BY {ORDERS[table]}"  # noqa: S608
    return [row["id"] for row in store.all(sql, *parameters)]


@pytest.mark.parametrize("page", [1, 3, 60, 200])
@pytest.mark.parametrize(
    ("table", "term", "filters", "condition"),
    [
        ("companies", " ", {}, "true"),
        ("companies", " ", {"status": "inactive"}, "status = 'inactive'"),
        ("contacts", "E", {}, "true"),
        ("contacts", ".e", {}, "true"),
        ("contacts", ".EXAMPLE", {}, "true"),
        ("leads", " ", {"stage": "won"}, "closed_at IS NOT NULL AND lost_reason IS NULL"),
    ],
)
async def test_many_matches_come_in_order_and_without_a_total(
    large: Store, connect: Connect, table: str, term: str, filters: dict[str, str], condition: str, page: int
) -> None:
    expected = matching(large, table, f"{condition} AND instr(search, ?)", term.lower())
    assert matching(large, table, "instr(search, ?)", term.lower())[MOST_SORTED:]
    found = await listed(connect, large, f"/{table}", q=term, page=page, pageSize=100, **filters)
    assert [record["id"] for record in found.pop(table)] == expected[(page - 1) * 100 : page * 100]
    assert found == {"page": page, "pageSize": 100}


@pytest.mark.parametrize("term", ["é", "gr", "Lyon", "halden", "n g", "zzz", "qx"])
@pytest.mark.parametrize("filters", [{}, {"role": "vendor"}])
async def test_few_matches_among_many_records_are_counted(
    large: Store, connect: Connect, term: str, filters: dict[str, str]
) -> None:
    condition = "role IN ('vendor', 'both')" if filters else "true"
    expected = matching(large, "companies", f"{condition} AND instr(search, ?)", term.lower())
    found = await listed(connect, large, "/companies", q=term, page=2, **filters)
    assert [company["id"] for company in found["companies"]] == expected[25:50]
    assert found["total"] == len(expected)


@pytest.mark.parametrize("table", ["companies", "contacts", "leads", "activities"])
async def test_whole_lists_have_a_total_however_long(large: Store, connect: Connect, table: str) -> None:
    expected = matching(large, table, "true")
    assert len(expected) > MOST_SORTED
    found = await listed(connect, large, f"/{table}", page=55, pageSize=100)
    assert [record["id"] for record in found[table]] == expected[5_400:5_500]
    assert found["total"] == len(expected)


async def test_the_characters_of_a_term_stand_together(crm: httpx2.AsyncClient) -> None:
    await crm.post("/companies", json={"name": "abc bcd"})
    for term in ("abcd", "cb", "abc bcd" * 1_000):
        found = (await crm.get("/companies", params={"q": term})).json()
        assert (found["companies"], found["total"]) == ([], 0)
    assert (await crm.get("/companies", params={"q": "C BC"})).json()["total"] == 1
