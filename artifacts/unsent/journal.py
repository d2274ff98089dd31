"""Files of records that a server has not been told yet: each record is there whole or not at all.

A record is one line with a digest before it. It is on the disk before the call that keeps it
returns. A file belongs to one process, which holds its lock as long as it lives, is only ever
appended to, and is deleted when every record of it was sent. Who sends it holds the lock too. How
far it was sent stands in a file of the same form beside it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fcntl import LOCK_EX, LOCK_NB
from fcntl import flock as lock
from pathlib import Path
from typing import Any
from uuid import uuid4

from filelock import FileLock

from artifacts.store.data_dir import DataDir
from artifacts.store.process import this_process
from policy.files.atomic_folder import flush
from schemas.errors import StoreError

Record = dict[str, Any]
RECORDS, SENT, COPIES = ".jsonl", ".sent", "files"
DIGITS = 16  # of the digest that stands before a record


class Journal:
    """A file of records that this process appends to, and whose lock it holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        lock(self._file, LOCK_EX)
        flush(path.parent)

    @property
    def in_place(self) -> bool:
        """Whether the file is still there: a sender deletes an empty one that nobody has locked."""
        return os.fstat(self._file).st_nlink > 0

    def keep(self, record: Mapping[str, Any]) -> None:
        """Append a record; it survives a power cut. OSError where it cannot be written.

        What a full disk took of it is cut off again, so that a later record is whole.
        """
        before = os.fstat(self._file).st_size
        try:
            line = _line(record)
            while line:
                line = line[os.write(self._file, line) :]
            os.fsync(self._file)
        except OSError:
            os.ftruncate(self._file, before)
            raise

    def close(self) -> None:
        """Let go of the file."""
        os.close(self._file)


@dataclass(frozen=True)
class Kept:
    """A file of records: which server they are for, where it answers, and who writes the file.

    `server` tells one server from another, whatever its address; empty where that is not known.
    """

    path: Path
    to: str
    address: str
    owner: str
    records: tuple[Record, ...]
    server: str = ""

    @property
    def in_use(self) -> bool:
        """Whether the process that writes it goes on, or another one sends it."""
        with claimed(self.path) as mine:
            return not mine

    @property
    def is_own(self) -> bool:
        """Whether this process began it."""
        return self.owner == this_process()


def begin_journal(data_dir: DataDir, to: str, address: str, server: str = "") -> Journal:
    """A new file of records for a server, which the data folder's next command finds."""
    while True:
        name = f"{time.time_ns()}-{uuid4().hex[:8]}-{to}{RECORDS}"
        journal = Journal(unsent_folder(data_dir) / name)
        if journal.in_place:
            break
        journal.close()
    journal.keep({"to": to, "address": address, "owner": this_process(), "server": server})
    return journal


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[bool]:
    """Hold the lock of a file of records for a block; whether nobody else has it.

    The system takes a lock away from a process that ends, however it ends, in whichever container
    it ran. FileNotFoundError where the file was sent meanwhile.
    """
    try:
        file = os.open(path, os.O_RDWR)
    except OSError as error:
        if error.errno != errno.EROFS:
            raise
        yield True  # nobody writes there
        return
    try:
        yield _locked(file)
    finally:
        os.close(file)


def _locked(file: int) -> bool:
    try:
        lock(file, LOCK_EX | LOCK_NB)
    except BlockingIOError:
        return False
    if os.fstat(file).st_nlink == 0:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return True


def unsent_folder(data_dir: DataDir) -> Path:
    """Where what was not sent is kept."""
    return data_dir.root / "unsent"


def copies_lock(data_dir: DataDir) -> FileLock:
    """Held by who copies a file for a record, and by who deletes copies that no record needs.

    The file of records is there before the first copy, so who deletes sees it, or is done before.
    """
    data_dir.locks.mkdir(parents=True, exist_ok=True)
    return FileLock(data_dir.locks / "unsent-copies.lock")


def unsent_files(data_dir: DataDir, to: str) -> list[Path]:
    """The files of records for a kind of server, oldest first."""
    return sorted(unsent_folder(data_dir).glob(f"*-{to}{RECORDS}"))


def read_kept(path: Path) -> Kept:
    """The records of a file. StoreError where one that is followed by others is damaged.

    A last line that is not whole was being written when its process ended: it was never kept.
    """
    records = _read(path)
    if not records:  # not even its first line was kept
        return Kept(path, "", "", "", ())
    head, *rest = records
    server = head.get("server", "")
    return Kept(path, head["to"], head["address"], head["owner"], tuple(rest), server)


def read_sent(path: Path) -> tuple[int, dict[str, str]]:
    """How many records of a file were sent, and the server's names for those that we gave."""
    progress = path.with_suffix(SENT)
    steps = _read(progress) if progress.exists() else []
    names: dict[str, str] = {}
    for step in steps:
        names |= step["names"]
    return (steps[-1]["sent"] if steps else 0), names


def refusal(path: Path) -> str:
    """Why the server refuses the next record of a file; empty where it has not refused it."""
    progress = path.with_suffix(SENT)
    steps = _read(progress) if progress.exists() else []
    return str(steps[-1].get("refused", "")) if steps else ""


def delete_kept(path: Path) -> None:
    """Everything of a file was sent."""
    path.unlink(missing_ok=True)
    path.with_suffix(SENT).unlink(missing_ok=True)
    flush(path.parent)


def _line(record: Mapping[str, Any]) -> bytes:
    text = json.dumps(record, ensure_ascii=True)
    return f"{_digest(text)} {text}\n".encode()


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]


def _read(path: Path) -> list[Record]:
    found: list[Record] = []
    *whole, rest = path.read_bytes().split(b"\n")
    for number, line in enumerate(whole, start=1):
        digest, _, text = line.decode("utf-8", "replace").partition(" ")
        if digest != _digest(text):
            raise StoreError(
                f"line {number} is damaged",
                str(path),
                "put back a copy of it, or move it away and go on without what was not sent",
            )
        found.append(json.loads(text))
    del rest  # without its end of line it was not kept
    return found
