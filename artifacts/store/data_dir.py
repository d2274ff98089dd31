"""The data folder: where every byte that threeloops keeps is found, and who may read it."""

from __future__ import annotations

import contextlib
import os
import stat
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from schemas.errors import InputError
from schemas.files import of_user

PATIENCE = 60  # seconds to wait for another command that writes to a database
RUN_ARTIFACTS = "mlartifacts"  # the folder of the files of runs
SET_ASIDE = "set-aside"  # the folder of what a repair has moved away
LOGS = "logs"  # the folder of what happened in a defect
ROOT = 0  # the user who may do anything anyway, and who makes folders in containers
MINE_ALONE = 0o700  # completions, models and secrets are nobody else's


@dataclass(frozen=True)
class DataDir:
    """One folder holding tables, runs, models, checkpoints and Prefect's own state."""

    root: Path

    @property
    def tables(self) -> Path:
        return self.root / "tables"

    @property
    def models(self) -> Path:
        return self.root / "models"

    @property
    def datasets(self) -> Path:
        return self.root / "datasets"

    @property
    def checkpoints(self) -> Path:
        return self.root / "checkpoints"

    @property
    def prefect(self) -> Path:
        return self.root / "prefect"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    @property
    def tracking_database(self) -> Path:
        return self.root / "mlflow.db"

    @property
    def tracking_uri(self) -> str:
        return sqlite_uri(self.tracking_database)

    @property
    def run_artifacts(self) -> Path:
        return self.root / RUN_ARTIFACTS

    @property
    def mlflow_cache(self) -> Path:
        """Copies of files that an MLflow elsewhere keeps: of runs, models and versions."""
        return self.root / "mlflow-cache"


def sqlite_uri(database: Path) -> str:
    """The address of an SQLite file for MLflow.

    In an address `?`, `#` and `%` have a meaning of their own, so they are quoted. MLflow makes
    the folder of a plain `sqlite:` address as it is written, quotes included, and leaves one that
    names its driver alone. Who finds the file locked waits for `PATIENCE` seconds.
    """
    path, wait = str(database), f"?timeout={PATIENCE}"
    if set(path) & set("?#%"):
        return f"sqlite+pysqlite:///{quote(path)}{wait}"
    return f"sqlite:///{path}{wait}"


def named_data_folder() -> Path:
    """Where the data folder is or will be: `THREELOOPS_HOME`, or `.threeloops` where one works.

    Raises InputError where that is a folder that was deleted.
    """
    try:
        return of_user(os.environ.get("THREELOOPS_HOME") or ".threeloops").absolute()
    except FileNotFoundError:
        raise InputError(
            "the working directory was deleted",
            remedy="go to another folder, or set THREELOOPS_HOME",
        ) from None


def current_data_dir() -> DataDir:
    """`THREELOOPS_HOME`, or `.threeloops` in the working directory; made when missing.

    Nobody but its owner may enter it, and its group if it may write to it: people share such a
    folder on purpose. Raises InputError when it cannot be made or written, and for one of somebody
    else that everybody may write to, where anything may have been prepared.
    """
    root = named_data_folder()
    try:
        if not root.is_dir():
            root.mkdir(MINE_ALONE, parents=True, exist_ok=True)
        _close_to_others(root)
    except OSError as error:
        raise InputError(
            f"the data folder cannot be made ({error.strerror})",
            str(root),
            "set THREELOOPS_HOME to a folder that you can write to",
        ) from None
    if not os.access(root, os.W_OK | os.X_OK):
        raise InputError(
            "the data folder cannot be written",
            str(root),
            "set THREELOOPS_HOME to a folder that you can write to",
        )
    found = DataDir(root)
    _refuse_what_stands_in_the_way(found)
    return found


@contextlib.contextmanager
def private_files() -> Iterator[None]:
    """Files that this process makes in the block can be read by nobody else.

    The mask belongs to the whole process, whose threads may be in such blocks at the same time: the
    first that comes changes it, and the last that goes puts back what was there.
    """
    _inside.enter()
    try:
        yield
    finally:
        _inside.leave()


class _Mask:
    """How many blocks ask for private files, and the mask that was there before them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._blocks = 0
        self._before = 0

    def enter(self) -> None:
        with self._lock:
            if not self._blocks:
                self._before = os.umask(0o077)
            self._blocks += 1

    def leave(self) -> None:
        with self._lock:
            self._blocks -= 1
            if not self._blocks:
                os.umask(self._before)


_inside = _Mask()


def _close_to_others(root: Path) -> None:
    status = root.stat()
    mode = stat.S_IMODE(status.st_mode)
    if status.st_uid == os.getuid():
        kept = mode & ~0o007 if mode & stat.S_IWGRP else MINE_ALONE
        if mode & 0o077 and mode != kept:
            root.chmod(kept)
    elif mode & stat.S_IWOTH and status.st_uid != ROOT:
        raise InputError(
            "the data folder belongs to another user, and everybody may write to it",
            str(root),
            "set THREELOOPS_HOME to a folder of your own",
        )


def _refuse_what_stands_in_the_way(found: DataDir) -> None:
    kept = (found.tables, found.models, found.checkpoints, found.prefect, found.run_artifacts)
    for folder in kept:
        if folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
            raise InputError(
                "is no folder that can be written, and the data folder needs one there",
                str(folder),
                "move it away, or set THREELOOPS_HOME to another folder",
            )
    database = found.tracking_database
    if database.exists() and not (database.is_file() and os.access(database, os.W_OK)):
        raise InputError(
            "is no file that can be written, and the data folder needs one there",
            str(database),
            "move it away, or set THREELOOPS_HOME to another folder",
        )
