"""Taking turns: what only one process of a data folder may do at a time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from filelock import FileLock, Timeout

from artifacts.store.data_dir import DataDir


@contextmanager
def taking_turns(
    data_dir: DataDir, name: str, waiting_for: str, log_message: Callable[[str], None]
) -> Iterator[None]:
    """Wait until no other process of this data folder is in the block of this name, then enter.

    It says once what it waits for, and for which process. The lock is the operating system's, so it
    is free as soon as its process ends, however that happens. Machines that share a data folder do
    not wait for each other.
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
        yield
    finally:
        lock.release()
