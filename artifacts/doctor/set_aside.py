"""Where the doctor puts what it takes away: a folder inside the data folder. Nothing is deleted."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

from artifacts.store.atomic_file import being_written
from artifacts.store.data_dir import MINE_ALONE, SET_ASIDE, DataDir
from policy.files.atomic_folder import flush
from schemas.errors import StoreError
from schemas.identity import file_digest

SIDECARS = ("-journal", "-wal", "-shm")  # what SQLite keeps beside a database


class SetAside:
    """One repair's folder, `set-aside/TIME`, made when something is moved into it.

    `moved` is what was moved, by the path that it had.
    """

    def __init__(self, data_dir: DataDir) -> None:
        self._root = data_dir.root
        self._name = time.strftime("%Y%m%d-%H%M%S")
        self.folder: Path | None = None
        self.moved: list[Path] = []

    def move(self, path: Path) -> str:
        """Move a file or folder there, under the path that it has in the data folder; says so."""
        self._rename(path, self._place(path))
        return "set aside"

    def move_database(self, database: Path) -> str:
        """Move an SQLite file with what lies beside it, without which it may not be whole.

        What lies beside has both places until the database has moved. So after a kill in between,
        all of it is in one place or in the other.
        """
        place, folder = self._place(database), database.parent
        beside = {
            folder / (database.name + suffix): place.with_name(place.name + suffix)
            for suffix in SIDECARS
            if (folder / (database.name + suffix)).exists()
        }
        for path, other in beside.items():
            try:
                os.link(path, other)
            except OSError:  # a file system without links
                shutil.copy2(path, other)
                flush(other)
        flush(place.parent)
        self._rename(database, place)
        for path in beside:
            path.unlink(missing_ok=True)
        return "set aside"

    def copy(self, source: Path, path: Path, digest: str) -> None:
        """Copy a file to a place where nothing is, whole or not at all."""
        path.parent.mkdir(parents=True, exist_ok=True)
        new = _free(path.with_name(being_written("doctor")))
        try:
            shutil.copyfile(source, new)
            if file_digest(new) != digest:
                raise StoreError("it changed while it was copied", str(source))
            flush(new)
            new.rename(path)
        finally:
            new.unlink(missing_ok=True)
        flush(path.parent)

    def _place(self, path: Path) -> Path:
        """Where a path goes; StoreError for one outside of the data folder."""
        if not path.is_relative_to(self._root):
            raise StoreError("lies outside of the data folder", str(path), "move it yourself")
        folder = self.folder = self.folder or self._made()
        place = folder / path.relative_to(self._root)
        place.parent.mkdir(MINE_ALONE, parents=True, exist_ok=True)
        return _free(place)

    def _rename(self, path: Path, place: Path) -> None:
        path.rename(place)
        self.moved.append(path)

    def _made(self) -> Path:
        folder = _free(self._root / SET_ASIDE / self._name)
        folder.parent.mkdir(MINE_ALONE, exist_ok=True)
        folder.mkdir(MINE_ALONE)
        return folder


def _free(path: Path) -> Path:
    """This path, or the first with a number behind it where nothing is yet."""
    number, free = 1, path
    while free.exists() or free.is_symlink():
        number, free = number + 1, path.with_name(f"{path.name}-{number}")
    return free
