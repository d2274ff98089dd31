"""Two verdicts, two runs or a gate's decision, as a person reads them in a terminal.

It draws what was compared and compares nothing. Texts of a model are shown with the invisible
made visible.
"""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console
from rich.text import Text

from artifacts.text.numbers import percent, points
from artifacts.text.visible import visible
from flows.cli.render.results import nats, table

Result = dict[str, Any]
DIRECTIONS = {
    "lost": "correct before, not now",
    "won": "correct now, not before",
    "moved": "same verdict, another reason",
}
TESTS = {
    "mcnemar_exact": "McNemar's exact test",
    "sign_flip_exact": "an exact permutation test over problems",
    "sign_flip_sampled": "a permutation test over problems",
}


def print_comparison(console: Console, result: Result) -> None:
    """Two runs: what each was, which parts differ, and, where they may be compared, by how much."""
    for letter, run in zip("AB", result["runs"], strict=True):
        console.print(_one_run(letter, run), soft_wrap=True)
    show_differing(console, result)
    if result["comparable"]:
        _show_difference(console, result)
        for way, words in (("better", "right in B more often"), ("worse", "right in A more often")):
            _show_flips(console, result, way, words)
    for sentence in result["reading"]:
        console.print(sentence, markup=False)


def show_differing(console: Console, result: Result) -> None:
    """The parts in which the instruments differ, with both values."""
    if result["same_instrument"]:
        scorer = result["instrument"]["parts"]["scorer"].partition(":")[0]
        digest = result["instrument"]["digest"][:12]
        console.print(f"same instrument {digest}, scorer {scorer}", style="dim", markup=False)
        return
    console.print("The instruments differ:", style="bold red")
    for part, values in result["differs"].items():
        note = " (allowed)" if part in result["allowed"] else ""
        console.print(f"  {part}{note}", markup=False)
        for letter, value in zip("AB", values, strict=True):
            console.print(f"    {letter}  {short(value)}", markup=False, soft_wrap=True)
    if result["allowed"] and result["comparable"]:
        console.print(
            "Compared all the same, as allowed: the difference may be the instrument's.",
            style="bold red",
        )


def print_decision(console: Console, result: Result) -> None:
    """What the gate decided, the evidence it was decided on, and every reason against."""
    against = result["against"]
    style = "bold green" if result["promoted"] else "bold red"
    name = result["candidate"]["name"]
    console.print(f"{name}: {result['decision']}", style=style, markup=False)
    console.print(f"against the {against['role']}, {against['name'] or 'not known'}", markup=False)
    if result["evidence"]:
        print_comparison(console, result["evidence"])
    if result["pairs_considered"] > 1:
        console.print(
            f"{result['pairs_considered']} pairs of evaluations have a common instrument; the "
            "newest of the largest decides, not the best"
        )
    for reason in result["reasons"]:
        console.print(f"- {reason}", markup=False, soft_wrap=True)
    if result["promoted"]:
        console.print(f"{result['champion']} is the champion now", style="bold", markup=False)
    console.print(f"decision {result['run_id']}", style="dim")


def short(value: str) -> str:
    """A part of an instrument with each digest cut to its first 12 characters."""
    return re.sub(r"\b([0-9a-f]{12})[0-9a-f]{52}\b", r"\1", value)


def _one_run(letter: str, run: Result) -> Text:
    line = Text(f"{letter}  ").append(run["name"], style="bold")
    line.append(f"  loop {run['loop']}, changed: {run['changed']}; {run['model']}")
    if run.get("kl_nats") is not None:
        steps = f"{run['steps']} step{'' if run['steps'] == 1 else 's'}"
        line.append(f" after {steps}, {nats(run['kl_nats'])} nats from its start")
    return line.append(f"; {run['problems']} problems x {run['samples']} samples")


