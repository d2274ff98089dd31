"""Taking turns: what only one process may do at a time, of a data folder or of a shared store."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial

from filelock import FileLock, Timeout

from artifacts.store.data_dir import DataDir
from artifacts.store.shared.lease import ASK_AGAIN, Turn, held
from artifacts.store.shared.objects import Objects

Across = Callable[[Callable[[str], None]], AbstractContextManager[Turn]]


def turn_of_run(
    data_dir: DataDir, run_id: str, log_message: Callable[[str], None], shared: Objects | None
) -> AbstractContextManager[Turn]:
    """Be the only one in the block who goes on with a run, as `taking_turns` does.

    The learner's turn is not enough: two GPUs of one machine have one each.
    """
    what, name = "the learner that has this run", f"run-{run_id}"
    across = across_store(shared, name, f"go on with it: threeloops learn --resume {run_id}")
    return taking_turns(data_dir, name, what, log_message, across)


def across_store(shared: Objects | None, name: str, remedy: str = ASK_AGAIN) -> Across | None:
    """How those that share a store take turns; None without one."""
    return None if shared is None else partial(held, shared, name, remedy=remedy)


@contextmanager
def taking_turns(
    data_dir: DataDir,
    name: str,
    waiting_for: str,
    log_message: Callable[[str], None],
    across: Across | None = None,
) -> Iterator[Turn]:
    """Wait until no other process of this data folder is in the block of this name, then enter.

    It says once what it waits for, and for which process. The lock is the operating system's, so it
    is free as soon as its process ends, however that happens. Machines that share a data folder do
    not wait for each other; those that share a store or a registry do, by what `across` holds
    there: it is told whom to call with the process that it waits for.
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
        if across is None:
            yield Turn()
            return
        wait = f"waiting for {waiting_for}, of another machine or data folder"
        with across(lambda other: log_message(f"{wait} ({other})")) as turn:
            yield turn
    finally:
        lock.release()
