"""The tables of the embedded CRM, and what keeps its lists fast: covering indexes, tallies, search.

Totals come from tallies that triggers keep, because counting 100,000 rows per list call is slow. Search is an
index of all groups of three characters. It knows in which texts a group stands, but not where, so that texts
with all the groups of a term are candidates to be looked at.
"""

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

VERSION: Final = 2
APPLICATION_ID: Final = 0x63726D31  # "crm1": tells our files from other SQLite files

# Rows of one entity have consecutive row numbers, so that the search index, which knows nothing but row
# numbers, can be asked about one entity alone.
ENTITY_SPAN: Final = 1 << 40

SEARCHED: Final = ("companies", "contacts", "leads")

_TABLES: Final = """
CREATE TABLE entities (
    no INTEGER PRIMARY KEY,
    id TEXT NOT NULL UNIQUE,
    seeded_at TEXT
);
CREATE TABLE api_keys (
    no INTEGER PRIMARY KEY,
    api_key TEXT NOT NULL UNIQUE,
    entity_no INTEGER NOT NULL REFERENCES entities,
    user_id TEXT NOT NULL,
    scopes TEXT NOT NULL
);
CREATE TABLE companies (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    entity_no INTEGER NOT NULL REFERENCES entities,
    name TEXT NOT NULL,
    role TEXT NOT NULL,
    status TEXT NOT NULL,
    owner_user_id TEXT,
    website TEXT,
    industry TEXT,
    email TEXT,
    phone TEXT,
    notes TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    search TEXT NOT NULL
);
CREATE TABLE contacts (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    entity_no INTEGER NOT NULL REFERENCES entities,
    first_name TEXT,
    last_name TEXT,
    email TEXT,
    phone TEXT,
    job_title TEXT,
    notes TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    sort_key TEXT NOT NULL,
    search TEXT NOT NULL
);
CREATE TABLE memberships (
    no INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    contact_id TEXT NOT NULL REFERENCES contacts (id) ON DELETE CASCADE,
    company_id TEXT NOT NULL REFERENCES companies (id),
    title TEXT,
    is_primary INTEGER NOT NULL
);
CREATE TABLE stages (
    id TEXT NOT NULL UNIQUE,
    entity_no INTEGER NOT NULL REFERENCES entities,
    name TEXT NOT NULL,
    name_key TEXT NOT NULL GENERATED ALWAYS AS (casefold(name)) STORED,
    kind TEXT NOT NULL,
    sort_order INTEGER NOT NULL,
    default_probability_pct NUMERIC,
    color_key TEXT,
    system_key TEXT,
    UNIQUE (entity_no, name_key)
);
CREATE TABLE leads (
    row INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    entity_no INTEGER NOT NULL REFERENCES entities,
    title TEXT NOT NULL,
    company_id TEXT REFERENCES companies (id),
    contact_id TEXT REFERENCES contacts (id) ON DELETE SET NULL,
    stage_id TEXT NOT NULL REFERENCES stages (id),
    owner_user_id TEXT,
    value NUMERIC,
    currency TEXT,
    probability_pct NUMERIC,
    expected_close_date TEXT,
    source TEXT,
    description TEXT,
    lost_reason TEXT,
    closed_at TEXT,
    last_activity_at TEXT,
    created_at TEXT NOT NULL,
    updated_at TEXT NOT NULL,
    search TEXT NOT NULL
);
CREATE TABLE activities (
    no INTEGER PRIMARY KEY,
    id TEXT NOT NULL,
    entity_no INTEGER NOT NULL REFERENCES entities,
    type TEXT NOT NULL,
    subject TEXT NOT NULL,
    body TEXT,
    occurred_at TEXT NOT NULL,
    due_at TEXT,
    completed_at TEXT,
    duration_minutes INTEGER,
    lead_id TEXT REFERENCES leads (id) ON DELETE CASCADE,
    company_id TEXT REFERENCES companies (id),
    contact_id TEXT REFERENCES contacts (id) ON DELETE SET NULL,
    created_at TEXT NOT NULL
);
CREATE TABLE stage_changes (
    id TEXT NOT NULL,
    lead_id TEXT NOT NULL REFERENCES leads (id) ON DELETE CASCADE,
    subject TEXT NOT NULL,
    body TEXT,
    occurred_at TEXT NOT NULL
);
CREATE TABLE connections (
    id TEXT NOT NULL UNIQUE,
    entity_no INTEGER NOT NULL REFERENCES entities,
    channel TEXT NOT NULL,
    email TEXT NOT NULL,
    status TEXT NOT NULL
);
CREATE TABLE outbox (
    id TEXT NOT NULL UNIQUE,
    entity_no INTEGER NOT NULL REFERENCES entities,
    lead_id TEXT REFERENCES leads (id) ON DELETE SET NULL,
    connection_id TEXT NOT NULL REFERENCES connections (id),
    recipient TEXT NOT NULL,
    subject TEXT NOT NULL,
    html_body TEXT NOT NULL,
    sent_at TEXT NOT NULL
);
CREATE TABLE marketing_lists (
    entity_no INTEGER NOT NULL REFERENCES entities,
    id TEXT NOT NULL,
    PRIMARY KEY (entity_no, id)
) WITHOUT ROWID;
CREATE TABLE marketing_list_companies (
    entity_no INTEGER NOT NULL,
    list_id TEXT NOT NULL,
    company_id TEXT NOT NULL REFERENCES companies (id),
    PRIMARY KEY (entity_no, list_id, company_id),
    FOREIGN KEY (entity_no, list_id) REFERENCES marketing_lists (entity_no, id)
) WITHOUT ROWID;
"""

