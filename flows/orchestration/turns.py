"""Taking turns: what only one process may do at a time, of a data folder or of a shared store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from artifacts.store.data_dir import DataDir
from artifacts.store.shared.lease import Turn, held
from artifacts.store.shared.objects import Objects


@contextmanager
def turn_of_run(
    run_id: str, log_message: Callable[[str], None], shared: Objects | None
) -> Iterator[Turn]:
    """Be the only one in the block who goes on with a run, of all that share a store."""
    if shared is None:
        yield Turn()
        return
    wait = "waiting for the learner that has this run"
    with held(shared, f"run-{run_id}", lambda other: log_message(f"{wait} ({other})")) as turn:
        yield turn


@contextmanager
def taking_turns(
    data_dir: DataDir,
    name: str,
    waiting_for: str,
    log_message: Callable[[str], None],
    shared: Objects | None = None,
) -> Iterator[Turn]:
    """Wait until no other process of this data folder is in the block of this name, then enter.

    It says once what it waits for, and for which process. The lock is the operating system's, so it
    is free as soon as its process ends, however that happens. Machines that share a data folder do
    not wait for each other; those that share a store do, by a lease in it.
    """
    path = data_dir.locks / f"{name}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    holder = path.with_suffix(".pid")
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        process = holder.read_text() if holder.exists() else "unknown"
        log_message(f"waiting for {waiting_for} (process {process})")
        lock.acquire()
    try:
        holder.write_text(str(os.getpid()))
        if shared is None:
            yield Turn()
            return
        wait = f"waiting for {waiting_for}, of another machine or data folder"
        with held(shared, name, lambda other: log_message(f"{wait} ({other})")) as turn:
            yield turn
    finally:
        lock.release()
