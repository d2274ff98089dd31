"""MLflow's database in the data folder: whole or not there at all, also after a crash or a move."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from artifacts.store.data_dir import PATIENCE, RUN_ARTIFACTS, SET_ASIDE, DataDir, sqlite_uri
from schemas.errors import InputError

if TYPE_CHECKING:
    from alembic.script import ScriptDirectory

# where MLflow keeps the whole address of a file or folder below the data folder
ADDRESSES = {
    "experiments": ("artifact_location",),
    "runs": ("artifact_uri",),
    "logged_models": ("artifact_location",),
    "model_versions": ("source", "storage_location"),
}
REVISION = "dc11669786a5"  # of the database that the MLflow of our pins makes


def experiment_in_order(data_dir: DataDir, experiment: str) -> str:
    """The id of an experiment in a database that needs nothing before it is read; else empty.

    It needs something where it is not there, is of another MLflow, or lies elsewhere than its
    addresses say, and where the experiment was not made yet or was deleted.
    """
    database, now = data_dir.tracking_database, data_dir.run_artifacts.as_uri()
    if not database.exists():
        return ""
    with opened(database) as connection:
        tables = {name for (name,) in connection.execute("select name from sqlite_master")}
        if "alembic_version" not in tables or _first(connection, "alembic_version") != (REVISION,):
            return ""
        found = connection.execute(
            "select experiment_id from experiments where name = ? and lifecycle_stage = 'active'",
            (experiment,),
        ).fetchone()
        moved = set(places_of(connection, now).values()) - {now}
        return "" if found is None or moved else str(found[0])


def prepare_database(data_dir: DataDir, experiment: str, tags: Mapping[str, str]) -> None:
    """Make sure that the database can be used and holds the experiment.

    A new database is made beside its place, under a lock, and renamed when it is whole: a command
    that is killed meanwhile leaves nothing behind that is used, and several at once make one. A
    half-made database that an earlier version left is made again. One of an older MLflow is brought
    up to date as a copy, and the original is kept beside it. Where the data folder was moved or
    copied, the addresses in the database are corrected. Raises InputError for a database that is
    damaged, that a newer MLflow wrote, or that was lost.
    """
    database = data_dir.tracking_database
    data_dir.locks.mkdir(parents=True, exist_ok=True)
    with FileLock(data_dir.locks / "tracking-database.lock"):
        _refuse_lost(data_dir)
        revision, used = _looked_at(database) if database.exists() else ("", False)
        newest = str(_migrations().get_current_head())
        if revision != newest and not used:
            _make(data_dir, experiment, tags)
        elif revision != newest:
            _upgrade(database, revision)
        if not _correct_addresses(data_dir, experiment):
            _add_experiment(database, data_dir, experiment, tags)


def _refuse_lost(data_dir: DataDir) -> None:
    """InputError where the folder has files of runs and no database, which a new one would hide.

    What the doctor has set aside is not lost: a new one takes its place. So does an empty file.
    """
    database = data_dir.tracking_database
    if database.exists() or not any(data_dir.run_artifacts.glob("*/artifacts")):
        return
    if not any((data_dir.root / SET_ASIDE).glob(f"**/{database.name}")):
        raise InputError(
            "MLflow's database is missing, and the folder has files of runs that it lists",
            str(database),
            "put back a copy of it, or make an empty file there (touch) to go on without these "
            "runs",
        )


def _looked_at(database: Path) -> tuple[str, bool]:
    """The revision of a database, and whether anything was ever recorded in it."""
    with opened(database) as connection:
        tables = {name for (name,) in connection.execute("select name from sqlite_master")}
        versions = _first(connection, "alembic_version") if "alembic_version" in tables else None
        used = any(_first(connection, one) for one in {"runs", "registered_models"} & tables)
        return str(versions[0]) if versions else "", used


def _first(connection: sqlite3.Connection, table: str) -> tuple[object, ...] | None:
    found: tuple[object, ...] | None = connection.execute(
        f"select * from {table} limit 1"
    ).fetchone()
    return found


@contextlib.contextmanager
def opened(database: Path) -> Iterator[sqlite3.Connection]:
    """A connection to MLflow's database; InputError where the file is damaged."""
    try:
        with contextlib.closing(sqlite3.connect(database, timeout=PATIENCE)) as connection:
            yield connection
    except sqlite3.OperationalError:
        raise  # locked, or a disk that fails: nothing is wrong with the file
    except sqlite3.DatabaseError as error:
        raise InputError(
            f"MLflow's database is damaged ({error})",
            str(database),
            "put a copy of it in its place, or let `threeloops doctor --repair` set it aside and "
            "go on without the runs in it",
        ) from None


