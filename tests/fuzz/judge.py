"""What a reader may do with an input: answer, or refuse it in one line; all else is a failure."""

from __future__ import annotations

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Literal

from flows.cli.terminal import LONGEST_LINE, one_line
from schemas.errors import InputError

# a busy machine gives a process little of its time, so computing and waiting are told apart
COMPUTING_SECONDS, WAITING_SECONDS = 10.0, 200.0
Answer = Literal["accepted", "refused"]


class TooSlowError(BaseException):
    """An input took too long; no `except Exception` of a reader may catch it."""


def judge(read: Callable[[], None]) -> Answer:
    """Read one input; AssertionError or the reader's own error where it does what it must not."""
    try:
        with _limited():
            read()
    except InputError as refusal:
        check_line(refusal)
        return "refused"
    return "accepted"


def check_line(refusal: InputError) -> None:
    """AssertionError unless a refusal, as it is shown, is one line that helps."""
    assert refusal.what.strip(), "a refusal that says nothing"
    line = one_line(f"threeloops: {refusal}")
    assert line.isprintable(), f"a line that cannot be printed: {line!r}"
    assert len(line) <= LONGEST_LINE * 10, f"a line of {len(line)} characters"
    line.encode("utf-8")
    assert "Traceback" not in line


@contextmanager
def _limited() -> Iterator[None]:
    def stop(number: int, frame: FrameType | None) -> None:
        raise TooSlowError(f"stopped by {signal.Signals(number).name}")

    timers = {
        signal.SIGPROF: (signal.ITIMER_PROF, COMPUTING_SECONDS),
        signal.SIGALRM: (signal.ITIMER_REAL, WAITING_SECONDS),
    }
    before = {number: signal.signal(number, stop) for number in timers}
    for timer, seconds in timers.values():
        signal.setitimer(timer, seconds)
    try:
        yield
    finally:
        for timer, _ in timers.values():
            signal.setitimer(timer, 0)
        for number, handler in before.items():
            signal.signal(number, handler)
