"""SIGTERM ends a command as Ctrl-C does, with another exit code; both are answered at once.

An exception raised by a handler can be lost: Python ignores it in a finalizer, and it can leave a
lock held. So a thread watches what becomes of it: it asks again when nothing is being ended, and
when half of the time is over, and then ends the process. What is half done by then is found by the
next command, as after SIGKILL.
"""

from __future__ import annotations

import contextlib
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from types import FrameType

STOPPING = b"\nstopping; what is done is kept\n"
STOPPED = b"threeloops: stopped\n"
TERMINATED, INTERRUPTED = 128 + signal.SIGTERM, 128 + signal.SIGINT
LOOK_SECONDS = 1.0
QUIET_LOOKS = 2  # in so many looks nothing was being ended: the exception was lost
STOP_SECONDS = 20.0
UP_SECONDS = 60.0  # `up` gives its servers 48

# what a forked child is sent is not for this process
os.register_at_fork(after_in_child=lambda: signal.set_wakeup_fd(-1))


class Asked:
    """What a command was asked to do, and whether it has done it."""

    def __init__(self) -> None:
        self.to_end = self.has_ended = False
        self._unsaid = [STOPPING]

    def hear(self, number: int) -> None:
        """Take a signal, in a handler or in a thread; a word says at once that it was heard."""
        self.to_end = self.to_end or number == signal.SIGTERM
        with contextlib.suppress(IndexError, OSError):
            # what is being written is brought to its end, which may take a while
            os.write(2, self._unsaid.pop())

    def code(self) -> int:
        """The exit code of a command that was asked."""
        return TERMINATED if self.to_end else INTERRUPTED


@contextlib.contextmanager
def ending_when_asked(seconds: float = STOP_SECONDS) -> Iterator[Asked]:
    """SIGTERM raises KeyboardInterrupt in the block, as Ctrl-C does; Prefect, which takes it during
    a flow run, raises its own. A process that still runs `seconds` later is ended.

    A shell or a service ends a whole group of processes, Prefect's server among them, so what a
    command that was asked says about a server that is gone is of no interest.
    """
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked  # signals are the main thread's
        return

    def end(number: int, frame: FrameType | None) -> None:
        asked.hear(number)
        raise KeyboardInterrupt

    answered = [signal.SIGTERM]
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:  # a job behind `&` ignores it
        answered.append(signal.SIGINT)
    before = {number: signal.signal(number, end) for number in answered}
    try:
        with _watched(asked, answered, seconds):
            yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _watched(asked: Asked, answered: Sequence[int], seconds: float) -> Iterator[None]:
    """Have each signal written into a pipe too, whoever handles it and whatever the main thread
    does, and a thread read it there."""
    reading, writing = os.pipe()
    os.set_blocking(writing, False)
    before = signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    threading.Thread(target=_watch, args=(reading, asked, answered, seconds), daemon=True).start()
    try:
        yield
    finally:
        asked.has_ended = True
        signal.set_wakeup_fd(before)
        os.close(writing)


def _watch(reading: int, asked: Asked, answered: Sequence[int], seconds: float) -> None:
    """Wait for the first signal to end the process; then see to it that it ends."""
    # a traced thread of Python 3.11 runs in circles while a signal waits for the main thread
    sys.settrace(None)
    with open(reading, "rb", buffering=0) as signals:
        while byte := signals.read(1):  # none once the block is over
            if byte[0] in answered:
                asked.hear(byte[0])
                _see_it_end(byte[0], asked, seconds)
                return


def _see_it_end(number: int, asked: Asked, seconds: float) -> None:
    main, quiet = threading.main_thread(), 0
    began, is_halfway = time.monotonic(), False
    while (passed := time.monotonic() - began) < seconds:
        time.sleep(LOOK_SECONDS)
        quiet = 0 if asked.has_ended or _is_unwinding(main) else quiet + 1
        waits = passed > seconds / 2 and not (is_halfway or asked.has_ended)
        if (quiet == QUIET_LOOKS or waits) and main.ident is not None:
            signal.pthread_kill(main.ident, number)
            quiet, is_halfway = 0, is_halfway or waits
    # a block that is over ended the command, unless the process hangs behind it
    if not asked.has_ended or not main.is_alive():
        with contextlib.suppress(OSError):
            os.write(2, STOPPED)
        os._exit(asked.code())


def _is_unwinding(thread: threading.Thread) -> bool:
    """Whether a thread is handling an exception: it runs an `except`, a `finally` or an exit."""
    handled = sys._current_exceptions().get(thread.ident or 0)
    return handled not in (None, (None, None, None))
