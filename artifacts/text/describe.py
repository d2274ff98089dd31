"""A run as a few lines of markdown for its page: what was measured, how, why answers failed."""

from __future__ import annotations

from artifacts.text.imported import missing_lines, origin_lines
from artifacts.text.markdown import code, table
from artifacts.text.numbers import (
    interval,
    nats,
    nats_interval,
    percent,
    points,
    points_interval,
    rate_with_interval,
)
from artifacts.text.rates import constant_line, needs_answer, rate_rows
from artifacts.text.visible import DIGEST_SHOWN, short_digests
from schemas.config import EvalConfig, RunConfig
from schemas.loops import Loop
from schemas.result_parts import InstrumentRecord, Rates
from schemas.results import LearningResult, LoopResult, SelectionResult

OUTCOME_WORDS = {
    "correct": "correct",
    "wrong_answer": "wrong answer",
    "bad_format": "bad format",
    "truncated": "truncated",
}
FAILURES_SHOWN = 6


def describe_start(loop: Loop, config: RunConfig) -> str:
    """Markdown for a run that has just begun."""
    return "\n\n".join(["### running", _planned(loop, config)])


def describe_failure(loop: Loop, config: RunConfig, reason: str) -> str:
    """Markdown for a run that ended without a result."""
    blocks = ["### ended without a result", code(reason, longest=600), _planned(loop, config)]
    return "\n\n".join(blocks)


def describe_result(result: LoopResult) -> str:
    """Markdown: the rate with its interval, what was measured, why answers failed, instrument."""
    blocks = [_headline(result), _in_one_line(result), _measured(result)]
    lines = missing_lines(result.partial) if result.partial else []
    lines += origin_lines(result.imported) if result.imported else []
    lines += [f"engine: {result.engine.words}"] if result.engine else []
    if lines:
        blocks.append("\n".join(f"- {code(line)}" for line in lines))
    if isinstance(result, LearningResult):
        blocks += [_how_it_learned(result), rates_table(result.before, result.after)]
    if isinstance(result, SelectionResult):
        blocks.append(_selection(result))
    blocks.append(_failures(result))
    blocks.append(describe_instrument(result.instrument))
    blocks.append(
        "Further, among the artifacts: `report.html` (every answer, to search and group; it works "
        f"offline), `completions_view*.json` (rows to read), {_tables(result)}, "
        "`pictures`, `result.json`."
    )
    return "\n\n".join(blocks)


def _tables(result: LoopResult) -> str:
    if isinstance(result, LearningResult):
        return "`tables` (every step, as Parquet; the two runs below have the completions)"
    return "`tables` (every row, as Parquet)"


def rates_table(before: Rates, after: Rates) -> str:
    """Markdown: every rate before and after learning, with its interval."""
    rows = [
        (
            code(row.name) if row.kind == "family" else row.name,
            *(rate_with_interval(rate) for rate in row.cells),
        )
        for row in rate_rows(before, after)
    ]
    return "\n".join(table(("", ">before", ">after"), rows))


def describe_instrument(instrument: InstrumentRecord) -> str:
    """The instrument's digest and parts as a table; digests are cut short."""
    parts = instrument.parts.model_dump()
    rows = [(part, code(short_digests(str(value)), 160)) for part, value in parts.items()]
    opening = f"**Instrument** `{instrument.digest[:DIGEST_SHOWN]}`: rates compare where it is "
    return "\n".join([opening + "equal", "", *table(("part", "value"), rows)])


def _headline(result: LoopResult) -> str:
    if isinstance(result, LearningResult):
        metrics = result.metrics
        before, after = percent(metrics.pass_rate_before), percent(metrics.pass_rate_after)
        return f"### pass@1 {before} before, {after} after {metrics.steps} steps"
    rate = result.metrics
    ends = interval(rate.pass_rate_low, rate.pass_rate_high)
    return f"### pass@1 {percent(rate.pass_rate)} (95 % interval {ends})"


def _in_one_line(result: LoopResult) -> str:
    """How many answers failed and why, and the instrument; a page shows the first lines only."""
    outcomes = result.outcomes
    total, failed = sum(outcomes.values()), sum(outcomes.values()) - outcomes.get("correct", 0)
    reasons = ", ".join(
        f"{outcomes[name]} {words}"
        for name, words in OUTCOME_WORDS.items()
        if name != "correct" and outcomes.get(name)
    )
    why = f": {reasons}" if failed else ""
    digest = result.instrument.digest[:DIGEST_SHOWN]
    parts = [f"{failed} of {total} answers failed{why}", f"instrument `{digest}`"]
    if line := _constant(result):
        parts.insert(1, line)
    return _in_a_row(*parts)


