"""Pages of a list: filters, search, order, totals."""

import json
from dataclasses import dataclass, field
from typing import Annotated, Final

from pydantic import Field

from crm_mcp.sandbox.call import Call, Fields, Json, to_wire
from crm_mcp.sandbox.store import SqlValue, row_span
from crm_mcp.sandbox.values import Text

_DEFAULT_SIZE: Final = 25
_MAX_SIZE: Final = 100
_GRAM: Final = 3
_MOST_GRAMS: Final = 50
_LAST_CHARACTER: Final = "\U0010ffff"
_GIVEN_ROWS: Final = "(SELECT value FROM json_each(?))"
# Up to here, matches are sorted and counted; of more, a walk through the list in its order soon has a page
# together, and the total is left out unless a tally knows it.
MOST_SORTED: Final = 6_000

_Count = Annotated[int, Field(ge=1, le=1_000_000_000)]


class PageQuery(Fields):
    page: _Count | None = None
    page_size: _Count | None = None
    limit: _Count | None = None

    def size(self) -> int:
        wanted = self.page_size or _DEFAULT_SIZE
        # Documented as legacy: caps the page only while `page` is omitted.
        if self.page is None and self.limit is not None:
            wanted = min(self.limit, self.page_size or self.limit)
        return min(wanted, _MAX_SIZE)


class SearchQuery(PageQuery):
    q: Text | None = None


@dataclass(frozen=True)
class Listing:
    """A list of the API: its name on the wire, and the SQL that is the same for every page."""

    plural: str
    table: str
    select: str
    order: str


@dataclass
class Conditions:
    """The WHERE of a list. Clauses are the code's own text; everything of the caller's is a parameter."""

    entity_no: int
    clauses: list[str] = field(default_factory=list)
    values: list[SqlValue] = field(default_factory=list)
    selective: bool = False
    countable: bool = True

    def add(self, clause: str, *parameters: SqlValue, selective: bool = False) -> None:
        """Narrow the list; `selective` if so few rows remain that sorting them beats walking the list."""
        self.clauses.append(clause)
        self.values.extend(parameters)
        self.selective |= selective

    def add_reference(self, column: str, record_id: str | None) -> None:
        if record_id is not None:
            self.add(f"{column} = ?", record_id, selective=True)

    def sql(self) -> str:
        # The plus keeps SQLite from walking the index in list order, which it prefers whatever else is asked.
        entity = "+entity_no = ?" if self.selective else "entity_no = ?"
        return " AND ".join((entity, *self.clauses))

    @property
    def parameters(self) -> tuple[SqlValue, ...]:
        return self.entity_no, *self.values


def search(call: Call, table: str, term: str | None, conditions: Conditions) -> None:
    """Add the search for a term: a part of the text, whatever its case. Comes after the other conditions."""
    if not term:
        return
    folded = term.casefold()
    conditions.add(f"instr({table}.search, ?)", folded)
    if conditions.selective:
        return
    sql, *parameters = _candidates(table, folded, call.caller.entity_no)
    candidates = _row_numbers(call, f"{sql} LIMIT ?", *parameters, MOST_SORTED + 1)
    if len(candidates) <= MOST_SORTED:
        conditions.add(f"{table}.rowid IN {_GIVEN_ROWS}", json.dumps(candidates), selective=True)
    else:
        conditions.countable = False


def _candidates(table: str, folded: str, entity_no: int) -> tuple[str, *tuple[SqlValue, ...]]:
    """A query of the search index for the rows that may contain the term, and its parameters.

    A term too short to have a group itself is in the texts of all the groups that begin with it.
    """
    span = row_span(entity_no)
    if len(folded) < _GRAM:
        within = f"SELECT DISTINCT doc AS row FROM {table}_grams WHERE term BETWEEN ? AND ?"  # noqa: S608
        return f"{within} AND doc BETWEEN ? AND ?", folded, folded + _LAST_CHARACTER * _GRAM, *span
    grams = {folded[start : start + _GRAM] for start in range(len(folded) - _GRAM + 1)}
    quoted = ['"' + gram.replace('"', '""') + '"' for gram in grams]
    index = f"{table}_search"
    sql = f"SELECT rowid AS row FROM {index} WHERE {index} MATCH ? AND rowid BETWEEN ? AND ?"  # noqa: S608
    return sql, " AND ".join(quoted[:_MOST_GRAMS]), *span


def page(
    call: Call, query: PageQuery, listing: Listing, conditions: Conditions, *, total: int | None = None
) -> Json:
    """One page in the envelope of lists; without `total` where that is neither known nor quickly counted."""
    number, size = query.page or 1, query.size()
    offset = (number - 1) * size
    from_where = f"FROM {listing.table} WHERE {conditions.sql()}"
    matches = f"SELECT rowid AS row {from_where} ORDER BY {listing.order}"
    if conditions.selective:
        found = _row_numbers(call, matches, *conditions.parameters)
        total, rows = len(found), found[offset : offset + size]
    else:
        if total is None and conditions.countable:
            total = _count(call, f"SELECT 1 {from_where}", *conditions.parameters)
        # A list known to end before the page would still be walked to its end.
        beyond = total is not None and offset >= total
        limit = 0 if beyond else size
        rows = _row_numbers(call, f"{matches} LIMIT ? OFFSET ?", *conditions.parameters, limit, offset)
    sql = f"{listing.select} WHERE {listing.table}.rowid IN {_GIVEN_ROWS} ORDER BY {listing.order}"
    records = [to_wire(record) for record in call.store.all(sql, json.dumps(rows))]
    answer = {listing.plural: records, "page": number, "pageSize": size}
    return answer if total is None else {**answer, "total": total}


def _row_numbers(call: Call, sql: str, *parameters: SqlValue) -> list[int]:
    """The one column of the query, as one value: a fraction of the time that thousands of records take."""
    [record] = call.store.all(f"SELECT json_group_array(row) AS rows FROM ({sql})", *parameters)  # noqa: S608
    rows: list[int] = json.loads(record["rows"])
    return rows


def _count(call: Call, sql: str, *parameters: SqlValue) -> int | None:
    """How many rows the query finds; None if there are more than are worth counting."""
    n = call.store.number(f"SELECT count(*) FROM ({sql} LIMIT ?)", *parameters, MOST_SORTED + 1)  # noqa: S608
    return n if n <= MOST_SORTED else None
