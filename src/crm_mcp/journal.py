"""How records are kept so that nothing is lost, and nothing is altered unseen: one SQLite file of chained
events, shared by any number of processes; what the records mean is told by `ledger`.

Each event carries the SHA-256 digest of the digest before it and of itself. That shows what was altered or
removed by somebody who does not rewrite the whole chain; it does not stop somebody who does.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any, Final, Literal

# How long it is waited for other processes that write.
LOCK_SECONDS: Final = 10.0
_APPLICATION_ID: Final = 0x63726D4C  # "crmL"
_VERSION: Final = 2

Table = Literal["changes", "approvals"]
Record = dict[str, Any]

# What records are found by; all else is read from their events.
_COLUMNS: Final[Mapping[Table, tuple[str, ...]]] = {
    "changes": (
        *("key", "claim", "principal", "entity", "tool", "outcome"),
        *("subject_kind", "subject_id", "asked", "lost"),
    ),
    "approvals": ("digest", "principal", "entity", "state"),
}
_CHAIN: Final = (
    "CREATE TABLE events (seq INTEGER PRIMARY KEY, at TEXT NOT NULL, kind TEXT NOT NULL, about TEXT,"
    " data TEXT NOT NULL, digest TEXT NOT NULL)",
    "CREATE INDEX events_about ON events (about)",
    # Where the chain begins, after pruning, and where it ends: a tail that is cut off is missed.
    "CREATE TABLE ends (anchor INTEGER, anchor_digest TEXT, head INTEGER, head_digest TEXT)",
    "INSERT INTO ends VALUES (0, '', 0, '')",
    f"PRAGMA application_id = {_APPLICATION_ID}",
)
_RECORDS: Final = (
    *(
        # `seq` and `at` are those of the record's first event.
        f"CREATE TABLE {table} (seq INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, at TEXT NOT NULL,"
        f" {', '.join(columns)})"
        for table, columns in _COLUMNS.items()
    ),
    "CREATE INDEX changes_key ON changes (key)",
    "CREATE INDEX changes_claim ON changes (claim, outcome)",
    "CREATE INDEX changes_tool ON changes (tool, outcome, at)",
    "CREATE INDEX changes_subject ON changes (subject_id)",
    "CREATE INDEX changes_asked ON changes (asked)",
    "CREATE INDEX changes_lost ON changes (lost, tool, outcome, at)",
    "CREATE INDEX approvals_digest ON approvals (digest)",
    f"PRAGMA user_version = {_VERSION}",
)
# A process of the format before, that still runs, lists what it writes without this.
_GAP: Final = "SELECT 1 FROM changes WHERE asked IS NULL LIMIT 1"
_FIRST_EVENT: Final = "SELECT seq, at FROM events WHERE about = ? ORDER BY seq LIMIT 1"
_FIRST_UNLISTED: Final = """
    SELECT min(seq) FROM events
    WHERE about IS NOT NULL AND about NOT IN (SELECT id FROM changes UNION SELECT id FROM approvals)
"""


class LedgerError(Exception):
    """The ledger cannot do what it was asked; the text says why, and which file where it is the file's."""


class AlteredError(LedgerError):
    """A record that nobody can read any more."""

    def __init__(self, record_id: str) -> None:
        super().__init__(
            f"Somebody altered the ledger: what it has of {record_id} cannot be read. "
            "`crm-mcp changes --verify` tells what was altered."
        )


class BusyError(LedgerError):
    """Another process has been writing for longer than was waited; nothing was done."""


class NoLedgerError(LedgerError):
    """There is no such file."""


@dataclass(frozen=True, slots=True)
class Verification:
    """How many events hold; the number of the first that is not as it was written, and what is wrong."""

    events: int
    broken: int | None = None
    problem: str = ""


