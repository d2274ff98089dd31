"""Files that a process still needs: another process that would delete one leaves it to it.

Equal runs have equal tables under one name. Each drops what a step sampled once it has learned from
it, and must not take it from the other. The lock is the system's, so it ends with its process.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from pathlib import Path

LATELY = 3600.0  # seconds; what was used since then need not be marked again


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

    def freshen(self, path: Path) -> bool:
        """Let a file count as used now, so that it is not dropped; False where it is gone.

        Who drops it looks at its time while it holds the file alone: one of the two is first.
        """
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return False
        except PermissionError:
            return True  # whoever reads it says so
        try:
            if os.fstat(handle).st_mtime > time.time() - LATELY:
                return True
            with contextlib.suppress(OSError):  # a file system without locks
                fcntl.flock(handle, fcntl.LOCK_SH)
            if os.fstat(handle).st_nlink == 0:
                return False
            try:
                os.utime(handle)
            except OSError:  # it is another user's: it is held as long as this process is there
                return self.hold(path)
            return True
        finally:
            os.close(handle)

    def delete(self, path: Path, *, unused_since: float | None = None) -> bool:
        """Delete a file unless another process holds it; whether it is gone.

        With `unused_since`, in seconds since 1970, only where nobody has made or used it since.
        """
        self._let_go(path)
        try:
            handle = os.open(path, os.O_RDONLY)
        except FileNotFoundError:
            return True
        try:
            if _is_held(handle):
                return False
            if unused_since is not None and os.fstat(handle).st_mtime >= unused_since:
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
