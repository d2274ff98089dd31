"""`python -m bench.workers dask`: shards in one process beside shards on real workers, as a table.

It starts a Prefect server, and for each row a cluster on loopback. `ray` measures Ray. With
`--quick` it is so small that only the code is tested.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bench.process import ROOT, Record, cores, run

PATIENCE = 180.0
WHOLE: Record = {"problems": 192, "samples": 4, "shard_size": 16, "naps": 40, "nap_seconds": 0.5}
QUICK: Record = {"problems": 4, "samples": 2, "shard_size": 2, "naps": 4, "nap_seconds": 0.1}
COUNTS = (1, 2, 4)  # workers that sleep
# end well once a cluster, the first argument, has as many workers as the second says
COME = {
    "dask": """
import sys, distributed
with distributed.Client(sys.argv[1], timeout=60) as client:
    client.wait_for_workers(int(sys.argv[2]), timeout=180)
""",
    "ray": """
import sys, time, ray
ray.init(sys.argv[1], log_to_driver=False)
until = time.monotonic() + 180
while ray.cluster_resources().get("CPU", 0) < int(sys.argv[2]):
    assert time.monotonic() < until
    time.sleep(0.2)
""",
}


def main() -> None:
    """Measure, and print two tables in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("runner", choices=("dask", "ray"))
    parser.add_argument("--model", default="default")
    parser.add_argument("--quick", action="store_true")
    given = parser.parse_args()
    sizes = QUICK if given.quick else WHOLE
    work = {name: sizes[name] for name in ("problems", "samples", "shard_size")}
    work["model"] = given.model
    naps = {name: sizes[name] for name in ("naps", "nap_seconds")}
    with tempfile.TemporaryDirectory(prefix="bench") as scratch, ended_together() as started:
        folder = Path(scratch)
        os.environ["THREELOOPS_HOME"] = str(folder / "home")
        os.environ["DASK_TEMPORARY_DIRECTORY"] = str(folder)  # its scheduler leaves one
        os.environ["PREFECT_API_URL"] = prefect_server(folder, started)
        alone = measured({**work, "runner": None}, threads=2, home=folder / "alone")
        with cluster(given.runner, folder, workers=2):
            by_two = measured({**work, "runner": given.runner}, threads=1, home=folder / "home")
        slept = []
        for count in COUNTS:
            with cluster(given.runner, folder, workers=count):
                told = {**naps, "model": given.model, "runner": given.runner}
                slept.append(measured(told, threads=1, home=folder / "home"))
    print_tables(given.runner, sizes, alone, by_two, slept)


def measured(parameters: Record, *, threads: int, home: Path) -> Record:
    """The record of one process with so many threads."""
    count = str(threads)
    told = {"OMP_NUM_THREADS": count, "MKL_NUM_THREADS": count, "PYTHONPATH": path_of_workers()}
    return run("shards", parameters, home=home, environment=told)


def print_tables(
    runner: str, sizes: Record, alone: Record, by_two: Record, slept: list[Record]
) -> None:
    """Completions a second, and how long the same naps take on more workers."""
    made = sizes["problems"] * sizes["samples"]
    print("| completions of the default model | seconds | a second |\n|---|---|---|")
    for name, record in (("one process, 2 threads", alone), (f"2 workers of {runner}", by_two)):
        seconds = record["sampled"]["seconds"]
        print(f"| {name} | {seconds:.1f} | {made / seconds:.1f} |")
    busy = alone["other_cores_busy"]
    print(f"\nOther programs kept {busy:.1f} cores busy while the one process worked.")
    count, each = sizes["naps"], sizes["nap_seconds"]
    print(f"\n| workers | {count} naps of {each} s | ideal | ms a shard without work | processes |")
    print("|---|---|---|---|---|")
    for workers, record in zip(COUNTS, slept, strict=True):
        nothing = 1000 * record["nothing"]["seconds"] / count
        took, processes = record["slept"]["seconds"], record["slept"]["processes"]
        ideal = count * each / workers
        print(f"| {workers} | {took:.1f} s | {ideal:.1f} s | {nothing:.0f} | {processes} |")
    print(f"\nWhat the {cores()} cores did for a shard without work:\n")
    print("| workers | CPU ms of the one process | of a worker | of everything |")
    print("|---|---|---|---|")
    for workers, record in zip(COUNTS, slept, strict=True):
        used = [record["nothing"][f"{who}_cpu"] for who in ("one_process", "worker", "machine")]
        print(f"| {workers} | {' | '.join(f'{1000 * one:.0f}' for one in used)} |")


