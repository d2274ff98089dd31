"""Checkpoints of runs that go on, or that only a server knows, are left alone."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import pytest

from artifacts.doctor.checkpoints import check_checkpoints
from artifacts.doctor.databases import check_tracking_database, recorded_in
from artifacts.doctor.examination import Examination, Found
from artifacts.store.checkpoints import CheckpointRecord, write_checkpoint
from artifacts.store.data_dir import DataDir
from artifacts.store.shared.checkpoints import RECORD
from artifacts.tracking.archive import Archive
from artifacts.tracking.named import EXPERIMENT, SERVER
from policy.files.atomic_folder import being_written
from schemas.references import PolicyRef, TableRef

Look = Callable[[], Examination]
Repaired = Callable[[Iterable[Found]], list[str | None]]
RUN = "f" * 32


@pytest.fixture
def step(archive: Archive) -> Path:
    """A whole checkpoint of a run that the data folder's database does not have."""
    folder = archive.data_dir.checkpoints / RUN / "step-000002"
    at = CheckpointRecord(
        policy=PolicyRef(name="m", digest="b" * 64, step=2),
        training=TableRef(kind="training", digest="a" * 64, rows=2),
    )

    def save(learner: Path) -> None:
        learner.mkdir()
        (learner / "weights.safetensors").write_bytes(b"weights")

    write_checkpoint(folder, save, at)
    return folder


def _names(look: Look) -> list[str]:
    return [one.finding.name for one in check_checkpoints(look())]


def _move_experiment_away(data_dir: DataDir) -> None:
    elsewhere = "update experiments set artifact_location = 's3://mine' where name = ?"
    with closing(sqlite3.connect(data_dir.tracking_database)) as database, database:
        database.execute(elsewhere, (EXPERIMENT,))


def test_a_checkpoint_of_no_run_is_set_aside(step: Path, look: Look, repaired: Repaired) -> None:
    found = list(check_checkpoints(look()))
    assert [one.finding.name for one in found] == ["checkpoint-of-no-run"]
    assert repaired(found) == ["set aside"]
    assert not step.parent.exists()


@pytest.mark.parametrize("why", ["server", "renamed", "files of the run"])
def test_a_whole_checkpoint_stays_where_a_run_may_go_on_from_it(
    why: str, step: Path, look: Look, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    if why == "server":
        monkeypatch.setenv(SERVER, "http://127.0.0.1:9")
    elif why == "renamed":
        _move_experiment_away(data_dir)
    else:
        (data_dir.run_artifacts / RUN / "artifacts").mkdir(parents=True)
    assert _names(look) == []


def test_a_run_that_turns_up_before_the_repair_keeps_its_checkpoints(
    step: Path, look: Look, repaired: Repaired, data_dir: DataDir
) -> None:
    found = list(check_checkpoints(look()))
    (data_dir.run_artifacts / RUN / "artifacts").mkdir(parents=True)
    assert repaired(found) == [None]
    assert (step / RECORD).exists()


def test_a_checkpoint_that_is_being_written_for_a_server_is_left_alone(
    step: Path,
    look: Look,
    repaired: Repaired,
    data_dir: DataDir,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv(SERVER, "http://127.0.0.1:9")
    data_dir.tracking_database.unlink()
    (step / RECORD).unlink()
    with being_written(step):
        assert _names(look) == []
    found = list(check_checkpoints(look()))
    assert [one.finding.name for one in found] == ["half-made-folder"]
    with being_written(step):
        assert repaired(found) == ["not repaired: another process uses it"]
    assert step.exists()
    assert repaired(found) == ["set aside"]


def test_a_damaged_checkpoint_is_looked_at_again_before_it_is_moved(
    step: Path, look: Look, repaired: Repaired, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(SERVER, "http://127.0.0.1:9")
    weights = step / "learner" / "weights.safetensors"
    weights.write_bytes(b"changed")
    found = list(check_checkpoints(look()))
    assert [one.finding.name for one in found] == ["damaged-checkpoint"]
    weights.write_bytes(b"weights")
    assert repaired(found) == [None]
    weights.write_bytes(b"changed")
    assert repaired(found) == ["set aside"]


def test_checkpoints_that_go_while_they_are_looked_at_are_no_error(
    step: Path, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(at: Examination, run_id: str) -> bool:
        shutil.rmtree(step.parent)
        return False

    monkeypatch.setattr(Examination, "is_nobodys", gone)
    assert _names(look) == []


def test_a_database_without_our_experiment_says_nothing(
    archive: Archive, look: Look, data_dir: DataDir
) -> None:
    archive.tracking.client.search_experiments()
    assert recorded_in(data_dir) is not None
    _move_experiment_away(data_dir)
    assert recorded_in(data_dir) is None
    with closing(sqlite3.connect(data_dir.tracking_database)) as database, database:
        database.execute("drop table model_version_tags")
    assert recorded_in(data_dir) is None


@pytest.mark.parametrize("server", [True, False])
def test_a_database_is_missed_only_where_mlflow_is_no_server(
    server: bool, look: Look, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    (data_dir.run_artifacts / RUN / "artifacts").mkdir(parents=True)
    if server:
        monkeypatch.setenv(SERVER, "http://127.0.0.1:9")
    names = [one.finding.name for one in check_tracking_database(look())]
    assert names == ["missing-database"] * (not server)


def test_checkpoints_that_may_not_be_read_are_told_and_stay(
    step: Path, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("os.access", lambda path, how: path != step.parent)
    (found,) = check_checkpoints(look())
    assert (found.finding.name, found.repair) == ("unreadable-file", None)
