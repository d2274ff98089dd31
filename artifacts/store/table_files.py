"""Files of tables, named by the digest of their bytes: in the data folder, or fetched into it."""

from __future__ import annotations

import re
from pathlib import Path

from artifacts.store.atomic_file import write_atomic
from artifacts.store.in_use import InUse
from artifacts.store.shared.objects import SHOWN, Objects
from artifacts.store.shared.tables import fetch_table, table_name
from schemas.errors import StoreError
from schemas.identity import bytes_digest, file_digest

SHA256 = re.compile("[0-9a-f]{64}")


class TableFiles:
    """The files below `root`, by kind and digest.

    With a shared store they are a cache: what is missing or damaged here is fetched.
    """

    def __init__(self, root: Path, shared: Objects | None = None) -> None:
        self._root = root
        self._shared = shared
        self._in_use = InUse()

    def path(self, kind: str, digest: str) -> Path:
        """Where a table's file lies, if it is there; fetched where only the shared store has it."""
        path = self._path(kind, digest)
        if self._shared is not None and SHA256.fullmatch(digest) and not path.exists():
            fetch_table(self._shared, kind, path)
        return path

    def write(self, kind: str, digest: str, content: bytes | memoryview) -> None:
        """Keep the bytes that have this digest; a file that is there and damaged is replaced."""
        path = self._path(kind, digest)
        if not (_is_whole(path, digest) and self._in_use.freshen(path)):
            write_atomic(path, content)
        if self._shared is not None:
            self._shared.put(table_name(kind, digest), content)

    def hold(self, kind: str, digest: str) -> bool:
        """Keep other processes of this data folder from deleting a table; False where it is gone.

        Those of other machines delete in the shared store alone, and not what is here.
        """
        return self._in_use.hold(self.path(kind, digest))

    def freshen(self, kind: str, digest: str) -> bool:
        """Let a table count as used now, so that it is not dropped; False where it is gone."""
        return self._in_use.freshen(self.path(kind, digest))

    def delete(self, kind: str, digest: str) -> bool:
        """Delete a table, here and where it is shared, unless another process holds it.

        Returns whether it is gone.
        """
        if not self._in_use.delete(self._path(kind, digest)):
            return False
        if self._shared is not None:
            self._shared.delete(table_name(kind, digest))
        return True

    def whole(self, kind: str, digest: str) -> Path:
        """The path of a file whose bytes have their digest; StoreError where it is not so."""
        path = self.path(kind, digest)
        try:
            if file_digest(path) != digest and not self.fetch_again(kind, path):
                raise changed(path, digest)
        except FileNotFoundError:  # another process has dropped it since it was found
            raise StoreError("is no longer in the store", str(path)) from None
        except OSError as error:
            raise _unreadable(path, error) from None
        return path

    def content(self, kind: str, digest: str) -> tuple[Path, bytes]:
        """A file and its bytes, which have their digest; StoreError where it is not so.

        A digest may come from the metadata of a file that anybody wrote.
        """
        if not SHA256.fullmatch(digest):
            raise missing(kind, digest)
        path = self.path(kind, digest)
        try:
            content = path.read_bytes()
            if bytes_digest(content) == digest:
                return path, content
            if self.fetch_again(kind, path):
                return path, path.read_bytes()
        except FileNotFoundError:
            raise missing(kind, digest) from None
        except OSError as error:
            raise _unreadable(path, error) from None
        raise changed(path, digest)

    def fetch_again(self, kind: str, path: Path) -> bool:
        """Whether a damaged file was replaced by what the shared store has."""
        return self._shared is not None and fetch_table(self._shared, kind, path)

    def _path(self, kind: str, digest: str) -> Path:
        return self._root / kind / f"{digest}.parquet"


def missing(kind: str, digest: str) -> StoreError:
    """The error of a table that is not there."""
    return StoreError(f"no such {kind} table in the store", digest[:SHOWN])


def changed(path: Path, digest: str) -> StoreError:
    """The error of a file whose bytes are not those that were written."""
    return StoreError(
        f"its bytes no longer have the digest {digest[:SHOWN]}; it was changed after it was "
        "written",
        str(path),
        "delete the file and run again",
    )


def _unreadable(path: Path, error: OSError) -> StoreError:
    return StoreError(f"cannot be read ({error.strerror})", str(path))


def _is_whole(path: Path, digest: str) -> bool:
    """Whether a table's file is there with all its bytes."""
    try:
        return file_digest(path) == digest
    except OSError:
        return False