# Each list walks its index in list order; what it is filtered by stands at the end and spares the look into
# the table. Constraints are indexes too, so that a bulk of rows can go in before them.
_INDEXES: Final = """
CREATE UNIQUE INDEX companies_id ON companies (id);
CREATE INDEX companies_by_name ON companies (entity_no, search, id, role, status, owner_user_id);
CREATE UNIQUE INDEX contacts_id ON contacts (id);
CREATE INDEX contacts_by_name ON contacts (entity_no, sort_key, id, search);
CREATE UNIQUE INDEX memberships_id ON memberships (id);
CREATE UNIQUE INDEX memberships_once ON memberships (contact_id, company_id);
CREATE UNIQUE INDEX memberships_primary ON memberships (contact_id) WHERE is_primary;
CREATE INDEX memberships_by_company ON memberships (company_id, is_primary, contact_id);
CREATE INDEX stages_in_order ON stages (entity_no, sort_order);
CREATE UNIQUE INDEX leads_id ON leads (id);
CREATE INDEX leads_by_stage ON leads (entity_no, stage_id, updated_at DESC, id, search);
CREATE INDEX leads_by_update ON leads (entity_no, updated_at DESC, id, search);
CREATE INDEX leads_by_company ON leads (company_id);
CREATE INDEX leads_by_contact ON leads (contact_id);
CREATE INDEX leads_closed ON leads (entity_no, closed_at, stage_id, value) WHERE closed_at IS NOT NULL;
CREATE UNIQUE INDEX activities_id ON activities (id);
CREATE INDEX activities_by_time ON activities (entity_no, occurred_at DESC, id);
CREATE INDEX activities_by_lead ON activities (lead_id);
CREATE INDEX activities_by_company ON activities (company_id);
CREATE INDEX activities_by_contact ON activities (contact_id);
CREATE INDEX tasks_in_order ON activities
    (entity_no, completed_at IS NOT NULL, due_at IS NULL, due_at, id) WHERE type = 'task';
CREATE UNIQUE INDEX stage_changes_id ON stage_changes (id);
CREATE INDEX stage_changes_by_lead ON stage_changes (lead_id);
CREATE INDEX outbox_by_lead ON outbox (lead_id);
"""

# What lists and dashboard count. Money is in whole cents: a running sum of floats would drift.
_TALLIES: Final = """
CREATE TABLE company_tally (
    entity_no INTEGER NOT NULL,
    role TEXT NOT NULL,
    status TEXT NOT NULL,
    owner_user_id TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (entity_no, role, status, owner_user_id)
) WITHOUT ROWID;
CREATE TABLE contact_tally (
    entity_no INTEGER PRIMARY KEY,
    n INTEGER NOT NULL
);
CREATE TABLE lead_tally (
    entity_no INTEGER NOT NULL,
    stage_id TEXT NOT NULL,
    currency TEXT NOT NULL,
    n INTEGER NOT NULL,
    cents INTEGER NOT NULL,
    cent_percents INTEGER NOT NULL,
    PRIMARY KEY (entity_no, stage_id, currency)
) WITHOUT ROWID;
CREATE TABLE activity_tally (
    entity_no INTEGER NOT NULL,
    day TEXT NOT NULL,
    n INTEGER NOT NULL,
    PRIMARY KEY (entity_no, day)
) WITHOUT ROWID;
"""


