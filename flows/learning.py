"""Loop C, learning: sample, score, push up what did better than expected; the model changes.

It measures before and after on problems that are never trained on, exactly as loop A would.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from artifacts.checkpoints import (
    checkpoint_folder,
    checkpoint_within,
    drop_checkpoints,
    newest_checkpoint,
)
from artifacts.describe import model_card
from artifacts.recording import record_learning, record_measurement, record_step, record_stop
from artifacts.registry import register_version, resolve_policy
from artifacts.tracking import TrackedRun, tracked_run
from flows.development import look, look_back, watched_steps
from flows.eval import measure
from flows.events import announce_version
from flows.preflight import preflight
from policy.guard import blaming, refuse_bad_end
from schemas.config import LearningConfig
from schemas.errors import StoppedError
from schemas.loops import LEARNING
from schemas.references import PolicyRef, TableRef
from schemas.results import StepRate
from tasks.divergence import divergence
from tasks.draw_problems import draw_problems
from tasks.generate import generate
from tasks.load_dataset import load_dataset
from tasks.progress import report_step, say
from tasks.resident import forget
from tasks.score import score
from tasks.train_step import checkpoint, restore, save_policy, train_step


@flow(name="learning", flow_run_name="learn {config.steps} steps from {config.model}")
def learning_flow(config: LearningConfig, resume: str | None = None) -> dict[str, Any]:
    """Loop C: train on one split, measure on another, register what came of it as a version."""
    preflight(config)
    with tracked_run(LEARNING, config, resume) as run:
        start = resolve_policy(config.model, say)
        problems = load_dataset(config.dataset, config.train_split)
        before = measure(config.evaluation(), start)
        record_measurement(run, before, "before")
        try:
            policy, training, dev = learn(config, run, start, problems, resume is not None)
            trained = save_policy(policy, str(run.artifact_folder("model")))
            with blaming(config.steps):
                after = measure(config.evaluation(), trained)
            drift = divergence(after.problems, after.completions, trained, start, config.template)
            refuse_bad_end(config.steps, kl_nats=drift.value, max_kl_nats=config.max_kl_nats)
        except StoppedError as stop:
            raise halt(config, run, start, problems, stop) from None
        record_measurement(run, after, "after")
        version = register_version(
            config.register_as, trained, run.run_id, model_card(config, before, after, drift)
        )
        result = record_learning(run, config, before, after, training, dev, drift, version)
        drop_checkpoints(run.home, run.run_id)
        announce_version(version, run.run_id)
        return result


def learn(
    config: LearningConfig, run: TrackedRun, start: PolicyRef, problems: TableRef, resumed: bool
) -> tuple[PolicyRef, TableRef, list[StepRate]]:
    """Every step from the start or from the newest checkpoint, and what was seen on the way."""
    watched = watched_steps(config)
    if resumed:
        policy, training = restore(start, str(newest_checkpoint(run.home, run.run_id)), config)
        dev = look_back(config, start, training, watched)
    else:
        policy, training = start, None
        dev = look(config, run, start, watched)
    run.start_laps()
    for step in range(policy.step + 1, config.steps + 1):
        with blaming(policy.step):
            policy, training = take_step(config, problems, policy, training)
        report_step(step, config.steps, record_step(run, config, training))
        dev += look(config, run, policy, watched)
        if step % config.checkpoint_every == 0 and step < config.steps:
            checkpoint(policy, training, str(checkpoint_folder(run.home, run.run_id, step)))
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


def halt(
    config: LearningConfig,
    run: TrackedRun,
    start: PolicyRef,
    problems: TableRef,
    stop: StoppedError,
) -> StoppedError:
    """Keep the last good policy as a checkpoint; returns the error that says where it is."""
    stop.with_traceback(None).__context__ = None  # they hold the whole learner
    forget()
    training = go_back(config, run, start, problems, stop.last_good) if stop.last_good else None
    return record_stop(run, stop, training)


def go_back(
    config: LearningConfig, run: TrackedRun, start: PolicyRef, problems: TableRef, last: int
) -> TableRef:
    """Reach an earlier step again, from the checkpoint before it and stored completions."""
    say(f"going back to step {last}, the last good one")
    policy, training = start, None
    nearest = checkpoint_within(run.home, run.run_id, last)
    if nearest is not None:
        policy, training = restore(start, str(nearest), config)
    while policy.step < last:
        policy, training = take_step(config, problems, policy, training)
    assert training is not None  # `last` is at least 1
    checkpoint(policy, training, str(checkpoint_folder(run.home, run.run_id, last)))
    return training
