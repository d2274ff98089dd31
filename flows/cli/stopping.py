"""SIGTERM ends a command as Ctrl-C does, with another exit code."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Iterator
from types import FrameType


class Asked:
    """Whether the command was asked to end by SIGTERM."""

    to_end = False


@contextlib.contextmanager
def ending_when_asked() -> Iterator[Asked]:
    """SIGTERM raises KeyboardInterrupt in the block; Prefect passes it on after a flow run.

    A shell or a service ends a whole group of processes, Prefect's server among them, so what a
    command that was asked says about a server that is gone is of no interest.
    """
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # signals are the main thread's
        return

    def end(number: int, frame: FrameType | None) -> None:
        asked.to_end = True
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, end)
    try:
        yield asked
    finally:
        signal.signal(signal.SIGTERM, before)