def prefect_server(folder: Path, started: list[subprocess.Popen[bytes]]) -> str:
    """Start a Prefect server on a database of its own; its address."""
    port, home = free_port(), folder / "prefect"
    home.mkdir()
    words = ["uvicorn", "--factory", "prefect.server.api.server:create_app", "--log-level", "error"]
    own = {
        "PREFECT_HOME": str(home),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "DO_NOT_TRACK": "1",
    }
    started.append(start([*words, "--port", str(port)], folder / "prefect.log", own))
    address = f"http://127.0.0.1:{port}/api"
    wait(lambda: answers(f"{address}/health"), "Prefect's server", folder / "prefect.log")
    return address


@contextlib.contextmanager
def cluster(runner: str, folder: Path, workers: int) -> Iterator[None]:
    """A cluster of so many workers with a thread each; the environment names it meanwhile."""
    one_thread = {"OMP_NUM_THREADS": "1", "PYTHONPATH": path_of_workers()}
    port, log = free_port(), folder / "cluster.log"
    # paths of Ray's sockets below it must not be long
    with (
        tempfile.TemporaryDirectory(prefix="ray", dir="/tmp") as short,
        ended_together() as started,
    ):
        if runner == "dask":
            address, variable = f"tcp://127.0.0.1:{port}", "DASK_SCHEDULER_ADDRESS"
            head = ["distributed.cli.dask_scheduler", "--host", "127.0.0.1", "--port", str(port)]
            one = ["distributed.cli.dask_worker", address, "--nthreads", "1"]
            one += ["--local-directory", str(folder / "dask")]
            for words in (head, *[one] * workers):
                started.append(start([*words, "--no-dashboard"], log, one_thread))
        else:
            # where Ray finds a token of another cluster, it would want it here too
            os.environ.setdefault("RAY_AUTH_MODE", "disabled")
            address, variable = f"127.0.0.1:{port}", "RAY_ADDRESS"
            words = ["ray.scripts.scripts", "start", "--head", "--block", f"--port={port}"]
            words += ["--node-ip-address=127.0.0.1", f"--num-cpus={workers}"]
            words += ["--disable-usage-stats", "--include-dashboard=false"]
            words += [f"--temp-dir={short}"]
            started.append(start(words, log, one_thread))
        wait(lambda: listens(port), runner, log)
        asked = [sys.executable, "-c", COME[runner], address, str(workers)]
        subprocess.run(asked, check=True, capture_output=True)
        os.environ[variable] = address
        yield


@contextlib.contextmanager
def ended_together() -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that end with the block, each with all that it started."""
    started: list[subprocess.Popen[bytes]] = []
    try:
        yield started
    finally:
        for process in reversed(started):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGTERM)
        for process in started:
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def start(words: list[str], log: Path, named: dict[str, str]) -> subprocess.Popen[bytes]:
    """A module of Python, in a group of processes of its own."""
    with log.open("ab") as file:
        return subprocess.Popen(
            [sys.executable, "-m", *words],
            env=os.environ | named,
            cwd=log.parent,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )


def path_of_workers() -> str:
    """Where workers find this code and what this process found beside it."""
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))


def free_port() -> int:
    """A port that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def listens(port: int) -> bool:
    """Whether somebody listens on a port of this machine."""
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


def answers(address: str) -> bool:
    """Whether a server answers."""
    with contextlib.suppress(OSError), urllib.request.urlopen(address, timeout=5):
        return True
    return False


def wait(ready: object, what: str, log: Path) -> None:
    """Wait until it is there; RuntimeError with the end of its log where that takes too long."""
    assert callable(ready)
    until = time.monotonic() + PATIENCE
    while not ready():
        if time.monotonic() > until:
            raise RuntimeError(f"{what} did not start:\n{log.read_text()[-2000:]}")
        time.sleep(0.2)


if __name__ == "__main__":
    main()
