"""Loop C, learning: sample, score, push up what did better than expected; the model changes.

It measures before and after on problems that are never trained on, exactly as loop A would.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from artifacts.recording.measured_rows import MeasuredRows
from artifacts.recording.record import (
    add_to_result,
    name_policy,
    record_evaluation,
    record_learning,
    record_measurement,
    record_training,
)
from artifacts.registry.publish import register_learned
from artifacts.registry.resolve import resolve_policy
from artifacts.runs.resuming import (
    as_kept,
    finished_stage,
    refuse_other_settings,
    resumable,
)
from artifacts.store.checkpoints import drop_checkpoints
from artifacts.store.shared.lease import Turn
from artifacts.tracking.inputs import use_dataset
from artifacts.tracking.logged_models import model_folder, name_digest, use_model
from artifacts.tracking.run import Place, TrackedRun
from flows.development import dev_eval_steps
from flows.eval import eval_flow, measure
from flows.gate import decide_on_learned
from flows.learning_run import LearningRun, StepClock
from flows.learning_steps import keep_last_good, learn
from flows.orchestration.events import announce_version
from flows.orchestration.learner_lock import learner_lock
from flows.orchestration.links import recorded_run
from flows.orchestration.page import day_of_flow_run, publish_decision, publish_result
from flows.orchestration.pipeline_flow import pipeline_flow
from flows.orchestration.turns import turn_of_run
from flows.preflight import preflight
from flows.sampler import with_tokenizer
from flows.step_sampling import by_server
from policy.learning.guard import refuse_bad_end
from schemas.config import LearningConfig
from schemas.errors import StoppedError
from schemas.loops import AFTER, BEFORE, EVALUATION, LEARNING
from schemas.measurements import Learned, Measurement
from schemas.references import PolicyRef
from schemas.results import LearningResult
from tasks.checkpoint import save_policy
from tasks.collect_training import collect_training
from tasks.divergence import divergence
from tasks.load_dataset import load_dataset
from tasks.runtime.runtime import Runtime, process_runtime


@pipeline_flow(name="learning", flow_run_name="learn {config.steps} steps from {config.model}")
def learning_flow(
    config: LearningConfig,
    resume: str | None = None,
    promote: bool = False,
    seed_of_the_day: bool = False,
    parent_run: str = "",
) -> LearningResult:
    """Loop C: train on one split, measure on another, register what came of it as a version.

    Args:
        config: from which model, on which problems, how many steps, how each is made
        resume: go on with this learning run, which ended early, as it was set; its id or name
        promote: ask the gate at the end whether the new version becomes the champion
        seed_of_the_day: take the date as the seed, such as 20261129, so that each run of a schedule
            learns from other samples
        parent_run: the id of the MLflow run that this one is a part of
    """
    runtime = process_runtime()
    archive, log_message = runtime.archive, runtime.progress.log_message
    ended_early = None if resume is None else resumable(archive, resume)
    if ended_early is not None:
        config = as_kept(ended_early, config)
    config = preflight(runtime, config)
    if ended_early is not None:
        refuse_other_settings(ended_early, config)
        resume = ended_early.run_id
    elif seed_of_the_day:
        config = config.model_copy(update={"seed": day_of_flow_run()})
    place = Place(parent=parent_run, resume=resume or "")
    with (
        learner_lock(runtime.data_dir, config.device, log_message, archive.shared),
        going_on(runtime, resume) as resumed,
        ExitStack() as until_it_has_ended,
        recorded_run(runtime, LEARNING, config, place) as tracked,
    ):
        # who waits for the turn of a new run gets it after the run was said to have finished
        turn = resumed or until_it_has_ended.enter_context(
            turn_of_run(runtime.data_dir, tracked.run_id, log_message, archive.shared)
        )
        run = begin(runtime, config, tracked, StepClock())
        run = replace(run, turn=turn)
        runtime.turns[tracked.run_id] = turn
        with run.clock.evaluating(runtime.progress):
            before = evaluate(run, run.start, BEFORE)
        run = replace(run, measured_problems=before.measured.problems.rows)
        run.turn.refuse_lost(f"the measurement {BEFORE} learning")
        record_measurement(tracked, before, config.dataset, BEFORE)
        with by_server(run):
            try:
                learned, after = improve(run, before.measured, resumed=resume is not None)
            except StoppedError as stop:
                raise keep_last_good(run, stop) from None
        run.turn.refuse_lost("what was learned")
        record_measurement(tracked, after, config.dataset, AFTER)
        record_training(tracked, learned.training)
        run.turn.refuse_lost("what was learned")
        version = register_learned(tracked, config, learned, run.start_folder)
        learned = learned.model_copy(update={"wall_seconds": run.clock.wall_seconds})
        run.turn.refuse_lost("the result")
        result = record_learning(tracked, config, learned, after, version)
        run.turn.refuse_lost("the end of the run")  # what follows deletes checkpoints
        # one stays until the run has ended: a run that is killed before that goes on from it
        of_run = (runtime.data_dir, tracked.run_id, archive.shared)
        drop_checkpoints(*of_run, keep=max(config.keep_checkpoints, 1))
    drop_checkpoints(*of_run, keep=config.keep_checkpoints)
    publish_result(runtime.side_channel, result)
    runtime.side_channel.publish_best_effort(
        "that a version was registered", lambda: announce_version(version, tracked.run_id)
    )
    if promote and (decided := decide_on_learned(runtime, version.name, eval_flow)):
        publish_decision(runtime.side_channel, decided)
        result = add_to_result(tracked, result, gate=decided)
    return result


@contextmanager
def going_on(runtime: Runtime, resume: str | None) -> Iterator[Turn | None]:
    """Check once more that a run may be resumed: it may have gone on until its learner ended.

    Where machines share a store, that learner may be on another one. Gives the turn of the run that
    is resumed.
    """
    if resume is None:
        yield None
        return
    archive = runtime.archive
    log_message = runtime.progress.log_message
    with turn_of_run(runtime.data_dir, resume, log_message, archive.shared) as turn:
        resumable(archive, resume)
        yield turn


def begin(
    runtime: Runtime, config: LearningConfig, tracked: TrackedRun, clock: StepClock
) -> LearningRun:
    """Find the policy to start from and the problems to train on, and record both."""
    start = resolve_policy(runtime.archive, config.model, runtime.progress.log_message)
    problems = load_dataset(config.dataset, config.train_split, columns=config.columns)
    use_model(tracked, start)
    use_dataset(tracked, problems, config.dataset)
    folder = runtime.archive.folders.find(start)
    return LearningRun(
        runtime=runtime,
        config=config,
        tracked=tracked,
        start=start,
        start_folder=folder,
        problems=problems,
        dev_steps=dev_eval_steps(runtime, config),
        clock=clock,
        served=_served(runtime, config, start, folder, tracked),
    )


def _served(
    runtime: Runtime, config: LearningConfig, start: PolicyRef, folder: Path, tracked: TrackedRun
) -> PolicyRef | None:
    """The start as the server has it that samples the steps; None where this process does."""
    if config.server is None:
        return None
    settings = with_tokenizer(config.generation(), folder)
    served = runtime.servers.for_steps(start, settings, config.sampler.served_model)
    assert served.engine is not None
    tracked.tag(sampled_by=served.engine.words)
    return served


def improve(
    run: LearningRun, before: Measurement, *, resumed: bool
) -> tuple[Learned, MeasuredRows]:
    """Take every step, save the policy and measure it. Raises StoppedError where it must stop."""
    policy, newest, dev = learn(run, resumed=resumed)
    training = collect_training(newest)
    run.turn.refuse_lost("what was learned")
    trained = save_policy(policy, run.tracked.reference, f"{run.tracked.name}:{AFTER}")
    run.turn.refuse_lost("what was learned")  # large weights take long
    name_digest(run.tracked, trained)
    with run.attributed(policy, newest):
        after = evaluate(run, trained, AFTER)
    temperature = run.config.sampling.temperature
    kl = divergence(after.measured, run.start, run.config.template, temperature, run.config.compute)
    refuse_bad_end(run.kl_readings(newest), kl_nats=kl.value, max_kl_nats=run.config.max_kl_nats)
    learned = Learned(
        start=run.start,
        trained=trained,
        before=before,
        after=after.measured,
        kl_nats=kl,
        training=training,
        dev=tuple(dev),
        wall_seconds=run.clock.wall_seconds,
        seconds_per_step=run.clock.seconds_per_step,
    )
    return learned, after


def evaluate(run: LearningRun, policy: PolicyRef, stage: str) -> MeasuredRows:
    """Measure a policy as loop A does, in a run of its own inside the learning run."""
    runtime, evaluation = run.runtime, run.config.evaluation()
    if stage == AFTER:
        folder = str(model_folder(runtime.archive.tracking, run.tracked.reference))
        evaluation = evaluation.model_copy(update={"model": folder})
    if done := finished_stage(runtime.archive.history, run.tracked.run_id, stage, policy.digest):
        rows = MeasuredRows.read(runtime.store, measure(runtime, evaluation, policy))
        if done.table_refs()["completions"][1] == rows.measured.completions.digest:
            return rows  # as before the run was cut off; what is finished stays as it is
    run.turn.refuse_lost(f"the measurement {stage} learning")  # another may have begun its own
    place = Place(parent=run.tracked.run_id, stage=stage)
    with recorded_run(runtime, EVALUATION, evaluation, place) as tracked:
        name_policy(tracked, policy)
        rows = MeasuredRows.read(runtime.store, measure(runtime, evaluation, policy))
        run.turn.refuse_lost(f"the measurement {stage} learning")
        record_measurement(tracked, rows, run.config.dataset)
        record_evaluation(tracked, evaluation, rows)
        run.tracked.tag(**{f"measured.{stage}": tracked.run_id})
        return rows
