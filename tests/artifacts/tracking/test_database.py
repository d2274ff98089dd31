"""MLflow's database: made whole or not at all, by one of several, and found after a move."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest

from artifacts.doctor.recorded import Recorded, read_recorded
from artifacts.doctor.set_aside import SetAside
from artifacts.store.data_dir import DataDir, sqlite_uri
from artifacts.tracking.archive import Archive
from artifacts.tracking.connection import Tracking
from artifacts.tracking.database import prepare_database
from artifacts.tracking.experiment import EXPERIMENT_TAGS, local_path
from artifacts.tracking.named import EXPERIMENT, EXPERIMENT_NAME, TRACKING
from flows.cli.parser import main
from schemas.errors import InputError

OPEN = "from artifacts.store.data_dir import current_data_dir as home\n" + (
    "from artifacts.tracking.connection import Tracking\nprint(Tracking(home()).experiment_id)"
)


def _prepare(data_dir: DataDir) -> None:
    prepare_database(data_dir, EXPERIMENT, EXPERIMENT_TAGS)


def _opening(data_dir: DataDir) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", OPEN],
        env=os.environ | {"THREELOOPS_HOME": str(data_dir.root)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def _half_made(database: Path) -> None:
    """What is left of a database whose making was killed in the middle."""
    from mlflow.store.tracking.dbmodels.initial_models import Base
    from sqlalchemy import create_engine

    engine = create_engine(sqlite_uri(database))
    Base.metadata.create_all(engine)
    engine.dispose()


def _filed(database: Path, words: str) -> list[str]:
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return [str(one) for (one,) in connection.execute(words)]


@pytest.mark.slow
def test_several_that_open_a_new_data_folder_at_once_make_one_database(data_dir: DataDir) -> None:
    several = [_opening(data_dir) for _ in range(3)]
    said = [process.communicate(timeout=300) for process in several]
    assert [process.returncode for process in several] == [0, 0, 0], said
    assert len({out for out, _ in said}) == 1


@pytest.mark.slow
def test_one_that_is_killed_while_it_makes_the_database_leaves_none(data_dir: DataDir) -> None:
    killed = _opening(data_dir)
    being_made = data_dir.tracking_database.with_suffix(".db.new")
    while not (being_made.exists() and being_made.stat().st_size > 0):
        assert killed.poll() is None
        time.sleep(0.01)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    assert not data_dir.tracking_database.exists()
    Tracking(data_dir).client.search_runs([Tracking(data_dir).experiment_id])
    assert not being_made.exists()


@pytest.mark.slow
@pytest.mark.parametrize("content", ["half-made", "empty"])
def test_a_half_made_database_is_made_again(content: str, data_dir: DataDir) -> None:
    if content == "half-made":
        _half_made(data_dir.tracking_database)
    else:
        data_dir.tracking_database.touch()
    assert Tracking(data_dir).experiment_id


@pytest.mark.slow
def test_an_older_database_is_brought_up_to_date_and_kept(archive: Archive) -> None:
    from alembic import command
    from alembic.script import ScriptDirectory
    from mlflow.store.db.utils import _get_alembic_config

    database = archive.data_dir.tracking_database
    run = archive.tracking.client.create_run(archive.tracking.experiment_id, run_name="then")
    config = _get_alembic_config(sqlite_uri(database))
    script = ScriptDirectory.from_config(config)
    newest = str(script.get_current_head())
    (older,) = script.get_revision(newest)._all_down_revisions
    command.downgrade(config, older)
    assert _filed(database, "select version_num from alembic_version") == [older]

    _prepare(archive.data_dir)
    assert _filed(database, "select version_num from alembic_version") == [newest]
    assert _filed(database, "select run_uuid from runs") == [run.info.run_id]
    kept = database.with_name(f"mlflow.db.before-{older}")
    assert _filed(kept, "select version_num from alembic_version") == [older]


def test_a_database_of_a_newer_mlflow_is_refused(archive: Archive) -> None:
    archive.tracking.client.create_run(archive.tracking.experiment_id)
    database = archive.data_dir.tracking_database
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute("update alembic_version set version_num = 'ffffffffffff'")
    before = database.read_bytes()
    with pytest.raises(
        InputError, match=r"mlflow\.db: .* ffffffffffff, which this MLflow does not know; install"
    ):
        _prepare(archive.data_dir)
    assert database.read_bytes() == before


@pytest.mark.parametrize("content", [b"no database at all" * 400, "first page"])
def test_a_damaged_database_is_refused_and_not_touched(
    content: bytes | str, archive: Archive
) -> None:
    database = archive.data_dir.tracking_database
    damaged = content if isinstance(content, bytes) else database.read_bytes()[:4096]
    database.write_bytes(damaged)
    with pytest.raises(InputError, match=r"mlflow\.db: MLflow's database is damaged"):
        _prepare(archive.data_dir)
    assert database.read_bytes() == damaged


def test_a_database_without_the_experiment_gets_it(archive: Archive) -> None:
    database = archive.data_dir.tracking_database
    other = archive.tracking.client.create_experiment("another")
    archive.tracking.client.create_run(other)
    with contextlib.closing(sqlite3.connect(database)) as connection, connection:
        connection.execute(f"delete from experiment_tags where experiment_id != {other}")
        connection.execute(f"delete from experiments where name = '{EXPERIMENT}'")
    _prepare(archive.data_dir)
    assert Tracking(archive.data_dir).experiment_id


def test_an_experiment_that_was_deleted_is_refused(archive: Archive) -> None:
    archive.tracking.client.delete_experiment(archive.tracking.experiment_id)
    with pytest.raises(InputError, match="restore it: mlflow experiments restore"):
        assert Tracking(archive.data_dir).experiment_id


@pytest.mark.parametrize("how", [shutil.move, shutil.copytree])
def test_a_folder_that_was_moved_or_copied_names_its_own_files(
    how: object, archive: Archive, tmp_path: Path
) -> None:
    assert callable(how)
    client = archive.tracking.client
    run = client.create_run(archive.tracking.experiment_id)
    client.log_text(run.info.run_id, "there", "note.txt")
    model = client.create_logged_model(archive.tracking.experiment_id, "made", run.info.run_id)
    client.create_registered_model("made")
    client.create_model_version("made", local_path(model.artifact_location).as_uri())
    outside = client.create_model_version("made", (tmp_path / "elsewhere").as_uri())

    there = DataDir(tmp_path / "moved ?%" / "home")
    there.root.parent.mkdir()
    how(archive.data_dir.root, there.root)
    moved = Archive(there)
    artifacts = local_path(moved.tracking.client.get_run(run.info.run_id).info.artifact_uri)
    assert artifacts.is_relative_to(there.root)
    assert (artifacts / "note.txt").read_text() == "there"
    (found,) = moved.tracking.client.search_logged_models([moved.tracking.experiment_id])
    assert local_path(found.artifact_location).is_relative_to(there.root)
    version = moved.tracking.client.get_model_version("made", "1")
    assert local_path(str(version.source)).is_relative_to(there.root)
    elsewhere = moved.tracking.client.get_model_version("made", outside.version)
    assert local_path(str(elsewhere.source)) == tmp_path / "elsewhere"


def test_the_files_of_another_data_folder_that_named_the_database_stay_its_own(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive.tracking.client.create_run(archive.tracking.experiment_id)
    other = DataDir(tmp_path / "other")
    other.root.mkdir()
    with monkeypatch.context() as names:
        names.setenv(TRACKING, archive.data_dir.tracking_uri)
        names.setenv(EXPERIMENT_NAME, "theirs")
        theirs = Archive(other).tracking
        run = theirs.client.create_run(theirs.experiment_id)
    _prepare(archive.data_dir)
    found = archive.tracking.client.get_run(run.info.run_id)
    assert local_path(found.info.artifact_uri).is_relative_to(other.root)

    there = DataDir(tmp_path / "moved")
    shutil.move(archive.data_dir.root, there.root)
    moved = Archive(there).tracking.client
    found = moved.get_run(run.info.run_id)
    assert local_path(found.info.artifact_uri).is_relative_to(other.root)
    ours = moved.get_experiment_by_name(EXPERIMENT)
    assert ours is not None
    assert local_path(ours.artifact_location).is_relative_to(there.root)
    recorded = read_recorded_of(there)
    assert run.info.run_id not in recorded.runs
    assert len(recorded.runs) == 1


def read_recorded_of(data_dir: DataDir) -> Recorded:
    with contextlib.closing(sqlite3.connect(data_dir.tracking_database)) as connection:
        recorded = read_recorded(connection, data_dir)
    assert recorded is not None
    return recorded


def _lost(data_dir: DataDir) -> None:
    """A data folder with the files of a run, whose database was lost."""
    _prepare(data_dir)
    (data_dir.run_artifacts / "r1" / "artifacts").mkdir(parents=True)
    data_dir.tracking_database.unlink()


@pytest.mark.slow
def test_a_lost_database_is_said_to_be_so_where_there_are_runs(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _lost(data_dir)
    monkeypatch.setenv("THREELOOPS_HOME", str(data_dir.root))
    assert main(["runs"]) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert line.startswith(
        f"threeloops: {data_dir.tracking_database}: MLflow's database is missing"
    )
    assert "put back a copy of it, or make an empty file there" in line
    assert not data_dir.tracking_database.exists(), "none was made"
    data_dir.tracking_database.touch()
    assert main(["runs"]) == 0


def test_what_the_doctor_has_set_aside_is_not_lost(data_dir: DataDir) -> None:
    _prepare(data_dir)
    (data_dir.run_artifacts / "r1" / "artifacts").mkdir(parents=True)
    SetAside(data_dir).move_database(data_dir.tracking_database)
    assert not data_dir.tracking_database.exists()
    _prepare(data_dir)
    assert data_dir.tracking_database.exists()


def test_a_folder_without_runs_is_new(data_dir: DataDir) -> None:
    data_dir.run_artifacts.mkdir(parents=True, exist_ok=True)
    data_dir.tables.mkdir(exist_ok=True)
    _prepare(data_dir)
    assert data_dir.tracking_database.exists()
