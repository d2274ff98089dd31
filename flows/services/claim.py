"""Only one `threeloops up` serves a data folder at a time."""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import psutil

from artifacts.store.data_dir import DataDir


@contextlib.contextmanager
def claim(data_dir: DataDir) -> Iterator[int | None]:
    """Hold the data folder's lock in the block; an open file, or None where another one holds it.

    What is started with the open file holds the lock too. So servers that outlive an `up` that was
    killed are noticed, before others write to their databases.
    """
    path = claim_path(data_dir)
    path.parent.mkdir(exist_ok=True)
    held = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(held)
        yield None
        return
    try:
        yield held
    finally:
        os.close(held)


def claim_path(data_dir: DataDir) -> Path:
    return data_dir.root / "locks" / "up.lock"


def holders(data_dir: DataDir) -> list[int]:
    """The processes that hold the lock, as far as this user may know."""
    path, found = str(claim_path(data_dir).resolve()), []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error, OSError):
            if path in (opened.path for opened in process.open_files()):
                found.append(process.pid)
    return found
