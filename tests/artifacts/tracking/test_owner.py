"""A run whose process was killed is closed by the next command."""

from __future__ import annotations

import platform

import pytest

from artifacts.tracking.archive import Archive
from artifacts.tracking.owner import OWNER
from artifacts.tracking.run import Place, tracked_run
from schemas.config import EvalConfig
from schemas.loops import EVALUATION


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
