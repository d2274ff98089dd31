"""The keys of a shared store: each leads from a task to its table, and is its first writer's."""

from __future__ import annotations

import threading
from contextlib import AbstractContextManager

from pydantic import ValidationError

from artifacts.store.shared.objects import Objects
from schemas.errors import StoreError
from schemas.references import TableRef

NOTHING = b""  # lies under a key that was proven wrong, until it leads somewhere again


class SharedKeys:
    """As `KeyIndex`, for data folders that share a store.

    No lock is held across machines: a wrong key is taken away only if it is still the one that was
    read by this thread, so that a right one, which another machine has just written, stays.
    """

    def __init__(self, objects: Objects) -> None:
        self._objects = objects
        self._read = threading.local()
        self.changing: AbstractContextManager[object] = threading.RLock()

    def read(self, key: str) -> TableRef | None:
        """Where a key leads; None without such a key, StoreError where it is damaged."""
        found = self._objects.get(_name(key))
        versions: dict[str, str] = self._read.__dict__
        versions.pop(key, None)
        if found is None or found.content == NOTHING:
            return None
        versions[key] = found.version
        try:
            return TableRef.model_validate_json(found.content)
        except ValidationError:
            raise StoreError(
                "this key cannot be read (it is no reference)",
                f"{_name(key)} in {self._objects.address}",
            ) from None

    def has(self, key: str) -> bool:
        """Whether there is such a key, right or wrong."""
        return self._objects.exists(_name(key))

    def add(self, key: str, reference: TableRef) -> bool:
        """Let a key lead to a table unless it leads somewhere; returns whether it does now."""
        content = reference.model_dump_json().encode()
        if self._objects.put_if_absent(_name(key), content):
            return True
        found = self._objects.get(_name(key))
        if found is None or found.content != NOTHING:
            return False  # it is another's, or went this moment: the caller looks again
        return self._objects.replace(_name(key), content, found.version)

    def remove(self, key: str) -> None:
        """Remove a key, if it is there: what it led to is kept elsewhere."""
        self._objects.delete(_name(key))

    def remove_wrong(self, key: str) -> None:
        """Let a key lead nowhere, if it still says what this thread has read and proven wrong."""
        version = self._read.__dict__.pop(key, None)
        if version is not None:
            self._objects.replace(_name(key), NOTHING, version)


def _name(key: str) -> str:
    return f"keys/{key}.json"
