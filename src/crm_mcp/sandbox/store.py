"""Where the embedded CRM keeps its records: one SQLite file, shared by any number of processes.

Knows opening, locking, keys and time; what the records mean is told by the modules of the families.
"""

import secrets
import sqlite3
import threading
import time
import uuid
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, Self

from crm_mcp.sandbox import schema

SCOPES: Final = ("read:crm", "write:crm")
DEMO_ENTITY_ID: Final = "6f1d9b52-4a0e-5c1b-9d27-2f6c0d4f8a11"

# name, kind, default probability, colour; the lower-case name is the system key.
_STANDARD_STAGES: Final = (
    ("New", "open", 10, "slate"),
    ("Qualified", "open", 25, "blue"),
    ("Proposal", "open", 50, "violet"),
    ("Negotiation", "open", 75, "amber"),
    ("Won", "won", 100, "green"),
    ("Lost", "lost", 0, "red"),
)

_LOCK_SECONDS: Final = 30.0
_ACCELERATORS: Final = """
    SELECT type, name FROM sqlite_schema WHERE type IN ('index', 'trigger') AND sql IS NOT NULL
"""

SqlValue = str | int | float | None
Record = dict[str, Any]


class SandboxError(Exception):
    """The embedded CRM cannot start; the text says which file and what to do."""


@dataclass(frozen=True)
class Credentials:
    """What a client needs to call the API."""

    api_key: str = field(repr=False)
    entity_id: str

    @property
    def installation_id(self) -> str:
        """The file's own, as the key is; a file that is made anew has the same records, but another id."""
        return str(uuid.uuid5(uuid.UUID(self.entity_id), self.api_key))


@dataclass(frozen=True)
class Caller:
    """Who a key speaks for."""

    entity_no: int
    entity_id: str
    user_id: str
    scopes: frozenset[str]


def utc(moment: datetime) -> str:
    """The one spelling of a moment, so that text order is time order."""
    return moment.astimezone(UTC).isoformat(timespec="milliseconds")[: -len("+00:00")] + "Z"


