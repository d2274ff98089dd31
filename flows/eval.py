"""Loop A, evaluation: measure a policy, or stored completions, and change nothing.

Generation is the only part that needs a model; with `completions` given there is none.
"""

from __future__ import annotations

from typing import Any

from prefect import flow

from artifacts.recording.record import record_evaluation, record_measurement
from artifacts.registry.resolve import resolve_policy
from artifacts.tracking.inputs import dataset_name
from flows.orchestration.links import recorded_run
from flows.orchestration.page import publish_result
from flows.preflight import preflight
from schemas.config import EvalConfig
from schemas.loops import EVALUATION
from schemas.references import PolicyRef
from schemas.measurements import Measurement
from tasks.aggregate import aggregate
from tasks.load_completions import load_completions
from tasks.load_dataset import load_dataset
from tasks.runtime.progress import log_message
from tasks.score import score


@flow(name="eval", flow_run_name="eval {config.model} on {config.dataset} {config.split}")
def eval_flow(config: EvalConfig) -> dict[str, Any]:
    """Loop A: the pass rate with its interval, and why answers fail.

    Args:
        config: which model, on which problems, through which scorer
    """
    preflight(config)
    with recorded_run(EVALUATION, config) as run:
        measured = measure(config)
        record_measurement(run, measured, dataset_name(config))
        result = record_evaluation(run, config, measured)
    return publish_result(result)


def measure(config: EvalConfig, policy: PolicyRef | None = None) -> Measurement:
    """Generate or load completions, score them and aggregate the scores; part of every loop."""
    if config.completions is not None:
        return replay(config, config.completions)
    from tasks.generate import generate  # brings in torch, which a replay does without

    problems = load_dataset(config.dataset, config.split, config.limit)
    policy = policy or resolve_policy(config.model, log_message)
    completions = generate(
        problems,
        policy,
        template=config.template,
        sampling=config.sampling,
        samples=config.samples,
        seed=config.seed,
        shard_size=config.shard_size,
        device=config.device,
        label=f"{config.split}: {policy.name}",
        watch=config.scorer,
    )
    scores = score(problems, completions, config.scorer)
    return aggregate(problems, completions, scores, policy)


def replay(config: EvalConfig, source: str) -> Measurement:
    """Score and aggregate stored completions; no model is loaded."""
    asked = load_dataset(config.dataset, config.split) if source.endswith(".jsonl") else None
    problems, completions = load_completions(source, asked, config.limit)
    scores = score(problems, completions, config.scorer)
    return aggregate(problems, completions, scores)
