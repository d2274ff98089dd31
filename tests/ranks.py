"""Several processes that learn together, started as torchrun or srun would start them."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

ROOT = Path(__file__).parents[1]
PATIENCE = 300.0
STRANGE = ("PREFECT_", "SLURM_", "TORCHELASTIC_", "MLFLOW_")
NAMED = ("WORLD_SIZE", "RANK", "LOCAL_RANK", "LOCAL_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT")


def alone() -> dict[str, str]:
    """An environment in which nothing says that there are several processes, with one thread."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(STRANGE) and name not in NAMED
    }
    paths = os.pathsep.join([str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])])
    # as the command has it
    kept["TORCH_CPP_LOG_LEVEL"] = "ERROR"
    return kept | {"OMP_NUM_THREADS": "1", "PYTHONPATH": paths, "PYTHONUNBUFFERED": "1"}


def as_torchrun(size: int) -> list[dict[str, str]]:
    """What torchrun sets for each of so many processes on this host, by rank."""
    port = str(free_port())
    return [
        {
            "WORLD_SIZE": str(size),
            "RANK": str(rank),
            "LOCAL_RANK": str(rank),
            "LOCAL_WORLD_SIZE": str(size),
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        for rank in range(size)
    ]


def as_srun(size: int) -> list[dict[str, str]]:
    """What srun sets, beside the two variables of the job's script."""
    port = str(free_port())
    return [
        {
            "SLURM_STEP_NUM_TASKS": str(size),
            "SLURM_STEP_TASKS_PER_NODE": str(size),
            "SLURM_PROCID": str(rank),
            "SLURM_LOCALID": str(rank),
            "SLURM_NODEID": "0",
            "MASTER_ADDR": "127.0.0.1",
            "MASTER_PORT": port,
        }
        for rank in range(size)
    ]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@dataclass
class Ended:
    """How a process ended, what it printed, and when, by `time.monotonic`."""

    code: int
    out: str
    err: str
    at: float


@dataclass
class Rank:
    """A process that runs, with files for what it prints."""

    process: subprocess.Popen[bytes]
    out: Path
    err: Path
    ended_at: float | None = field(default=None)

    def wait(self, seconds: float = PATIENCE) -> Ended:
        """How it ended; it fails where that takes longer."""
        code = self.process.wait(seconds)
        self.ended_at = self.ended_at or time.monotonic()
        return Ended(code, self.out.read_text(), self.err.read_text(), self.ended_at)


@contextlib.contextmanager
def started(
    words: Sequence[str], places: Sequence[Mapping[str, str]], folder: Path, **more: str
) -> Iterator[list[Rank]]:
    """`python WORDS` in one process for each place; none of them outlives the block."""
    folder.mkdir(parents=True, exist_ok=True)
    ranks: list[Rank] = []
    try:
        for number, place in enumerate(places):
            out, err = folder / f"{number}.out", folder / f"{number}.err"
            with out.open("wb") as stdout, err.open("wb") as stderr:
                process = subprocess.Popen(
                    [sys.executable, *words],
                    env={**alone(), **place, **more},
                    stdout=stdout,
                    stderr=stderr,
                )
            ranks.append(Rank(process, out, err))
        yield ranks
    finally:
        for rank in ranks:
            rank.process.kill()
            rank.process.wait(60)


def run_ranks(
    words: Sequence[str], places: Sequence[Mapping[str, str]], folder: Path, **more: str
) -> list[Ended]:
    """How each process of `python WORDS` ended, by rank."""
    with started(words, places, folder, **more) as ranks:
        return [rank.wait() for rank in ranks]
