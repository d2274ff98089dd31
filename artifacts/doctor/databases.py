"""MLflow's and Prefect's databases: whole, of a known revision, and with the right addresses."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from artifacts.doctor.examination import Examination, Found, Repair
from artifacts.doctor.recorded import Recorded, read_recorded
from artifacts.doctor.set_aside import SetAside
from artifacts.doctor.snapshot import (
    DamagedError,
    InUseError,
    known_revisions,
    opened,
    refuse_damage,
    revision_of,
    tables_of,
)
from artifacts.store.data_dir import DataDir

SIDECARS = ("-journal", "-wal", "-shm")


def recorded_in(data_dir: DataDir) -> Recorded | None:
    """What MLflow's database says; None without a whole one, InUseError where it cannot be read."""
    if not data_dir.tracking_database.is_file():
        return None
    try:
        with opened(data_dir.tracking_database) as connection:
            return read_recorded(connection, data_dir)
    except (DamagedError, OSError):
        return None


def check_tracking_database(at: Examination) -> Iterator[Found]:
    """MLflow's database."""
    database = at.data_dir.tracking_database
    if not database.is_file():
        if any(at.data_dir.run_artifacts.glob("*/artifacts")):
            yield at.found(
                "missing-database", database, "is not there, and there are files of runs"
            )
        return
    aside = _set_aside(database)
    try:
        with opened(database) as connection:
            refuse_damage(connection)
            revision, tables = revision_of(connection), tables_of(connection)
            used = any(
                connection.execute(f"select 1 from {table} limit 1").fetchone()
                for table in {"runs", "registered_models"} & tables
            )
    except InUseError:
        yield at.found("database-in-use", database, "another command writes to it")
        return
    except DamagedError as error:
        yield at.found("damaged-database", database, f"SQLite says: {error}", aside)
        return
    except OSError as error:
        yield at.found("unreadable-file", database, f"cannot be read ({error.strerror})")
        return
    newest, known = known_revisions("mlflow")
    if revision == newest or not newest:
        pass
    elif not used:
        yield at.found("half-made-database", database, "it has no runs and no whole schema", aside)
    elif revision not in known:
        what = f"it has revision {revision or 'none'}, which this MLflow does not know"
        yield at.found("newer-database", database, what)
    else:
        what = f"it has revision {revision}, and this MLflow uses {newest}"
        yield at.found("older-database", database, what)
    if at.recorded and at.recorded.former:
        yield at.found("moved-folder", database, f"it names {at.recorded.former}")


def check_prefect_database(at: Examination) -> Iterator[Found]:
    """Prefect's database of this data folder."""
    database = at.data_dir.prefect / "prefect.db"
    if not database.is_file():
        return
    aside = _set_aside(database)
    try:
        with opened(database) as connection:
            refuse_damage(connection)
            revision = revision_of(connection)
    except InUseError:
        yield at.found("database-in-use", database, "another command writes to it")
        return
    except DamagedError as error:
        yield at.found("damaged-prefect-database", database, f"SQLite says: {error}", aside)
        return
    except OSError as error:
        yield at.found("unreadable-file", database, f"cannot be read ({error.strerror})")
        return
    newest, known = known_revisions("prefect")
    if revision == newest or not newest:
        return
    if not revision:
        what = "it has no whole schema"
        yield at.found("damaged-prefect-database", database, what, aside)
    elif revision in known:
        what = f"it has revision {revision}, and this Prefect uses {newest}"
        yield at.found("older-database", database, what)
    else:
        what = f"it has revision {revision}, which this Prefect does not know"
        yield at.found("newer-database", database, what)


def _set_aside(database: Path) -> Repair:
    """The repair that sets a database aside, with what SQLite keeps beside it."""

    def repair(aside: SetAside) -> str:
        done = aside.move(database)
        for suffix in SIDECARS:
            beside = database.with_name(database.name + suffix)
            if beside.exists():
                aside.move(beside)
        return done

    return Repair(repair)
