"""Each of several processes says every second that it is there, and hears whether others are.

Nothing else finds a process that hangs, or a host that has gone: a connection that nobody closes
stays open. So it is no matter how long a step takes, or a measurement while the others wait.
"""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Sequence
from types import FrameType
from typing import Any

from policy.parallel.place import Place
from schemas.errors import RanksError

BEAT_SECONDS = 1.0
SILENCE_SECONDS = 20.0  # after which a process counts as lost; a busy one is late by less
ENDING_SECONDS = 25.0  # for what is to be ended and recorded; both together are below a minute
FAREWELL_SECONDS = 5.0  # rank 0 waits so long until the others know that all is over
CALL = signal.SIGUSR2  # sent to this process's main thread by its own watch


class EndedError(Exception):
    """Rank 0 has ended, so there is nothing more to do; it says why, if it was not done."""


class Watch:
    """What this process knows of the others; `error` says why it must end, None while all is well.

    `store` is the store of the group. `names` say for each rank which process it is. The main
    thread is interrupted by `error`, whatever it does; where it does not end within
    `ENDING_SECONDS`, the process is ended, with a line on the file descriptor `stderr`.
    """

    def __init__(self, store: Any, place: Place, names: Sequence[str], stderr: int = 2) -> None:
        self.error: RanksError | EndedError | None = None
        self._place, self._names, self._stderr = place, names, stderr
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
        """Whether another process has gone without a word."""
        return isinstance(self.error, RanksError)

    def refuse_lost(self) -> None:
        """Raise the error that ends this process, if there is one."""
        if self.error is not None:
            self._raised.set()
            raise self.error

    def find_lost(self, reason: str) -> RanksError | EndedError:
        """Who is gone, after a connection to the group was closed; waits until that is known."""
        until = time.monotonic() + SILENCE_SECONDS + 2 * BEAT_SECONDS
        while self.error is None and time.monotonic() < until:
            time.sleep(BEAT_SECONDS / 10)
        self._raised.set()
        return self.error or RanksError(f"the connection to another process broke ({reason})")

    def is_first_to_say(self) -> bool:
        """Whether this process is the one that tells why all of them end: no other has."""
        try:
            return bool(self._store.add("said", 1) == 1)
        except RuntimeError:  # with rank 0 its store is gone
            return self._place.rank <= 1

    def leave(self, reason: str) -> None:
        """Say that this process ends by itself, and why."""
        with contextlib.suppress(RuntimeError):
            self._store.set(f"left/{self._place.rank}", reason)

    def close(self) -> None:
        """Listen no more. Rank 0 says that all is over, and waits until the others know.

        The handler stays and does nothing: a signal that is under way must not end the process.
        """
        self._raised.set()
        self._closing.set()
        if self._place.leads:
            with contextlib.suppress(RuntimeError):
                self._store.add("ended", 1)
                until = time.monotonic() + FAREWELL_SECONDS
                others = self._place.size - 1
                while not self.lost and time.monotonic() < until:
                    if self._store.add("know", 0) >= others:
                        break
                    time.sleep(BEAT_SECONDS / 20)

    def _beat(self) -> None:
        """Count up a number of one's own in the store, and see that those of others grow."""
        others = range(1, self._place.size) if self._place.leads else (0,)
        seen = dict.fromkeys(others, (0, time.monotonic()))
        store = self._store_of_thread
        try:
            while not self._closing.is_set():
                store.add(f"beat/{self._place.rank}", 1)
                if not self._place.leads and store.add("ended", 0):
                    store.add("know", 1)
                    self.error = self.error or EndedError()
                    return
                for other in others:
                    if store.check([f"left/{other}"]):
                        reason = store.get(f"left/{other}").decode()
                        self._lose(f"{self._names[other]} has ended: {reason}")
                        return
                    beats, since = seen[other]
                    if (now := store.add(f"beat/{other}", 0)) != beats:
                        seen[other] = (now, time.monotonic())
                    elif time.monotonic() - since > SILENCE_SECONDS:
                        self._lose(
                            f"{self._names[other]} has ended, or hangs: nothing was heard of it "
                            f"for {SILENCE_SECONDS:.0f} seconds"
                        )
                        return
                self._heard = time.monotonic()
                self._closing.wait(BEAT_SECONDS)
        except Exception:  # torch raises several kinds where the process that has the store is gone
            if not self._closing.is_set():
                self._lose(f"{self._names[0]}, which leads, has ended")

    def _lose(self, what: str) -> None:
        self.error = self.error or RanksError(what)

    def _guard(self) -> None:
        """End this process once there is an error, or the store itself does not answer."""
        while self.error is None:
            if self._closing.wait(BEAT_SECONDS / 10):
                return
            if time.monotonic() - self._heard > SILENCE_SECONDS + BEAT_SECONDS:
                self._lose(f"{self._names[0]}, which leads, does not answer")
        until = time.monotonic() + ENDING_SECONDS
        while time.monotonic() < until:
            if self._handles and not self._raised.is_set() and self._main.ident:
                signal.pthread_kill(self._main.ident, CALL)
            if self._closing.wait(BEAT_SECONDS):
                break
        # closed or not, what is left of the main thread gets no more than its time
        time.sleep(max(0.0, until - time.monotonic()))
        if self.lost:
            if not self._closing.is_set():
                os.write(self._stderr, f"threeloops: {self.error}\n".encode())
            os._exit(1)
        os._exit(0)

    def _interrupt(self, number: int, frame: FrameType | None) -> None:
        """Raise the error in the main thread, once."""
        if self.error is not None and not self._raised.is_set():
            self._raised.set()
            raise self.error
