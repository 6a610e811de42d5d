import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from crm_mcp.sandbox.demo_data import seed
from crm_mcp.sandbox.store import SandboxError, Store

OPEN_AND_SEED = """
import sys
from pathlib import Path
from crm_mcp.sandbox.demo_data import seed
from crm_mcp.sandbox.store import Store
sys.stdin.readline()
store = Store.open(Path(sys.argv[1]))
seed(store)
print(store.credentials.api_key, store.number("SELECT count(*) FROM companies"))
store.close()
"""


def test_everything_outlives_the_process(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "crm.db"
    store = Store.open(path)
    seed(store)
    credentials, companies = store.credentials, store.all("SELECT * FROM companies")
    store.close()
    store = Store.open(path)
    seed(store)
    assert (store.credentials, store.all("SELECT * FROM companies")) == (credentials, companies)
    store.close()


def test_the_key_is_random_and_stays_out_of_sight(tmp_path: Path) -> None:
    first, second = Store.open(tmp_path / "1.db"), Store.open(tmp_path / "2.db")
    assert first.credentials.api_key.startswith("ak_")
    assert first.credentials.api_key != second.credentials.api_key
    assert first.credentials.entity_id == second.credentials.entity_id
    assert first.credentials.api_key not in repr(first.credentials)
    first.close()
    second.close()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no file modes")
def test_the_file_is_its_owners_alone(tmp_path: Path) -> None:
    store = Store.open(tmp_path / "crm.db")
    seed(store)
    assert {stat.S_IMODE(file.stat().st_mode) for file in tmp_path.iterdir()} == {0o600}
    store.close()


def test_processes_that_start_at_once_share_one_seed(tmp_path: Path) -> None:
    path = tmp_path / "crm.db"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", OPEN_AND_SEED, str(path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for _ in range(4)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    outputs = [process.communicate(timeout=60)[0] for process in processes]
    store = Store.open(path)
    assert outputs == [f"{store.credentials.api_key} 40\n"] * 4
    store.close()


def test_two_stores_on_one_file_see_each_others_writes(tmp_path: Path) -> None:
    first, second = Store.open(tmp_path / "crm.db"), Store.open(tmp_path / "crm.db")
    key = second.add_key(["read:crm"], first.credentials.entity_id)
    caller = first.caller(key)
    assert caller is not None
    assert caller.scopes == {"read:crm"}
    first.close()
    second.close()


def test_a_transaction_is_all_or_nothing(store: Store) -> None:
    def fail_halfway() -> None:
        with store.transaction():
            store.execute("DELETE FROM stages")
            store.execute("DELETE FROM nothing")

    with pytest.raises(sqlite3.OperationalError):
        fail_halfway()
    assert store.number("SELECT count(*) FROM stages") == 6


def test_an_unknown_scope_is_refused(store: Store) -> None:
    with pytest.raises(ValueError, match="Unknown scopes"):
        store.add_key(["admin"], store.credentials.entity_id)


def test_no_two_moments_are_the_same(store: Store) -> None:
    moments = [store.now() for _ in range(100)]
    assert moments == sorted(set(moments))


def test_a_file_that_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "crm.db"
    path.write_bytes(b"something else entirely " * 100)
    assert refusal(path) == message(path, "file is not a database")
    assert path.read_bytes().startswith(b"something else")


def test_a_folder_is_refused(tmp_path: Path) -> None:
    assert refusal(tmp_path) == message(tmp_path, "unable to open database file")


def test_the_database_of_another_program_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.db"
    other = sqlite3.connect(path)
    other.execute("CREATE TABLE things (name TEXT)")
    other.close()
    assert refusal(path) == message(path, "it is the database of another program")


def test_a_file_of_a_later_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "crm.db"
    store = Store.open(path)
    store.execute("PRAGMA user_version = 7")
    store.close()
    assert refusal(path) == message(path, "it has format 7, this program knows format 2 only")


def refusal(path: Path) -> str:
    with pytest.raises(SandboxError) as caught:
        Store.open(path)
    return str(caught.value)


def message(path: Path, reason: str) -> str:
    return (
        f"The embedded CRM cannot use {path}: {reason}. "
        "Choose another file, or move this one away to start again with fresh demo data."
    )
