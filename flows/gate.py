"""The gate, at the end of learning or on request: decide, record, and measure the gain again."""

from __future__ import annotations

from collections.abc import Callable

from artifacts.promotion.decisions import record_decision, record_fresh_gain
from artifacts.promotion.fresh import compare_fresh, evaluations_anew
from artifacts.promotion.gate import decide
from artifacts.registry.versions import RegisteredVersion
from schemas.config import EvalConfig
from schemas.errors import ThreeLoopsError
from schemas.results import Decision, EvalResult
from tasks.runtime.runtime import Runtime

Evaluate = Callable[[EvalConfig], EvalResult]


def decide_and_record(
    runtime: Runtime, version: RegisteredVersion, evaluate: Evaluate, min_gain: float = 0.0
) -> Decision:
    """The decision with its evidence, kept as a run of its own; `min_gain` is a rate from 0 to 1.

    A refusal is an answer, not an error. After a promotion the gain is measured again with
    `evaluate`, on samples that decided nothing: the gain that passed a gate has been lucky on
    average, and is not the one to quote. Where that cannot be done, the decision says why.
    """
    archive = runtime.archive
    decided = record_decision(archive, version, decide(archive, version, min_gain))
    if not decided.promoted:
        return decided
    runtime.progress.log_message(
        f"{version.name} is promoted; its gain is measured again, on fresh samples"
    )
    try:
        results = [evaluate(config) for config in evaluations_anew(archive, decided)]
        fresh = compare_fresh(archive, decided, [result.run_id for result in results])
        decided = decided.model_copy(update={"fresh": fresh})
    except ThreeLoopsError as error:
        decided = decided.model_copy(update={"not_fresh": str(error)})
    return record_fresh_gain(archive, version, decided)
