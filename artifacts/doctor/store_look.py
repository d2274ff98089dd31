"""The shared store as one look of the doctor sees it: what it has by name; nothing is written."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path

from artifacts.store.shared.objects import LAYOUT, MARK, Objects, at
from artifacts.store.shared.place import shared_store
from artifacts.store.shared.tables import table_name
from schemas.errors import InputError

WITHOUT_LEASE = (".lock", ".holder")  # endings of the file locks of a shared folder


class StoreLook:
    """A shared store, asked once for each of its folders; `fault` is why it cannot be used.

    Without an address there is none, and it has nothing. `address` is how a message says which it
    is.
    """

    def __init__(self, address: str) -> None:
        self.address = ""  # one that was refused may have a login in it
        self.objects: Objects | None = None
        self.fault: InputError | None = None
        try:
            if (opened := shared_store(address)) is not None:
                self.address = at(opened.address)
                marked = opened.get(MARK)
                if marked is not None and marked.content != LAYOUT:
                    raise InputError(f"its {MARK} is another program's, or a newer version's")
                opened.list("leases")  # a right to read is none to list
                self.objects = opened
        except InputError as error:
            self.fault = error
        except OSError as error:  # of this machine's network
            self.fault = InputError(f"it cannot be used ({error.strerror})", self.address)

    def has_table(self, kind: str, digest: str) -> bool:
        """Whether it has a table, which is fetched from there when it is used."""
        return table_name(kind, digest) in self._below("tables")

    def has_policy(self, digest: str) -> bool:
        """Whether it has the files of a policy."""
        return f"policies/{digest}.json" in self._below("policies")

    @cached_property
    def checkpoints(self) -> frozenset[str]:
        """The names of the files of all checkpoints."""
        return self._below("checkpoints")

    @cached_property
    def leases(self) -> tuple[str, ...]:
        """The names of all leases."""
        return tuple(
            name for name in sorted(self._below("leases")) if Path(name).suffix not in WITHOUT_LEASE
        )

    @cached_property
    def _known(self) -> dict[str, frozenset[str]]:
        return {}

    def _below(self, folder: str) -> frozenset[str]:
        if self.objects is None:
            return frozenset()
        if folder not in self._known:
            self._known[folder] = frozenset(self.objects.list(folder))
        return self._known[folder]
