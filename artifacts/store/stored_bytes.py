"""Whether stored files still have the bytes that they were written with: each is read once."""

from __future__ import annotations

import errno
import hashlib
import stat
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Literal

Verdict = Literal["matches", "differs", "missing", "unreadable", "changing"]
BLOCK = 4 * 2**20  # bytes read at once
TRIES, PAUSE = 3, 0.2  # how often, and after how many seconds, a file that changes is read again


class ChangingError(Exception):
    """A file was written while it was read."""


class StoredBytes:
    """The digests of files, remembered by path, and the files by digest.

    Nothing is written. `on_read` is told the number of bytes of each block that was read.
    """

    def __init__(self, on_read: Callable[[int], None] = lambda count: None) -> None:
        self._on_read = on_read
        self._digests: dict[Path, str] = {}
        self._places: dict[str, list[Path]] = {}

    def verdict(self, path: Path, expected: str, *, again: bool = False) -> Verdict:
        """Whether a file has the expected SHA-256; with `again` it is read anew.

        `changing` is a file that somebody writes just now, of which nothing can be said. What is no
        regular file is `unreadable`: a pipe would never end.
        """
        if again:
            self.forget(path)
        try:
            return "matches" if self.digest(path) == expected else "differs"
        except (FileNotFoundError, NotADirectoryError, ValueError):  # or a name that no file has
            return "missing"
        except ChangingError:
            return "changing"
        except OSError:
            return "unreadable"

    def digest(self, path: Path) -> str:
        """Hexadecimal SHA-256 of a file; OSError, or ChangingError where it is being written."""
        if path not in self._digests:
            self._digests[path] = found = self._read(path)
            self._places.setdefault(found, []).append(path)
        return self._digests[path]

    def digests(self, paths: Mapping[str, Path]) -> dict[str, str]:
        """The digests of several files, by name; those that cannot be read are left out."""
        found = {}
        for name, path in paths.items():
            try:
                found[name] = self.digest(path)
            except (OSError, ValueError, ChangingError):
                continue
        return found

    def another(self, digest: str, than: Path) -> Path | None:
        """Another file with this digest that was read and is still there, if there is one."""
        known = [path for path in self._places.get(digest, []) if path != than]
        return next(
            (one for one in known if self.verdict(one, digest, again=True) == "matches"), None
        )

    def forget(self, path: Path) -> None:
        """Read a file again when it is asked for next."""
        if (found := self._digests.pop(path, None)) is not None:
            self._places[found].remove(path)

    def _read(self, path: Path) -> str:
        for _ in range(TRIES):
            before = _state(path)
            digest = self._hashed(path, before[0])
            if _state(path) == before:
                return digest
            time.sleep(PAUSE)
        raise ChangingError(str(path))

    def _hashed(self, path: Path, size: int) -> str:
        computed, read = hashlib.sha256(), 0
        with path.open("rb", buffering=0) as file:
            # a file that grows as fast as it is read would never end
            while read <= size and (block := file.read(BLOCK)):
                computed.update(block)
                read += len(block)
                self._on_read(len(block))
        return computed.hexdigest()


def _state(path: Path) -> tuple[int, ...]:
    status = path.stat()
    if not stat.S_ISREG(status.st_mode):
        raise OSError(errno.EINVAL, "is no regular file", str(path))
    return (status.st_size, status.st_mtime_ns, status.st_ino)