def _show_difference(console: Console, result: Result) -> None:
    difference = result["difference"]
    drawn = table("", "rate", "95 % interval")
    for letter, rate in zip("AB", result["pass_rates"], strict=True):
        interval = f"{percent(rate['low'])} to {percent(rate['high'])}"
        drawn.add_row(f"pass rate {letter}", percent(rate["value"]), interval)
    drawn.add_section()
    drawn.add_row("B - A, points", *_points(difference))
    for name, change in result["families"].items():
        drawn.add_row(f"  {name}", *_points(change))
    console.print(drawn)
    p = result["p_value"]
    console.print(
        f"{TESTS[result['test']]}: p = {p:.4f}"
        if p >= 0.0001
        else f"{TESTS[result['test']]}: p < 0.0001",
        markup=False,
    )
    console.print(
        f"{difference['problems']} problems: {difference['better']} better, "
        f"{difference['worse']} worse; the smallest difference that so many would show four "
        f"times in five is {points(difference['detectable']).lstrip('+')} points"
    )
    if any(result["left_out"]):
        ours, theirs = result["left_out"]
        console.print(f"left out: {ours} problems only in A, {theirs} only in B", style="bold red")


def _show_flips(console: Console, result: Result, way: str, words: str) -> None:
    flips = result["flipped"][way]
    if not flips:
        return
    console.print(f"{words}: {result['difference'][way]}", style="bold")
    for flip in flips:
        line = Text(f"  {visible(flip['prompt'])}")
        line.append(f"  (expected Final: {flip['expected_answer']})\n", style="dim")
        for letter, when in (("A", "before"), ("B", "after")):
            right, all_of_them = flip[when]
            line.append(f"    {letter} {right}/{all_of_them}  ")
            line.append(visible(flip[f"answer_{when}"]["text"]), style="bold")
            line.append(f"  ({flip[f'answer_{when}']['code']})", style="dim")
            line.append("\n" if letter == "A" else "")
        console.print(line)


def _points(change: Result) -> tuple[str, str]:
    return points(change["value"]), f"{points(change['low'])} to {points(change['high'])}"


def show_changes(console: Console, changes: Result) -> None:
    """The 2 × 2 of two scorers' verdicts and the rows that changed, most telling first."""
    before, after = changes["before"], changes["after"]
    console.print(f"\nWhat changed from {before} to {after}", style="bold", markup=False)
    if not changes["scored_before"]:
        console.print(f"These completions had no scores; {before} was asked for the comparison.")
    drawn = table(f"{changes['rows']} completions", f"{after}: correct", "not correct")
    names = ("correct_in_both", "correct_only_before", "correct_only_after", "correct_in_neither")
    counts = [str(changes[name]) for name in names]
    drawn.add_row(f"correct for {before}", *counts[:2])
    drawn.add_row("not correct", *counts[2:])
    console.print(drawn)
    if not changes["groups"]:
        console.print("Every completion has the same verdict, for the same reason.")
    for group in changes["groups"]:
        codes = " -> ".join(group["codes"])
        words = DIRECTIONS[group["direction"]]
        console.print(f"\n{words}: {group['count']}  ({codes})", style="bold", markup=False)
        for row in group["rows"] if group["direction"] != "moved" else ():
            console.print(_answer(row["prompt"], row["completion"], row["expected"]))


def show_golden(console: Console, result: Result) -> None:
    """Whether a scorer gives every golden row what it should get, and which not."""
    misses = result["false_positives"], result["false_negatives"]
    console.print(f"{result['scorer']} on {result['rows']} golden rows", style="bold", markup=False)
    if result["passed"]:
        console.print("Every row gets exactly what it should.", style="bold green")
        return
    for words, missed in zip(
        ("False positives (exploits that pay)", "False negatives (right and not paid)"),
        misses,
        strict=True,
    ):
        console.print(f"{words}: {len(missed)}", style="bold red" if missed else "bold")
        for miss in missed:
            console.print(
                Text(f"  row {miss['row']}, problem {visible(miss['problem_id'])}: ")
                .append(visible(miss["completion"]), style="bold")
                .append(
                    f"  gets {miss['reward']:g}, not {miss['expected_reward']:g} "
                    f"({miss['code']}; expected Final: {miss['expected_answer']})",
                    style="dim",
                )
            )


def _answer(prompt: str, completion: str, expected: str) -> Text:
    line = Text(f"  {visible(prompt)} -> ")
    line.append(visible(completion), style="bold")
    return line.append(f"  (expected Final: {expected})", style="dim")
