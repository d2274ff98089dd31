"""Taking turns: what only one process may do at a time, of a data folder or of a shared store."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path

from filelock import FileLock, Timeout

from artifacts.store.data_dir import DataDir
from artifacts.store.shared.lease import ASK_AGAIN, Turn, held
from artifacts.store.shared.objects import Objects

OWNER_ALONE = stat.S_IRUSR | stat.S_IWUSR
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
    database: Path | None = None,
) -> Iterator[Turn]:
    """Wait until no other process of this data folder is in the block of this name, then enter.

    It says once what it waits for, and for which process. The lock is the operating system's, so it
    is free as soon as its process ends, however that happens. Machines that share a data folder do
    not wait for each other; those that share a store or a registry do, by what `across` holds
    there: it is told whom to call with the process that it waits for. With a `database`, the lock
    lies beside that file, and is that of every data folder that names it.
    """
    here = data_dir.locks / f"{name}.lock"
    here.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(here) if database is None else _beside(database, name)
    holder = Path(lock.lock_file).with_suffix(".pid")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        log_message(f"waiting for {waiting_for} (process {_written(holder)})")
        lock.acquire()
    try:
        _write(holder)
        if across is None:
            yield Turn()
            return
        wait = f"waiting for {waiting_for}, of another machine or data folder"
        with across(lambda other: log_message(f"{wait} ({other})")) as turn:
            yield turn
    finally:
        lock.release()


def _beside(database: Path, name: str) -> FileLock:
    """A lock that whoever may use the database may use too."""
    rights = stat.S_IMODE(database.stat().st_mode) if database.exists() else OWNER_ALONE
    return FileLock(database.with_name(f"{database.name}.{name}.lock"), mode=rights)


def _write(holder: Path) -> None:
    """Note which process has a lock; another user's note, of a turn that is over, is replaced."""
    with contextlib.suppress(PermissionError):  # it is only told to those who wait
        holder.unlink(missing_ok=True)
        holder.write_text(str(os.getpid()))


def _written(holder: Path) -> str:
    try:
        return holder.read_text()
    except OSError:
        return "unknown"
