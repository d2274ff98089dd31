"""One measurement in one fresh process: how the driver starts it, and how it answers.

Each answer says the wall time, the peak memory, and how busy the rest of the machine was. The
driver imports nothing large, because Linux counts what a process held
when it started another as that one's peak, too.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Record = dict[str, Any]
ROOT = Path(__file__).resolve().parent.parent
NOTHING: Mapping[str, str] = {}
PROC_STAT = Path("/proc/stat")


class BenchError(Exception):
    """A measurement ended without an answer; the message says which and holds its last words."""


def cores() -> int:
    """The cores that this process may use, which is the number of threads of every side."""
    return len(os.sched_getaffinity(0))


def run(
    benchmark: str,
    parameters: Record,
    *,
    python: str = sys.executable,
    home: Path | None = None,
    environment: Mapping[str, str] = NOTHING,
) -> Record:
    """Run `bench.BENCHMARK` in a process of its own and return its record.

    It has as many threads as it may use cores, unless `environment` says otherwise. Beside what
    the benchmark says, the record has its parameters, `process_seconds`,
    `peak_memory_bytes` and `other_cores_busy`: how many cores other processes used meanwhile.
    """
    told = {
        "OMP_NUM_THREADS": str(cores()),
        "MKL_NUM_THREADS": str(cores()),
        "PYTHONPATH": str(ROOT),
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        **environment,
    }
    if home is not None:
        told["THREELOOPS_HOME"] = str(home)
    started, busy, own = time.monotonic(), busy_seconds(), _children_seconds()
    done = subprocess.run(
        [python, "-m", f"bench.{benchmark}", json.dumps(parameters)],
        cwd=ROOT,
        env=os.environ | told,
        capture_output=True,
        text=True,
        check=False,
        umask=0o077,  # it may write to the data folder
    )
    wall = time.monotonic() - started
    others = (busy_seconds() - busy - (_children_seconds() - own)) / wall
    lines = [line for line in done.stdout.splitlines() if line.startswith("{")]
    if done.returncode or not lines:
        raise BenchError(f"{benchmark} {parameters} failed:\n{done.stderr[-3000:]}")
    record: Record = json.loads(lines[-1])
    return {
        "benchmark": benchmark,
        "parameters": parameters,
        **record,
        "process_seconds": wall,
        "other_cores_busy": max(0.0, others),
    }


def answer(measure: Callable[..., Record]) -> None:
    """In the child: call `measure` with the parameters given and print its record as one line."""
    record = measure(**json.loads(sys.argv[1]))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    print(json.dumps({"peak_memory_bytes": peak, **record}), flush=True)


def _children_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def busy_seconds() -> float:
    """Seconds that all cores together have worked since the machine started."""
    user, nice, system, _, _, interrupts, soft, steal = map(
        int, PROC_STAT.read_text().splitlines()[0].split()[1:9]
    )
    return (user + nice + system + interrupts + soft + steal) / os.sysconf("SC_CLK_TCK")
