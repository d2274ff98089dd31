"""Which processes hold a lock, asked without taking it, and locks that are held for a repair."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from artifacts.store.data_dir import MINE_ALONE

KERNEL = Path("/proc/locks")
# number: FLOCK ADVISORY WRITE pid major:minor:inode start end
LINE = re.compile(r"^\d+: +(?:FLOCK|POSIX|OFDLCK)\s+\S+\s+\S+\s+(-?\d+)\s+\S+:(\d+)\s")


def holders_of(lock: Path) -> list[int]:
    """The ids of the processes that hold a lock file, as far as this user may know.

    A lock is the operating system's and ends with its process, so a file alone says nothing.
    """
    try:
        inode = lock.stat().st_ino
    except OSError:
        return []
    if not KERNEL.exists():  # not Linux: who has it open is likely to hold it
        return [process.pid for process in psutil.process_iter() if _has_open(process, lock)]
    lines = (LINE.match(line) for line in KERNEL.read_text().splitlines())
    return [int(found[1]) for found in lines if found and int(found[2]) == inode]


@contextlib.contextmanager
def lock_held(lock: Path) -> Iterator[bool]:
    """Hold a lock file in the block, without waiting; False where another process holds it."""
    lock.parent.mkdir(MINE_ALONE, exist_ok=True)
    held = FileLock(lock)
    try:
        held.acquire(timeout=0)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        held.release()


def users_of(path: Path) -> list[int]:
    """The ids of other processes that have a file open, as far as this user may know."""
    found = (one for one in psutil.process_iter() if one.pid != os.getpid())
    return [process.pid for process in found if _has_open(process, path)]


def _has_open(process: psutil.Process, path: Path) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return str(path.resolve()) in (opened.path for opened in process.open_files())
    return False