@dataclass(frozen=True)
class _Tally:
    """How the rows of a table are counted: by which terms, and which sums beside the number of rows.

    `@` stands for the row.
    """

    table: str
    name: str
    keys: dict[str, str]
    sums: dict[str, str]

    def triggers(self) -> str:
        add, remove = self._change("new", 1), self._change("old", -1)
        return f"""
CREATE TRIGGER {self.name}_added AFTER INSERT ON {self.table} BEGIN {add} END;
CREATE TRIGGER {self.name}_removed AFTER DELETE ON {self.table} BEGIN {remove} END;
CREATE TRIGGER {self.name}_changed AFTER UPDATE ON {self.table} BEGIN {remove} {add} END;
"""

    def refill(self) -> str:
        """Count everything anew."""
        terms = ", ".join(term.replace("@", self.table) for term in self.keys.values())
        sums = ", ".join(f"sum({term.replace('@', self.table)})" for term in self.sums.values())
        count = f"SELECT {terms}, {sums} FROM {self.table} GROUP BY {terms}"  # noqa: S608
        return f"DELETE FROM {self.name};\nINSERT INTO {self.name} ({self._columns()}) {count};"  # noqa: S608

    def _change(self, row: str, sign: int) -> str:
        terms = [term.replace("@", row) for term in self.keys.values()]
        terms += [f"{sign} * ({term.replace('@', row)})" for term in self.sums.values()]
        sums = ", ".join(f"{column} = {column} + excluded.{column}" for column in self.sums)
        insert = f"INSERT INTO {self.name} ({self._columns()}) VALUES ({', '.join(terms)})"  # noqa: S608
        return f"{insert} ON CONFLICT DO UPDATE SET {sums};"

    def _columns(self) -> str:
        return ", ".join((*self.keys, *self.sums))


_CENTS: Final = "CAST(round(coalesce(@.value, 0) * 100) AS INTEGER)"
_COUNTED: Final = (
    _Tally(
        table="companies",
        name="company_tally",
        keys={
            "entity_no": "@.entity_no",
            "role": "@.role",
            "status": "@.status",
            "owner_user_id": "coalesce(@.owner_user_id, '')",
        },
        sums={"n": "1"},
    ),
    _Tally(table="contacts", name="contact_tally", keys={"entity_no": "@.entity_no"}, sums={"n": "1"}),
    _Tally(
        table="leads",
        name="lead_tally",
        keys={"entity_no": "@.entity_no", "stage_id": "@.stage_id", "currency": "coalesce(@.currency, '')"},
        sums={
            "n": "1",
            "cents": _CENTS,
            "cent_percents": f"CAST(round({_CENTS} * coalesce(@.probability_pct, 0)) AS INTEGER)",
        },
    ),
    _Tally(
        table="activities",
        name="activity_tally",
        keys={"entity_no": "@.entity_no", "day": "substr(@.occurred_at, 1, 10)"},
        sums={"n": "1"},
    ),
)


def _search_index(table: str) -> str:
    return f"""
CREATE VIRTUAL TABLE {table}_search USING fts5(
    search, content='{table}', content_rowid='row',
    tokenize='trigram case_sensitive 1', detail=none, columnsize=0
);
CREATE VIRTUAL TABLE {table}_grams USING fts5vocab({table}_search, instance);
"""


def _search_triggers(table: str) -> str:
    index = f"{table}_search"
    add = f"INSERT INTO {index} (rowid, search) VALUES (new.row, new.search);"  # noqa: S608
    remove = f"INSERT INTO {index} ({index}, rowid, search) VALUES ('delete', old.row, old.search);"  # noqa: S608
    return f"""
CREATE TRIGGER {index}_added AFTER INSERT ON {table} BEGIN {add} END;
CREATE TRIGGER {index}_removed AFTER DELETE ON {table} BEGIN {remove} END;
CREATE TRIGGER {index}_changed AFTER UPDATE ON {table} WHEN old.search <> new.search
BEGIN {remove} {add} END;
"""


def tables() -> Iterator[str]:
    """The statements that make everything which holds data."""
    return _statements(_TABLES, _TALLIES, *map(_search_index, SEARCHED))


def accelerators() -> Iterator[str]:
    """The statements that make the indexes, and the triggers which keep tallies and search."""
    return _statements(_INDEXES, *(tally.triggers() for tally in _COUNTED), *map(_search_triggers, SEARCHED))


def refills() -> Iterator[str]:
    """The statements that bring tallies and search up to date after rows went in without triggers."""
    rebuild = (f"INSERT INTO {table}_search ({table}_search) VALUES ('rebuild');" for table in SEARCHED)  # noqa: S608
    return _statements(*(tally.refill() for tally in _COUNTED), *rebuild)


def _statements(*scripts: str) -> Iterator[str]:
    """One by one: `executescript` would commit the transaction of whoever runs them."""
    statement = ""
    for line in "\n".join(scripts).splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
