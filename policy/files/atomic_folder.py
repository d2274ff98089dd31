"""A folder that is written whole or not at all."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def atomic_folder(folder: Path) -> Iterator[Path]:
    """A new folder to write into, which takes the place of `folder` only when the block succeeds.

    Everything is flushed to disk before the rename, so that a folder that exists is whole. Where
    `folder` existed, a kill between the two renames leaves it beside, as `.NAME.former`.
    """
    folder = Path(folder)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = folder.with_name(f".{folder.name}.partial")
    former = folder.with_name(f".{folder.name}.former")
    shutil.rmtree(partial, ignore_errors=True)
    with being_written(partial):
        try:
            yield partial
            for path in [*partial.rglob("*"), partial]:
                flush(path)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        shutil.rmtree(former, ignore_errors=True)
        if folder.exists():
            folder.rename(former)
        partial.rename(folder)
        flush(folder.parent)
        shutil.rmtree(former, ignore_errors=True)


@contextmanager
def being_written(folder: Path) -> Iterator[None]:
    """Make a folder and hold a lock on it in the block, which ends with this process.

    `remove_unless_written` deletes folders that nobody holds.
    """
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileNotFoundError):  # it was left over, and has just gone
            held = os.open(folder, os.O_RDONLY)
            fcntl.flock(held, fcntl.LOCK_EX)
            if _is_open_as(folder, held):
                break
            os.close(held)
    try:
        yield
    finally:
        os.close(held)


def remove_unless_written(
    folder: Path, is_whole: Callable[[Path], bool] = lambda folder: False
) -> bool:
    """Delete a folder that nobody writes any more; whether it was deleted.

    `is_whole` is asked once its lock is held, when no writer can finish it any more.
    """
    with held_alone(folder) as mine:
        if not mine or is_whole(folder):
            return False
        shutil.rmtree(folder, ignore_errors=True)
        return True


@contextmanager
def held_alone(folder: Path) -> Iterator[bool]:
    """Hold the lock of a folder in the block, without waiting; False where that cannot be.

    It is being written then, or has gone, or its file system has no locks.
    """
    try:
        held = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            mine = _is_open_as(folder, held)
        except OSError:
            mine = False
        yield mine
    finally:
        os.close(held)


def is_written(folder: Path) -> bool:
    """Whether a process may be writing a folder at this moment (see `held_alone`)."""
    with held_alone(folder) as mine:
        return not mine


def _is_open_as(folder: Path, handle: int) -> bool:
    """Whether an open folder still has its name: another one may have taken its place."""
    try:
        return os.path.samestat(folder.stat(), os.fstat(handle))
    except FileNotFoundError:
        return False


def flush(path: Path) -> None:
    """Have a file, or the names in a folder, written to the disk."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