def _constant(result: LoopResult) -> str:
    if isinstance(result, LearningResult):
        return constant_line(result.after, "pass@1 after")
    return constant_line(result)


def _planned(loop: Loop, config: RunConfig) -> str:
    """One paragraph: which loop, which model, on what, scored by which scorer."""
    source = _replayed(config)
    subject = (
        [f"completions of {code(source)}"]
        if source
        else [f"model {code(config.model)}", _dataset(config)]
    )
    return _in_a_row(f"Loop {loop.letter}, {loop.name}", *subject, _scorer(config))


def _measured(result: LoopResult) -> str:
    """As `_planned`, with what was measured in the end."""
    config, metrics = result.config, result.metrics
    source = _replayed(config)
    counted = f"{metrics.problems} problems × {result.samples} samples"
    subject = (
        [f"completions of {code(source)}", counted]
        if source
        else [f"model {code(result.model.name)}", f"{counted} of {_dataset(config)}"]
    )
    return _in_a_row(f"Loop {result.loop}, {result.loop_name}", *subject, _scorer(config))


def _replayed(config: RunConfig) -> str | None:
    return config.completions if isinstance(config, EvalConfig) else None


def _dataset(config: RunConfig) -> str:
    return f"{code(config.dataset)} {config.split}"


def _scorer(config: RunConfig) -> str:
    return f"scorer {code(config.scorer)}"


def _in_a_row(*parts: str) -> str:
    return " · ".join(parts)


def _how_it_learned(result: LearningResult) -> str:
    config, settings, kl = result.config, result.config.learning, result.kl_nats
    return (
        f"Trained from {code(str(result.model.started_from))} on {code(config.dataset)} "
        f"{config.train_split}: {result.metrics.steps} steps of "
        f"{config.problems_per_step} problems × {config.samples} samples, baseline "
        f"{settings.baseline}, β {settings.kl_weight:g}, learning rate "
        f"{settings.learning_rate:g}, adapter {settings.adapter}. KL to the start "
        f"{nats(kl.value)} nats a completion (95 % interval {nats_interval(kl)}, n = "
        f"{kl.problems} problems)."
        f"{_clipped(result)}{_ended(result)}"
    )


def _ended(result: LearningResult) -> str:
    if result.ended_by == "steps":
        return ""
    return (
        f" It was ended by its limit of {result.config.max_minutes:g} minutes, after "
        f"{result.metrics.steps} of {result.config.steps} steps: how many fit into a time is not "
        "the same from run to run."
    )


def _clipped(result: LearningResult) -> str:
    clipped = result.metrics.clipped_steps
    if not clipped:
        return ""
    limit = result.config.learning.max_gradient_norm
    return f" The gradient was scaled down to norm {limit:g} in {clipped} of them."


def _selection(result: SelectionResult) -> str:
    rows = [
        (
            f"{picked.rule}{' (needs the expected answer)' if needs_answer(picked.rule) else ''}",
            rate_with_interval(picked.rate),
            f"{points(picked.gain.value)} ({points_interval(picked.gain)})",
        )
        for picked in result.selected.values()
    ]
    best, far = result.best_of_n, result.best_of_n.divergence_nats
    lines = table(("picked by", ">pass rate", ">gain by search, points"), rows)
    lines += [
        "",
        f"Best of {best.samples} by the oracle: {nats(far.value)} nats from the policy (95 % "
        f"interval {nats_interval(far)}, n = {far.problems} problems), bound "
        f"{nats(best.bound_nats)}.",
    ]
    return "\n".join(lines)


def _failures(result: LoopResult) -> str:
    groups = result.failures
    total = sum(result.outcomes.values())
    failed = total - result.outcomes.get("correct", 0)
    when = " after learning" if isinstance(result, LearningResult) else ""
    if not groups:
        return f"**No answer failed**{when}, of {total}."
    rows = [
        (
            OUTCOME_WORDS[group.outcome],
            code(group.code),
            str(group.completions),
            percent(group.completions / total),
            f"{code(group.example.prompt, 40)} expects {code(group.example.expected, 20)}, got "
            f"{code(group.example.completion, 60)}",
        )
        for group in groups[:FAILURES_SHOWN]
    ]
    columns = ("outcome", "code", ">answers", ">of all", "for example")
    lines = [f"**Why {failed} of {total} answers failed**{when}", "", *table(columns, rows)]
    if left := groups[FAILURES_SHOWN:]:
        lines += ["", f"and {sum(g.completions for g in left)} more by {len(left)} codes"]
    return "\n".join(lines)
