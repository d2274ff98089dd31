"""MLflow's and Prefect's databases: whole, of a known revision, and with the right addresses."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from artifacts.doctor.examination import HELD, Examination, Found, Repair
from artifacts.doctor.locks import lock_held, users_of
from artifacts.doctor.recorded import Recorded, read_recorded
from artifacts.doctor.set_aside import SetAside
from artifacts.doctor.snapshot import (
    DamagedError,
    InUseError,
    UnreadableError,
    known_revisions,
    opened,
    refuse_damage,
    revision_of,
    tables_of,
)
from artifacts.store.data_dir import DataDir

Judged = tuple[str, str]  # a finding's name and words
# in the folder of locks: whoever makes, migrates or replaces a database holds its lock
TRACKING_LOCK, PREFECT_LOCK = "tracking-database.lock", "prefect-database.lock"
SET_ASIDE = ("damaged-database", "half-made-database", "damaged-prefect-database")


def recorded_in(data_dir: DataDir) -> Recorded | None:
    """What MLflow's database says; None without a whole one that has our experiment.

    Raises InUseError or UnreadableError where that cannot be known now.
    """
    if not data_dir.tracking_database.is_file():
        return None
    try:
        with opened(data_dir.tracking_database) as connection:
            return read_recorded(connection, data_dir)
    except DamagedError:
        return None


def check_tracking_database(at: Examination) -> Iterator[Found]:
    """MLflow's database in the data folder; a server has one of its own."""
    database = at.data_dir.tracking_database
    if not database.is_file():
        if not at.has_server and any(at.data_dir.run_artifacts.glob("*/artifacts")):
            yield at.found(
                "missing-database", database, "is not there, and there are files of runs"
            )
        return
    yield from _found(at, database, _judged_tracking, TRACKING_LOCK)
    if at.recorded and at.recorded.former:
        yield at.found("moved-folder", database, f"it names {at.recorded.former}")


def check_prefect_database(at: Examination) -> Iterator[Found]:
    """Prefect's database of this data folder."""
    database = at.data_dir.prefect / "prefect.db"
    if database.is_file():
        yield from _found(at, database, _judged_prefect, PREFECT_LOCK)


def _found(
    at: Examination, database: Path, judged: Callable[[Path], Judged | None], lock: str
) -> Iterator[Found]:
    found = judged(database)
    if found is None:
        return

    def repair(aside: SetAside) -> str | None:
        with lock_held(at.data_dir.locks / lock) as mine:
            if not mine:
                return HELD
            now = judged(database) if database.is_file() else None
            if now is None or now[0] != found[0]:
                return None  # what it is by now is found by the next look
            if users := users_of(database):
                return f"not repaired: it is open in process {' '.join(map(str, users))}"
            return aside.move_database(database)

    name, what = found
    yield at.found(name, database, what, Repair(repair) if name in SET_ASIDE else None)


def _judged_tracking(database: Path) -> Judged | None:
    """What is wrong with MLflow's database."""

    def is_used(connection: sqlite3.Connection) -> bool:
        kept = {"runs", "registered_models"} & tables_of(connection)
        return any(connection.execute(f"select 1 from {one} limit 1").fetchone() for one in kept)

    try:
        with opened(database) as connection:
            refuse_damage(connection)
            revision, used = revision_of(connection), is_used(connection)
    except (InUseError, DamagedError, UnreadableError) as error:
        return _fault(error, "damaged-database")
    if not used and known_revisions("mlflow")[0] not in ("", revision):
        return "half-made-database", "it has no runs and no whole schema"
    return _other_revision("mlflow", "MLflow", revision)


def _judged_prefect(database: Path) -> Judged | None:
    """What is wrong with Prefect's database."""
    try:
        with opened(database) as connection:
            refuse_damage(connection)
            revision = revision_of(connection)
    except (InUseError, DamagedError, UnreadableError) as error:
        return _fault(error, "damaged-prefect-database")
    if not revision:
        return "damaged-prefect-database", "it has no whole schema"
    return _other_revision("prefect", "Prefect", revision)


def _fault(error: InUseError | DamagedError | UnreadableError, damaged: str) -> Judged:
    if isinstance(error, InUseError):
        return "database-in-use", "another command writes to it"
    if isinstance(error, UnreadableError):
        return "unreadable-file", f"cannot be read ({error})"
    return damaged, f"SQLite says: {error}"


def _other_revision(package: str, shown: str, revision: str) -> Judged | None:
    newest, known = known_revisions(package)
    if revision == newest or not newest:
        return None
    if revision not in known:
        what = f"it has revision {revision or 'none'}, which this {shown} does not know"
        return "newer-database", what
    return "older-database", f"it has revision {revision}, and this {shown} uses {newest}"
