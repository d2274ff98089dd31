"""Many runs in one table, what their failures have in common, and the rows of one run."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from rich.console import Console
from rich.text import Text

from artifacts.promotion.decisions import DecisionRecord
from artifacts.runs.listing import RowGroup, run_interval, run_model, run_rate, run_source
from artifacts.text.describe import OUTCOME_WORDS
from artifacts.text.numbers import points, short_rate
from artifacts.text.visible import printable, visible
from artifacts.tracking.history import RunRecord
from flows.cli.render.comparison import answer_line
from flows.cli.render.results import table
from schemas.outputs import SharedFailure

MODEL_WIDTH = 21  # with a loop's letter
CANDIDATE_WIDTH = 17
REASON_WIDTH = 20
EXAMPLE_WIDTH = 60


def print_runs(
    console: Console, runs: Sequence[tuple[int, RunRecord]], found: int, recorded: int
) -> None:
    """One line a run, indented by its depth; `found` of `recorded` runs fit what was asked for."""
    if not recorded:
        console.print("No runs yet; `threeloops demo` makes the first three.")
        return
    if not runs:
        console.print(f"None of the {recorded} runs fits; leave a filter out.")
        return
    lines = table("run", "loop", "started", "pass@1, %", "model", "instrument")
    width = MODEL_WIDTH - max(len(_loop(run)) + 2 * depth for depth, run in runs)
    for depth, run in runs:
        lines.add_row(
            "  " * depth + run.name,
            _loop(run),
            _started(run.started_ms),
            _rate(run) if run.status == "FINISHED" else run.status.lower(),
            _subject(run, width),
            run.tags.get("instrument", "")[:8],
        )
    console.print(lines)
    if found > len(runs):
        console.print(f"{found - len(runs)} more runs not shown; --limit {found} shows all")


def print_decisions(
    console: Console, decisions: Sequence[DecisionRecord], *, more: bool = False
) -> None:
    """One line a decision of the gate, or a rollback with its reason in place of a gain."""
    console.print()
    lines = table("decision", "decided", "what", "candidate", "gain in points")
    for made in decisions:
        gain = [made.metrics.get(f"gain_{part}") for part in ("value", "low", "high")]
        value, low, high = ("" if part is None else points(part) for part in gain)
        gain_shown = f"{value} [{low}, {high}]" if value else "not known"
        lines.add_row(
            made.name,
            _started(made.started_ms),
            "rollback" if made.kind == "rollback" else made.decision,
            _end_of(made.candidate, CANDIDATE_WIDTH),
            _start_of(visible(made.reasons), REASON_WIDTH)
            if made.kind == "rollback"
            else gain_shown,
        )
    console.print(lines)
    if more:
        console.print("older decisions not shown; a larger --limit shows them")


def print_failures(console: Console, groups: Sequence[SharedFailure]) -> None:
    """The failures of all the runs above, grouped by code, each with one example."""
    console.print("\nFailures of these runs by code", style="bold")
    if not groups:
        console.print("none")
    for group in groups:
        among = ", ".join(group.runs[:2]) + (", …" if len(group.runs) > 2 else "")
        console.print(
            f"{OUTCOME_WORDS[group.outcome]} / {printable(group.code)}: "
            f"{group.completions} in {printable(among)}",
            markup=False,
        )
        line = Text("  ")
        line.append(_start_of(visible(group.example.completion), EXAMPLE_WIDTH), style="bold")
        line.append(f"  (expected Final: {group.example.expected})", style="dim")
        console.print(line)


def print_rows(console: Console, groups: Sequence[RowGroup]) -> None:
    """The rows that were chosen of each code, under how many completions have that code."""
    for group in groups:
        console.print(
            f"\n{OUTCOME_WORDS[group.outcome]} / {printable(group.code)}: {group.completions}",
            style="bold",
            markup=False,
        )
        for row in group.rows:
            console.print(answer_line(row.prompt, row.completion, row.expected, row.times))


def print_report(console: Console, path: str | None, reason: str) -> None:
    """Where the page is that has all of the run's answers; `reason` is why there is none."""
    words = (
        f"\nno report was kept ({printable(reason)})"
        if path is None
        else f"\nreport of every answer, for a browser: {printable(path)}"
    )
    console.print(words, style="dim", markup=False, soft_wrap=True)


def _subject(run: RunRecord, width: int) -> str:
    """The model that a run measured or made, or what it replayed, in so many characters."""
    if (source := run_source(run)) is None:
        return _end_of(run_model(run), width)
    return f"from {_end_of(Path(source).name, width - len('from '))}"


def _loop(run: RunRecord) -> str:
    return f"{run.loop.letter} {run.stage}".strip()


def _rate(run: RunRecord) -> str:
    rate, interval = run_rate(run), run_interval(run)
    return "" if rate is None or interval is None else short_rate(rate, interval)


def _started(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000).strftime("%m-%d %H:%M")


def _end_of(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[1 - width :]


def _start_of(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
