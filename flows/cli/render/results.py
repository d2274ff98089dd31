"""Results as a person reads them in a terminal of 80 columns; every rate has its interval and n."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console, ConsoleOptions, JustifyMethod, RenderResult
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from artifacts.text.describe import OUTCOME_WORDS
from artifacts.text.imported import missing_lines, origin_lines
from artifacts.text.numbers import (
    counted,
    interval,
    nats,
    nats_interval,
    percent,
    points,
    points_interval,
    rate_interval,
)
from artifacts.text.rates import constant_line, family_rows, needs_answer, partial_reward, rate_rows
from artifacts.text.visible import printable
from schemas.config import DEV
from schemas.loops import loop_named
from schemas.result_parts import DevRate, Rates
from schemas.results import EvalResult, LearningResult, LoopResult, SelectionResult
from scorers.statistics.paired import FEWEST

FAILURES = ("wrong_answer", "bad_format", "truncated")
FEW_PROBLEMS = 60  # below it cells of `bench.referee` with uneven KL are outside the bar
NUMERIC = ("rate", "pass@1", "before", "after", "gain", "problems", "ties")


def print_result(console: Console, result: LoopResult) -> None:
    """Print one result, whichever loop it was."""
    console.print(loop_named(result.loop).headline, style="bold")
    console.print(printable(f"model {result.model.name}"), markup=False)
    if isinstance(result, LearningResult):
        _print_learning(console, result)
    else:
        _print_pass_rate(console, result)
        _print_failures(console, result.outcomes)
        if isinstance(result, SelectionResult):
            _print_selection(console, result)
        _print_families(console, result)
    console.print(
        f"instrument {result.instrument.digest[:12]}   run {result.run_id}",
        style="dim",
        soft_wrap=True,
    )


def _print_pass_rate(console: Console, result: EvalResult | SelectionResult) -> None:
    metrics, correct = result.metrics, result.outcomes["correct"]
    console.print(
        f"Pass rate: {correct}/{metrics.completions} = {percent(metrics.pass_rate)}",
        style="bold green",
    )
    console.print(
        f"  95 % interval {interval(metrics.pass_rate_low, metrics.pass_rate_high)}, "
        f"n = {counted(metrics.problems, 'problem')} x {counted(result.samples, 'sample')}"
    )
    if line := constant_line(result):
        console.print(f"  {line}")
    for line in _origin(result):
        console.print(printable(f"  {line}"), markup=False)
    if mean := partial_reward(result):
        ends = f"{mean.low:.3f} to {mean.high:.3f}"
        console.print(f"Mean reward: {mean.value:.3f} (95 % interval {ends})")


def _origin(result: EvalResult | SelectionResult) -> list[str]:
    """Lines on answers of another program, and on those that were missing."""
    lines = missing_lines(result.partial) if result.partial else []
    lines += origin_lines(result.imported) if result.imported else []
    return lines + ([f"engine: {result.engine.words}"] if result.engine else [])


def _print_failures(console: Console, outcomes: Mapping[str, int]) -> None:
    console.print("Failures:")
    for outcome in FAILURES:
        words = OUTCOME_WORDS[outcome]
        console.print(f"  - {words[0].upper()}{words[1:]}: {outcomes.get(outcome, 0)}")


def _print_selection(console: Console, result: SelectionResult) -> None:
    grid = table("", "rate", "95 % interval", "gain", "95 % interval", "ties")
    for row in rate_rows(result):
        if row.kind == "pass_at_k":
            (rate,) = row.cells
            grid.add_row(row.title, percent(rate.value), rate_interval(rate), "", "", "")
    grid.add_section()
    for picked in result.selected.values():
        grid.add_row(
            f"picked by {picked.rule}" + ("*" if needs_answer(picked.rule) else ""),
            percent(picked.rate.value),
            rate_interval(picked.rate),
            points(picked.gain.value),
            points_interval(picked.gain),
            str(picked.problems_contested),
        )
    console.print(grid)
    console.print(
        "gain: by search, in points over pass@1; ties: problems where the rule held\n"
        "answers with different rewards equal, and the seed decided between them"
    )
    _tell_too_few(console, result.metrics.problems)
    if any(needs_answer(rule) for rule in result.selected):
        others = [rule for rule in result.selected if not needs_answer(rule)]
        without = f";\n  {_listed(others)} can do without it" if others else ""
        console.print(
            "* the oracle needs the expected answer: it is what a perfect scorer could pick"
            f"{without}"
        )
    best, far = result.best_of_n, result.best_of_n.divergence_nats
    console.print(
        f"Best of {best.samples} by the oracle is {nats(far.value)} nats from the policy\n"
        f"(95 % interval {nats_interval(far)}, n = {far.problems} problems); "
        f"the bound log N - (N-1)/N is {nats(best.bound_nats)}"
    )


def _listed(words: Sequence[str]) -> str:
    """`a`, `a and b`, or `a, b and c`."""
    return " and ".join(part for part in (", ".join(words[:-1]), words[-1]) if part)


def _tell_too_few(console: Console, problems: int) -> None:
    if problems < FEWEST:
        console.print(f"with fewer than {FEWEST} problems no gain differs from 0")


def _print_learning(console: Console, result: LearningResult) -> None:
    grid = table("", "before", "95 % interval", "after", "95 % interval")
    for row in rate_rows(result.before, result.after):
        cells = [part for rate in row.cells for part in (percent(rate.value), rate_interval(rate))]
        grid.add_row(row.title, *cells)
    console.print(grid)
    metrics, kl = result.metrics, result.kl_nats
    console.print(
        f"n = {counted(metrics.problems, 'problem')} x {counted(result.samples, 'sample')}, "
        "none trained on\n"
        f"KL to the start {nats(kl.value)} nats a completion (95 % interval {nats_interval(kl)})"
    )
    if line := constant_line(result.after, "pass@1 after"):
        console.print(line)
    if kl.problems < FEW_PROBLEMS:
        console.print(
            f"fewer than {FEW_PROBLEMS} problems: where a few problems make most of the KL, its "
            "interval holds in as few as half of all measurements, not in 95 %"
        )
    if gain := result.gain:
        console.print(
            f"gain of pass@1, problem by problem: {points(gain.value)} points "
            f"(95 % interval {points_interval(gain)})"
        )
        _tell_too_few(console, metrics.problems)
    if result.dev:
        console.print(_dev_words(result.dev))
    seconds = metrics.seconds_per_step
    console.print(
        f"{metrics.steps} step{'' if metrics.steps == 1 else 's'}"
        + (f" of {seconds:.1f} s" if seconds else "")
        + f", {metrics.wall_seconds:.0f} s in all; registered {printable(result.model.name)}"
    )
    if result.ended_by == "time":
        console.print(
            f"ended by --max-minutes {result.config.max_minutes:g}, after {metrics.steps} of "
            f"{result.config.steps} steps; another run may make more or fewer"
        )
    if metrics.clipped_steps:
        console.print(
            f"the gradient was longer than --max-gradient-norm in {metrics.clipped_steps} of "
            f"{metrics.steps} steps, and was scaled down"
        )


def _dev_words(dev: Sequence[DevRate]) -> str:
    """Pass@1 on dev step by step, on one line or few; n once, because it is the same for all."""
    steps = "  ".join(f"{rate.step}: {percent(rate.value)}" for rate in dev)
    return f"pass@1 on {DEV} by step (n = {dev[0].problems} problems): {steps}"


def _print_families(console: Console, side: Rates) -> None:
    families = family_rows(side)
    if not families:
        return
    grid = table("family", "pass@1", "95 % interval", "problems")
    for row in families:
        (rate,) = row.cells
        grid.add_row(row.name, percent(rate.value), rate_interval(rate), str(rate.problems))
    console.print(grid)


class PlainTable(Table):
    """A table whose cells are shown as they are: no text of a user's becomes markup.

    A cell is made printable before its column's width is measured, so that columns stay aligned.
    """

    def add_row(self, *cells: Any, **how: Any) -> None:
        """As rich's, with every text taken literally and on one line."""
        super().add_row(*(Text(printable(c)) if isinstance(c, str) else c for c in cells), **how)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """As rich's, without the spaces that fill up the end of a line."""
        made = super().__rich_console__(console, options)
        for line in Segment.split_lines(part for part in made if isinstance(part, Segment)):
            while line and not line[-1].text.strip():
                line.pop()
            if line:
                last = line.pop()
                line.append(Segment(last.text.rstrip(), last.style))
            yield from (*line, Segment.line())


def table(*columns: str) -> Table:
    """A table without lines; columns that hold numbers are set flush right."""
    grid = PlainTable(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for position, column in enumerate(columns):
        numeric = column in NUMERIC
        justify: JustifyMethod = "right" if numeric and position else "left"
        grid.add_column(Text(column), justify=justify, no_wrap=True)
    return grid
