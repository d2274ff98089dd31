"""The gate, at the end of learning or on request: decide, confirm on fresh samples, record."""

from __future__ import annotations

from collections.abc import Callable

from artifacts.promotion.confirmation import confirmed, evaluations_anew, refused, with_gain
from artifacts.promotion.decisions import (
    begin_confirmation,
    break_off,
    record_decision,
    settle_cut_off,
)
from artifacts.promotion.gate import confirmation_number, decide
from artifacts.registry.versions import RegisteredVersion
from flows.orchestration.turns import taking_turns
from schemas.config import EvalConfig
from schemas.errors import ThreeLoopsError
from schemas.results import Decision, EvalResult
from tasks.runtime.runtime import Runtime

Evaluate = Callable[[EvalConfig], EvalResult]


def decide_and_record(
    runtime: Runtime, version: RegisteredVersion, evaluate: Evaluate, min_gain: float = 0.0
) -> Decision:
    """The decision with its evidence, kept as a run of its own; `min_gain` is a rate from 0 to 1.

    A refusal is an answer, not an error. A version that passes on what is known is measured again
    with `evaluate`, on samples that nobody could choose, and becomes the champion only if these
    show the gain as well; where that cannot be done, it is refused. Then its gain is measured once
    more, for what is shown of it. One decision at a time is made in a data folder, so that each is
    about the champion of that moment. Nothing is decided while MLflow has not been told all that
    was recorded: InputError.
    """
    archive, log_message = runtime.archive, runtime.progress.log_message

    def measured_anew(decided: Decision) -> list[str]:
        return [evaluate(config).run_id for config in evaluations_anew(archive, decided)]

    with taking_turns(runtime.data_dir, "gate", "another decision of the gate", log_message):
        archive.tracking.refuse_unsent(f"promote {version.name}")
        if settled := settle_cut_off(archive, version):
            log_message(f"{version.name} was promoted by a command that was killed before it said")
            return settled
        decided = decide(archive, version, min_gain)
        if not decided.promoted:
            return record_decision(archive, version, decided)
        number = confirmation_number(archive, version, decided)
        run_id = begin_confirmation(archive, version, decided)
        log_message(f"{version.name} passes; it is measured again, on fresh samples")
        try:
            decided = confirmed(archive, decided, measured_anew(decided), number)
            if decided.promoted:
                log_message("the gain holds; how large it is, is measured once more")
                decided = with_gain(archive, decided, measured_anew(decided))
        except ThreeLoopsError as error:
            decided = refused(decided, f"it could not be measured again: {error}")
        except BaseException:
            break_off(archive, run_id)
            raise
        archive.tracking.refuse_unsent(f"promote {version.name}")  # it may have gone meanwhile
        return record_decision(archive, version, decided, run_id)
