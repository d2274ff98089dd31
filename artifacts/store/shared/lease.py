"""A lock across machines: a lease in a shared store, which ends when nobody renews it any more.

No clocks are compared. Whoever waits measures with its own clock how long the holder's object stays
unchanged; unchanged for the whole time that the holder wrote into it, its holder is taken to be
dead, and the object is replaced in that version. So of several who wait one gets it, and a holder
that was only asleep finds out at its next renewal.

What a holder does between `still_mine` and the next moment cannot be fenced off by a store: ask
right before what must not be done twice.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from uuid import uuid4

from filelock import FileLock, Timeout
from pydantic import ValidationError

from artifacts.store.process import this_process
from artifacts.store.shared.folder import FolderObjects
from artifacts.store.shared.objects import Found, Objects, at
from artifacts.store.shared.renewing import Renewing
from schemas.errors import InputError
from schemas.frozen import Frozen

SECONDS = 60.0  # a holder that has not renewed for so long is dead
RENEWALS = 4  # in that time, so that three may fail
SLOWER_CLOCK = 1.1  # how much faster the clock of one who waits may go than the holder's
POLL = 1.0  # seconds between two looks at a lease that another holds
TRIES = 3  # to write over an own object whose last answer was lost
LEAVING = 10.0  # seconds that a release waits for a store
ASK_AGAIN = "run the command again"
Clock = Callable[[], float]


class Written(Frozen):
    """What lies under a lease's name; without a holder it is free.

    `beat` counts renewals, so that no two versions of a lease have the same bytes.
    """

    holder: str = ""
    nonce: str = ""
    beat: int = 0
    seconds: float = SECONDS


FREE = Written().model_dump_json().encode()


class Watch:
    """How long one lease has not changed while this process looks at it."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._version = ""
        self._since = 0.0

    def is_over(self, found: Found, asked: float) -> bool:
        """Whether a lease is free, or its holder dead; `asked` is when the store was asked."""
        written = read_lease(found)
        if not written.holder:
            return True
        if found.version != self._version:
            self._version, self._since = found.version, self._clock()
            return False
        return asked - self._since >= written.seconds * SLOWER_CLOCK


class Lease:
    """One name that one process holds at a time, and renews in a thread until it is released."""

    def __init__(
        self,
        objects: Objects,
        name: str,
        *,
        seconds: float = SECONDS,
        clock: Clock = time.monotonic,
    ) -> None:
        self._objects = objects
        self._name = lease_name(name)
        self._seconds = seconds
        self._clock = clock
        self._nonce = uuid4().hex
        self._beat = 0
        self._version = ""
        self._lost = False
        self._delete = False
        self._changing = threading.Lock()
        self._renewing = Renewing(
            seconds / RENEWALS, seconds * SLOWER_CLOCK, self.still_mine, self._is_lost, self._free
        )

    def acquire(
        self, on_wait: Callable[[str], None] = lambda holder: None, *, poll: float = POLL
    ) -> None:
        """Wait until it is this process's; `on_wait` is told once who holds it."""
        watch, told = Watch(self._clock), False
        while not self.try_acquire(watch):
            found = None if told else self._objects.get(self._name)
            if found is not None and (holder := read_lease(found).holder):
                on_wait(holder)
                told = True
            time.sleep(poll)
        self._renewing.begin(self._name)

    def try_acquire(self, watch: Watch) -> bool:
        """Take it if it is free, or if `watch` has seen it unchanged for too long; whether it is
        held now. Nothing renews it.
        """
        asked = self._clock()
        found = self._objects.get(self._name)
        if found is None:
            self._objects.put_if_absent(self._name, self._next())
        elif watch.is_over(found, asked):
            self._objects.replace(self._name, self._next(), found.version)
        else:
            return False
        # what is there now decides, and not what was answered: an answer may have been lost
        now = self._objects.get(self._name)
        if now is None or read_lease(now).nonce != self._nonce:
            return False
        self._version = now.version
        return True

    def still_mine(self) -> bool:
        """Renew it now; True if nobody else can have it before its time is over once more.

        False where it is another's, and where the store refused to renew it a few times, which
        does not say whose it is. Raises InputError where the store cannot be asked.
        """
        with self._changing:
            for _ in range(TRIES):
                if self._lost:
                    return False
                content = self._next()
                self._objects.replace(self._name, content, self._version)
                found = self._objects.get(self._name)
                if found is None or read_lease(found).nonce != self._nonce:
                    self._lost = True
                    return False
                self._version = found.version
                if found.content == content:
                    return True
            return False

    def release(self, *, delete: bool = False, seconds: float = LEAVING) -> None:
        """Let the next one have it, unless it is another's already; with `delete` nothing is left.

        Never raises. A store that does not answer is waited for so many seconds, and no longer:
        then one line says so, and the lease ends by itself.
        """
        self._delete = delete
        self._renewing.end(at(self._objects.address), seconds)

    def _is_lost(self) -> bool:
        return self._lost

    def _free(self) -> None:
        with contextlib.suppress(Exception), self._changing:  # it ends by itself otherwise
            if not self._lost:
                self._objects.replace(self._name, FREE, self._version)
                if self._delete:
                    self._objects.delete(self._name)

    def _next(self) -> bytes:
        """The next content of the object; each is another."""
        self._beat += 1
        written = Written(
            holder=this_process(), nonce=self._nonce, beat=self._beat, seconds=self._seconds
        )
        return written.model_dump_json().encode()


class Turn:
    """What a process that has its turn asks right before it does what must not be done twice."""

    def __init__(
        self,
        still_mine: Callable[[], bool] = lambda: True,
        where: str = "",
        remedy: str = ASK_AGAIN,
    ) -> None:
        self._still_mine = still_mine
        self._where = where
        self._remedy = remedy

    def refuse_lost(self, what: str) -> None:
        """InputError where the turn has become another machine's, or the store does not answer."""
        if not self._still_mine():
            raise InputError(
                f"{what} was not recorded: this process did not answer for so long that another "
                "machine may have gone on in its place",
                self._where,
                self._remedy,
            )


@contextmanager
def held(
    objects: Objects, name: str, on_wait: Callable[[str], None], remedy: str = ASK_AGAIN
) -> Iterator[Turn]:
    """Hold a name across machines in the block: by a lease, in a folder by its own file locks.

    `remedy` is what the holder is told to do where it has lost it.
    """
    if isinstance(objects, FolderObjects):
        with _locked(objects, name, on_wait):
            yield Turn()
        return
    lease = Lease(objects, name)
    lease.acquire(on_wait)
    try:
        yield Turn(lease.still_mine, at(objects.address), remedy)
    finally:
        lease.release()


@contextmanager
def _locked(objects: FolderObjects, name: str, on_wait: Callable[[str], None]) -> Iterator[None]:
    path = objects.folder / f"{lease_name(name)}.lock"
    path.parent.mkdir(parents=True, exist_ok=True)
    lock, holder = FileLock(path), path.with_suffix(".holder")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        named = holder.read_text() if holder.exists() else ""  # written after it is locked
        on_wait(named or "another process")
        lock.acquire()
    try:
        holder.write_text(this_process())
        yield
    finally:
        lock.release()


def lease_name(name: str) -> str:
    """The name of a lease's object; other characters than usual ones become `_`."""
    return "leases/" + "".join(one if one.isalnum() or one in "._-" else "_" for one in name)


def read_lease(found: Found) -> Written:
    """What a lease says; one that cannot be read is held by somebody."""
    try:
        return Written.model_validate_json(found.content)
    except ValidationError:
        return Written(holder="unknown")
