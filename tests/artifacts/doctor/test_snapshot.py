"""A database is read as it is: whole, damaged, locked, or with a journal of a killed process."""

from __future__ import annotations

import errno
import shutil
import signal
import sqlite3
import subprocess
import sys
from contextlib import closing
from importlib.metadata import version
from pathlib import Path

import pytest

from artifacts.doctor import snapshot
from artifacts.doctor.snapshot import (
    DamagedError,
    InUseError,
    UnreadableError,
    known_revisions,
    opened,
    refuse_damage,
    revision_of,
)

KILLED = """import os, signal, sqlite3, sys
c = sqlite3.connect(sys.argv[1], isolation_level=None)
c.execute(sys.argv[2])
c.execute("pragma cache_size = 1")
c.execute("begin immediate")
for number in range(3000):
    c.execute("insert into numbers values (?, ?)", (number, "x" * 400))
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.fixture
def database(tmp_path: Path) -> Path:
    path = tmp_path / "a ?#%.db"
    with closing(sqlite3.connect(path)) as made, made:
        made.execute("create table numbers (number integer, text text)")
        made.executemany("insert into numbers values (?, 'y')", [(one,) for one in range(2000)])
    return path


def _files(folder: Path) -> dict[str, tuple[int, bytes]]:
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.iterdir()}


def _count(path: Path) -> int:
    with opened(path) as connection:
        refuse_damage(connection)
        return int(connection.execute("select count(*) from numbers").fetchone()[0])


@pytest.mark.parametrize("mode", ["delete", "wal"])
def test_what_a_killed_writer_left_is_read_and_nothing_is_changed(
    mode: str, database: Path
) -> None:
    words = [sys.executable, "-c", KILLED, str(database), f"pragma journal_mode = {mode}"]
    assert subprocess.run(words).returncode == -signal.SIGKILL
    assert len(list(database.parent.iterdir())) > 1, "it left a journal"
    before = _files(database.parent)
    assert _count(database) == 2000, "what was not committed is not there"
    assert _files(database.parent) == before


def test_a_write_ahead_log_that_was_closed_is_read_without_making_files(database: Path) -> None:
    with closing(sqlite3.connect(database)) as closed:
        closed.execute("pragma journal_mode = wal")
    before = _files(database.parent)
    assert list(before) == [database.name]
    assert _count(database) == 2000
    assert _files(database.parent) == before


@pytest.mark.parametrize("damage", ["cut", "middle", "no database"])
def test_damage_is_found(damage: str, database: Path) -> None:
    content = bytearray(database.read_bytes())
    if damage == "cut":
        content = content[: len(content) // 2]
    elif damage == "middle":
        content[4096 * 3 : 4096 * 4] = b"\xff" * 4096
    else:
        content = bytearray(b"no database at all" * 400)
    database.write_bytes(content)
    with pytest.raises(DamagedError):
        _count(database)


def test_a_database_that_is_locked_is_in_use_and_not_damaged(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(snapshot, "WAIT", 0.1)
    with closing(sqlite3.connect(database, isolation_level=None)) as writer:
        writer.execute("begin exclusive")
        with pytest.raises(InUseError):
            _count(database)


@pytest.mark.parametrize(
    ("code", "meaning"),
    [
        (sqlite3.SQLITE_CORRUPT, DamagedError),
        (sqlite3.SQLITE_CORRUPT_VTAB, DamagedError),
        (sqlite3.SQLITE_NOTADB, DamagedError),
        (sqlite3.SQLITE_BUSY_SNAPSHOT, InUseError),
        (sqlite3.SQLITE_LOCKED_SHAREDCACHE, InUseError),
        (sqlite3.SQLITE_READONLY_ROLLBACK, InUseError),
        (sqlite3.SQLITE_IOERR_READ, UnreadableError),
        (sqlite3.SQLITE_CANTOPEN, UnreadableError),
        (sqlite3.SQLITE_FULL, UnreadableError),
        (sqlite3.SQLITE_NOMEM, UnreadableError),
        (sqlite3.SQLITE_ERROR, UnreadableError),
    ],
)
def test_only_what_speaks_of_the_bytes_is_damage(
    code: int, meaning: type[Exception], database: Path
) -> None:
    error = sqlite3.DatabaseError("in words")
    error.sqlite_errorcode = code
    with pytest.raises(meaning), opened(database):
        raise error


def test_a_table_that_is_not_there_is_no_damage(database: Path) -> None:
    with pytest.raises(UnreadableError, match="no such table"), opened(database) as connection:
        connection.execute("select * from none")


def test_a_full_disk_for_the_copy_is_no_damage(
    database: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    database.with_name(f"{database.name}-journal").touch()
    monkeypatch.setattr(shutil, "copyfile", full)
    with pytest.raises(UnreadableError, match="No space left"):
        _count(database)


def test_the_newest_revisions_are_those_that_the_packages_use() -> None:
    newest, known = known_revisions("mlflow")
    assert newest in known, f"MLflow {version('mlflow')}"
    newest, known = known_revisions("prefect")
    assert newest in known, f"Prefect {version('prefect')}"
    assert known_revisions("no_such_package") == ("", frozenset())


def test_mlflows_own_database_has_the_newest_revision(empty_database: Path) -> None:
    with opened(empty_database) as connection:
        assert revision_of(connection) == known_revisions("mlflow")[0]
