"""What a run shows elsewhere while it works, such as on Prefect's page: useful, never needed."""

from __future__ import annotations

import time
from collections.abc import Callable

PAUSE_SECONDS = 300.0


class SideChannel:
    """Publishes where that can be done. A failure costs one warning and a pause, never the run.

    A server that does not answer makes each try wait for half a minute; so after one failure
    nothing is tried for `PAUSE_SECONDS`.
    """

    def __init__(
        self, log_message: Callable[[str], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._log_message = log_message
        self._now = now
        self._paused_until = float("-inf")

    def publish_best_effort(self, what: str, publish: Callable[[], object]) -> None:
        """Call `publish`; where it raises, say in one line that `what` is missing, and go on."""
        if self._now() < self._paused_until:
            return
        try:
            publish()
        except Exception as error:  # whatever it is, the run has its work done and its tables kept
            self._paused_until = self._now() + PAUSE_SECONDS
            self._log_message(
                f"warning: Prefect's page will not show {what} ({type(error).__name__})"
            )
