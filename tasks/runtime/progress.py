"""What long work tells while it goes on: typed events, sent to whoever listens in this process."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from schemas.references import TableRef
from tasks.runtime.time_left import TimeLeft, in_words


@dataclass(frozen=True)
class Progress:
    """How far a piece of work is: `done` of `total` units, and words to show beside it.

    `part` is true for work inside other work that reports its own progress, as the sampling of one
    step is inside learning. `seconds_left` is an estimate, None where there is none.
    """

    work: str
    done: int
    total: int
    unit: str
    part: bool = False
    notes: dict[str, str] = field(default_factory=dict)
    seconds_left: float | None = field(default=None, compare=False)

    @property
    def words(self) -> str:
        """The whole in one line: work, count, notes, and how long it will go on."""
        notes = [f"{name} {value}" for name, value in self.notes.items()]
        left = [] if self.seconds_left is None else [in_words(self.seconds_left)]
        counted = f"{self.work}: {self.done} of {self.total} {self.unit}"
        return ", ".join([counted, *notes, *left])


@dataclass(frozen=True)
class Message:
    """One line for a person."""

    text: str


@dataclass(frozen=True)
class ShardStored:
    """A shard of completions is in the store, with the problems that it answers."""

    work: str
    problems: TableRef
    completions: TableRef


Event = Progress | Message | ShardStored
Listener = Callable[[Event], None]


class ProgressHub:
    """The listeners of one process. With none, everything is silent."""

    def __init__(self, time_left: TimeLeft | None = None) -> None:
        self.listeners: list[Listener] = []
        self._time_left = time_left or TimeLeft()
        self._notes: dict[str, dict[str, str]] = {}

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Send every event to `listener` while the block runs."""
        self.listeners.append(listener)
        try:
            yield
        finally:
            self.listeners.remove(listener)

    def report(self, event: Event) -> None:
        """Send an event to all listeners; progress gets the notes that were made on its work.

        Where who reports has no better estimate, it also gets how long the work will go on.
        """
        if isinstance(event, ShardStored):
            self._time_left.part_ends(event.work)
        if isinstance(event, Progress) and event.work in self._notes:
            event = replace(event, notes=event.notes | self._notes[event.work])
        if isinstance(event, Progress) and event.seconds_left is None and not event.part:
            left = self._time_left.seconds(event.work, event.done, event.total)
            event = replace(event, seconds_left=left)
        for listener in self.listeners:
            listener(event)

    def log_message(self, text: str) -> None:
        """Report one line for a person."""
        self.report(Message(text))

    def forget(self, work: str) -> None:
        """Drop the notes on a piece of work that has ended, whichever way."""
        self._notes.pop(work, None)
        self._time_left.forget(work)

    def note(self, work: str, name: str, value: str) -> None:
        """Show `name value` beside the progress of a piece of work from now on."""
        self._notes.setdefault(work, {})[name] = value
