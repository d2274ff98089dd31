"""A decision of the gate, or a rollback, as a person reads it in a terminal."""

from __future__ import annotations

from rich.console import Console

from artifacts.text.numbers import level_in_words, points, points_interval
from artifacts.text.visible import printable
from flows.cli.render.comparison import print_comparison
from schemas.result_parts import Rollback
from schemas.results import Decision


def print_decision(console: Console, result: Decision) -> None:
    """What the gate decided, the evidence it was decided on, and every reason against."""
    if result.rollback:
        _print_rollback(console, result, result.rollback)
        return
    against = result.against
    style = "bold green" if result.promoted else "bold red"
    console.print(f"{result.candidate.name}: {result.decision}", style=style, markup=False)
    opponent = printable(against.name or "not known")
    console.print(f"against the {against.role}, {opponent}", markup=False)
    if result.evidence and against.name != result.candidate.name:
        print_comparison(console, result.evidence)
    if result.pairs_considered > 1:
        console.print(
            f"both were evaluated with {result.pairs_considered} common instruments; the one "
            "of the strict scorer, with most problems and samples, decides, not the best"
        )
    if held := result.held:
        console.print(
            f"look {held.look} at evidence against this opponent: the gain must hold at "
            f"{level_in_words(held.level)}, where it is {points_interval(held)} points"
        )
    for line in result.repeated:
        console.print(printable(line), markup=False, soft_wrap=True)
    if result.fresh and result.fresh_held:
        gain, held = result.fresh.difference, result.fresh_held
        console.print(
            f"measured again on fresh samples of the same problems: {points(gain.value)} points, "
            f"{points_interval(gain)}"
        )
        console.print(
            f"confirmation {held.look} against this opponent: the gain must hold at "
            f"{level_in_words(held.level)}, where it is {points_interval(held)} points"
        )
    if result.gain:
        gain = result.gain.difference
        console.print(
            f"measured once more after it had passed: {points(gain.value)} points, "
            f"{points_interval(gain)}; this is the gain to quote, because nothing depended on it",
            style="bold",
        )
    if result.gain_missing is not None:
        _print_missing_gain(console, result)
    for reason in result.reasons:
        console.print(printable(f"- {reason}"), markup=False)
    if result.promoted:
        console.print(f"{result.champion} is the champion now", style="bold", markup=False)
    console.print(f"decision {result.run_id}", style="dim")


def _print_rollback(console: Console, result: Decision, back: Rollback) -> None:
    for line, style in (
        (f"{back.from_version}: {result.decision}", "bold red"),
        (f"at {back.at} by {back.by}: {back.reason}", ""),
        ("no evidence was needed; the looks and confirmations so far go on counting", ""),
        (f"{back.to_version} is the champion again", "bold"),
        (f"decision {result.run_id}", "dim"),
    ):
        console.print(printable(line), style=style, markup=False, soft_wrap=True)


def _print_missing_gain(console: Console, result: Decision) -> None:
    """Why there is no gain to quote, and how to get one."""
    lines = [
        f"its gain was not measured once more after it had passed: {result.gain_missing}",
        "What decided shows more than the true gain. For a gain to quote, evaluate both with the",
        "options of the runs above and one new seed, and compare these two runs:",
        *(
            f"  threeloops eval --model {side.name} --seed SEED ..."
            for side in (result.against, result.candidate)
        ),
    ]
    for line in lines:
        console.print(printable(line), markup=False, soft_wrap=True)
