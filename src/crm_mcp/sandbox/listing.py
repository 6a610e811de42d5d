"""Pages of a list: filters, search, order, totals."""

from dataclasses import dataclass, field
from typing import Annotated, Final

from pydantic import Field

from crm_mcp.sandbox.call import Call, Fields, Json, to_wire
from crm_mcp.sandbox.store import SqlValue, row_span
from crm_mcp.sandbox.values import Text

_DEFAULT_SIZE: Final = 25
_MAX_SIZE: Final = 100
_TRIGRAM: Final = 3
# Up to here it is quicker to sort what the search index found; above, to walk the list until a page is full.
_FEW_MATCHES: Final = 4_000

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
    _values: list[SqlValue] = field(default_factory=list)
    _selective: bool = False

    def add(self, clause: str, *parameters: SqlValue, selective: bool = False) -> None:
        """Narrow the list; `selective` if so few rows remain that sorting them beats walking the list."""
        self.clauses.append(clause)
        self._values.extend(parameters)
        self._selective |= selective

    def add_reference(self, column: str, record_id: str | None) -> None:
        if record_id is not None:
            self.add(f"{column} = ?", record_id, selective=True)

    def sql(self) -> str:
        # The plus keeps SQLite from walking the index in list order, which it prefers whatever else is asked.
        entity = "+entity_no = ?" if self._selective else "entity_no = ?"
        return " AND ".join((entity, *self.clauses))

    @property
    def parameters(self) -> tuple[SqlValue, ...]:
        return self.entity_no, *self._values


def search(call: Call, table: str, term: str | None, conditions: Conditions) -> int | None:
    """Add the search for a term; its number of matches in the entity, if the search index could tell."""
    if not term:
        return None
    folded = term.casefold()
    if len(folded) < _TRIGRAM:
        conditions.add(f"instr({table}.search, ?)", folded)
        return None
    index = f"{table}_search"
    phrase = '"' + folded.replace('"', '""') + '"'
    span = row_span(call.caller.entity_no)
    found = f"FROM {index} WHERE {index} MATCH ? AND rowid BETWEEN ? AND ?"
    matches = call.store.number(f"SELECT count(*) {found}", phrase, *span)
    if matches <= _FEW_MATCHES:
        conditions.add(f"{table}.row IN (SELECT rowid {found})", phrase, *span, selective=True)
    else:
        conditions.add(f"instr({table}.search, ?)", folded)
    return matches


def page(
    call: Call, query: PageQuery, listing: Listing, conditions: Conditions, *, total: int | None = None
) -> Json:
    """One page in the envelope of lists; the total is counted unless it is known."""
    where = conditions.sql()
    if total is None:
        sql = f"SELECT count(*) FROM {listing.table} WHERE {where}"  # noqa: S608
        total = call.store.number(sql, *conditions.parameters)
    number, size = query.page or 1, query.size()
    sql = f"{listing.select} WHERE {where} ORDER BY {listing.order} LIMIT ? OFFSET ?"
    offset = (number - 1) * size
    # A list known to be empty here would still be walked to its end.
    rows = call.store.all(sql, *conditions.parameters, size, offset) if offset < total else []
    return {
        listing.plural: [to_wire(row) for row in rows],
        "total": total,
        "page": number,
        "pageSize": size,
    }
