"""A result as a few lines of markdown, for the page of its run.

It says again what the result says; it computes nothing.
"""

from __future__ import annotations

from typing import Any

from schemas.config import LearningConfig
from schemas.results import Estimate, Measurement

OUTCOME_WORDS = {
    "correct": "correct",
    "wrong_answer": "wrong answer",
    "bad_format": "bad format",
    "truncated": "truncated",
}


def percent(value: float) -> str:
    """A rate as a whole percentage, or with one digit below ten."""
    return f"{100 * value:.0f} %" if value >= 0.0995 or value == 0 else f"{100 * value:.1f} %"


def points(value: float) -> str:
    """A difference of rates in percentage points, signed, with one digit."""
    return f"{100 * value:+.1f}"


def describe_result(result: dict[str, Any]) -> str:
    """Markdown: the loop, the rates with intervals, why answers failed, and the instrument."""
    lines = [
        f"**Loop {result['loop']}: {result['loop_name']}** — changed: {result['changed']}",
        "",
        f"Model: `{result['model']['name']}`",
        "",
    ]
    metrics = result["metrics"]
    if result["loop"] == "C":
        lines += ["| | before | after |", "|---|---|---|"]
        before, after = result["before"]["metrics"], result["after"]["metrics"]
        for name, key in (("pass@1", "pass_rate"), ("right format", "right_format")):
            lines.append(f"| {name} | {percent(before[key])} | {percent(after[key])} |")
        lines += ["", f"KL to the start: {metrics['kl_nats']:.2f} nats a completion"]
    else:
        low, high = metrics["pass_rate_low"], metrics["pass_rate_high"]
        lines.append(
            f"Pass rate {percent(metrics['pass_rate'])} (95 % interval {percent(low)} to "
            f"{percent(high)}; {metrics['problems']} problems, "
            f"{metrics['completions']} completions)"
        )
    for name, selected in result.get("selected", {}).items():
        rate, gain = selected["rate"], selected["gain"]
        knows = " (needs the expected answer)" if name == "oracle" else ""
        lines.append(
            f"- picked by {name}{knows}: {percent(rate['value'])} ({percent(rate['low'])} to "
            f"{percent(rate['high'])}), gain by search {points(gain['value'])} points "
            f"({points(gain['low'])} to {points(gain['high'])})"
        )
    if "best_of_n" in result:
        best = result["best_of_n"]
        lines.append(
            f"- best of {best['samples']} by the oracle: {best['divergence_nats']['value']:.2f} "
            f"nats from the policy, bound {best['bound_nats']:.2f}"
        )
    lines += ["", "Outcomes:"]
    for outcome, count in result["outcomes"].items():
        lines.append(f"- {OUTCOME_WORDS[outcome]}: {count}")
    lines += ["", f"Instrument `{result['instrument']['digest'][:12]}`:"]
    lines += [f"- {part}: `{value}`" for part, value in result["instrument"]["parts"].items()]
    return "\n".join(lines)


def model_card(
    config: LearningConfig, before: Measurement, after: Measurement, drift: Estimate
) -> str:
    """What a model version is: where it comes from, what it was trained on, and what that did."""
    start = before.policy.name if before.policy else "stored completions"
    rates = [
        f"| {name} | {_with_interval(one)} | {_with_interval(two)} |"
        for name, one, two in (
            ("pass@1", before.summary.pass_rate, after.summary.pass_rate),
            ("right format", before.summary.right_format, after.summary.right_format),
        )
    ]
    return "\n".join(
        [
            f"Trained from `{start}` in {config.steps} steps of {config.problems_per_step} "
            f"problems x {config.samples} completions on `{config.dataset}` {config.train_split}, "
            f"β = {config.learning.kl_weight}, scorer `{config.scorer}`.",
            "",
            f"Measured on `{config.split}`, {after.summary.pass_rate.problems} problems that were "
            "not trained on:",
            "",
            "| | before | after |",
            "|---|---|---|",
            *rates,
            "",
            f"KL to the start: {drift.value:.2f} nats a completion "
            f"({drift.low:.2f} to {drift.high:.2f}).",
            f"Instrument `{after.instrument.digest[:12]}`. The licence is that of the start.",
        ]
    )


def _with_interval(rate: Estimate) -> str:
    return f"{percent(rate.value)} ({percent(rate.low)} to {percent(rate.high)})"
