"""What is left of an `up` that was killed, and the ports that it would use."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator

import psutil
import pytest

from artifacts.doctor.databases import recorded_in
from artifacts.doctor.examination import Examination
from artifacts.doctor.set_aside import SetAside
from artifacts.store.data_dir import DataDir
from artifacts.store.stored_bytes import StoredBytes
from flows.doctor.servers import check_ports, check_servers
from flows.services.addresses import Addresses
from flows.services.claim import claim_path

Hold = Callable[..., subprocess.Popen[bytes]]
HOLD = (
    "import fcntl, sys, time; held = open(sys.argv[1], 'w'); fcntl.flock(held, fcntl.LOCK_EX)\n"
    "print('held', flush=True); time.sleep(600)"
)


@pytest.fixture
def at(data_dir: DataDir) -> Examination:
    (data_dir.root / "mlflow.db").unlink(missing_ok=True)
    return Examination(data_dir, StoredBytes(), None, lambda: recorded_in(data_dir))


@pytest.fixture
def hold(data_dir: DataDir) -> Iterator[Hold]:
    """Start a process with these words that holds the lock of `up`."""
    started: list[subprocess.Popen[bytes]] = []
    data_dir.locks.mkdir(exist_ok=True)

    def call(*words: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-c", HOLD, str(claim_path(data_dir)), *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE)
        started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"held\n"
        return process

    yield call
    for process in started:
        process.kill()
        process.communicate()


def test_servers_that_outlived_an_up_are_found_and_ended(at: Examination, hold: Hold) -> None:
    process = hold("flows.services.worker")
    (at.data_dir.root / "up.json").write_text("")
    found = {one.finding.name: one for one in check_servers(at)}
    assert set(found) == {"orphaned-up", "dead-up-file"}
    assert str(process.pid) in found["orphaned-up"].finding.what
    aside = SetAside(at.data_dir)
    for one in found.values():
        assert one.repair is not None
        assert one.repair.do(aside)
    assert not psutil.pid_exists(process.pid)
    assert not (at.data_dir.root / "up.json").exists()
    assert list(check_servers(at)) == []


def test_the_file_of_an_up_stays_when_another_up_starts_before_the_repair(
    at: Examination, hold: Hold
) -> None:
    (at.data_dir.root / "up.json").write_text("")
    (found,) = check_servers(at)
    assert (found.finding.name, found.finding.where) == ("dead-up-file", "up.json")
    assert found.repair is not None
    hold("flows.cli", "up")
    assert found.repair.do(SetAside(at.data_dir)) == "not repaired: another process uses it"
    assert (at.data_dir.root / "up.json").exists()


@pytest.mark.parametrize("words", [("flows.cli", "up"), ("another program",)])
def test_an_up_that_starts_and_a_stranger_are_left_alone(
    words: tuple[str, ...], at: Examination, hold: Hold
) -> None:
    process = hold(*words)
    assert list(check_servers(at)) == []
    assert process.poll() is None


def test_a_port_that_is_taken_is_found_with_its_holder(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.socket() as taken, socket.socket() as free:
        for one in (taken, free):
            one.bind(("127.0.0.1", 0))
        taken.listen()
        ports = Addresses(taken.getsockname()[1], free.getsockname()[1])
        free.close()
        monkeypatch.setattr("flows.doctor.servers.Addresses", lambda: ports)
        (found,) = check_ports(data_dir)
    assert found.finding.name == "taken-port"
    assert found.finding.where == f"port {ports.prefect_port}"
    assert f"process {os.getpid()}" in found.finding.what
