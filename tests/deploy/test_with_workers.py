"""The program that starts a command with jobs of Slurm beside it: how both end, without a Slurm."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "deploy" / "slurm" / "with_workers.py"
PATIENCE = 60.0
# both modules as far as the program uses them; a cluster says in a file when its jobs are ended
JOBS = """
from pathlib import Path
from time import sleep


class SLURMCluster:
    scheduler_address = "tcp://127.0.0.1:1"

    def __init__(self, **given): ...
    def scale(self, jobs): ...

    def __enter__(self):
        return self

    def wait_for_workers(self, count, timeout):
        Path("asked").touch()
        while Path("late").exists():
            sleep(0.05)

    def __exit__(self, *error):
        sleep(0.5)
        Path("ended").touch()
"""
# a command with an exit code and some seconds; it says what stopped it, and what was there
COMMAND = """
import os, signal, sys, time
heard = []
for number in (signal.SIGTERM, signal.SIGINT):
    signal.signal(number, lambda number, _: heard.append(number))
open("begun", "w").close()
until = time.monotonic() + float(sys.argv[2])
while time.monotonic() < until and not heard:
    time.sleep(0.05)
time.sleep(0.5)
print(*heard, os.environ["DASK_SCHEDULER_ADDRESS"], os.path.exists("ended"))
sys.exit(int(sys.argv[1]))
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(tmp_path: Path) -> Start:
    """Starts the program with a command in a folder of the test's own."""
    modules = tmp_path / "modules"
    modules.mkdir()
    (modules / "dask_jobqueue.py").write_text(JOBS)
    (modules / "distributed.py").write_text("TimeoutError = TimeoutError\n")

    def started(*command: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, str(SCRIPT), "--jobs", "1", "--", *command],
            env=os.environ | {"PYTHONPATH": str(modules), "PREFECT_API_URL": "http://h:1/api"},
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    return started


def wait_for(path: Path, process: subprocess.Popen[str]) -> None:
    until = time.monotonic() + PATIENCE
    while not path.exists():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < until
        time.sleep(0.05)


def test_it_ends_with_the_commands_code_and_its_jobs_end_after_it(
    start: Start, tmp_path: Path
) -> None:
    process = start(sys.executable, "-c", COMMAND, "3", "0")
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (3, "tcp://127.0.0.1:1 False\n", "")
    assert (tmp_path / "ended").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_is_the_commands_to_answer(
    number: signal.Signals, start: Start, tmp_path: Path
) -> None:
    process = start(sys.executable, "-c", COMMAND, "7", str(PATIENCE))
    wait_for(tmp_path / "begun", process)
    process.send_signal(number)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out, err) == (7, f"{number} tcp://127.0.0.1:1 False\n", "")
    assert (tmp_path / "ended").exists()


def test_a_command_that_a_signal_ends_gives_the_code_of_a_shell(
    start: Start, tmp_path: Path
) -> None:
    process = start("sh", "-c", "touch begun; exec sleep 60")
    wait_for(tmp_path / "begun", process)
    process.send_signal(signal.SIGTERM)
    process.communicate(timeout=PATIENCE)
    assert process.returncode == 128 + signal.SIGTERM
    assert (tmp_path / "ended").exists()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_no_worker_has_come_ends_the_jobs(
    number: signal.Signals, start: Start, tmp_path: Path
) -> None:
    (tmp_path / "late").touch()
    process = start("touch", "begun")
    wait_for(tmp_path / "asked", process)
    process.send_signal(number)
    time.sleep(0.1)
    process.send_signal(number)  # the jobs are being ended, and go on to be
    _, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, err) == (128 + number, "")
    assert (tmp_path / "ended").exists()
    assert not (tmp_path / "begun").exists()
