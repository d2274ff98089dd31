"""Processes of a group, forked from one that has imported everything: they start at once."""

from __future__ import annotations

import json
import multiprocessing
import os
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import coverage

from tests.policy.parallel import worker
from tests.ranks import Ended, as_torchrun

PATIENCE = 60.0  # whatever happens to one, all end within a minute
_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload([worker.__name__])


def ended_ranks(scene: str, folder: Path, ranks: int = 2, **given: Any) -> list[Ended]:
    """How each process of a scene of `worker` ended, by rank; one that still hangs is killed."""
    (folder / "given.json").write_text(json.dumps(given))
    _wait_for_imports()
    frozen = given.get("how") == "SIGSTOP"
    processes = []
    for rank, place in enumerate(as_torchrun(ranks)):
        process = _context.Process(
            target=_rank, args=(scene, folder, place, rank, frozen), daemon=True
        )
        process.start()
        processes.append(process)
    until = time.monotonic() + PATIENCE
    at: dict[int, float] = {}
    for rank, process in enumerate(processes):
        if not (frozen and given["who"] == rank):
            process.join(max(0.0, until - time.monotonic()))
            at[rank] = time.monotonic()
    for process in processes:
        process.kill()
        process.join()
    return [
        Ended(process.exitcode or 0, "", (folder / f"{rank}.err").read_text(), at.get(rank, until))
        for rank, process in enumerate(processes)
    ]


@cache
def _wait_for_imports() -> None:
    """The first process that is forked waits for them, so it is none of a scene."""
    first = _context.Process(target=os.getpid)
    first.start()
    first.join()


def _rank(scene: str, folder: Path, place: Mapping[str, str], rank: int, frozen: bool) -> None:
    os.environ.update(place)
    err = os.open(folder / f"{rank}.err", os.O_WRONLY | os.O_CREAT, 0o600)
    os.dup2(err, 2)
    measured = coverage.Coverage.current()
    if measured is not None and frozen:
        # in a thread that is traced, Python 3.11 does nothing but ask for signals once there is one
        # that the main thread does not take
        measured.stop()
    try:
        worker.run(scene, folder)
    finally:
        if measured is not None:  # a forked process ends without a word to it
            measured.stop()
            measured.save()