class Store:
    """The database of the embedded CRM."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        # Handlers run one at a time on their event loop; a second thread (a test, a seed) must wait its turn.
        self._lock = threading.RLock()
        self._last_moment = datetime.min.replace(tzinfo=UTC)

    @classmethod
    def open(cls, path: Path | None) -> Self:
        """Open the file, making it first if need be; `None` keeps everything in memory.

        Raises SandboxError when the file cannot be used.
        """
        if path is None:
            return cls(_prepared(_connect(":memory:")))
        try:
            _create_private(path)
            connection = _connect(str(path))
        except (OSError, sqlite3.Error) as error:
            raise _unusable(path, str(error)) from error
        try:
            return cls(_prepared(connection))
        except (sqlite3.Error, SandboxError) as error:
            connection.close()
            raise _unusable(path, str(error)) from error

    def close(self) -> None:
        self._connection.close()

    # Reading and writing

    @contextmanager
    def transaction(self, *, write: bool = True) -> Iterator[None]:
        """All or nothing; a reading transaction sees one state of the file throughout."""
        with self._lock:
            self._connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield
            except BaseException:
                self._connection.rollback()
                raise
            self._connection.commit()

    def all(self, sql: str, *parameters: SqlValue) -> list[Record]:
        return self._connection.execute(sql, parameters).fetchall()

    def one(self, sql: str, *parameters: SqlValue) -> Record | None:
        row: Record | None = self._connection.execute(sql, parameters).fetchone()
        return row

    def number(self, sql: str, *parameters: SqlValue) -> int:
        """The one number the query answers; 0 when it answers none."""
        row = self.one(sql, *parameters) or {"n": None}
        [value] = row.values()
        return int(value or 0)

    def execute(self, sql: str, *parameters: SqlValue) -> int:
        """Run a statement; how many rows it touched."""
        return self._connection.execute(sql, parameters).rowcount

    def insert(self, table: str, values: Mapping[str, SqlValue]) -> None:
        """Add one record. Table and column names are the code's own, never a caller's."""
        self.execute(_insert_statement(table, values), *values.values())

    def insert_all(self, table: str, records: Sequence[Mapping[str, SqlValue]]) -> None:
        """Add records which have the same columns in the same order."""
        if records:
            rows = (tuple(record.values()) for record in records)
            self._connection.executemany(_insert_statement(table, records[0]), rows)

    def insert_searched(self, table: str, entity_no: int, values: Mapping[str, SqlValue]) -> None:
        """Add one record of a searched table, with the next row number of its entity."""
        low, high = row_span(entity_no)
        row = self.number(f"SELECT max(row) FROM {table} WHERE row BETWEEN ? AND ?", low, high) or low  # noqa: S608
        self.insert(table, {"row": row + 1, "entity_no": entity_no, **values})

    def update(self, table: str, record_id: str, values: Mapping[str, SqlValue]) -> None:
        """Change columns of one record, named as in `insert`."""
        assignments = ", ".join(f"{column} = ?" for column in values)
        self.execute(f"UPDATE {table} SET {assignments} WHERE id = ?", *values.values(), record_id)  # noqa: S608

    @contextmanager
    def bulk(self) -> Iterator[None]:
        """A transaction for many rows, whose references must be right: they go in unchecked, and without
        indexes, tallies and search, which are cheaper to make once at the end.
        """
        self.execute("PRAGMA foreign_keys = OFF")  # has no effect within a transaction
        try:
            with self.transaction():
                for made in self.all(_ACCELERATORS):
                    self.execute(f"DROP {made['type']} {made['name']}")
                yield
                # Refilled before there are indexes: in the order of one, search would take ten times as long.
                for statement in (*schema.refills(), *schema.accelerators()):
                    self.execute(statement)
        finally:
            self.execute("PRAGMA foreign_keys = ON")

    def now(self) -> str:
        """The present moment; never the same twice, so that every change moves `updatedAt`."""
        self._last_moment = max(datetime.now(UTC), self._last_moment + timedelta(milliseconds=1))
        return utc(self._last_moment)

    # Keys

    @property
    def credentials(self) -> Credentials:
        """The first key of the file: made with it, allowed everything."""
        row = self.all(
            "SELECT api_key, id FROM api_keys k JOIN entities e ON e.no = k.entity_no ORDER BY k.no"
        )[0]
        return Credentials(api_key=row["api_key"], entity_id=row["id"])

    def add_key(self, scopes: Collection[str], entity_id: str) -> str:
        """A further key for the entity, which is made with the standard stages if it is new."""
        if unknown := set(scopes).difference(SCOPES):
            raise ValueError(f"Unknown scopes: {sorted(unknown)}. There are: {', '.join(SCOPES)}.")
        with self.transaction():
            return _add_key(self._connection, scopes, str(uuid.UUID(entity_id)))

    def caller(self, api_key: str) -> Caller | None:
        """Who the key speaks for, if anybody."""
        row = self.one(
            "SELECT k.*, e.id FROM api_keys k JOIN entities e ON e.no = k.entity_no WHERE k.api_key = ?",
            api_key,
        )
        if row is None:
            return None
        return Caller(row["entity_no"], row["id"], row["user_id"], frozenset(row["scopes"].split()))


def new_id() -> str:
    return str(uuid.uuid4())


def row_span(entity_no: int) -> tuple[int, int]:
    """The first and last row number that searched records of the entity can have."""
    low = entity_no * schema.ENTITY_SPAN
    return low, low + schema.ENTITY_SPAN - 1


def _insert_statement(table: str, columns: Collection[str]) -> str:
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({', '.join('?' * len(columns))})"  # noqa: S608


def stage_id(entity_id: str, system_key: str) -> str:
    """The id of a standard stage: the same for the same entity, so that demo data are the same every time."""
    return str(uuid.uuid5(uuid.UUID(entity_id), f"stage:{system_key}"))


def _unusable(path: Path, reason: str) -> SandboxError:
    return SandboxError(
        f"The embedded CRM cannot use {path}: {reason}. "
        "Choose another file, or move this one away to start again with fresh demo data."
    )


def _create_private(path: Path) -> None:
    """Make the file readable by its owner alone before SQLite puts the key into it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch(mode=0o600, exist_ok=True)


