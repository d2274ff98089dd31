"""The rows of a rate table, derived once for terminal, description, card, report and Prefect."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from artifacts.text.numbers import percent
from schemas.config import SelectionRule
from schemas.measurements import ConstantAnswer, Estimate
from schemas.result_parts import Interval, Rates

RateKind = Literal["pass_at_k", "valid_format", "family"]
LONGEST_ANSWER = 12  # digits shown of an answer, so that its line fits a terminal
VALID_FORMAT = "valid format"
RATE_NAMES = re.compile(rf"pass@\d+|{VALID_FORMAT}")


@dataclass(frozen=True)
class RateRow:
    """One rate of one measurement, or of several side by side, such as before and after.

    `name` is `pass@k`, `valid format`, or what a family of problems is called; `cells` has one
    estimate for each side.
    """

    kind: RateKind
    name: str
    cells: tuple[Estimate, ...]

    @property
    def title(self) -> str:
        """The name; a family that is called like another rate has `family` before it."""
        taken = self.kind == "family" and RATE_NAMES.fullmatch(self.name)
        return f"family {self.name}" if taken else self.name


def rate_rows(*sides: Rates) -> tuple[RateRow, ...]:
    """The rates that every side has: pass@k from k = 1, valid format, then the families."""
    found = [_rates(side) for side in sides]
    return tuple(
        RateRow(kind, name, tuple(rates[kind, name] for rates in found))
        for kind, name in found[0]
        if all((kind, name) in rates for rates in found)
    )


def family_rows(*sides: Rates) -> tuple[RateRow, ...]:
    """The rows of the families alone; empty where problems have none."""
    return tuple(row for row in rate_rows(*sides) if row.kind == "family")


def partial_reward(side: Rates) -> Estimate | None:
    """The mean reward where it differs from the pass rate, because a scorer gives parts of 1."""
    mean = side.metrics.mean_reward
    if abs(mean - side.metrics.pass_rate) <= 1e-9:
        return None
    return _estimate(side, mean, side.intervals.mean_reward)


def constant_line(side: Rates, what: str = "pass@1") -> str:
    """One line beside a pass rate: what always giving one answer would reach; empty if unknown.

    It says so where the interval of `what`, the pass rate, does not lie above that.
    """
    best = side.best_constant
    if best is None:
        return ""
    if side.metrics.pass_rate_low > best.rate:
        return f"best constant answer: {constant_words(best)}"
    return f"{what} is not above the best constant answer: {constant_words(best)}"


def constant_words(best: ConstantAnswer) -> str:
    """The best constant answer, shortened if it is long, and how often it is right."""
    answer = best.answer
    if len(answer) > LONGEST_ANSWER:
        answer = f"{answer[: LONGEST_ANSWER - 1]}…"
    return f"{answer} is right for {best.correct}/{best.problems} = {percent(best.rate)}"


def needs_answer(rule: SelectionRule) -> bool:
    """Whether a selection rule sees the expected answer, so that no user could follow it."""
    return rule == "oracle"


def _rates(side: Rates) -> dict[tuple[RateKind, str], Estimate]:
    metrics, intervals = side.metrics, side.intervals
    rates: dict[tuple[RateKind, str], Estimate] = {
        ("pass_at_k", f"pass@{k}"): _estimate(side, rate, intervals.pass_at_k[k])
        for k, rate in sorted(metrics.pass_at_k.items())
    }
    formed = _estimate(side, metrics.valid_format_rate, intervals.valid_format_rate)
    rates["valid_format", VALID_FORMAT] = formed
    return rates | {("family", name): rate for name, rate in side.families.items()}


def _estimate(side: Rates, value: float, ends: Interval) -> Estimate:
    return Estimate(
        value=value,
        low=ends[0],
        high=ends[1],
        problems=side.metrics.problems,
        completions=side.metrics.completions,
    )
