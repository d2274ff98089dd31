"""A thread that renews what a process holds, so that others see that it lives."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable

from schemas.errors import InputError

SOON = 1.0  # seconds until the next try where one failed
logger = logging.getLogger(__name__)


class Renewing:
    """Calls `still_mine` every so many seconds until `end`, then `free`; stops where `is_lost`.

    A place that is away, or that refused a renewal, is asked again soon. `free` must not raise.
    `dead_after` are the seconds after which others take the holder to be dead.
    """

    def __init__(
        self,
        every: float,
        dead_after: float,
        still_mine: Callable[[], bool],
        is_lost: Callable[[], bool],
        free: Callable[[], None],
    ) -> None:
        self._every = every
        self._dead_after = dead_after
        self._still_mine = still_mine
        self._is_lost = is_lost
        self._free = free
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    def begin(self, name: str) -> None:
        """Begin to renew; the thread has this name."""
        self._thread = threading.Thread(target=self._keep, name=name, daemon=True)
        self._thread.start()

    def end(self, place: str, patience: float) -> None:
        """Free it, and wait so many seconds for that; one line says where it took longer."""
        self._over.set()
        if self._thread is None:
            self._free()
            return
        # a process that ends starts no thread any more, so the one that renews it frees it too
        self._thread.join(patience)
        if self._thread.is_alive():
            logger.warning(
                "warning: %s does not answer: the lease of this process there was not ended, and "
                "ends by itself within %.0f seconds",
                place,
                self._dead_after,
            )

    def _keep(self) -> None:
        pause = self._every
        while not self._over.wait(pause):
            pause = self._every
            try:
                mine = self._still_mine()
            except (InputError, OSError):
                mine = False
            if self._is_lost():
                return
            pause = pause if mine else min(SOON, pause)
        self._free()
