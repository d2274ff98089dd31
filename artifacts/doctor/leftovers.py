"""What killed processes left behind, and who may read what is there: one walk over all files."""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from artifacts.doctor.databases import PREFECT_LOCK, TRACKING_LOCK
from artifacts.doctor.examination import Examination, Found, Repair
from artifacts.doctor.locks import holders_of
from artifacts.doctor.machine import listed
from artifacts.doctor.set_aside import SetAside
from artifacts.store.atomic_file import WRITING, writer_of
from artifacts.store.data_dir import MINE_ALONE, SET_ASIDE
from artifacts.store.process import is_gone
from policy.files.atomic_folder import held_alone, is_written

HALF_FOLDER = re.compile(r"\.(.+)\.(partial|former)")
# databases that are being made, and the lock of whoever makes one
NEW_DATABASES = {
    "mlflow.db.new": TRACKING_LOCK,
    "prefect/prefect.db.new": PREFECT_LOCK,
}
OTHERS = stat.S_IRWXG | stat.S_IRWXO


@dataclass
class Walked:
    """Every path of some kind in the data folder."""

    half_files: list[Path] = field(default_factory=list)
    half_folders: list[Path] = field(default_factory=list)
    open_to_others: list[Path] = field(default_factory=list)


def check_folder(at: Examination) -> Iterator[Found]:
    """Whether a command can use the folder and what must be a folder in it."""
    data_dir = at.data_dir
    kept = (data_dir.tables, data_dir.models, data_dir.checkpoints, data_dir.prefect)
    for path in (*kept, data_dir.run_artifacts, data_dir.locks):
        if (path.exists() or path.is_symlink()) and not path.is_dir():
            yield _in_the_way(at, path, Path.is_dir, "it is no folder")
    database = data_dir.tracking_database
    if database.exists() and not database.is_file():
        yield _in_the_way(at, database, Path.is_file, "it is no file")
    for path in (data_dir.root, *kept, data_dir.run_artifacts):
        if path.is_dir() and not os.access(path, os.W_OK | os.X_OK):
            yield at.found("not-writable", path, "you may not write there")


def check_leftovers(at: Examination) -> Iterator[Found]:
    """Half-written files, half-made folders and databases, and rights that are too wide.

    Each was listed before its writer is looked for, who may have finished it and ended meanwhile.
    """
    walked = _walked(at.data_dir.root)
    for path in walked.half_files:
        if is_gone(writer_of(path)) and path.exists():
            repair = at.moved(path, path.exists)  # who is gone does not come back
            yield at.found("half-written-file", path, "its writer is gone", repair)
    for path in walked.half_folders:
        if not _is_made(path) and path.exists():
            yield _half_made(at, path)
    for name, lock in NEW_DATABASES.items():
        database = at.data_dir.root / name
        paths = sorted(database.parent.glob(f"{database.name}*"))
        if not holders_of(at.data_dir.locks / lock):
            for path in (one for one in paths if one.exists()):
                repair = at.moved(path, path.exists, at.data_dir.locks / lock)
                yield at.found("half-written-file", path, "nobody is making it", repair)
    if walked.open_to_others:
        shown = listed([at.shown(path) for path in walked.open_to_others], 3)
        what = f"other users have rights on {shown}"
        yield at.found("open-to-others", at.data_dir.root, what, _closed(walked.open_to_others))


def check_locks(at: Examination) -> Iterator[Found]:
    """Whether a process that was stopped holds a lock that others wait for."""
    folders = (at.data_dir.locks, at.data_dir.root)  # the gate's is beside the database
    for lock in sorted(lock for folder in folders for lock in folder.glob("*.lock")):
        for number in holders_of(lock):
            try:
                stopped = psutil.Process(number).status() == psutil.STATUS_STOPPED
            except psutil.Error:
                continue
            if stopped:
                yield at.found("stopped-process", lock, f"process {number} is stopped")


def _in_the_way(at: Examination, path: Path, is_right: Callable[[Path], bool], what: str) -> Found:
    return at.found("stands-in-the-way", path, what, at.moved(path, lambda: not is_right(path)))


def _half_made(at: Examination, path: Path) -> Found:
    whole, is_former = _whole(path)
    if is_former and not whole.exists():
        what = f"{whole.name} is not there"
        return at.found("former-folder", path, what, _renamed_back(at, path, whole))
    # the lock of a new one is held while it is moved
    repair = at.moved(path, lambda: path.exists() and not (is_former and _is_made(path)))
    return at.found("half-made-folder", path, "nobody is making it", repair)


def _renamed_back(at: Examination, path: Path, whole: Path) -> Repair:
    def repair(aside: SetAside) -> str | None:
        with held_alone(path) as mine:
            if not mine or whole.exists() or _is_made(path):
                return None
            path.rename(whole)
        return f"renamed to {at.shown(whole)}"

    return Repair(repair)


def _whole(path: Path) -> tuple[Path, bool]:
    """The folder that a half-made one is to become, or has been, and whether it is the former."""
    match = HALF_FOLDER.fullmatch(path.name)
    assert match is not None  # that is how it was found
    return path.with_name(match[1]), match[2] == "former"


def _is_made(path: Path) -> bool:
    """Whether a process may be making a folder just now: it holds the lock of the new one.

    The new one is `.NAME.partial` and then, until the former one is deleted, `NAME`.
    """
    whole, is_former = _whole(path)
    if not is_former:
        return is_written(path)
    new = (path.with_name(f".{whole.name}.partial"), whole)
    return any(is_written(one) for one in new if one.exists())


def _walked(root: Path) -> Walked:
    found, shared = Walked(), bool(root.stat().st_mode & stat.S_IWGRP)
    if not shared and root.stat().st_mode & OTHERS:
        found.open_to_others.append(root)
    for place, folders, files in os.walk(root):
        if Path(place) == root and SET_ASIDE in folders:
            folders.remove(SET_ASIDE)
        for name in (*folders, *files):
            path = Path(place) / name
            if name.startswith(WRITING):
                found.half_files.append(path)
            elif HALF_FOLDER.fullmatch(name) and name in folders:
                found.half_folders.append(path)
            try:
                status = path.lstat()
            except OSError:
                continue
            # in a folder that people share on purpose, rights are theirs to choose
            if not shared and status.st_mode & OTHERS and not stat.S_ISLNK(status.st_mode):
                found.open_to_others.append(path)
    return found


def _closed(paths: list[Path]) -> Repair:
    def repair(aside: SetAside) -> str:
        done = 0
        for path in paths:
            with contextlib.suppress(FileNotFoundError):
                if path.stat().st_uid == os.getuid():
                    path.chmod(stat.S_IMODE(path.stat().st_mode) & MINE_ALONE)
                    done += 1
        return f"rights taken away from others on {done}"

    return Repair(repair)
