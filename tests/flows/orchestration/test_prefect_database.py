"""Prefect's database is made whole or not at all, by one of several, and a broken one is kept."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from artifacts.store.data_dir import DataDir
from flows.orchestration import prefect_database
from flows.orchestration.prefect_database import (
    URL,
    NoDatabaseError,
    database_url,
    prepare_prefect_database,
)

pytestmark = pytest.mark.slow


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    kept = {name: v for name, v in os.environ.items() if not name.startswith("PREFECT_")}
    monkeypatch.setattr(os, "environ", kept)


@pytest.fixture
def odd(tmp_path: Path) -> DataDir:
    """A data folder whose name has characters that mean something in an address."""
    folder = DataDir(tmp_path / "a?b %41#c")
    folder.root.mkdir()
    return folder


def _tables(database: Path) -> set[str]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return {name for (name,) in connection.execute("select name from sqlite_master")}


def test_several_at_once_make_one_and_a_broken_one_is_kept_aside(odd: DataDir) -> None:
    said: list[str] = []
    database = odd.prefect / "prefect.db"
    os.environ[URL] = database_url(database)
    odd.prefect.mkdir()
    database.write_bytes(b"half of a page")
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda _: prepare_prefect_database(odd, said.append), range(3)))
    assert "flow_run" in _tables(database)
    kept = odd.prefect / "prefect.db.damaged"
    assert kept.read_bytes() == b"half of a page"
    assert said == [
        "Prefect's list of flow runs could not be read, and begins anew; the former one is kept "
        f"as {kept}"
    ]
    assert {path.name for path in odd.root.parent.iterdir()} <= {odd.root.name, "home"}

    # one that is whole is migrated as a copy, and stays if nothing was to do
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("create table mine (one integer)")
    (ready,) = odd.prefect.glob("ready-*")
    ready.unlink()
    prepare_prefect_database(odd, said.append)
    assert "mine" in _tables(database)
    assert len(said) == 1


def test_nothing_is_done_to_a_database_that_is_ready_or_that_the_user_named(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(prefect_database, "_upgrade", lambda database: database.touch())
    monkeypatch.setattr(prefect_database, "_revision", lambda database: "")
    monkeypatch.setitem(os.environ, URL, "postgresql+asyncpg://somewhere/prefect")
    prepare_prefect_database(data_dir, print)
    assert not data_dir.prefect.exists()
    monkeypatch.setitem(os.environ, URL, database_url(data_dir.prefect / "prefect.db"))
    prepare_prefect_database(data_dir, print)
    made = (data_dir.prefect / "prefect.db").stat()
    monkeypatch.setattr(prefect_database, "_upgrade", lambda database: "must not be called")
    prepare_prefect_database(data_dir, print)
    assert (data_dir.prefect / "prefect.db").stat() == made


def test_a_database_that_cannot_be_made_is_one_line(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    os.environ[URL] = database_url(data_dir.prefect / "prefect.db")
    monkeypatch.setattr(prefect_database, "UPGRADE", ["sh", "-c", "echo no room >&2; exit 1"])
    with pytest.raises(NoDatabaseError, match="cannot be made: no room"):
        prepare_prefect_database(data_dir, print)
    assert not (data_dir.prefect / "prefect.db").exists()
