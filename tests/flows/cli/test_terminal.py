"""What a person sees on the way to a result: bars in a terminal, a few lines elsewhere."""

from __future__ import annotations

import io
import logging
import re
from types import SimpleNamespace

import pytest
from rich.console import Console
from rich.progress import Progress as Bars
from rich.progress import TextColumn

from flows.cli.terminal import LiveBars, SparseLines, Terminal, bar_columns
from schemas.references import TableRef
from tasks.runtime.progress import Message, Progress, ProgressHub, ShardStored

TABLE = TableRef(kind="completions", digest="d", rows=1)


class Clock:
    """Seconds that pass when a test says so."""

    def __init__(self) -> None:
        self.seconds = 100.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("flows.cli.terminal.time", SimpleNamespace(monotonic=made))
    return made


@pytest.fixture
def bars() -> Bars:
    """Bars that are drawn into a text, and not by themselves."""
    console = Console(file=io.StringIO(), force_terminal=True, width=80)
    columns = TextColumn("{task.description} {task.completed}/{task.total} {task.fields[notes]}")
    return Bars(columns, console=console, auto_refresh=False)


def drawn(bars: Bars) -> list[tuple[str, float, float | None, str]]:
    """The bars in sight: work, done, total, notes."""
    return [
        (task.description, task.completed, task.total, task.fields["notes"])
        for task in bars.tasks
        if task.visible
    ]


def test_a_bar_follows_its_work_and_goes_at_its_end(bars: Bars, clock: Clock) -> None:
    listener = LiveBars(bars)
    listener(Progress("learning", 1, 4, "steps", notes={"reward": "0.50", "KL": "0.10"}))
    assert drawn(bars) == [("learning", 1, 4, "reward 0.50  KL 0.10")]
    listener(Progress("learning", 3, 4, "steps"))
    assert drawn(bars) == [("learning", 3, 4, "")]
    listener(Progress("learning", 4, 4, "steps"))
    assert drawn(bars) == []
    listener(Progress("learning", 1, 4, "steps"))
    assert drawn(bars) == [("learning", 1, 4, "")], "another piece of work of the same name"


def test_a_bar_has_the_time_that_is_left(bars: Bars, clock: Clock) -> None:
    listener = LiveBars(bars)
    listener(Progress("learning", 1, 50, "steps"))
    listener(Progress("learning", 14, 50, "steps", seconds_left=118.0))
    (task,) = bars.tasks
    assert task.fields["left"] == "about 2 min left"
    assert any("left" in str(getattr(c, "text_format", "")) for c in bar_columns())


def test_completions_are_shown_with_how_many_come_in_a_second(bars: Bars, clock: Clock) -> None:
    listener = LiveBars(bars)
    listener(Progress("holdout: tiny", 0, 100, "completions"))
    clock.seconds += 4
    listener(Progress("holdout: tiny", 20, 100, "completions"))
    assert drawn(bars) == [("holdout: tiny", 20, 100, "a second 5")]


def test_work_that_is_done_at_once_or_inside_other_work_has_no_bar(
    bars: Bars, clock: Clock
) -> None:
    listener = LiveBars(bars)
    listener(Progress("short", 3, 3, "completions"))
    listener(Progress("step 1", 1, 3, "completions", part=True))
    listener(ShardStored("holdout", TABLE, TABLE))
    assert drawn(bars) == []


def test_a_message_is_a_line_above_the_bars_and_shown_as_it_is(bars: Bars) -> None:
    LiveBars(bars)(Message("[bold]step 2[/bold]: pass@1"))
    assert isinstance(bars.console.file, io.StringIO)
    printed = re.sub(r"\x1b\[[0-9;]*m", "", bars.console.file.getvalue())
    assert printed == "[bold]step 2[/bold]: pass@1\n"


def lines(capsys: pytest.CaptureFixture[str]) -> list[str]:
    captured = capsys.readouterr()
    assert captured.out == ""
    return captured.err.splitlines()


def test_elsewhere_there_is_a_line_every_ten_seconds(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    listener = SparseLines(Terminal(as_json=False))
    for done in range(25):
        clock.seconds += 1
        listener(Progress("learning", done, 25, "steps", notes={"reward": "0.50"}))
        listener(Progress("step", done, 25, "completions", part=True))
        listener(ShardStored("learning", TABLE, TABLE))
    assert lines(capsys) == [
        "learning: 9 of 25 steps, reward 0.50",
        "learning: 19 of 25 steps, reward 0.50",
    ]


def test_elsewhere_the_line_says_how_long_it_will_go_on(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    listener = SparseLines(Terminal(as_json=False))
    clock.seconds += 10
    notes = {"reward": "0.46", "KL": "1.87"}
    listener(Progress("learning", 14, 50, "steps", notes=notes, seconds_left=118.0))
    assert lines(capsys) == ["learning: 14 of 50 steps, reward 0.46, KL 1.87, about 2 min left"]


def test_elsewhere_every_message_is_a_line(
    clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    listener = SparseLines(Terminal(as_json=False))
    listener(Message("step 0: [pass@1]"))
    listener(Message("step 2"))
    assert lines(capsys) == ["step 0: [pass@1]", "step 2"]


def test_a_terminal_listens_while_the_block_runs(capsys: pytest.CaptureFixture[str]) -> None:
    hub, terminal = ProgressHub(), Terminal(as_json=True)
    with terminal.progress(hub):
        hub.log_message("inside")
        for _ in range(2):
            logging.getLogger("policy.model").warning("slow")
        assert len(hub.listeners) == 1
    hub.log_message("outside")
    assert hub.listeners == []
    assert lines(capsys) == ["inside", "slow"], "a warning is shown once"


def test_the_result_is_on_stdout_unless_that_is_for_a_machine(
    capsys: pytest.CaptureFixture[str],
) -> None:
    Terminal(as_json=False).out.print("result")
    Terminal(as_json=True).out.print("for a person")
    Terminal(as_json=True).fail("no [such] run")
    captured = capsys.readouterr()
    assert captured.out == "result\n"
    assert captured.err == "for a person\nthreeloops: no [such] run\n"
