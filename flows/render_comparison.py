"""Two verdicts, two runs or a gate's decision, as a person reads them in a terminal.

It draws what was compared and compares nothing. Texts of a model are shown with the invisible
made visible.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.text import Text

from artifacts.visible import visible
from flows.render import table

Result = dict[str, Any]
DIRECTIONS = {
    "lost": "correct before, not now",
    "won": "correct now, not before",
    "moved": "same reward, another reason",
}


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
        for row in group["rows"]:
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
