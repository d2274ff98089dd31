"""A run whose process was killed is closed by the next command."""

from __future__ import annotations

import platform

import pytest

from artifacts.store.checkpoints import CheckpointRecord, checkpoint_folder, write_checkpoint
from artifacts.tracking.archive import Archive
from artifacts.tracking.connection import local_path
from artifacts.tracking.owner import OWNER
from artifacts.tracking.run import Place, tracked_run
from schemas.config import EvalConfig
from schemas.loops import EVALUATION
from schemas.references import PolicyRef, TableRef


def test_the_next_command_closes_a_run_that_was_killed_and_says_so(
    archive: Archive, caplog: pytest.LogCaptureFixture
) -> None:
    client, experiment = archive.tracking.client, archive.tracking.experiment_id
    tags = {"threeloops.loop": "A", OWNER: f"{platform.node()} 999999999 5.0"}
    killed = client.create_run(experiment, tags=tags, run_name="eval").info.run_id
    with tracked_run(archive, EVALUATION, EvalConfig(), Place()) as running:
        found = {run.run_id: run for run in Archive(archive.data_dir).history.every()}
        assert found[killed].status == "KILLED"
        assert found[killed].name == f"eval-{killed[:6]}"
        assert "ended from outside" in found[killed].tags["error"]
        assert found[running.run_id].status == "RUNNING", "its process is this one"
    assert [record.getMessage() for record in caplog.records] == [
        f"eval-{killed[:6]} was cut off: its process was ended from outside, and could not say so; "
        "it is listed as killed from now on"
    ]


def test_what_a_killed_run_had_begun_is_deleted_and_what_is_whole_stays(archive: Archive) -> None:
    client, experiment = archive.tracking.client, archive.tracking.experiment_id
    tags = {"threeloops.loop": "C", OWNER: f"{platform.node()} 999999999 5.0"}
    killed = client.create_run(experiment, tags=tags, run_name="learn").info.run_id
    made = client.create_logged_model(experiment, "learn", killed, model_type="policy")
    weights = local_path(made.artifact_location)
    partial = weights.with_name(f".{weights.name}.partial")
    partial.mkdir(parents=True)
    whole, begun = (checkpoint_folder(archive.data_dir, killed, step) for step in (1, 2))
    write_checkpoint(whole, lambda folder: folder.mkdir(), record())
    begun.mkdir()
    with tracked_run(archive, EVALUATION, EvalConfig(), Place()) as running:
        going_on = checkpoint_folder(archive.data_dir, running.run_id, 1)
        going_on.mkdir(parents=True)
        Archive(archive.data_dir).history.every()
        assert going_on.exists(), "its process is this one"
    assert (whole.exists(), begun.exists(), partial.exists()) == (True, False, False)


def record() -> CheckpointRecord:
    table = TableRef(kind="training", digest="d" * 64, rows=1)
    return CheckpointRecord(policy=PolicyRef(name="p", digest="e" * 64), training=table)
