"""A decision of the gate in words, as MLflow's pages show it."""

from __future__ import annotations

from artifacts.registry.versions import RegisteredVersion
from artifacts.text.markdown import code
from artifacts.text.numbers import level_in_words, points, points_interval
from schemas.result_parts import GateLevel, Rollback
from schemas.results import Decision, RatedComparison

LONGEST_REASON = 500  # characters of why a champion is taken back


def shown(decided: Decision) -> RatedComparison | None:
    """The gain that is shown of a decision: what was measured last."""
    return decided.gain or decided.fresh or decided.evidence


def gain_in_words(evidence: RatedComparison | None) -> str:
    """A gain with its interval."""
    if evidence is None:
        return "not known"
    gain = evidence.difference
    return f"{points(gain.value)} ({points_interval(gain)}) points"


def _held(held: GateLevel) -> str:
    return f"the {level_in_words(held.level)} interval, {points_interval(held)} points"


def rollback_in_words(back: Rollback, *, markdown: bool = False) -> str:
    """When a champion was taken back, by whom, from where to where, and why.

    With `markdown`, what people wrote is shown as it is.
    """
    by, reason = back.by, back.reason
    if markdown:
        by, reason = code(by), code(reason, LONGEST_REASON)
    return f"{back.at} by {by}, from {back.from_version} to {back.to_version}: {reason}"


def describe(version: RegisteredVersion, decided: Decision) -> str:
    """The note of a decision's run, in markdown."""
    if decided.rollback:
        return f"**Champion taken back**\n\n{rollback_in_words(decided.rollback, markdown=True)}"
    lines = [f"**{version.name}: {decided.decision}**", ""]
    against = decided.against
    lines.append(f"Against the {against.role}: `{against.name or 'not known'}`")
    if decided.evidence:
        gain = decided.evidence.difference
        lines.append(
            f"Gain {points(gain.value)} points (95 % interval {points_interval(gain)}; "
            f"{gain.problems} problems)"
        )
        if decided.held:
            lines.append(f"Look {decided.held.look} at the evidence, held to {_held(decided.held)}")
        if decided.fresh and decided.fresh_held:
            lines.append(
                f"Measured again on fresh samples: {gain_in_words(decided.fresh)}; confirmation "
                f"{decided.fresh_held.look}, held to {_held(decided.fresh_held)}"
            )
        if decided.gain:
            lines.append(f"Measured after it had passed: {gain_in_words(decided.gain)}")
        if decided.gain_missing is not None:
            lines.append(f"Not measured after it had passed: {decided.gain_missing}")
        lines += decided.repeated
        lines += [f"- {run.name}" for run in decided.evidence.runs]
    lines += ["", *(f"- {reason}" for reason in decided.reasons)]
    return "\n".join(lines)
