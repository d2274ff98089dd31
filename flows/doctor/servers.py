"""Servers that outlived their command, the file of an `up` that is gone, and the ports of `up`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import psutil

from artifacts.doctor.examination import Examination, Found, Repair, finding
from artifacts.doctor.set_aside import SetAside
from artifacts.store.data_dir import DataDir
from flows.orchestration.guarded_server import orphans
from flows.orchestration.up_file import UP_FILE, prefect_file, read_up_file, running
from flows.services.addresses import Addresses
from flows.services.claim import claim_path, holders
from flows.services.ports import listen
from schemas.errors import InputError

SERVERS = ("prefect.server.api.server:create_app", "mlflow", "flows.services.worker")
PATIENCE = 10.0  # seconds for a server to end


def check_servers(at: Examination) -> Iterator[Found]:
    """What is left of commands, and of an `up`, that were killed."""
    for record, number in orphans(at.data_dir):
        if number is not None:  # without a server, the next command removes the record
            what = f"process {number} is the server of a command that is gone"
            yield at.found("orphaned-server", record, what, _ended(at, record, number))
    yield from _check_up(at)


def check_ports(data_dir: DataDir) -> Iterator[Found]:
    """Whether `up` could listen where it does without options; not asked while one runs."""
    if running(data_dir) is not None:
        return
    usual = Addresses()
    for option, port in (
        ("--prefect-port", usual.prefect_port),
        ("--mlflow-port", usual.mlflow_port),
    ):
        try:
            listen(option, usual.host, port).close()
        except InputError as error:
            yield Found(finding("taken-port", f"port {port}", error.what))


def _check_up(at: Examination) -> Iterator[Found]:
    files = [at.data_dir.root / UP_FILE, prefect_file(at.data_dir)]
    if running(at.data_dir) is not None:
        return
    held = holders(at.data_dir) if claim_path(at.data_dir).exists() else []
    if any(_is_up(number) for number in held):
        return  # it is starting or ending
    if held and all(_is_server(number) for number in held):
        what = f"processes {' '.join(map(str, held))} are servers of an `up` that is gone"
        yield at.found("orphaned-up", claim_path(at.data_dir), what, _all_ended(held))
    for path in files:
        if path.exists():
            damaged = path.name == UP_FILE and read_up_file(at.data_dir) is None
            what = "it cannot be read" if damaged else "its `up` does not answer"
            yield at.found("dead-up-file", path, what, _dead_moved(at, path))


def _dead_moved(at: Examination, path: Path) -> Repair:
    """Set the file of an `up` aside, where none runs and none can start meanwhile."""
    up_lock = claim_path(at.data_dir)
    return at.moved(path, lambda: path.exists() and running(at.data_dir) is None, up_lock)


def _ended(at: Examination, record: Path, number: int) -> Repair:
    def repair(aside: SetAside) -> str | None:
        if (record, number) not in orphans(at.data_dir):
            return None
        process = psutil.Process(number)
        process.terminate()
        _, alive = psutil.wait_procs([process], timeout=PATIENCE)
        for one in alive:
            one.kill()
        return f"process {number} ended, its record {aside.move(record)}"

    return Repair(repair)


def _words(number: int) -> list[str]:
    try:
        return list(psutil.Process(number).cmdline())
    except psutil.Error:
        return []


def _is_up(number: int) -> bool:
    words = _words(number)
    return "up" in words and any(word.endswith(("threeloops", "flows.cli")) for word in words)


def _is_server(number: int) -> bool:
    words = " ".join(_words(number))
    return any(server in words for server in SERVERS)


def _all_ended(numbers: list[int]) -> Repair:
    def repair(aside: SetAside) -> str:
        return f"ended {_end(numbers)} of {len(numbers)} processes"

    return Repair(repair)


def _end(numbers: list[int]) -> int:
    """End servers, each after another look at what it is; returns how many have ended."""
    asked = []
    for number in numbers:
        if _is_server(number):
            try:
                process = psutil.Process(number)
                process.terminate()
                asked.append(process)
            except psutil.Error:
                continue
    gone, alive = psutil.wait_procs(asked, timeout=PATIENCE)
    for process in alive:
        process.kill()
    return len(gone) + len(alive)
