"""The one place that turns an error nobody expected into one line and an exit code."""

from __future__ import annotations

import contextlib
import errno
import os
import sqlite3
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from artifacts.store.data_dir import private_files
from artifacts.text.secrets import without_secrets
from artifacts.tracking.named import TRACKING

BAD_INPUT, DEFECT = 2, 70
FULL = (errno.ENOSPC, errno.EDQUOT)
NOT_ALLOWED = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EIO)
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP)  # what a file system without locks says
WITHOUT_LOCKS = (
    "the file system of the data folder, or of a shared one, does not lock files; mount it with "
    "locks, or set THREELOOPS_HOME to a folder on another disk"
)
DRIVERS = ("psycopg2", "psycopg", "pymysql", "MySQLdb")  # of what MLFLOW_TRACKING_URI may name
NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW  # how a file that must be new is opened
WRONG_KIND = (errno.ENOTDIR, errno.EISDIR, errno.EEXIST)


def was_terminated(error: BaseException) -> bool:
    """Whether SIGTERM is behind an error: Prefect, which takes it during a flow, raises it.

    What Prefect's server, which got the signal too, could not be told any more comes after it.
    """
    return any(type(cause).__name__ == "TerminationSignal" for cause in _causes(error))


def explained(error: BaseException, logs: Path | None) -> tuple[str, int]:
    """One line on an error, and the exit code.

    What the machine does not allow is told with what to do about it. All else is a defect: its
    traceback goes into a file in `logs`, or into a temporary one where that cannot be written.
    """
    for cause in _causes(error):
        if line := _of_the_machine(cause):
            return line, BAD_INPUT
    kept = _keep(error, logs)
    where = f"; the details are in {kept}, please report it" if kept else ""
    return f"a defect of threeloops: {_in_short(error)}{where}", DEFECT


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it, the first cause last."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _of_the_machine(error: BaseException) -> str | None:
    if isinstance(error, OSError) and error.filename is not None:
        return _of_a_file(error, os.fsdecode(error.filename))
    if isinstance(error, OSError) and error.errno in FULL:
        return (
            "a disk is full, that of the data folder or of temporary files; make room and run the "
            "command again: it goes on where it was"
        )
    if isinstance(error, OSError) and error.errno in NO_LOCKS:
        return WITHOUT_LOCKS
    if isinstance(error, sqlite3.OperationalError):
        return _of_a_database(str(error))
    if any(
        kind.__name__ == "OperationalError" and kind.__module__.partition(".")[0] in DRIVERS
        for kind in type(error).__mro__
    ):
        return (
            f"the database of {TRACKING} cannot be used ({_in_short(error)}); see whether it runs, "
            "and run the command again"
        )
    return None


def _of_a_file(error: OSError, path: str) -> str | None:
    reason = (error.strerror or "error").lower()
    if error.errno in FULL:
        return f"{path}: the disk is full; make room and run the command again"
    if error.errno in NOT_ALLOWED:
        return f"{path}: cannot be read or written ({reason}); give yourself the right to it"
    if error.errno in WRONG_KIND:
        return f"{path}: {reason}; move away what stands in its place"
    if error.errno in (errno.ENAMETOOLONG, errno.ELOOP):
        return f"{path}: {reason}; choose another one"
    return None


def _of_a_database(reason: str) -> str | None:
    if "locking protocol" in reason:
        return WITHOUT_LOCKS
    if "locked" in reason:
        return "a database of the data folder is in use by another command; try again later"
    if "full" in reason:
        return (
            "the disk of the data folder is full, so its database cannot be written; make room and "
            "run the command again"
        )
    if "readonly" in reason or "unable to open" in reason or "disk I/O" in reason:
        return (
            f"a database of the data folder cannot be used ({reason}); see whether its disk is "
            "full and whether you may write to it"
        )
    return None


def _keep(error: BaseException, logs: Path | None) -> Path | None:
    """The traceback in a file of its own; None where no file can be written at all."""
    story = without_secrets("".join(traceback.format_exception(error)))
    name = f"{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}.log"
    # what an error says can be a completion or a path, which is nobody else's
    with private_files(), contextlib.suppress(OSError):
        if logs is not None:
            logs.mkdir(0o700, parents=True, exist_ok=True)
            return _written(os.open(logs / name, NEW, 0o600), logs / name, story)
    with contextlib.suppress(OSError):
        # anybody may write there: a name that can be known may have been taken, to lead elsewhere
        handle, path = tempfile.mkstemp(suffix=f"-{name}", prefix="threeloops-")
        return _written(handle, Path(path), story)
    return None


def _written(handle: int, path: Path, story: str) -> Path:
    """A new file with this text; nothing where the disk is full."""
    try:
        with open(handle, "w", encoding="utf-8", errors="backslashreplace") as file:
            file.write(story)
    except OSError:
        path.unlink(missing_ok=True)
        raise
    return path


def _in_short(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
