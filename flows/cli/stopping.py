"""SIGTERM ends a command as Ctrl-C does, with another exit code; both are answered at once."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Iterator
from types import FrameType

STOPPING = b"\nstopping; what is done is kept\n"


class Asked:
    """Whether the command was asked to end by SIGTERM."""

    to_end = False


@contextlib.contextmanager
def ending_when_asked() -> Iterator[Asked]:
    """SIGTERM raises KeyboardInterrupt in the block, as Ctrl-C does; Prefect passes it on after a
    flow run. A word says at once that it was heard.

    A shell or a service ends a whole group of processes, Prefect's server among them, so what a
    command that was asked says about a server that is gone is of no interest.
    """
    asked, is_said = Asked(), False
    if threading.current_thread() is not threading.main_thread():
        yield asked  # signals are the main thread's
        return

    def end(number: int, frame: FrameType | None) -> None:
        nonlocal is_said
        asked.to_end = asked.to_end or number == signal.SIGTERM
        if not is_said:  # what is being written is brought to its end, which may take a while
            is_said = True
            with contextlib.suppress(OSError):
                os.write(2, STOPPING)
        raise KeyboardInterrupt

    answered = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a job behind `&` ignores it
        answered.append(signal.SIGINT)
    before = {number: signal.signal(number, end) for number in answered}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
