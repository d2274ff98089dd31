"""Which processes of other machines live: each keeps a lease while it owns runs.

A command looks for a moment only, so what it has seen is kept for the next one, with the time by
the clock that all processes of this machine share.
"""

from __future__ import annotations

import atexit
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from artifacts.store.atomic_file import write_atomic
from artifacts.store.process import is_elsewhere, this_process
from artifacts.store.shared.lease import (
    LEAVING,
    SECONDS,
    SLOWER_CLOCK,
    Lease,
    lease_name,
    read_lease,
)
from artifacts.store.shared.objects import Found, Objects
from schemas.frozen import Frozen
from schemas.identity import digest_of

BOOT = Path("/proc/sys/kernel/random/boot_id")  # the clock begins anew with each start


class Seen(Frozen):
    """A lease's version, and since when it was seen, in seconds after this machine's start."""

    version: str
    boot: str
    since: float


SEEN = TypeAdapter(Mapping[str, Seen])


class Owners:
    """The leases of processes in one shared store. `notes` is a file of this data folder."""

    def __init__(
        self, objects: Objects, notes: Path, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._objects = objects
        self._notes = notes
        self._clock = clock
        self._mine: Lease | None = None

    def live(self, seconds: float = SECONDS) -> str:
        """Keep the lease of this process until it ends; returns its name.

        Another `Owners` of this process may keep it: that of another MLflow or data folder.
        """
        name = owner_lease(this_process())
        if self._mine is None and not self._is_kept(name):
            lease = Lease(self._objects, name, seconds=seconds)
            lease.acquire()
            self._mine = lease
            atexit.register(self.leave)
        return name

    def _is_kept(self, name: str) -> bool:
        found = self._objects.get(lease_name(name))
        return found is not None and read_lease(found).holder == this_process()

    def leave(self, seconds: float = LEAVING) -> None:
        """End the lease of this process, which has no runs any more.

        A store that does not answer is waited for so many seconds, as `Lease.release` does.
        """
        if self._mine is not None:
            self._mine.release(delete=True, seconds=seconds)
            self._mine = None

    def is_gone(self, owner: str, lease: str) -> bool:
        """Whether a process of another machine has ended, by the lease that it kept.

        False at the first look; at a later one True if nothing has changed since for the whole time
        of the lease. Of a process that has no lease in this store nothing is known, and one of this
        machine is judged by its number.
        """
        if lease != owner_lease(owner) or not is_elsewhere(owner):
            return False
        asked = self._clock()
        found = self._objects.get(lease_name(lease))
        if found is None:
            return False
        if (over := self._is_over(lease, found, asked)) is None:
            now = Seen(version=found.version, boot=_boot(), since=self._clock())
            write_atomic(self._notes, SEEN.dump_json({**self._seen(), lease: now}))
        return bool(over)

    def was_gone(self, owner: str, lease: str) -> bool:
        """As `is_gone`, by what earlier commands have noted; nothing is written."""
        if lease != owner_lease(owner) or not is_elsewhere(owner):
            return False
        asked = self._clock()
        found = self._objects.get(lease_name(lease))
        return found is not None and bool(self._is_over(lease, found, asked))

    def _is_over(self, lease: str, found: Found, asked: float) -> bool | None:
        """Whether a lease was seen unchanged for its time; None where it was not seen as it is."""
        before = self._seen().get(lease)
        if before is None or (before.version, before.boot) != (found.version, _boot()):
            return None
        return asked - before.since >= read_lease(found).seconds * SLOWER_CLOCK

    def knows(self, owner: str, lease: str) -> bool:
        """Whether a process of another machine has a lease in this store, or was killed with it."""
        mine = lease == owner_lease(owner) and is_elsewhere(owner)
        return mine and self._objects.exists(lease_name(lease))

    def _seen(self) -> Mapping[str, Seen]:
        try:
            return SEEN.validate_json(self._notes.read_bytes())
        except (OSError, ValidationError):
            return {}


def owner_lease(owner: str) -> str:
    """The name of the lease of a process, as `process` names it."""
    return f"owner-{digest_of(owner)[:32]}"


def _boot() -> str:
    try:
        return BOOT.read_text().strip()
    except OSError:
        return ""
