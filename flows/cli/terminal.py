"""What a person sees while a verb runs: progress on stderr, the result on stdout."""

from __future__ import annotations

import contextlib
import logging
import sys
import time
from collections.abc import Iterator

from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    ProgressColumn,
    TaskID,
    TextColumn,
)
from rich.progress import Progress as Bars

from artifacts.text.secrets import without_secrets
from artifacts.text.visible import printable
from flows.cli.console import SafeConsole
from flows.cli.streams import BROKEN_PIPE, discard_stdout
from tasks.runtime.progress import Event, Message, Progress, ProgressHub
from tasks.runtime.time_left import in_words

WIDTH = 80
LONGEST_LINE = 1600  # characters of a note or a failure; its middle is left out beyond that
LEFT_OUT = " […] "


class Terminal:
    """stdout for the result, stderr for everything on the way to it."""

    def __init__(self, *, as_json: bool) -> None:
        self.as_json = as_json
        self.err = SafeConsole(stderr=True, highlight=False, soft_wrap=True, emoji=False)
        self.out = (
            SafeConsole(file=sys.stderr, highlight=False, emoji=False)
            if as_json
            else SafeConsole(highlight=False, emoji=False)
        )
        if not self.out.is_terminal:
            self.out.width = WIDTH
        self._shown: ProgressHub | None = None

    def note(self, line: str) -> None:
        """One line about what is going on; a stderr that is full is not worth a run."""
        with contextlib.suppress(OSError):
            self.err.print(one_line(line), style="dim", markup=False)

    def fail(self, line: str) -> None:
        """The one line that says why there is no result."""
        with contextlib.suppress(OSError):
            self.err.print(one_line(f"threeloops: {line}"), style="bold red", markup=False)

    def not_written(self, error: OSError) -> int:
        """Say that the result could not be written to stdout; returns the exit code."""
        discard_stdout()
        if isinstance(error, BrokenPipeError):  # whoever read it has had enough
            return BROKEN_PIPE
        self.fail(f"the result was kept, but could not be written to stdout ({error.strerror})")
        return 2

    @contextlib.contextmanager
    def progress(self, hub: ProgressHub) -> Iterator[None]:
        """Show what tasks report: bars in a terminal, a line every ten seconds elsewhere.

        A block inside such a block adds nothing, so that no line is said twice.
        """
        with self.noting_warnings():
            if self._shown is hub:
                yield
                return
            self._shown = hub
            try:
                with self._showing(hub):
                    yield
            finally:
                self._shown = None

    @contextlib.contextmanager
    def noting_warnings(self) -> Iterator[None]:
        """Show what these rooms warn of as a note, instead of as a log record among others."""
        loggers, handler = (
            [logging.getLogger(room) for room in ("policy", "artifacts")],
            Notes(self),
        )
        if any(isinstance(known, Notes) for known in loggers[0].handlers):
            yield  # they are shown already
            return
        propagate = [logger.propagate for logger in loggers]
        for logger in loggers:
            logger.addHandler(handler)
            logger.propagate = False
        try:
            yield
        finally:
            for logger, before in zip(loggers, propagate, strict=True):
                logger.removeHandler(handler)
                logger.propagate = before

    @contextlib.contextmanager
    def _showing(self, hub: ProgressHub) -> Iterator[None]:
        if not self.err.is_terminal:
            with hub.listening(SparseLines(self)):
                yield
            return
        bars = Bars(*bar_columns(), console=self.err, transient=True)
        with bars, hub.listening(LiveBars(bars)):
            yield


def one_line(text: str) -> str:
    """A text as one printable line without secrets, its middle left out where it is very long.

    What is wrong stands at the start of a failure, and what to do at its end.
    """
    text = without_secrets(text)
    if len(text) > LONGEST_LINE:
        half = (LONGEST_LINE - len(LEFT_OUT)) // 2
        text = text[:half] + LEFT_OUT + text[-half:]
    return printable(text)


def bar_columns() -> list[ProgressColumn]:
    """What a bar shows, from left to right; the names in it are taken literally."""
    return [
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=24),
        MofNCompleteColumn(),
        TextColumn("{task.fields[notes]}", markup=False),
        TextColumn("{task.fields[left]}", markup=False),
    ]


class Notes(logging.Handler):
    """Log records as notes in a terminal, each text once."""

    def __init__(self, terminal: Terminal) -> None:
        super().__init__(logging.WARNING)
        self.terminal = terminal
        self.shown: set[str] = set()

    def emit(self, record: logging.LogRecord) -> None:
        """Show the message alone."""
        line = record.getMessage()
        if line not in self.shown:
            self.shown.add(line)
            self.terminal.note(line)


class LiveBars:
    """One bar for each piece of work that is not done at its first report."""

    def __init__(self, bars: Bars) -> None:
        self.bars = bars
        self.ids: dict[str, TaskID] = {}
        self.begun: dict[str, float] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, Message):
            self.bars.console.print(one_line(event.text), style="dim", markup=False)
        elif isinstance(event, Progress):
            self._show(event)

    def _show(self, progress: Progress) -> None:
        name = progress.work
        first = self.begun.setdefault(name, time.monotonic())
        rate = progress.done / max(time.monotonic() - first, 1e-9)
        notes = dict(progress.notes)
        if progress.unit == "completions" and progress.done:
            notes["a second"] = f"{rate:.0f}"
        shown = one_line("  ".join(f"{key} {value}" for key, value in notes.items()))
        if name not in self.ids:
            if progress.done >= progress.total or progress.part:
                return  # the work is too short for a bar of its own
            self.ids[name] = self.bars.add_task(
                one_line(name), total=progress.total, notes="", left=""
            )
        left = "" if progress.seconds_left is None else in_words(progress.seconds_left)
        self.bars.update(self.ids[name], completed=progress.done, notes=shown, left=left)
        if progress.done >= progress.total:
            self.bars.update(self.ids.pop(name), visible=False)
            self.begun.pop(name)


class SparseLines:
    """One line of progress every ten seconds, and every message."""

    def __init__(self, terminal: Terminal) -> None:
        self.terminal = terminal
        self.last = time.monotonic()

    def __call__(self, event: Event) -> None:
        if isinstance(event, Message):
            self.terminal.note(event.text)
            return
        now = time.monotonic()
        if not isinstance(event, Progress) or event.part or now - self.last < 10:
            return
        self.last = now
        self.terminal.note(event.words)
