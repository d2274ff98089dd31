"""Results as a person reads them in a terminal: the loop first, then rates, failures, tables.

Everything fits 80 columns; every rate has its interval and its n.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from artifacts.text.describe import OUTCOME_WORDS
from artifacts.text.numbers import percent, points
from schemas.config import DEV
from schemas.loops import loop_named

Result = dict[str, Any]
FAILURES = ("wrong_answer", "bad_format", "truncated")
NUMERIC = ("rate", "pass@1", "before", "after", "gain", "problems", "drawn")


def print_result(console: Console, result: Result) -> None:
    """Print one result, whichever loop it was."""
    console.print(loop_named(result["loop"]).headline, style="bold")
    console.print(f"model {result['model']['name']}", markup=False)
    if result["loop"] == "C":
        _show_learning(console, result)
    else:
        _show_pass_rate(console, result)
        _show_failures(console, result["outcomes"])
        if result["loop"] == "B":
            _show_selection(console, result)
        _show_families(console, result["families"])
    console.print(
        f"instrument {result['instrument']['digest'][:12]}   run {result['run_id']}",
        style="dim",
        soft_wrap=True,
    )


def _show_pass_rate(console: Console, result: Result) -> None:
    metrics, correct = result["metrics"], result["outcomes"]["correct"]
    console.print(
        f"Pass rate: {correct}/{metrics['completions']} = {percent(metrics['pass_rate'])}",
        style="bold green",
    )
    console.print(
        f"  95 % interval {percent(metrics['pass_rate_low'])} to "
        f"{percent(metrics['pass_rate_high'])}, n = {metrics['problems']} problems "
        f"x {result['samples']} samples"
    )
    mean = metrics.get("mean_reward", metrics["pass_rate"])
    if abs(mean - metrics["pass_rate"]) > 1e-9:
        low, high = result["intervals"]["mean_reward"]
        console.print(f"Mean reward: {mean:.3f} (95 % interval {low:.3f} to {high:.3f})")


def _show_failures(console: Console, outcomes: dict[str, int]) -> None:
    console.print("Failures:")
    for outcome in FAILURES:
        words = OUTCOME_WORDS[outcome]
        console.print(f"  - {words[0].upper()}{words[1:]}: {outcomes.get(outcome, 0)}")


def _show_selection(console: Console, result: Result) -> None:
    at_k, intervals = result["metrics"]["pass_at_k"], result["intervals"]["pass_at_k"]
    drawn = table("", "rate", "95 % interval", "gain", "95 % interval", "drawn")
    for k in at_k:
        drawn.add_row(f"pass@{k}", percent(at_k[k]), _interval(*intervals[k]), "", "", "")
    drawn.add_section()
    for rule, selected in result["selected"].items():
        rate, gain = selected["rate"], selected["gain"]
        drawn.add_row(
            f"picked by {rule}" + ("*" if rule == "oracle" else ""),
            percent(rate["value"]),
            _interval(rate["low"], rate["high"]),
            points(gain["value"]),
            f"{points(gain['low'])} to {points(gain['high'])}",
            str(selected["problems_contested"]),
        )
    console.print(drawn)
    console.print(
        "gain: by search, in points over pass@1; drawn: problems where the rule held\n"
        "right and wrong answers equal, and a draw by seed decided"
    )
    if "oracle" in result["selected"]:
        console.print(
            "* the oracle needs the expected answer: it is what a perfect judge could pick;\n"
            "  majority, likelihood and random do without it"
        )
    best = result["best_of_n"]
    nats = best["divergence_nats"]
    console.print(
        f"Best of {best['samples']} by the oracle is {nats['value']:.2f} nats from the policy "
        f"({nats['low']:.2f} to {nats['high']:.2f});\n"
        f"the bound log N - (N-1)/N is {best['bound_nats']:.2f}"
    )


def _show_learning(console: Console, result: Result) -> None:
    before, after = result["before"], result["after"]
    drawn = table("", "before", "95 % interval", "after", "95 % interval")
    rows = [("pass@1", *_rate_cells(before), *_rate_cells(after))]
    for k in before["metrics"]["pass_at_k"]:
        if k != "1":
            rows.append((f"pass@{k}", *_at_k_cells(before, k), *_at_k_cells(after, k)))
    formed = [
        (
            percent(side["metrics"]["valid_format_rate"]),
            _interval(*side["intervals"]["valid_format_rate"]),
        )
        for side in (before, after)
    ]
    rows.append(("valid format", *formed[0], *formed[1]))
    for name, family in before["families"].items():
        rows.append((name, *_family_cells(family), *_family_cells(after["families"][name])))
    for row in rows:
        drawn.add_row(*row)
    console.print(drawn)
    metrics, kl = result["metrics"], result["kl_nats"]
    console.print(
        f"n = {metrics['problems']} problems x {result['samples']} samples, none trained on\n"
        f"KL to the start {nats(kl['value'])} nats a completion "
        f"(95 % interval {nats(kl['low'])} to {nats(kl['high'])})"
    )
    if result["dev"]:
        console.print(_dev_words(result["dev"]))
    seconds = metrics["seconds_per_step"]
    console.print(
        f"{metrics['steps']} step{'' if metrics['steps'] == 1 else 's'}"
        + (f" of {seconds:.1f} s" if seconds else "")
        + f", {metrics['wall_seconds']:.0f} s in all; registered {result['model']['name']}"
    )


def _dev_words(seen: list[Result]) -> str:
    """Pass@1 on dev step by step, on one line or few; n once where it is the same for all."""
    steps = "  ".join(f"{rate['step']}: {percent(rate['value'])}" for rate in seen)
    return f"pass@1 on {DEV} by step (n = {seen[0]['problems']} problems): {steps}"


def _show_families(console: Console, families: dict[str, Any]) -> None:
    if not families:
        return
    drawn = table("family", "pass@1", "95 % interval", "problems")
    for name, rate in families.items():
        drawn.add_row(name, *_family_cells(rate), str(rate["problems"]))
    console.print(drawn)


class PlainTable(Table):
    """A table whose cells are shown as they are: no text of a user's becomes markup."""

    def add_row(self, *cells: Any, **how: Any) -> None:
        """As rich's, with every text taken literally."""
        super().add_row(*(Text(c) if isinstance(c, str) else c for c in cells), **how)


def table(*columns: str) -> Table:
    """A table without lines; columns that hold numbers are set flush right."""
    drawn = PlainTable(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for position, column in enumerate(columns):
        numeric = column in NUMERIC
        drawn.add_column(column, justify="right" if numeric and position else "left", no_wrap=True)
    return drawn


def nats(value: float) -> str:
    """A divergence with two digits, and never a negative zero."""
    return f"{round(value, 2) + 0.0:.2f}"  # adding 0 turns -0.0 into 0.0


def _interval(low: float, high: float) -> str:
    return f"{percent(low)} to {percent(high)}"


def _rate_cells(side: Result) -> tuple[str, str]:
    m = side["metrics"]
    return percent(m["pass_rate"]), _interval(m["pass_rate_low"], m["pass_rate_high"])


def _at_k_cells(side: Result, k: str) -> tuple[str, str]:
    return percent(side["metrics"]["pass_at_k"][k]), _interval(*side["intervals"]["pass_at_k"][k])


def _family_cells(rate: dict[str, float]) -> tuple[str, str]:
    return percent(rate["value"]), _interval(rate["low"], rate["high"])
