"""Loop C, learning: sample, score, push up what did better than expected; the model changes.

It measures before and after on problems that are never trained on, exactly as loop A would.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from artifacts.checkpoints import checkpoint_folder, drop_checkpoints, newest_checkpoint
from artifacts.describe import model_card
from artifacts.recording import record_learning, record_measurement, record_step
from artifacts.registry import register_version, resolve_policy
from artifacts.tracking import TrackedRun, tracked_run
from flows.eval import measure
from flows.events import announce_version
from flows.preflight import preflight
from schemas.config import LearningConfig
from schemas.loops import LEARNING
from schemas.references import PolicyRef, TableRef
from tasks.divergence import divergence
from tasks.draw_problems import draw_problems
from tasks.generate import generate
from tasks.load_dataset import load_dataset
from tasks.progress import report_step, say
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
        policy, training = learn(config, run, start, problems, resumed=resume is not None)
        trained = save_policy(policy, str(run.artifact_folder("model")))
        after = measure(config.evaluation(), trained)
        record_measurement(run, after, "after")
        drift = divergence(after.problems, after.completions, trained, start, config.template)
        version = register_version(
            config.register_as, trained, run.run_id, model_card(config, before, after, drift)
        )
        result = record_learning(run, config, before, after, training, drift, version)
        drop_checkpoints(run.home, run.run_id)
        announce_version(version, run.run_id)
        return result


def learn(
    config: LearningConfig, run: TrackedRun, start: PolicyRef, problems: TableRef, *, resumed: bool
) -> tuple[PolicyRef, TableRef]:
    """Every step from the start or from the newest checkpoint: draw, generate, score, train."""
    policy, training = start, None
    if resumed:
        policy, training = restore(start, str(newest_checkpoint(run.home, run.run_id)), config)
    run.start_laps()
    for step in range(policy.step + 1, config.steps + 1):
        practice = draw_problems(
            problems, step=step, count=config.problems_per_step, seed=config.seed
        )
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
        policy, training = train_step(policy, practice, completions, scores, training, config)
        report_step(step, config.steps, record_step(run, training))
        if step % config.checkpoint_every == 0 and step < config.steps:
            checkpoint(policy, training, str(checkpoint_folder(run.home, run.run_id, step)))
    assert training is not None  # a configuration has at least one step
    return policy, training
