"""Files that a process still needs: another process that would delete one leaves it to it.

Equal runs have equal tables under one name. Each drops what a step sampled once it has learned from
it, and must not take it from the other. The lock is the system's, so it ends with its process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from pathlib import Path


class InUse:
    """The files that this process holds."""

    def __init__(self) -> None:
        self._held: dict[Path, int] = {}

    def hold(self, path: Path) -> bool:
        """Hold a file until it is deleted here or the process ends; False where it is gone.

        A file system without locks holds nothing.
        """
        self._let_go(path)
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        with contextlib.suppress(OSError):
            fcntl.flock(handle, fcntl.LOCK_SH)  # who deletes it holds it for a moment
        if os.fstat(handle).st_nlink == 0:
            os.close(handle)
            return False
        self._held[path] = handle
        return True

    def delete(self, path: Path) -> bool:
        """Delete a file unless another process holds it; whether it is gone."""
        self._let_go(path)
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return True
        try:
            if _is_held(handle):
                return False
            path.unlink(missing_ok=True)
            return True
        finally:
            os.close(handle)

    def _let_go(self, path: Path) -> None:
        if (handle := self._held.pop(path, None)) is not None:
            os.close(handle)


def _is_held(handle: int) -> bool:
    """Whether another process holds an open file; else it is held by this handle from now on."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # a file system without locks
        return False
    return False
