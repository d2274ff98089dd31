"""A shared store in a folder, such as one that several machines mount."""

from __future__ import annotations

import hashlib
import mmap
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock

from artifacts.store.atomic_file import write_atomic, write_new
from artifacts.store.shared.objects import Found, at
from schemas.errors import InputError


class FolderObjects:
    """Names are files below one folder, written through our own atomic files.

    Raises InputError where the folder is not there: it may be a disk that is not mounted.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        if not folder.is_dir():
            raise InputError("there is no such folder", at(self.address), "make it, or mount it")

    @property
    def address(self) -> str:
        return self.folder.as_uri()

    def get(self, name: str) -> Found | None:
        with self._told():
            try:
                content = self._path(name).read_bytes()
            except FileNotFoundError:
                return None
            return Found(content, _version(content))

    def fetch(self, name: str, path: Path) -> bool:
        with self._told():
            source = self._path(name)
            if not source.is_file():
                return False
            shutil.copyfile(source, path)
            return True

    def put(self, name: str, content: bytes | memoryview | Path) -> None:
        with self._told():
            if not isinstance(content, Path):
                write_atomic(self._path(name), content)
            elif content.stat().st_size == 0:
                write_atomic(self._path(name), b"")
            else:  # weights may be larger than memory
                with content.open("rb") as file:
                    mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
                    with mapped, memoryview(mapped) as view:
                        write_atomic(self._path(name), view)

    def put_if_absent(self, name: str, content: bytes) -> bool:
        with self._told():
            return write_new(self._path(name), content)

    def replace(self, name: str, content: bytes, version: str) -> bool:
        with self._told(), FileLock(self.folder / ".replacing.lock"):
            found = self.get(name)
            if found is None or found.version != version:
                return False
            write_atomic(self._path(name), content)
            return True

    def exists(self, name: str) -> bool:
        with self._told():
            return self._path(name).is_file()

    def list(self, folder: str) -> list[str]:
        with self._told():
            below = self._path(folder)
            files = (path for path in below.rglob("*") if path.is_file())
            # a file that is being written has a name that begins with a dot
            names = (
                path.relative_to(self.folder).as_posix() for path in files if path.name[0] != "."
            )
            return sorted(names)

    def delete(self, name: str) -> None:
        with self._told():
            self._path(name).unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.folder / name

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(
                f"the folder cannot be used ({error.strerror})",
                at(self.address),
                "see that it can be read and written",
            ) from None


def _version(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()
