"""Each of several processes says every second that it is there, and hears whether others are.

Nothing else finds a process that hangs, or a host that has gone: a connection that nobody closes
stays open. So it is no matter how long a step takes, or a measurement while the others wait.
"""

from __future__ import annotations

import contextlib
import os
import platform
import signal
import threading
import time
from types import FrameType
from typing import Any

from policy.parallel.place import Place
from policy.parallel.told import packed, unpacked
from schemas.errors import RanksError, ThreeLoopsError

BEAT_SECONDS = 1.0
# a silent process counts as lost after so long, for a busy one is late by less; who is to end then
# gets as long again to record what is to be recorded: together they are below a minute
FAULT_SECONDS = 20.0
CALL = signal.SIGUSR2  # sent to this process's main thread by its own watch


class EndedError(Exception):
    """There is nothing more to do: rank 0 has ended, or another process says what ended all."""


class Watch:
    """What this process knows of the others; `error` says why it must end, None while all is well.

    It begins once the processes can reach one `store`. Those that were not there yet get
    `start_seconds` to come. The main thread is interrupted by `error`, whatever it does; where it
    does not end within `FAULT_SECONDS`, the process is ended, with a line on the file descriptor
    `stderr`. `name` is that of this process.
    """

    def __init__(self, store: Any, place: Place, start_seconds: float, stderr: int = 2) -> None:
        self.error: ThreeLoopsError | EndedError | None = None
        self.name = name_of(place)
        self._place, self._start_seconds, self._stderr = place, start_seconds, stderr
        self._names: dict[int, str] = {}  # of the others that were there
        # a connection serves one thread
        self._store, self._store_of_thread = store.clone(), store.clone()
        self._heard = time.monotonic()  # when the store last answered
        self._closing = threading.Event()
        self._raised = threading.Event()
        self._main = threading.main_thread()
        self._handles = threading.current_thread() is self._main
        if self._handles:
            signal.signal(CALL, self._interrupt)
        for work in (self._beat, self._guard):
            threading.Thread(target=work, daemon=True).start()

    @property
    def lost(self) -> bool:
        """Whether another process has gone, or cannot go on."""
        return isinstance(self.error, ThreeLoopsError)

    @property
    def exit_code(self) -> int:
        """That of this process where `error` ends it."""
        if not isinstance(self.error, ThreeLoopsError):
            return 0
        return 1 if isinstance(self.error, RanksError) else 2

    def greet(self) -> None:
        """Say who this is. Whoever hears anything later of this process can then name it."""
        self._say_name(self._store)

    def meet_leader(self) -> None:
        """Know rank 0 by its name, which it has said before anything else."""
        self._names[0] = self._store.get("name/0").decode()

    def refuse_lost(self) -> None:
        """Raise the error that ends this process, if there is one."""
        if self.error is not None:
            self._raised.set()
            raise self.error

    def find_lost(self, broken: Exception) -> Exception:
        """What led to an error of torch's, which may say only that a connection was closed.

        Waits until it is known who is gone. Where nobody is, it is the error itself.
        """
        self._raised.set()  # it is raised here
        # rank 0 finds who is silent, and the others hear of it when it has ended
        rounds = 1 if self._place.leads else 2
        until = time.monotonic() + rounds * FAULT_SECONDS + 2 * BEAT_SECONDS
        while self.error is None and time.monotonic() < until:
            time.sleep(BEAT_SECONDS / 10)
        return self.error or broken

    def is_first_to_say(self) -> bool:
        """Whether this process is the one that tells why all of them end: no other has.

        Where rank 0 has gone, nobody can be asked, and one process of each host tells.
        """
        if self.error is not None and not self._place.leads:
            return self._tells_by_itself()
        try:
            return bool(self._store.add("said", 1) == 1)
        except RuntimeError:  # with rank 0 its store is gone
            return self._tells_by_itself()

    def leave(self, error: Exception) -> None:
        """Say that this process ends by itself, and why. Of rank 0 the others hear when it ends."""
        if not self._place.leads:
            with contextlib.suppress(RuntimeError):
                say_left(self._store, self._place, error)

    def close(self) -> None:
        """Listen no more. Rank 0 says that all is over, and waits until the others know.

        The handler stays and does nothing: a signal that is under way must not end the process.
        """
        self._raised.set()
        self._closing.set()
        if self._place.leads:
            with contextlib.suppress(RuntimeError):
                say_over(self._store, self._place, FAULT_SECONDS / 4)

    def _beat(self) -> None:
        """Count up a number of one's own in the store, and see that those of others grow."""
        others = range(1, self._place.size) if self._place.leads else (0,)
        seen = dict.fromkeys(others, (0, time.monotonic()))
        store = self._store_of_thread
        try:
            self._say_name(store)
            while not self._closing.is_set():
                store.add(f"beat/{self._place.rank}", 1)
                if not self._place.leads and store.add("ended", 0):
                    store.add("know", 1)
                    self.error = self.error or EndedError()
                    return
                for other in others:
                    seen[other] = self._look(store, other, *seen[other])
                    if self.error is not None:
                        return
                self._heard = time.monotonic()
                self._closing.wait(BEAT_SECONDS)
        except Exception:  # torch raises several kinds where the process that has the store is gone
            if not self._closing.is_set():
                self._lose(RanksError(f"{self._name(0)}, which leads, has ended"))

    def _say_name(self, store: Any) -> None:
        """Before the first beat, for whoever counts beats asks for the name."""
        store.set(f"name/{self._place.rank}", self.name)
        store.add(f"beat/{self._place.rank}", 1)

    def _look(self, store: Any, other: int, beats: int, since: float) -> tuple[int, float]:
        """See whether another process is there: how often it has said so, and since when."""
        if store.check([f"left/{other}"]):
            self._lose(unpacked(store.get(f"left/{other}").decode()))
            return beats, since
        if (now := store.add(f"beat/{other}", 0)) != beats:
            if not beats:
                self._names[other] = store.get(f"name/{other}").decode()
            return now, time.monotonic()
        patience = FAULT_SECONDS if beats else self._start_seconds
        if time.monotonic() - since > patience:
            store.add("know", 1)  # nobody waits for it
            silent = "has ended, or hangs: nothing was heard of it for"
            what = silent if beats else "did not come within"
            self._lose(RanksError(f"{self._name(other)} {what} {patience:.0f} seconds"))
        return beats, since

    def _name(self, rank: int) -> str:
        return self._names.get(rank, f"rank {rank}")

    def _tells_by_itself(self) -> bool:
        return self._place.rank == 1 or self._place.local_rank == 0

    def _lose(self, error: ThreeLoopsError) -> None:
        self.error = self.error or error

    def _guard(self) -> None:
        """End this process once there is an error, or the store itself does not answer."""
        while self.error is None:
            if self._closing.wait(BEAT_SECONDS / 10):
                return
            if time.monotonic() - self._heard > FAULT_SECONDS + BEAT_SECONDS:
                self._lose(RanksError(f"{self._name(0)}, which leads, does not answer"))
        until = time.monotonic() + FAULT_SECONDS
        while time.monotonic() < until:
            if self._handles and not self._raised.is_set() and self._main.ident:
                signal.pthread_kill(self._main.ident, CALL)
            if self._closing.wait(BEAT_SECONDS):
                break
        # closed or not, what is left of the main thread gets no more than its time
        time.sleep(max(0.0, until - time.monotonic()))
        if self.lost and not self._closing.is_set():
            if self._place.leads or self._tells_by_itself():
                os.write(self._stderr, f"threeloops: {self.error}\n".encode())
            if self._place.leads:  # in a thread, for the store itself may not answer
                over = threading.Thread(target=self.close, daemon=True)
                over.start()
                over.join(FAULT_SECONDS / 4 + BEAT_SECONDS)
        os._exit(self.exit_code)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Raise the error in the main thread, once."""
        if self.error is not None and not self._raised.is_set():
            self._raised.set()
            raise self.error


def name_of(place: Place) -> str:
    """Which process this is, in words."""
    return f"rank {place.rank} (process {os.getpid()} on {platform.node()})"


def say_left(store: Any, place: Place, error: Exception) -> None:
    """Tell rank 0 why this process, which follows, ends by itself."""
    store.set(f"left/{place.rank}", packed(error, name_of(place)))
    store.add("know", 1)


def say_over(store: Any, place: Place, seconds: float) -> None:
    """Tell the others that rank 0 ends, and wait until they know: its store may end with it."""
    store.add("ended", 1)
    until = time.monotonic() + seconds
    while store.add("know", 0) < place.size - 1 and time.monotonic() < until:
        time.sleep(BEAT_SECONDS / 20)
