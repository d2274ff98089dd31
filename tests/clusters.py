"""Real clusters of Dask and Ray on loopback for tests: a head, workers, and who of them works."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.mlflow_server import free_port

ROOT = Path(__file__).parents[1]
PATIENCE = 600.0
# a scheduler in whose Python this package is not installed
WITHOUT_US = """
import sys
sys.meta_path[:] = [one for one in sys.meta_path if "editable" not in repr(one)]
from distributed.cli.dask_scheduler import main
main()
"""
# what a command would hand down; a node has none of it unless a test says so
NAMED = ("THREELOOPS_", "PREFECT_", "MLFLOW_", "OMP_", "DASK_", "RAY_")


@dataclass
class RunningCluster:
    """One cluster: how a command names it, and the process ids of workers that have a shard."""

    name: str
    address: dict[str, str]
    busy: Callable[[], list[int]]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)


def bare_environment(**named: str) -> dict[str, str]:
    """This process's environment without what names a data folder or a server, and with `named`."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(NAMED)}
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return kept | {"PYTHONPATH": path, "CUDA_VISIBLE_DEVICES": ""} | named


@contextlib.contextmanager
def dask_cluster(
    folder: Path,
    environment: Mapping[str, str],
    workers: int = 2,
    threads: int = 1,
    *,
    knows_us: bool = True,
) -> Iterator[RunningCluster]:
    """A scheduler, and workers that have this environment."""
    address = f"tcp://127.0.0.1:{free_port()}"
    port = address.rpartition(":")[2]
    head = ["-m", "distributed.cli.dask_scheduler"] if knows_us else ["-Pc", WITHOUT_US]
    head += ["--host", "127.0.0.1", "--port", port]
    one = ["-m", "distributed.cli.dask_worker", address, "--nthreads", str(threads)]
    told = dict(environment) if knows_us else dict(environment) | {"PYTHONPATH": ""}
    with _ended_together() as started:
        for number, words in enumerate([head, *[one] * workers]):
            local = [] if words is head else ["--local-directory", str(folder / str(number))]
            command = [sys.executable, *words, "--no-dashboard", *local]
            started.append(_start(command, folder / f"dask-{number}.log", told))
        found = {"DASK_SCHEDULER_ADDRESS": address}
        _wait(lambda: _count_dask(address) == workers, "the workers of Dask", folder)
        yield RunningCluster("dask", found, lambda: _busy_dask(address), started)


@contextlib.contextmanager
def dask_worker(address: str, folder: Path, environment: Mapping[str, str]) -> Iterator[None]:
    """One more worker of a scheduler."""
    words = ["distributed.cli.dask_worker", address, "--nthreads", "1", "--no-dashboard"]
    words += ["--local-directory", str(folder / "one-more")]
    with _ended_together() as started:
        log = folder / "dask-one-more.log"
        started.append(_start([sys.executable, "-m", *words], log, environment))
        yield


@contextlib.contextmanager
def ray_cluster(
    folder: Path,
    environment: Mapping[str, str],
    workers: int = 2,
    *,
    as_client: bool = False,
    gpus: int = 0,
    before: Sequence[str] = (),
) -> Iterator[RunningCluster]:
    """One node with so many CPUs; with `as_client` its address is that for other machines.

    It wants a token only where the environment says so: Ray itself does where it finds one. It
    takes our word for its GPUs. `before` are words of a command that starts it.
    """
    port, client = free_port(), free_port()
    # at Ray's own 15 a worker gets next to no time on a machine that does much else
    environment = {"RAY_AUTH_MODE": "disabled", "RAY_worker_niceness": "0"} | dict(environment)
    if gpus:  # Ray compares the two
        environment["CUDA_VISIBLE_DEVICES"] = ",".join(map(str, range(gpus)))
    tokens = {name: said for name, said in environment.items() if name.startswith("RAY_AUTH_")}
    # paths of sockets below it must not be long
    temporary = Path(tempfile.mkdtemp(prefix="ray", dir="/tmp"))
    words = ["start", "--head", "--block", "--disable-usage-stats", "--include-dashboard=false"]
    words += ["--node-ip-address=127.0.0.1", f"--port={port}", f"--num-cpus={workers}"]
    words += [f"--num-gpus={gpus}"] if gpus else []
    words += [f"--ray-client-server-port={client}", f"--temp-dir={temporary}"]
    command = [*before, sys.executable, "-m", "ray.scripts.scripts", *words]
    try:
        with _ended_together() as started:
            started.append(_start(command, folder / "ray.log", environment))
            listening = client if as_client else port
            _wait(lambda: _listens(listening), "Ray", folder)
            found = f"ray://127.0.0.1:{client}" if as_client else f"127.0.0.1:{port}"
            yield RunningCluster(
                "ray", {"RAY_ADDRESS": found, **tokens}, lambda: _busy_ray(started[0].pid), started
            )
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _count_dask(address: str) -> int:
    return len(_of_dask(address, "nthreads"))


def _busy_dask(address: str) -> list[int]:
    """The process ids of workers that have a shard at this moment."""
    having = [worker for worker, tasks in _of_dask(address, "processing").items() if tasks]
    ids = _of_dask(address, "run", os.getpid)
    return [ids[worker] for worker in having]


def _of_dask(address: str, asked: str, *given: Any) -> dict[str, Any]:
    import distributed

    try:
        with distributed.Client(address, timeout=10, set_as_default=False) as client:
            return dict(getattr(client, asked)(*given))
    except OSError:
        return {}


def _busy_ray(head: int) -> list[int]:
    """A Ray worker takes the name of the task that it has as its title."""
    found = []
    for process in psutil.Process(head).children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "".join(process.cmdline()).startswith("ray::generate-shard"):
                found.append(process.pid)
    return found


@contextlib.contextmanager
def _ended_together() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes with all that they start, which end with the block."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        yield started
    finally:
        below: list[psutil.Process] = []
        for process in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                below += psutil.Process(process.pid).children(recursive=True)
        for process in reversed(started):
            process.terminate()
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
        for left in [*below, *(psutil.Process(p.pid) for p in started if p.poll() is None)]:
            with contextlib.suppress(psutil.NoSuchProcess):
                left.send_signal(signal.SIGKILL)
        for process in started:
            process.wait(20)


def _start(
    command: list[str], log: Path, environment: Mapping[str, str]
) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        return subprocess.Popen(
            command, env=dict(environment), cwd=log.parent, stdout=file, stderr=file
        )


def _listens(port: int) -> bool:
    return any(
        one.status == psutil.CONN_LISTEN and one.laddr.port == port
        for one in psutil.net_connections("tcp")
    )


def _wait(ready: Callable[[], bool], what: str, folder: Path) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        logs = "\n".join(log.read_text()[-2000:] for log in folder.glob("*.log"))
        assert time.monotonic() < deadline, f"{what} did not start:\n{logs}"
        time.sleep(0.2)