class Journal:
    """The file. Every method is called within a `transaction`, `verify` and `close` apart."""

    def __init__(self, path: Path | None, *, create: bool = True, lock_seconds: float = LOCK_SECONDS) -> None:
        """Open the file, making it first if need be; `None` keeps everything in memory.

        A transaction that writes waits for `lock_seconds` until no other process does.

        Raises LedgerError when the file cannot be used, NoLedgerError when it is not there to be opened.
        """
        self._path = path
        # Calls take turns on the event loop; those of a second thread, the approval page's, must wait.
        self._lock = threading.Lock()
        self._is_durable = True
        with self._explained():
            if path is not None and create:
                _create_private(path)
            elif path is not None and not path.exists():
                raise NoLedgerError(f"There is no ledger at {path} yet: the first write makes it.")
            self._connection = sqlite3.connect(
                path or ":memory:", timeout=LOCK_SECONDS, isolation_level=None, check_same_thread=False
            )
            try:
                _prepare(self._connection)
                self._connection.execute(f"PRAGMA busy_timeout = {round(lock_seconds * 1000)}")
            except BaseException:
                self._connection.close()
                raise
            self._file = _identity(path) if path is not None else None

    def close(self) -> None:
        with self._lock:
            self._connection.close()

    @contextmanager
    def _explained(self) -> Iterator[None]:
        try:
            yield
        except (OSError, sqlite3.Error) as error:
            reason = error.strerror if isinstance(error, OSError) else error
            kind = BusyError if _is_busy(error) else LedgerError
            raise kind(f"The ledger cannot use {self._path or 'its memory'}: {reason}.") from error

    @contextmanager
    def transaction(self, *, write: bool = True, durable: bool = True) -> Iterator[None]:
        """All or nothing, one writer at a time; a reading transaction sees one state throughout.

        Raises BusyError where another process goes on writing.

        What is not durable outlives this process, but may not outlive a loss of power.
        """
        with self._lock, self._explained():
            self._refuse_if_replaced()
            if write and durable != self._is_durable:
                self._connection.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
                self._is_durable = durable
            self._connection.execute("BEGIN IMMEDIATE" if write else "BEGIN")
            try:
                yield
                self._connection.execute("COMMIT")
            finally:
                if self._connection.in_transaction:
                    self._connection.rollback()

    def _refuse_if_replaced(self) -> None:
        """What is written into a file that was removed or put in another's place, nobody will ever read."""
        if self._path is not None and _identity(self._path) != self._file:
            raise LedgerError(
                f"The ledger {self._path} was removed or replaced while it was open: start the server anew."
            )

    # Records

    def append(self, kind: str, at: str, table: Table, record_id: str, values: Record) -> None:
        """Tell what is new of a record. Its values are JSON; those told later stand."""
        seq = self._append(kind, at, record_id, values)
        _list(self._connection, table, (seq, at, record_id), values)

    def find(
        self,
        table: Table,
        wanted: Mapping[str, Collection[object]],
        *,
        id_start: str = "",
        since: str = "",
        before: str = "",
    ) -> Iterator[Record]:
        """The records whose columns have one of the wanted values, newest first.

        `since` is the earliest moment, `before` the id of the record where the last page ended.
        """
        bounds = {
            "id >= ?": id_start,
            "id < ?": id_start and id_start + "~",
            "at >= ?": since,
            f"seq < (SELECT seq FROM {table} WHERE id = ?)": before,  # noqa: S608
        }
        conditions = [condition for condition, bound in bounds.items() if bound]
        conditions += [f"{column} IN ({', '.join('?' * len(values))})" for column, values in wanted.items()]
        found = self._connection.execute(
            f"SELECT id FROM {table} WHERE {' AND '.join(conditions) or 1} ORDER BY seq DESC",  # noqa: S608
            [*filter(None, bounds.values()), *chain(*wanted.values())],
        )
        return (self._told(record_id) for (record_id,) in found)

    def _told(self, record_id: str) -> Record:
        """A record as its events tell it."""
        record = {"id": record_id}
        events = self._connection.execute(
            "SELECT data FROM events WHERE about = ? ORDER BY seq", (record_id,)
        )
        for (data,) in events:
            try:
                record.update(json.loads(data))
            except (ValueError, TypeError) as error:
                raise AlteredError(record_id) from error
        return record

    # The chain

    def _append(self, kind: str, at: str, about: str | None, values: Record) -> int:
        _, _, head, head_digest = self._ends()
        event = (head + 1, at, kind, about, _canonical(values))
        digest = _digest(head_digest, event)
        self._connection.execute("INSERT INTO events VALUES (?, ?, ?, ?, ?, ?)", (*event, digest))
        self._connection.execute("UPDATE ends SET head = ?, head_digest = ?", (head + 1, digest))
        return head + 1

    def _ends(self) -> tuple[int, str, int, str]:
        ends: tuple[int, str, int, str] | None = self._connection.execute("SELECT * FROM ends").fetchone()
        if ends is None:
            raise sqlite3.DatabaseError("the ends of its chain were removed")
        return ends

    def verify(self) -> Verification:
        """Check the whole chain, and that records are found by what their events tell."""
        with self.transaction(write=False):
            anchor, anchor_digest, head, head_digest = self._ends()
            last, last_digest, told = anchor, anchor_digest, (0, "")
            for *event, digest in self._connection.execute("SELECT * FROM events ORDER BY seq"):
                checked, seq = last - anchor, event[0]
                if seq != last + 1:
                    return Verification(checked, last + 1, f"Event {last + 1} is missing.")
                if digest != _digest(last_digest, event):
                    return Verification(checked, seq, f"Event {seq} was altered.")
                if event[2] == "pruned":
                    pruned = json.loads(event[4])
                    told = (pruned["through"], pruned["digest"])
                last, last_digest = seq, digest
            checked = last - anchor
            if last < head:
                return Verification(checked, last + 1, f"Event {last + 1} is missing.")
            if (last, last_digest) != (head, head_digest):
                return Verification(checked, last, f"Event {last} is not the one that was written last.")
            if (anchor, anchor_digest) != told:
                return Verification(checked, anchor, f"Events up to {anchor} were not removed by pruning.")
            return self._verify_records(checked)

    def _verify_records(self, checked: int) -> Verification:
        for table, columns in _COLUMNS.items():
            rows = self._connection.execute(
                f"SELECT id, seq, at, {', '.join(columns)} FROM {table} ORDER BY seq"  # noqa: S608
            )
            for record_id, *row in rows:
                told = _found_by(table, self._told(record_id))
                first = self._connection.execute(_FIRST_EVENT, (record_id,)).fetchone() or ()
                if row != [*first, *(told.get(column) for column in columns)]:
                    return Verification(checked, row[0], f"The row of {record_id} in {table} was altered.")
        [unlisted] = self._connection.execute(_FIRST_UNLISTED).fetchone()
        if unlisted is not None:
            return Verification(checked, unlisted, f"The record of event {unlisted} is missing.")
        return Verification(checked)

    def prune(self, older_than: str, at: str) -> int:
        """Remove the oldest events, none of a record that has a younger one; how many. The chain tells it."""
        cut, cut_digest = self._end_of_old(older_than)
        if not cut:
            return 0
        removed = self._connection.execute("DELETE FROM events WHERE seq <= ?", (cut,)).rowcount
        for table in _COLUMNS:
            self._connection.execute(f"DELETE FROM {table} WHERE seq <= ?", (cut,))  # noqa: S608
        self._connection.execute("UPDATE ends SET anchor = ?, anchor_digest = ?", (cut, cut_digest))
        self._append("pruned", at, None, {"through": cut, "digest": cut_digest})
        return removed

    def _end_of_old(self, older_than: str) -> tuple[int, str]:
        """The last event up to which every record is whole and old."""
        end, reach = (0, ""), 0
        rows = self._connection.execute(
            "SELECT seq, at, digest, coalesce((SELECT max(seq) FROM events o WHERE o.about = e.about), seq)"
            " FROM events e ORDER BY seq"
        )
        for seq, at, digest, last_of_record in rows:
            if at >= older_than:
                break
            reach = max(reach, last_of_record)
            if reach == seq:
                end = (seq, digest)
        return end


