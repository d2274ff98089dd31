"""The gate, at the end of learning or on request: decide, confirm on fresh samples, record."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from functools import partial

from artifacts.promotion.confirmation import confirmed, evaluations_anew, with_gain
from artifacts.promotion.cut_off import broken_off, settle_cut_off
from artifacts.promotion.decisions import begin_decision, record_decision
from artifacts.promotion.gate import confirmation_number, decide, refused, still_against
from artifacts.promotion.rollback import decide_rollback
from artifacts.registry.turn import turn_in_registry
from artifacts.registry.versions import REGISTRY, RegisteredVersion, registered_version
from artifacts.store.shared.lease import Turn
from flows.orchestration.turns import across_store, taking_turns
from schemas.config import EvalConfig
from schemas.errors import ThreeLoopsError
from schemas.results import Decision, EvalResult
from tasks.runtime.runtime import Runtime

GATE = "gate"  # the name of its turn
Evaluate = Callable[[EvalConfig], EvalResult]


def decide_and_record(
    runtime: Runtime,
    version: RegisteredVersion,
    evaluate: Evaluate,
    min_gain: float = 0.0,
    prepare: Callable[[], None] = lambda: None,
) -> Decision:
    """The decision with its evidence, kept as a run of its own; `min_gain` is a rate from 0 to 1.

    A refusal is an answer, not an error. A version that passes on what is known is measured again
    with `evaluate`, on samples that nobody could choose, and becomes the champion only if these
    show the gain as well; where that cannot be done, it is refused. `prepare` is called before
    that; what it raises decides nothing, and is no confirmation. One decision at a time is made in
    a registry, so that each is about the champion of that moment.
    Nothing is decided while MLflow has not been told all that was recorded: InputError. A decision
    that is broken off has the reason in its run.
    """
    archive, log_message = runtime.archive, runtime.progress.log_message
    told_all = partial(archive.tracking.refuse_unsent, f"promote {version.name}")
    with _alone(runtime) as turn:
        told_all()
        if settled := settle_cut_off(archive, version.model):
            name = settled.candidate.name
            log_message(
                f"{name} was {settled.decision} by a command that was killed before it said so"
            )
            if name == version.name and settled.promoted:
                return settled
        decided = decide(archive, version, min_gain)
        if decided.promoted:
            prepare()
        number = confirmation_number(archive, version, decided) if decided.promoted else 0
        run_id = begin_decision(archive, version, decided)
        with broken_off(archive, run_id):
            if decided.promoted:
                log_message(f"{version.name} passes; it is measured again, on fresh samples")
                decided = _measured_again(runtime, decided, evaluate, number)
                told_all()  # it may have gone meanwhile
                decided = still_against(archive, version, decided)
            turn.refuse_lost("the decision")
            return record_decision(archive, version, decided, run_id)


def roll_back(runtime: Runtime, model: str, number: str, reason: str) -> Decision:
    """Make a model's former champion the champion again, and keep that as a decision with a reason.

    Nothing is measured. `number` is the champion that is expected, or empty. Takes turns with the
    gate; a rollback that was killed after it had given the alias is finished, and not made twice.
    Raises RefusedError where there is no former champion that is whole.
    """
    archive, log_message = runtime.archive, runtime.progress.log_message
    with _alone(runtime) as turn:
        archive.tracking.refuse_unsent(f"promote {REGISTRY}{model} --rollback")
        settled = settle_cut_off(archive, model)
        if settled and settled.rollback:
            log_message("the rollback of a command that was killed is finished; no other is made")
            return settled
        decided = decide_rollback(archive, model, number, reason)
        version = registered_version(archive, decided.candidate.name)
        run_id = begin_decision(archive, version, decided)
        with broken_off(archive, run_id):
            turn.refuse_lost("the rollback")
            return record_decision(archive, version, decided, run_id)


def decide_on_learned(runtime: Runtime, name: str, evaluate: Evaluate) -> Decision | None:
    """The decision on a version that was just registered under this name.

    None, with a warning, where none can be made: what was learned is there all the same, and the
    gate can be asked later.
    """
    archive, log_message = runtime.archive, runtime.progress.log_message
    if archive.tracking.away:
        log_message(
            "warning: the gate was not asked, since MLflow has not been told what was measured; "
            "after `threeloops sync` ask it with `threeloops promote`"
        )
        return None
    try:
        return decide_and_record(runtime, registered_version(archive, name), evaluate)
    except ThreeLoopsError as error:
        log_message(
            f"warning: the gate did not decide ({error}); ask it with `threeloops promote {name}`"
        )
        return None


def _alone(runtime: Runtime) -> AbstractContextManager[Turn]:
    """The gate's turn, which no other process has that may decide on the same models.

    Those are the processes of the data folder, and all that use its registry where others may. Of a
    registry in a file they take turns beside it: it can be one data folder's own database, and what
    another one names.
    """
    archive, say = runtime.archive, runtime.progress.log_message
    across = across_store(archive.shared, GATE)
    if archive.tracking.shares_registry:
        across = partial(turn_in_registry, archive.tracking, GATE)
    what, database = "another decision of the gate", archive.tracking.registry_file
    return taking_turns(runtime.data_dir, GATE, what, say, across, database)


def _measured_again(
    runtime: Runtime, decided: Decision, evaluate: Evaluate, number: int
) -> Decision:
    """The decision after its confirmation of this number, with the gain that is shown of it.

    The gain is measured once more after the version has passed. It decides nothing: where it cannot
    be measured, the decision stays, and says why.
    """
    archive, log_message = runtime.archive, runtime.progress.log_message

    def measured_anew() -> list[str]:
        return [evaluate(config).run_id for config in evaluations_anew(archive, decided)]

    try:
        decided = confirmed(archive, decided, measured_anew(), number)
    except ThreeLoopsError as error:
        return refused(decided, f"it could not be measured again: {error}")
    if not decided.promoted:
        return decided
    log_message("the gain holds; how large it is, is measured once more")
    try:
        return with_gain(archive, decided, measured_anew())
    except ThreeLoopsError as error:
        log_message(f"warning: how large the gain is could not be measured once more: {error}")
        return decided.model_copy(update={"gain_missing": str(error)})