def _migrations() -> ScriptDirectory:
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    return ScriptDirectory.from_config(_get_alembic_config(""))  # type: ignore[no-untyped-call]


def _make(data_dir: DataDir, experiment: str, tags: Mapping[str, str]) -> None:
    whole = data_dir.tracking_database
    new = _beside(whole, "new")
    _add_experiment(new, data_dir, experiment, tags)
    remove_database(whole)
    new.replace(whole)


def _add_experiment(
    database: Path, data_dir: DataDir, experiment: str, tags: Mapping[str, str]
) -> None:
    """Make the experiment in a database, which is made too where it is not there."""
    from mlflow.entities import ExperimentTag
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
    uri, artifacts = sqlite_uri(database), data_dir.run_artifacts.as_uri()
    store = SqlAlchemyStore(uri, artifacts)  # type: ignore[no-untyped-call]
    try:
        named = [ExperimentTag(name, value) for name, value in tags.items()]
        store.create_experiment(experiment, artifacts, named)  # type: ignore[no-untyped-call]
    finally:
        store.engine.dispose()
        SqlAlchemyStore._engine_map.pop(uri, None)  # a later one opens another file by this name


def _upgrade(database: Path, revision: str) -> None:
    from mlflow.store.db.utils import _upgrade_db
    from sqlalchemy import create_engine

    known = {one.revision for one in _migrations().walk_revisions()}
    if revision not in known:
        raise InputError(
            f"MLflow's database has revision {revision or 'none'}, which this MLflow does not know",
            str(database),
            "install the version of threeloops that wrote it, or a newer one",
        )
    new = _beside(database, "new")
    with opened(database) as old, contextlib.closing(sqlite3.connect(new)) as copy:
        old.backup(copy)
    engine = create_engine(sqlite_uri(new))
    try:
        _upgrade_db(engine)  # type: ignore[no-untyped-call]
    finally:
        engine.dispose()
    kept = _beside(database, f"before-{revision}")
    os.link(database, kept)
    new.replace(database)


def _correct_addresses(data_dir: DataDir, experiment: str) -> bool:
    """Let the addresses in the database begin with where the data folder lies now.

    Returns whether the experiment is there.
    """
    now = data_dir.run_artifacts.as_uri()
    with opened(data_dir.tracking_database) as connection, connection:
        found = connection.execute(
            "select 1 from experiments where name = ?", (experiment,)
        ).fetchone()
        for before in set(places_of(connection, now).values()) - {now}:
            for table, columns in ADDRESSES.items():
                for column in columns:
                    connection.execute(
                        f"update {table} set {column} = ? || substr({column}, ?) "
                        f"where substr({column}, 1, ?) = ?",
                        (now, len(before) + 1, len(before), before),
                    )
    return found is not None


def places_of(connection: sqlite3.Connection, now: str) -> dict[int, str]:
    """Where the files of this data folder's experiments are, by their ids.

    That is `now`, or the former place of a folder that was moved, which its first experiment
    tells. Other data folders may have named this database, and have experiments in it too.
    """
    rows = connection.execute(
        "select experiment_id, artifact_location from experiments order by experiment_id"
    )
    places = {
        int(number): str(place)
        for number, place in rows
        if str(place).startswith("file:") and str(place).endswith(f"/{RUN_ARTIFACTS}")
    }
    own = now if now in places.values() else next(iter(places.values()), now)
    return {number: place for number, place in places.items() if place == own}


def _beside(database: Path, name: str) -> Path:
    """A free place in the same folder, so that a file can be renamed from it."""
    path = database.with_name(f"{database.name}.{name}")
    remove_database(path)
    return path


def remove_database(database: Path) -> None:
    """Delete a database with what SQLite keeps beside it."""
    for suffix in ("", "-journal", "-wal", "-shm"):
        database.with_name(database.name + suffix).unlink(missing_ok=True)
