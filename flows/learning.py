"""Loop C, learning: sample, score, push up what did better than expected; the model changes.

It measures before and after on problems that are never trained on, exactly as loop A would.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from artifacts.recording.record import (
    add_to_result,
    record_evaluation,
    record_learning,
    record_measurement,
    record_step,
    record_stop,
)
from artifacts.registry.publish import register_learned
from artifacts.registry.resolve import resolve_policy
from artifacts.registry.versions import registered_version
from artifacts.runs.resuming import refuse_other_settings, resumable
from artifacts.store.checkpoints import (
    checkpoint_folder,
    checkpoint_within,
    drop_checkpoints,
    newest_checkpoint,
)
from artifacts.tracking.inputs import use_dataset
from artifacts.tracking.logged_models import model_folder, name_digest, use_model
from artifacts.tracking.run import TrackedRun
from flows.development import dev_eval_steps, evaluate_dev, restore_dev_rates
from flows.eval import measure
from flows.gate import decide_and_record
from flows.orchestration.events import announce_version
from flows.orchestration.learner_lock import sole_learner
from flows.orchestration.links import recorded_run
from flows.orchestration.page import (
    day_of_flow_run,
    publish_best_effort,
    publish_decision,
    publish_result,
)
from flows.preflight import preflight
from policy.learning.guard import attribute_to_step, refuse_bad_end
from schemas.config import LearningConfig
from schemas.errors import StoppedError
from schemas.loops import AFTER, BEFORE, EVALUATION, LEARNING
from schemas.references import PolicyRef, TableRef
from schemas.measurements import Measurement, StepRate
from tasks.checkpoint import checkpoint, restore, save_policy
from tasks.divergence import divergence
from tasks.draw_problems import draw_problems
from tasks.generate import generate
from tasks.load_dataset import load_dataset
from tasks.runtime.model_cache import forget
from tasks.runtime.progress import log_message, report_step
from tasks.score import score
from tasks.train_step import train_step


@flow(name="learning", flow_run_name="learn {config.steps} steps from {config.model}")
def learning_flow(
    config: LearningConfig,
    resume: str | None = None,
    promote: bool = False,
    seed_of_the_day: bool = False,
) -> dict[str, Any]:
    """Loop C: train on one split, measure on another, register what came of it as a version.

    Args:
        config: from which model, on which problems, how many steps, how each is made
        resume: go on with this learning run, which ended early, as it was set; its id or name
        promote: ask the gate at the end whether the new version becomes the champion
        seed_of_the_day: take the date as the seed, such as 20261129, so that each run of a schedule
            learns from other samples
    """
    if resume is not None:
        ended_early = resumable(resume)
        refuse_other_settings(ended_early, config)
        resume = ended_early.run_id
    elif seed_of_the_day:
        config = config.model_copy(update={"seed": day_of_flow_run()})
    preflight(config)
    with sole_learner(config.device), recorded_run(LEARNING, config, resume) as run:
        start = resolve_policy(config.model, log_message)
        problems = load_dataset(config.dataset, config.train_split)
        use_model(run, start)
        use_dataset(run, problems, config.dataset)
        before = evaluate(config, start, BEFORE)
        record_measurement(run, before, config.dataset, BEFORE)
        try:
            policy, training, dev = learn(config, run, start, problems, resume is not None)
            trained = save_policy(policy, str(model_folder(run)), f"{run.name}:{AFTER}")
            name_digest(run, trained)
            with attribute_to_step(config.steps):
                after = evaluate(config, trained, AFTER)
            kl = divergence(after.problems, after.completions, trained, start, config.template)
            refuse_bad_end(config.steps, kl_nats=kl.value, max_kl_nats=config.max_kl_nats)
        except StoppedError as stop:
            raise keep_last_good(config, run, start, problems, stop) from None
        record_measurement(run, after, config.dataset, AFTER)
        version = register_learned(run, config, start, trained, before, after, kl)
        result = record_learning(run, config, before, after, training, dev, kl, version)
        drop_checkpoints(run.data_dir, run.run_id, keep=config.keep_checkpoints)
    publish_result(result)
    publish_best_effort(
        "that a version was registered", lambda: announce_version(version, run.run_id)
    )
    if promote:
        decided = decide_and_record(registered_version(version.name))
        publish_decision(decided)
        result = add_to_result(run, result, {"gate": decided})
    return result


def evaluate(config: LearningConfig, policy: PolicyRef, stage: str) -> Measurement:
    """Measure a policy as loop A does, in a run of its own inside the learning run."""
    evaluation = config.evaluation()
    if stage == AFTER:
        evaluation = evaluation.model_copy(update={"model": policy.folder})
    with recorded_run(EVALUATION, evaluation, stage=stage) as run:
        measured = measure(evaluation, policy)
        record_measurement(run, measured, config.dataset)
        record_evaluation(run, evaluation, measured)
        return measured


def learn(
    config: LearningConfig, run: TrackedRun, start: PolicyRef, problems: TableRef, resumed: bool
) -> tuple[PolicyRef, TableRef, list[StepRate]]:
    """Every step from the start or from the newest checkpoint, and what was seen on the way."""
    watched = dev_eval_steps(config)
    if resumed:
        policy, training = restore(start, str(newest_checkpoint(run.data_dir, run.run_id)), config)
        dev = restore_dev_rates(config, start, training, watched)
    else:
        policy, training = start, None
        dev = evaluate_dev(config, run, start, watched)
    run.start_laps()
    for step in range(policy.step + 1, config.steps + 1):
        with attribute_to_step(policy.step):
            policy, training = take_step(config, problems, policy, training)
        report_step(step, config.steps, record_step(run, config, training))
        dev += evaluate_dev(config, run, policy, watched)
        if step % config.checkpoint_every == 0 and step < config.steps:
            folder = checkpoint_folder(run.data_dir, run.run_id, step)
            checkpoint(policy, training, str(folder), config.keep_checkpoints)
    assert training is not None  # a configuration has at least one step
    return policy, training, dev


def take_step(
    config: LearningConfig, problems: TableRef, policy: PolicyRef, training: TableRef | None
) -> tuple[PolicyRef, TableRef]:
    """One step: draw, generate, score, train."""
    step = policy.step + 1
    practice = draw_problems(problems, step=step, count=config.problems_per_step, seed=config.seed)
    completions = generate(
        practice,
        policy,
        template=config.template,
        sampling=config.sampling,
        samples=config.samples,
        seed=config.seed,
        shard_size=config.problems_per_step,
        device=config.device,
        label=f"step {step}",
    )
    scores = score(practice, completions, config.scorer)
    return train_step(policy, practice, completions, scores, training, config)


def keep_last_good(
    config: LearningConfig,
    run: TrackedRun,
    start: PolicyRef,
    problems: TableRef,
    stop: StoppedError,
) -> StoppedError:
    """Keep the last good policy as a checkpoint; returns the error that says where it is."""
    stop.with_traceback(None).__context__ = None  # they hold the whole learner
    forget()
    training = rewind_to(config, run, start, problems, stop.last_good) if stop.last_good else None
    return record_stop(run, stop, training)


def rewind_to(
    config: LearningConfig, run: TrackedRun, start: PolicyRef, problems: TableRef, last: int
) -> TableRef:
    """Reach an earlier step again, from the checkpoint before it and stored completions."""
    log_message(f"going back to step {last}, the last good one")
    policy, training = start, None
    known = config.model_copy(update={"max_kl_nats": None})  # what they were is known already
    nearest = checkpoint_within(run.data_dir, run.run_id, last)
    if nearest is not None:
        policy, training = restore(start, str(nearest), config)
    while policy.step < last:
        policy, training = take_step(known, problems, policy, training)
    assert training is not None  # `last` is at least 1
    folder = checkpoint_folder(run.data_dir, run.run_id, last)
    checkpoint(policy, training, str(folder), config.keep_checkpoints)
    return training
