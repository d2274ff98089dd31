"""Where long tasks say how far they are: one listener for the process, silent when there is none.

It carries numbers; drawing them is the command line's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Progress:
    """How far a piece of work is: `done` of `total` units, and words to show beside it."""

    work: str
    done: int
    total: int
    unit: str
    notes: dict[str, str] = field(default_factory=dict)


Listener = Callable[[Progress], None]
_listeners: list[Listener] = []


@contextmanager
def listening(listener: Listener) -> Iterator[None]:
    """Send every report to `listener` while the block runs."""
    _listeners.append(listener)
    try:
        yield
    finally:
        _listeners.remove(listener)


def report(progress: Progress) -> None:
    """Tell whoever listens."""
    for listener in _listeners:
        listener(progress)