def _connect(database: str) -> sqlite3.Connection:
    connection = sqlite3.connect(
        database, timeout=_LOCK_SECONDS, isolation_level=None, check_same_thread=False
    )
    connection.row_factory = _record
    connection.create_function("casefold", 1, str.casefold, deterministic=True)
    return connection


def _record(cursor: sqlite3.Cursor, values: tuple[SqlValue, ...]) -> Record:
    return {column[0]: value for column, value in zip(cursor.description, values, strict=True)}


def _prepared(connection: sqlite3.Connection) -> sqlite3.Connection:
    """The connection, configured, to a database of the present version."""
    connection.execute("PRAGMA foreign_keys = ON")
    connection.execute("PRAGMA synchronous = NORMAL")
    connection.execute("PRAGMA cache_size = -65536")
    # Spares a large file a system call for each page that a search looks into.
    connection.execute("PRAGMA mmap_size = 1073741824")
    _use_wal(connection)
    # The write lock makes one of several processes the creator; the others find its work done.
    connection.execute("BEGIN IMMEDIATE")
    try:
        _create_or_check(connection)
    except BaseException:
        connection.rollback()
        raise
    connection.commit()
    return connection


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL; SQLite does not wait for other processes here, however long its timeout."""
    deadline = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return


def _create_or_check(connection: sqlite3.Connection) -> None:
    version = connection.execute("PRAGMA user_version").fetchone()["user_version"]
    if version == 0 and not connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        _create(connection)
    elif connection.execute("PRAGMA application_id").fetchone()["application_id"] != schema.APPLICATION_ID:
        raise SandboxError("it is the database of another program")
    elif version != schema.VERSION:
        raise SandboxError(f"it has format {version}, this program knows format {schema.VERSION} only")


def _create(connection: sqlite3.Connection) -> None:
    for statement in (*schema.tables(), *schema.accelerators()):
        connection.execute(statement)
    connection.execute(f"PRAGMA application_id = {schema.APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {schema.VERSION}")
    _add_key(connection, SCOPES, DEMO_ENTITY_ID)


def _add_key(connection: sqlite3.Connection, scopes: Collection[str], entity_id: str) -> str:
    entity_no = _entity_no(connection, entity_id)
    user_no = connection.execute("SELECT count(*) AS n FROM api_keys").fetchone()["n"]
    user_id = str(uuid.uuid5(uuid.UUID(entity_id), f"user:{user_no}"))
    api_key = f"ak_{secrets.token_urlsafe(24)}"
    connection.execute(
        "INSERT INTO api_keys (api_key, entity_no, user_id, scopes) VALUES (?, ?, ?, ?)",
        (api_key, entity_no, user_id, " ".join(sorted(scopes))),
    )
    return api_key


def _entity_no(connection: sqlite3.Connection, entity_id: str) -> int:
    found = connection.execute("SELECT no FROM entities WHERE id = ?", (entity_id,)).fetchone()
    if found:
        return int(found["no"])
    entity_no = connection.execute("INSERT INTO entities (id) VALUES (?)", (entity_id,)).lastrowid or 0
    connection.executemany(
        "INSERT INTO stages"
        " (id, entity_no, name, kind, sort_order, default_probability_pct, color_key, system_key)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
        [
            (stage_id(entity_id, name.lower()), entity_no, name, kind, order, percent, colour, name.lower())
            for order, (name, kind, percent, colour) in enumerate(_STANDARD_STAGES)
        ],
    )
    return entity_no