def why_unusable(path: Path) -> str:
    """Why a file that is there can be no ledger; empty where it can, or where only opening it would tell.

    Raises OSError.
    """
    path.open("r+b").close()  # SQLite's own error does not say why
    try:
        # Whose it may be, nothing of it is touched.
        with closing(sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=1)) as found:
            _version(found)
    except sqlite3.OperationalError:  # another process is at it, or was
        return ""
    except sqlite3.DatabaseError as error:
        return str(error)
    return ""


def _is_busy(error: Exception) -> bool:
    # The lowest byte is the kind of the error, the rest tells more of it; what Python finds has no code.
    return getattr(error, "sqlite_errorcode", 0) & 0xFF == sqlite3.SQLITE_BUSY


def fingerprint(value: object) -> str:
    """By which equal JSON is found."""
    return _sha256(_canonical(value))


def _digest(before: str, event: Collection[object]) -> str:
    # What was altered to be no JSON at all must still have a digest, if another one.
    return _sha256(before + _canonical(list(event), default=repr))


def _sha256(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def _canonical(value: object, default: Callable[[object], str] | None = None) -> str:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), default=default)


def _identity(path: Path) -> tuple[int, int] | None:
    """What stays the same of a file while it is one; None where it is gone."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def _create_private(path: Path) -> None:
    """Make the file readable by its owner alone; SQLite gives the files beside it the same mode."""
    with suppress(FileExistsError):  # what is there and no directory is better named by the next line
        path.parent.mkdir(mode=0o700, parents=True)
    path.touch(mode=0o600, exist_ok=True)


def _found_by(table: Table, values: Record) -> Record:
    """What an event says of how its record is found."""
    found_by = {column: values[column] for column in _COLUMNS[table] if column in values}
    if "arguments" in values:
        # Equal for the same call of a tool.
        found_by["asked"] = fingerprint(values["arguments"])
    return found_by


def _list(connection: sqlite3.Connection, table: Table, event: tuple[int, str, str], values: Record) -> None:
    """Keep what the record is found by as an event tells it: its number, moment and id, and what it says."""
    found_by = _found_by(table, values)
    row = dict(zip(("seq", "at", "id"), event, strict=True)) | found_by
    news = ", ".join(f"{column} = excluded.{column}" for column in found_by)
    connection.execute(
        f"INSERT INTO {table} ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})"  # noqa: S608
        f" ON CONFLICT (id) DO UPDATE SET {news}",
        tuple(row.values()),
    )


def _prepare(connection: sqlite3.Connection) -> None:
    """Configure the connection; make the tables of a new file, and anew those of an older format."""
    connection.execute("BEGIN")  # one state of the file, which another process may be making just now
    is_whole = _version(connection) == _VERSION and not connection.execute(_GAP).fetchone()
    connection.execute("COMMIT")
    # A write to the CRM must not leave before its record has reached the disk.
    connection.execute("PRAGMA synchronous = FULL")
    connection.execute("PRAGMA secure_delete = ON")  # what is pruned shall not be found in the file
    _use_wal(connection)
    if is_whole:
        return
    connection.execute("BEGIN IMMEDIATE")
    if _version(connection) == 0:  # and no other process was faster
        for statement in (*_CHAIN, *_RECORDS):
            connection.execute(statement)
    else:
        _list_anew(connection)
    connection.execute("COMMIT")


def _list_anew(connection: sqlite3.Connection) -> None:
    """The events are of every format: what records are found by is learnt from them."""
    for table in _COLUMNS:
        connection.execute(f"DROP TABLE {table}")
    for statement in _RECORDS:
        connection.execute(statement)
    events = connection.execute(
        "SELECT seq, at, about, data FROM events WHERE about IS NOT NULL ORDER BY seq"
    )
    for seq, at, about, data in events:
        with suppress(ValueError, TypeError):  # of what was altered `verify` tells
            values = json.loads(data)
            _list(connection, "approvals" if "state" in values else "changes", (seq, at, about), values)


def _version(connection: sqlite3.Connection) -> int:
    """The format of the file, 0 where it is empty; raises an error if it is somebody else's."""
    [version] = connection.execute("PRAGMA user_version").fetchone()
    [application] = connection.execute("PRAGMA application_id").fetchone()
    if version == application == 0 and not connection.execute("SELECT 1 FROM sqlite_schema").fetchone():
        return 0
    if application != _APPLICATION_ID:
        raise sqlite3.DatabaseError("it is the database of another program")
    if version > _VERSION:
        raise sqlite3.DatabaseError(f"it has format {version}, this program knows format {_VERSION} only")
    return int(version)


def _use_wal(connection: sqlite3.Connection) -> None:
    """Switch to WAL; SQLite does not wait for other processes here, however long its timeout."""
    deadline = time.monotonic() + LOCK_SECONDS
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL").fetchone()
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
