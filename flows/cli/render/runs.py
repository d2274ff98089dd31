"""Many runs in one table, what their failures have in common, and the rows of one run.

It draws what `artifacts.runs.listing` found; everything fits 80 columns.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any

from rich.console import Console
from rich.text import Text

from artifacts.promotion.decisions import DecisionRecord
from artifacts.report.write import REPORT_FILE
from artifacts.runs.listing import FailureGroup, run_interval, run_model, run_rate, run_rows
from artifacts.text.describe import OUTCOME_WORDS
from artifacts.text.numbers import points
from artifacts.text.visible import visible
from artifacts.tracking.history import RunRecord
from flows.cli.render.results import table
from schemas.errors import InputError

MODEL_WIDTH = 21  # with a loop's letter
CANDIDATE_WIDTH = 18
EXAMPLE_WIDTH = 60


def show_runs(
    console: Console, runs: Sequence[tuple[int, RunRecord]], found: int, recorded: int
) -> None:
    """One line a run, set in by its depth; `found` of `recorded` runs fit what was asked for."""
    if not recorded:
        console.print("No runs yet; `threeloops demo` makes the first three.")
        return
    if not runs:
        console.print(f"None of the {recorded} runs fits; leave a filter out.")
        return
    drawn = table("run", "loop", "started", "pass@1, %", "model", "instrument")
    width = MODEL_WIDTH - max(len(_loop(run)) + 2 * depth for depth, run in runs)
    for depth, run in runs:
        drawn.add_row(
            "  " * depth + run.name,
            _loop(run),
            _started(run.started_ms),
            _rate(run) if run.status == "FINISHED" else run.status.lower(),
            _end_of(run_model(run), width),
            run.tags.get("instrument", "")[:8],
        )
    console.print(drawn)
    if found > len(runs):
        console.print(f"{found - len(runs)} more runs not shown; --limit {found} shows all")


def show_decisions(console: Console, decisions: Sequence[DecisionRecord]) -> None:
    """One line a decision of the gate."""
    console.print()
    drawn = table("decision", "decided", "what", "candidate", "gain in points")
    for made in decisions:
        gain = [made.metrics.get(f"gain_{part}") for part in ("value", "low", "high")]
        value, low, high = ("" if part is None else points(part) for part in gain)
        drawn.add_row(
            made.name,
            _started(made.started_ms),
            made.decision,
            _end_of(made.candidate, CANDIDATE_WIDTH),
            f"{value} [{low}, {high}]" if value else "not known",
        )
    console.print(drawn)


def show_failures(console: Console, groups: Sequence[FailureGroup]) -> None:
    """The failures of all the runs above, grouped by code, each with one example."""
    console.print("\nFailures of these runs by code", style="bold")
    if not groups:
        console.print("none")
    for group in groups:
        among = ", ".join(group.runs[:2]) + (", …" if len(group.runs) > 2 else "")
        console.print(
            f"{OUTCOME_WORDS[group.outcome]} / {group.code}: {group.completions} in {among}",
            markup=False,
        )
        row = group.example
        line = Text("  ")
        line.append(_start_of(visible(row["completion"]), EXAMPLE_WIDTH), style="bold")
        line.append(f"  (expected Final: {row['expected']})", style="dim")
        console.print(line)


def show_rows(
    console: Console,
    run: RunRecord,
    *,
    per_code: int,
    code: str | None,
    family: str | None,
    surest_first: bool,
) -> list[dict[str, Any]]:
    """The first rows of each code, most frequent code first; returns what was shown.

    Raises InputError for a code or family that the run does not have.
    """
    rows = run_rows(run).to_pylist()
    for name, wanted in (("code", code), ("family", family)):
        known = sorted({row[name] for row in rows} - {None})
        if wanted is not None and wanted not in known:
            raise InputError(
                f"no completion of run {run.name} has it",
                f"--{name} {wanted}",
                f"use {', '.join(known)}" if known else f"leave --{name} out",
            )
        rows = [row for row in rows if wanted in (None, row[name])]
    if surest_first:
        unknown = float("-inf")
        sure = [unknown if row["sum_logprob"] is None else row["sum_logprob"] for row in rows]
        rows = [rows[place] for place in sorted(range(len(rows)), key=lambda i: -sure[i])]
    groups: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["outcome"], row["code"]), []).append(row)
    shown = []
    for (outcome, kind), found in sorted(groups.items(), key=lambda item: -len(item[1])):
        console.print(f"\n{OUTCOME_WORDS[outcome]} / {kind}: {len(found)}", style="bold")
        for row in _distinct(found)[:per_code]:
            line = Text(f"  {visible(row['prompt'])} -> ")
            line.append(visible(row["completion"]), style="bold")
            times = f" x{row['times']}" if row["times"] > 1 else ""
            line.append(f"{times}  (expected Final: {row['expected']})", style="dim")
            console.print(line)
            shown.append(row)
    return shown


def show_report(console: Console, run: RunRecord) -> None:
    """Where the page is that has all of the run's answers."""
    report = run.folder / REPORT_FILE
    if report.exists():
        words = f"\nreport of every answer, for a browser: {report}"
    else:
        words = f"\nno report was kept ({run.tags.get('report_error', 'the run made none')})"
    console.print(words, style="dim", markup=False, soft_wrap=True)


def _distinct(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The rows without those that answer the same problem with the same text; `times` counts."""
    first: dict[tuple[str, str], dict[str, Any]] = {}
    for row in rows:
        kept = first.setdefault((row["problem"], row["completion"]), row | {"times": 0})
        kept["times"] += 1
    return list(first.values())


def _loop(run: RunRecord) -> str:
    return f"{run.loop.letter} {run.stage}".strip()


def _rate(run: RunRecord) -> str:
    rate, interval = run_rate(run), run_interval(run)
    if rate is None or interval is None:
        return ""
    return f"{100 * rate:.0f} [{100 * interval[0]:.0f}, {100 * interval[1]:.0f}]"


def _started(milliseconds: int) -> str:
    return datetime.fromtimestamp(milliseconds / 1000).strftime("%m-%d %H:%M")


def _end_of(text: str, width: int) -> str:
    return text if len(text) <= width else "…" + text[1 - width :]


def _start_of(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 1] + "…"
