"""How a large demo comes about in seconds: a stretch of generated records, copied within the database."""

from typing import Final

from crm_mcp.sandbox.store import Store

# ?1 is the number of the copy, ?2 how many rows of the table are copied. Where ids of copies have a `b`,
# generated ones have an `a`.
_ROW: Final = "{column} + ?1 * ?2"
_ID: Final = "substr({column}, 1, 19) || printf('b%03x', ?1) || substr({column}, 24)"
_DOMAIN: Final = "replace({column}, '.example', '-' || ?1 || '.example')"

# The columns in which a copy differs. Its ids point into the copy, since all of them change in the same way.
_CHANGES: Final[dict[str, dict[str, str]]] = {
    "companies": {
        "row": _ROW,
        "id": _ID,
        "name": "name || ' ' || ?1",
        "website": _DOMAIN,
        "email": _DOMAIN,
        "search": "rtrim(search, char(10)) || ' ' || ?1 || char(10, 10)",
    },
    "contacts": {"row": _ROW, "id": _ID, "email": _DOMAIN, "search": _DOMAIN},
    "memberships": {"no": "NULL", "id": _ID, "contact_id": _ID, "company_id": _ID},
    "leads": {"row": _ROW, "id": _ID, "company_id": _ID, "contact_id": _ID},
    "activities": {"no": "NULL", "id": _ID, "lead_id": _ID, "company_id": _ID, "contact_id": _ID},
    "stage_changes": {"id": _ID, "lead_id": _ID},
}

# The row with which each table ends.
Ends = dict[str, int]


def ends(store: Store) -> Ends:
    return {table: store.number(f"SELECT max(rowid) FROM {table}") for table in _CHANGES}  # noqa: S608


def add_copy(store: Store, before: Ends, after: Ends, number: int) -> None:
    """Add once more what had gone in between, as the copy of that number."""
    for table, changes in _CHANGES.items():
        columns = [column["name"] for column in store.all(f"PRAGMA table_info({table})")]
        terms = [changes.get(column, column).format(column=column) for column in columns]
        rows = f"SELECT {', '.join(terms)} FROM {table} WHERE rowid > ?3 AND rowid <= ?4 ORDER BY rowid"  # noqa: S608
        sql = f"INSERT INTO {table} ({', '.join(columns)}) {rows}"
        store.execute(sql, number, after[table] - before[table], before[table], after[table])
