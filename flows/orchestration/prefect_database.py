"""Prefect's database in the data folder: whole or not there at all, also after a crash."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from urllib.parse import quote

from filelock import FileLock

from artifacts.store.data_dir import PATIENCE, DataDir
from artifacts.tracking.database import remove_database
from schemas.errors import ThreeLoopsError

URL = "PREFECT_API_DATABASE_CONNECTION_URL"
# -P: a module in the working directory must not stand in for one of Prefect's
UPGRADE = [sys.executable, "-P", "-m", "prefect", "server", "database", "upgrade", "-y"]
LONGEST_UPGRADE = 300.0  # seconds


class NoDatabaseError(ThreeLoopsError):
    """Prefect's database cannot be made."""


def database_url(database: Path) -> str:
    """The address of an SQLite file for Prefect; `?` and the like are quoted in it."""
    return f"sqlite+aiosqlite:///{quote(str(database))}"


def is_prepared(data_dir: DataDir) -> bool:
    """Whether the data folder's database is the one that is used, and needs nothing to be done."""
    database = data_dir.prefect / "prefect.db"
    ours = os.environ.get(URL) == database_url(database)
    return ours and _ready(data_dir).exists() and database.exists()


def _ready(data_dir: DataDir) -> Path:
    return data_dir.prefect / f"ready-for-prefect-{version('prefect')}"


def prepare_prefect_database(data_dir: DataDir, log_message: Callable[[str], None]) -> None:
    """Make sure that Prefect's server finds a whole database; once a data folder and version.

    Prefect makes and migrates its database while its server starts: several at once get in each
    other's way, and one that is killed leaves a half-made database, on which no server starts. So
    it is made beside its place, under a lock, and renamed. One that is there is migrated as a copy.
    Where that fails it is kept aside, and Prefect's list of flow runs begins anew: what was
    measured is not in it. A database that the user has named is the user's.
    """
    database = data_dir.prefect / "prefect.db"
    if os.environ.get(URL) != database_url(database):
        return
    if is_prepared(data_dir):
        return
    data_dir.prefect.mkdir(exist_ok=True)
    data_dir.locks.mkdir(exist_ok=True)
    with FileLock(data_dir.locks / "prefect-database.lock"):
        if is_prepared(data_dir):
            return
        new = database.with_name("prefect.db.new")
        remove_database(new)
        if database.exists() and not _migrated_copy(database, new):
            aside = _free(database.with_name("prefect.db.damaged"))
            database.rename(aside)
            log_message(
                "Prefect's list of flow runs could not be read, and begins anew; the former one is "
                f"kept as {aside}"
            )
        if not database.exists():
            remove_database(new)
            if reason := _upgrade(new):
                raise NoDatabaseError(f"Prefect's database cannot be made: {reason}")
        if not database.exists() or _revision(new) != _revision(database):
            remove_database(database)
            new.replace(database)
        remove_database(new)
        _ready(data_dir).touch()


def _migrated_copy(database: Path, new: Path) -> bool:
    """Copy a database and bring the copy up to date; whether that could be done."""
    try:
        with (
            contextlib.closing(sqlite3.connect(database, timeout=PATIENCE)) as old,
            contextlib.closing(sqlite3.connect(new)) as copy,
        ):
            old.backup(copy)
    except sqlite3.DatabaseError:
        return False
    return _upgrade(new) is None


def _upgrade(database: Path) -> str | None:
    """Run Prefect's migrations on a database; why they failed, if they did."""
    environment = os.environ | {URL: database_url(database), "PREFECT_API_URL": ""}
    try:
        done = subprocess.run(
            UPGRADE, env=environment, capture_output=True, text=True, timeout=LONGEST_UPGRADE
        )
    except subprocess.TimeoutExpired:
        return f"it takes longer than {LONGEST_UPGRADE:.0f} s"
    if done.returncode == 0:
        return None
    return next((line for line in reversed(done.stderr.splitlines()) if line.strip()), "it failed")


def _revision(database: Path) -> str:
    with contextlib.closing(sqlite3.connect(database, timeout=PATIENCE)) as connection:
        return str(connection.execute("select version_num from alembic_version").fetchone()[0])


def _free(path: Path) -> Path:
    """This path, or the first with a number behind it where nothing is yet."""
    number, free = 1, path
    while free.exists():
        number, free = number + 1, path.with_name(f"{path.name}-{number}")
    return free
