"""A run as a few lines of markdown, for its page: what was measured, how, and why answers failed.

It says again what configuration and result say; it computes nothing.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from artifacts.text.markdown import code, table
from artifacts.text.numbers import interval, percent, points
from schemas.config import Frozen
from schemas.loops import Loop

OUTCOME_WORDS = {
    "correct": "correct",
    "wrong_answer": "wrong answer",
    "bad_format": "bad format",
    "truncated": "truncated",
}
FAILURES_SHOWN = 6
DIGEST_SHOWN = 12
Result = Mapping[str, Any]


def describe_start(loop: Loop, config: Frozen) -> str:
    """Markdown for a run that has just begun."""
    return "\n\n".join(["### running", _setting(loop.letter, loop.name, config.model_dump())])


def describe_failure(loop: Loop, config: Frozen, reason: str) -> str:
    """Markdown for a run that ended without a result."""
    setting = _setting(loop.letter, loop.name, config.model_dump())
    return "\n\n".join(["### ended without a result", code(reason, longest=600), setting])


def describe_result(result: Result) -> str:
    """Markdown: the rate with its interval, what was measured, why answers failed, instrument."""
    blocks = [
        _headline(result),
        _in_one_line(result),
        _setting(result["loop"], result["loop_name"], result["config"], result),
    ]
    if result["loop"] == "C":
        blocks += _learning(result)
    if result["loop"] == "B":
        blocks.append(_selection(result))
    blocks += _failures(result)
    blocks.append(describe_instrument(result["instrument"]))
    blocks.append(
        "Further, among the artifacts: `report.html` (every answer, to search and group; it works "
        "offline), `completions_view*.json` (rows to read), `tables` (every row, as Parquet), "
        "`pictures`, `result.json`."
    )
    return "\n\n".join(blocks)


def describe_instrument(instrument: Mapping[str, Any]) -> str:
    """The instrument's digest and parts as a table; digests are cut short."""
    rows = [(part, code(_short(str(value)), 160)) for part, value in instrument["parts"].items()]
    opening = f"**Instrument** `{instrument['digest'][:DIGEST_SHOWN]}`: rates compare where it is "
    return "\n".join([opening + "equal", "", *table(("part", "value"), rows)])


def _headline(result: Result) -> str:
    metrics = result["metrics"]
    if result["loop"] == "C":
        rates = [percent(metrics[f"pass_rate_{stage}"]) for stage in ("before", "after")]
        return f"### pass@1 {rates[0]} before, {rates[1]} after {metrics['steps']} steps"
    low, high = metrics["pass_rate_low"], metrics["pass_rate_high"]
    return f"### pass@1 {percent(metrics['pass_rate'])} (95 % interval {interval(low, high)})"


def _in_one_line(result: Result) -> str:
    """How many answers failed and why, and the instrument; a page shows the first lines only."""
    outcomes = result["outcomes"]
    total, failed = sum(outcomes.values()), sum(outcomes.values()) - outcomes.get("correct", 0)
    reasons = ", ".join(
        f"{outcomes[name]} {words}"
        for name, words in OUTCOME_WORDS.items()
        if name != "correct" and outcomes.get(name)
    )
    why = f": {reasons}" if failed else ""
    digest = result["instrument"]["digest"][:DIGEST_SHOWN]
    return f"{failed} of {total} answers failed{why} · instrument `{digest}`"


def _setting(
    letter: str, name: str, config: Mapping[str, Any], result: Result | None = None
) -> str:
    """One paragraph: which loop, which model, on what, judged by which scorer."""
    replayed = config.get("completions")
    model = result["model"]["name"] if result else config["model"]
    said = [f"Loop {letter}, {name}"]
    said.append(f"completions of {code(replayed)}" if replayed else f"model {code(model)}")
    if result:
        counted = f"{result['metrics']['problems']} problems × {result['samples']} samples"
        said.append(counted if replayed else f"{counted} of {_dataset(config)}")
    elif not replayed:
        said.append(_dataset(config))
    said.append(f"scorer {code(config['scorer'])}")
    return " · ".join(said)


