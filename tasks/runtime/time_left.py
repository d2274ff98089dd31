"""How long a piece of work will go on, from how fast its last parts were."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from statistics import median

RECENT = 10  # parts whose median counts: what is slow once, or gets faster, soon counts no more
FIRST = 0.01  # share of the work below which the first part says nothing: its start took the time


@dataclass
class Pace:
    """What is known of one piece of work: where its present part began, and how fast others were.

    `parts` are seconds a unit. `began` and `done` are the time and the count at which the present
    part began; `reported` is the newest count.
    """

    began: float
    done: int
    reported: int
    parts: list[float] = field(default_factory=list)


class TimeLeft:
    """Estimates for all works of one process; `now` is a clock in seconds."""

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._works: dict[str, Pace] = {}

    def seconds(self, work: str, done: int, total: int) -> float | None:
        """Seconds until `total` of a work; None where nothing is known yet.

        A unit takes the median of the last parts that are finished, and within the first part as
        long as each so far, once a hundredth of the work is done.
        """
        now = self._now()
        pace = self._works.get(work)
        if pace is None or done < pace.reported:  # another piece of work of the same name
            pace = self._works[work] = Pace(now, done, done)
        pace.reported = done
        if done >= total:
            self.forget(work)
            return None
        if pace.parts:
            return (total - done) * median(pace.parts[-RECENT:])
        if done - pace.done < FIRST * total:
            return None
        return (total - done) * (now - pace.began) / (done - pace.done)

    def part_ends(self, work: str) -> None:
        """A part of the work is finished, such as a shard of completions."""
        pace, now = self._works.get(work), self._now()
        if pace is None:
            return
        if pace.reported > pace.done:  # else it was found finished, which says nothing
            pace.parts.append((now - pace.began) / (pace.reported - pace.done))
        pace.began, pace.done = now, pace.reported

    def forget(self, work: str) -> None:
        """The work has ended, whichever way."""
        self._works.pop(work, None)


def in_words(seconds: float) -> str:
    """A time that is left, as `about 2 min left`."""
    if seconds < 10:
        return "less than 10 s left"
    if seconds < 90:
        return f"about {5 * round(seconds / 5)} s left"
    if seconds < 90 * 60:
        return f"about {round(seconds / 60)} min left"
    return f"about {seconds / 3600:.1f} h left"
