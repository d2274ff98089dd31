"""Run a command while Slurm runs workers of Dask for it, each in a job of its own.

    python deploy/slurm/with_workers.py --jobs 2 -- threeloops eval --task-runner dask

Workers have the environment of this process, so set PREFECT_API_URL, THREELOOPS_STORE and
OMP_NUM_THREADS before. It ends with the command's exit code, and its jobs end with it. SIGTERM and
Ctrl-C are passed on to the command.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from types import FrameType

from dask_jobqueue import SLURMCluster
from distributed import TimeoutError as LateError


def main() -> int:
    """Start the jobs, wait for the first worker, and run the command."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--jobs", type=int, required=True, help="workers, each a job")
    parser.add_argument("--cores", type=int, default=1, help="of one job; its OpenMP threads")
    parser.add_argument("--memory", default="8GB", help="of one job")
    parser.add_argument("--queue", help="Slurm's partition")
    parser.add_argument("--walltime", default="01:00:00", help="after which Slurm ends a job")
    parser.add_argument("--interface", help="of the network that workers reach this host by")
    parser.add_argument("--directive", action="append", default=[], help="such as --gpus=1")
    parser.add_argument("--wait", type=float, default=3600.0, help="seconds for the first worker")
    parser.add_argument("command", nargs="+", help="after --")
    given = parser.parse_args()
    if not os.environ.get("PREFECT_API_URL"):
        parser.error("set PREFECT_API_URL to a server that the workers reach")
    threads = os.environ.get("OMP_NUM_THREADS", str(given.cores))
    _answer(_end)
    with SLURMCluster(
        # a worker has one thread that takes shards; the job's other cores are for OpenMP
        cores=1,
        job_cpu=given.cores,
        processes=1,
        memory=given.memory,
        queue=given.queue,
        walltime=given.walltime,
        interface=given.interface,
        job_extra_directives=given.directive,
        job_script_prologue=[f"export OMP_NUM_THREADS={shlex.quote(threads)}"],
        # without an address its page would be open to everybody who reaches this host
        scheduler_options={"dashboard": False, "dashboard_address": "127.0.0.1:0"},
        worker_extra_args=["--no-dashboard"],
    ) as cluster:
        cluster.scale(jobs=given.jobs)
        try:
            cluster.wait_for_workers(1, timeout=given.wait)
        except LateError:
            print(f"no worker has come in {given.wait:.0f} seconds; see squeue", file=sys.stderr)
            return 1
        told = {"DASK_SCHEDULER_ADDRESS": cluster.scheduler_address}
        return _run(given.command, os.environ | told)


def _run(command: Sequence[str], environment: Mapping[str, str]) -> int:
    """The exit code of a command, which answers SIGTERM and Ctrl-C in this program's place."""
    heard: list[int] = []
    _answer(lambda number, _: heard.append(number))
    # not in the terminal's own group, which would send it Ctrl-C a second time
    process = subprocess.Popen(command, env=environment, start_new_session=True)
    _answer(lambda number, _: process.send_signal(number))
    for number in heard:
        process.send_signal(number)
    code = process.wait()
    return code if code >= 0 else 128 - code


def _end(number: int, frame: FrameType | None) -> None:
    """Without a command there is nothing to wait for but the end of the jobs, which takes once."""
    _answer(signal.SIG_IGN)
    raise SystemExit(128 + number)


def _answer(handler: Callable[[int, FrameType | None], object] | signal.Handlers) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        if signal.getsignal(number) != signal.SIG_IGN:  # as a job behind `&` ignores Ctrl-C
            signal.signal(number, handler)


if __name__ == "__main__":
    sys.exit(main())
