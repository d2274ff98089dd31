"""The small files that lead from a task's key to its table, each written by the first alone."""

from __future__ import annotations

from pathlib import Path

from filelock import FileLock
from pydantic import ValidationError

from artifacts.store.atomic_file import clear_place, write_new
from schemas.errors import StoreError
from schemas.references import TableRef


class KeyIndex:
    """The key files of one store.

    A key is only added. Whoever has proven that one is wrong may remove it, holding `changing`
    from the proof to the removal; so a right key that another process has just added stays.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.changing = FileLock(folder / ".lock")

    def read(self, key: str) -> TableRef | None:
        """Where a key leads; None without such a key, StoreError where its file is damaged."""
        path = self._path(key)
        try:
            return TableRef.model_validate_json(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as error:
            reason = error.strerror if isinstance(error, OSError) else "it is no reference"
            raise StoreError(f"this key cannot be read ({reason})", str(path)) from None

    def has(self, key: str) -> bool:
        """Whether there is such a key, right or wrong."""
        return self._path(key).exists()

    def add(self, key: str, reference: TableRef) -> bool:
        """Let a key lead to a table unless it leads somewhere; returns whether it does now."""
        return write_new(self._path(key), reference.model_dump_json().encode())

    def remove(self, key: str) -> None:
        """Remove a key, if it is there."""
        clear_place(self._path(key))

    def remove_wrong(self, key: str) -> None:
        """Remove a key that was proven wrong, holding `changing` since."""
        self.remove(key)

    def _path(self, key: str) -> Path:
        return self._folder / f"{key}.json"
