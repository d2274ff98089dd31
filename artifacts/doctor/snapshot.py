"""An SQLite file read as it is: nothing is migrated, made or changed, whoever else writes to it."""

from __future__ import annotations

import contextlib
import re
import shutil
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

WAIT = 10.0  # seconds for another command's transaction
TRIES = 5
BESIDE = ("", "-journal", "-wal")
WRITE_AHEAD = 2  # byte 18 of the header of a file with a write-ahead log
PRIMARY = 0xFF  # the part of an error code that says what kind it is
DAMAGE = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
# the last where a journal came beside the file after it was looked for
IN_USE = (
    sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL, sqlite3.SQLITE_SCHEMA,
    sqlite3.SQLITE_READONLY,
)  # fmt: skip
MIGRATIONS = {
    "mlflow": "store/db_migrations/versions",
    "prefect": "server/database/_migrations/versions/sqlite",
}
REVISION = re.compile(r"""^revision\b[^=\n]*=\s*["'](\w+)""", re.MULTILINE)
BEFORE = re.compile(r"^down_revision\b[^=\n]*=\s*(\([^)]*\)|.*)$", re.MULTILINE)


class InUseError(Exception):
    """Another command writes to the database, so that it cannot be read now."""


class UnreadableError(Exception):
    """The database cannot be read, and nothing says that its bytes are damaged; it says why."""


class DamagedError(Exception):
    """The file is no whole database; the message says why."""


@contextlib.contextmanager
def opened(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection that reads a database.

    Raises InUseError, DamagedError or UnreadableError where that cannot be done, also for what is
    read in the block. A file with a journal beside it cannot be read without writing, so a copy of
    it is read.
    """
    with contextlib.ExitStack() as stack:
        try:
            if _has_journal(database):
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                address = f"file:{quote(str(_copied(database, folder)))}?mode=rw"
            else:
                address = f"file:{quote(str(database))}?mode=ro"
        except OSError as error:  # also where the disk of the copy is full
            raise UnreadableError(error.strerror or str(error)) from None
        try:
            connection = sqlite3.connect(address, uri=True, timeout=WAIT)
            with contextlib.closing(connection):
                yield connection
        except sqlite3.Error as error:
            raise _meaning(error) from None


def refuse_damage(connection: sqlite3.Connection) -> None:
    """DamagedError where SQLite finds that pages or indexes of the file are not whole."""
    (found,) = connection.execute("pragma quick_check(1)").fetchone()
    if found != "ok":
        raise DamagedError(str(found).splitlines()[-1])


def revision_of(connection: sqlite3.Connection) -> str:
    """The schema revision of a database, empty where it has none."""
    if not tables_of(connection) & {"alembic_version"}:
        return ""
    row = connection.execute("select version_num from alembic_version").fetchone()
    return str(row[0]) if row else ""


def tables_of(connection: sqlite3.Connection) -> set[str]:
    """The names of the tables in a database."""
    return {str(name) for (name,) in connection.execute("select name from sqlite_master")}


@lru_cache
def known_revisions(package: str) -> tuple[str, frozenset[str]]:
    """The newest schema revision of an installed package, and all that it knows.

    They are read from the text of its migrations, as importing the package takes seconds.
    """
    found = find_spec(package)
    if found is None or not found.submodule_search_locations:
        return "", frozenset()
    folder = Path(found.submodule_search_locations[0]) / MIGRATIONS[package]
    revisions: set[str] = set()
    before: set[str] = set()
    for file in folder.glob("*.py"):
        text = file.read_text(encoding="utf-8")
        revisions |= set(REVISION.findall(text))
        if named := BEFORE.search(text):
            before |= set(re.findall(r"""["'](\w+)["']""", named[1]))
    heads = sorted(revisions - before)
    return (heads[0] if len(heads) == 1 else ""), frozenset(revisions)


def _has_journal(database: Path) -> bool:
    with database.open("rb") as file:
        header = file.read(20)
    beside = any(database.with_name(database.name + suffix).exists() for suffix in BESIDE[1:])
    return beside or header[18:19] == bytes([WRITE_AHEAD])


def _copied(database: Path, folder: Path) -> Path:
    """A copy of a database with its journal, of one moment; InUseError where it keeps changing."""
    for _ in range(TRIES):
        before = _states(database)
        for suffix in BESIDE:
            with contextlib.suppress(FileNotFoundError):
                shutil.copyfile(database.with_name(database.name + suffix), folder / f"db{suffix}")
        if _states(database) == before:
            return folder / "db"
        for copy in folder.iterdir():
            copy.unlink()
        time.sleep(0.2)
    raise InUseError(str(database))


def _states(database: Path) -> list[tuple[int, int] | None]:
    found: list[tuple[int, int] | None] = []
    for suffix in BESIDE:
        try:
            status = database.with_name(database.name + suffix).stat()
            found.append((status.st_size, status.st_mtime_ns))
        except FileNotFoundError:
            found.append(None)
    return found


def _meaning(error: sqlite3.Error) -> InUseError | DamagedError | UnreadableError:
    """What an error of SQLite says about the file: most say nothing about its bytes."""
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & PRIMARY
    if code in DAMAGE:
        return DamagedError(str(error))
    return InUseError(str(error)) if code in IN_USE else UnreadableError(str(error))