def _dataset(config: Mapping[str, Any]) -> str:
    return f"{code(config['dataset'])} {config['split']}"


def _learning(result: Result) -> list[str]:
    before, after, kl = result["before"], result["after"], result["kl_nats"]
    config, settings = result["config"], result["config"]["learning"]
    rows = [("pass@1", *(_rate(side["metrics"]) for side in (before, after)))]
    for k in before["metrics"]["pass_at_k"]:
        if k != "1":
            cells = [
                f"{percent(side['metrics']['pass_at_k'][k])} "
                f"({interval(*side['intervals']['pass_at_k'][k])})"
                for side in (before, after)
            ]
            rows.append((f"pass@{k}", *cells))
    formed = [
        f"{percent(side['metrics']['valid_format_rate'])} "
        f"({interval(*side['intervals']['valid_format_rate'])})"
        for side in (before, after)
    ]
    rows.append(("valid format", *formed))
    for name, family in before["families"].items():
        ends = (family, after["families"][name])
        rows.append(
            (
                code(name),
                *(f"{percent(e['value'])} ({interval(e['low'], e['high'])})" for e in ends),
            )
        )
    how = (
        f"Trained from {code(str(result['model']['started_from']))} on {code(config['dataset'])} "
        f"{config['train_split']}: {result['metrics']['steps']} steps of "
        f"{config['problems_per_step']} problems × {config['samples']} samples, baseline "
        f"{settings['baseline']}, β {settings['kl_weight']:g}, learning rate "
        f"{settings['learning_rate']:g}, adapter {settings['adapter']}. KL to the start "
        f"{kl['value']:.2f} nats a completion ({kl['low']:.2f} to {kl['high']:.2f})."
    )
    return [how, "\n".join(table(("", ">before", ">after"), rows))]


def _rate(metrics: Mapping[str, Any]) -> str:
    ends = interval(metrics["pass_rate_low"], metrics["pass_rate_high"])
    return f"{percent(metrics['pass_rate'])} ({ends})"


def _selection(result: Result) -> str:
    rows = []
    for name, selected in result["selected"].items():
        rate, gain = selected["rate"], selected["gain"]
        knows = " (needs the expected answer)" if name == "oracle" else ""
        rows.append(
            (
                f"{name}{knows}",
                f"{percent(rate['value'])} ({interval(rate['low'], rate['high'])})",
                f"{points(gain['value'])} ({points(gain['low'])} to {points(gain['high'])})",
            )
        )
    best = result["best_of_n"]
    lines = table(("picked by", ">pass rate", ">gain by search, points"), rows)
    nats = best["divergence_nats"]["value"]
    lines += [
        "",
        f"Best of {best['samples']} by the oracle: {nats:.2f} nats from the policy, bound "
        f"{best['bound_nats']:.2f}.",
    ]
    return "\n".join(lines)


def _failures(result: Result) -> list[str]:
    groups = result["failures"]
    total = sum(result["outcomes"].values())
    failed = total - result["outcomes"].get("correct", 0)
    when = " after learning" if result["loop"] == "C" else ""
    if not groups:
        return [f"**No answer failed**{when}, of {total}."]
    rows = []
    for group in groups[:FAILURES_SHOWN]:
        example = group["example"]
        rows.append(
            (
                OUTCOME_WORDS[group["outcome"]],
                code(group["code"]),
                str(group["completions"]),
                percent(group["completions"] / total),
                f"{code(example['prompt'], 40)} expects {code(example['expected'], 20)}, got "
                f"{code(example['completion'], 60)}",
            )
        )
    columns = ("outcome", "code", ">answers", ">of all", "for example")
    lines = [f"**Why {failed} of {total} answers failed**{when}", "", *table(columns, rows)]
    if left := groups[FAILURES_SHOWN:]:
        lines += ["", f"and {sum(g['completions'] for g in left)} more by {len(left)} codes"]
    return ["\n".join(lines)]


def _short(value: str) -> str:
    """A value with every SHA-256 in it cut to its start."""
    return re.sub(r"\b[0-9a-f]{64}\b", lambda found: found[0][:DIGEST_SHOWN], value)
