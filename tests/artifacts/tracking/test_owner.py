"""A run knows the process that writes it, and is closed by the next one when that is gone."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import psutil
import pytest

from artifacts.tracking.archive import Archive
from artifacts.tracking.owner import OWNER, is_gone, this_process
from artifacts.tracking.run import Place, tracked_run
from schemas.config import EvalConfig
from schemas.loops import EVALUATION


def test_a_process_that_runs_is_not_gone() -> None:
    assert not is_gone(this_process())
    assert not is_gone(f"another-machine {os.getpid()} 1.0"), "nothing is known of it here"
    assert not is_gone(""), "an earlier version named none"


def test_a_process_that_ended_is_gone_also_if_its_number_is_used_again() -> None:
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert is_gone(f"{platform.node()} {ended.pid} 1.0")
    machine, number, began = this_process().rsplit(" ", 2)
    assert is_gone(f"{machine} {number} {float(began) - 60}")


def test_a_process_that_nobody_has_waited_for_is_gone() -> None:
    ended = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    began = psutil.Process(ended.pid).create_time() - psutil.boot_time()
    owner = f"{platform.node()} {ended.pid} {began:.1f}"
    assert not is_gone(owner)
    ended.kill()
    while psutil.Process(ended.pid).status() != psutil.STATUS_ZOMBIE:
        pass
    assert is_gone(owner)
    ended.communicate()


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
