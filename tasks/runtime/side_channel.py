"""What a run shows elsewhere while it works, such as on Prefect's page: useful, never needed."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import httpx

from tasks.runtime.lost_events import drop_events

PAUSE_SECONDS = 300.0


class SideChannel:
    """Publishes where that can be done. A failure costs one warning and a pause, never the run.

    After a failure nothing is tried for `PAUSE_SECONDS`. A server that did not answer makes each
    try wait long, so it is not asked again by this process: `gone` says so, and the work goes on
    without it.
    """

    def __init__(
        self, log_message: Callable[[str], None], now: Callable[[], float] = time.monotonic
    ) -> None:
        self._log_message = log_message
        self._now = now
        self._paused_until = float("-inf")
        self.gone = False

    def publish_best_effort(self, what: str, publish: Callable[[], object]) -> None:
        """Call `publish`; where it raises, say in one line that `what` is missing, and go on."""
        if self.gone or self._now() < self._paused_until:
            return
        try:
            publish()
        except Exception as error:  # whatever it is, the run has its work done and its tables kept
            if no_answer(error):
                self.lose(error)
                return
            self._paused_until = self._now() + PAUSE_SECONDS
            self._log_message(
                f"warning: Prefect's page will not show {what} ({type(error).__name__})"
            )

    def lose(self, error: BaseException) -> None:
        """Prefect's server does not answer: say once that the work goes on without it."""
        if not self.gone:
            self.gone = True
            drop_events()
            self._log_message(
                f"warning: Prefect's server does not answer any more ({_reason(error)}); the work "
                "goes on without it, and its page will miss progress, links and events from here on"
            )


def no_answer(error: BaseException) -> bool:
    """Whether an error says that a server did not answer a request."""
    return any(isinstance(cause, httpx.TransportError) for cause in _causes(error))


def not_able(error: BaseException) -> bool:
    """Whether an error says that a server did not answer a request, or failed to."""
    return no_answer(error) or any(
        isinstance(cause, httpx.HTTPStatusError) and cause.response.is_server_error
        for cause in _causes(error)
    )


def _reason(error: BaseException) -> str:
    for cause in _causes(error):
        if isinstance(cause, httpx.TransportError):
            return type(cause).__name__
        if isinstance(cause, httpx.HTTPStatusError):
            return f"it says {cause.response.status_code}"
    return type(error).__name__


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__
