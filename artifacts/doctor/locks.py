"""Which processes hold a lock, asked without taking it."""

from __future__ import annotations

import contextlib
import re
from pathlib import Path

import psutil

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


def _has_open(process: psutil.Process, path: Path) -> bool:
    with contextlib.suppress(psutil.Error, OSError):
        return str(path.resolve()) in (opened.path for opened in process.open_files())
    return False
