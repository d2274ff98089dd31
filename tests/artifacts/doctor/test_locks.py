"""Who holds a lock is found without taking it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

from artifacts.doctor import locks
from artifacts.doctor.databases import recorded_in
from artifacts.doctor.examination import Examination
from artifacts.doctor.leftovers import check_locks
from artifacts.doctor.locks import holders_of
from artifacts.store.data_dir import DataDir
from artifacts.store.stored_bytes import StoredBytes

HOLD = (
    "import sys, time; from filelock import FileLock\n"
    "with FileLock(sys.argv[1]): print('held', flush=True); time.sleep(600)"
)


@pytest.mark.parametrize("kernel", [True, False])
def test_a_lock_names_its_holder_and_a_file_alone_means_nothing(
    kernel: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not kernel:
        monkeypatch.setattr(locks, "KERNEL", tmp_path / "none")
    lock = tmp_path / "one.lock"
    assert holders_of(lock) == []
    with FileLock(lock):
        assert holders_of(lock) == [os.getpid()]
    lock.touch()
    assert holders_of(lock) == []


def test_a_stopped_process_that_holds_a_lock_is_found(data_dir: DataDir) -> None:
    data_dir.locks.mkdir()
    lock = data_dir.locks / "learner.lock"
    held = subprocess.Popen([sys.executable, "-c", HOLD, str(lock)], stdout=subprocess.PIPE)
    at = Examination(data_dir, StoredBytes(), None, lambda: recorded_in(data_dir))
    try:
        assert held.stdout is not None
        assert held.stdout.readline() == b"held\n"
        assert list(check_locks(at)) == []
        held.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, held.pid, os.WSTOPPED | os.WNOWAIT)
        (found,) = check_locks(at)
        assert (found.finding.name, found.finding.where) == (
            "stopped-process",
            "locks/learner.lock",
        )
        assert str(held.pid) in found.finding.what
    finally:
        held.kill()
        held.communicate()
