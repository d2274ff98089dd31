"""A file that is written whole or not at all, in place of another or only where there is none."""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, unquote
from uuid import uuid4

from filelock import FileLock

from artifacts.store.data_dir import DataDir
from artifacts.store.process import is_gone, this_process
from policy.files.atomic_folder import flush, remove_unless_written

# a file that is being written has its writer in its name, between these
WRITING, AFTER_WRITER = ".writing-", "~"
PARTIAL = ".*.partial"  # a folder that is being written
NEW_LOCK = ".new.lock"  # held by who writes a new file on a file system without hard links
NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL)


def write_atomic(path: Path, content: bytes | memoryview, *, begin_in: Path | None = None) -> None:
    """Write a file so that it is there whole or not at all, and survives a power cut.

    It takes the place of what is there; a folder is moved aside (see `clear_place`). It is begun in
    `begin_in`, a folder of the same disk where `remove_leftovers` looks, or else beside its place.
    """
    with _written_beside(path, content, begin_in or path.parent) as temporary:
        if path.is_dir():
            clear_place(path)
        temporary.replace(path)
    flush(path.parent)


def write_new(path: Path, content: bytes) -> bool:
    """Write a file unless something is there already; returns whether it was written.

    Of several processes exactly one writes it, and nobody sees a part of it: by a hard link, or
    where a file system has none, by a rename that a lock guards.
    """
    with _written_beside(path, content, path.parent) as temporary:
        try:
            os.link(temporary, path)
        except FileExistsError:
            return False
        except OSError as error:
            if error.errno not in NO_LINKS:
                raise
            with FileLock(path.with_name(NEW_LOCK)):
                if os.path.lexists(path):
                    return False
                temporary.replace(path)
    flush(path.parent)
    return True


def clear_place(path: Path) -> None:
    """Delete a file. A folder, which somebody else made, is moved aside and kept."""
    if path.is_dir() and not path.is_symlink():
        path.rename(path.with_name(f".aside-{path.name}-{uuid4().hex[:8]}"))
    else:
        path.unlink(missing_ok=True)


def remove_leftovers(data_dir: DataDir) -> list[Path]:
    """Delete the files and folders that a killed process had begun to write; returns them.

    Files lie beside tables, keys and digests, in folders of one level, and above the files of runs;
    folders among checkpoints and models. Those of processes that run, or that run on other
    machines, stay.
    """
    above = [data_dir.models, data_dir.run_artifacts, data_dir.mlflow_cache]
    folders = [*above, *(path for path in _there(data_dir.tables, "*") if path.is_dir())]
    begun = [path for one in folders for path in _begun_in(one)]
    left = [path for path in begun if is_gone(writer_of(path))]
    for path in left:
        path.unlink(missing_ok=True)
    # of very many runs few have models beside them
    runs = str(data_dir.run_artifacts)
    beside = (f"{runs}/{name}/models" for name in _names_in(data_dir.run_artifacts))
    with_models = [Path(models) for models in beside if os.access(models, os.F_OK)]
    partial = (
        *_there(data_dir.models, PARTIAL),
        *(one for models in with_models for one in _there(models, f"*/{PARTIAL}")),
        *(one for models in with_models for one in _there(models, f"*/*/{PARTIAL}")),
        *_there(data_dir.mlflow_cache, f"*/{PARTIAL}"),
        *_there(data_dir.checkpoints, f"*/{PARTIAL}"),
        *_there(data_dir.checkpoints, f"*/*/{PARTIAL}"),
    )
    # a checkpoint is one once it has its record, which may come until its lock is held
    steps = [one for one in _there(data_dir.checkpoints, "*/step-*") if not _has_record(one)]
    return [
        *left,
        *(folder for folder in partial if remove_unless_written(folder)),
        *(step for step in steps if remove_unless_written(step, _has_record)),
    ]


def _there(folder: Path, pattern: str) -> list[Path]:
    """What is below a folder; nothing where another process deletes some of it at this moment."""
    try:
        return list(folder.glob(pattern))
    except FileNotFoundError:
        return []  # what was left over is found by the next command


def _begun_in(folder: Path) -> list[Path]:
    """The half-written files in a folder, which may have very many others."""
    names = (one for one in _names_in(folder) if one.startswith(WRITING) and AFTER_WRITER in one)
    return [folder / name for name in names]


def _names_in(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as found:
            return [one.name for one in found]
    except (FileNotFoundError, NotADirectoryError):
        return []


def _has_record(checkpoint: Path) -> bool:
    return bool(_there(checkpoint, "*.json"))


def writer_of(path: Path) -> str:
    """The process that writes a half-written file, as `process` names it."""
    return unquote(path.name.removeprefix(WRITING).rpartition(AFTER_WRITER)[0])


def being_written(what: str = "") -> str:
    """The name of a file that this process is writing."""
    return f"{WRITING}{quote(this_process(), safe='')}{AFTER_WRITER}{what}"


@contextlib.contextmanager
def _written_beside(path: Path, content: bytes | memoryview, folder: Path) -> Iterator[Path]:
    """A temporary file in a folder with this content; gone at the end, if it is there."""
    for needed in (path.parent, folder):
        needed.mkdir(parents=True, exist_ok=True)
    handle, name = tempfile.mkstemp(dir=folder, prefix=being_written())
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        yield temporary
    finally:
        temporary.unlink(missing_ok=True)
