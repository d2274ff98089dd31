"""Task train-step: one update of the policy from scored completions; its numbers become a row."""

from __future__ import annotations

import pyarrow as pa

from policy.learning.guard import KlReading
from policy.learning.step_metrics import StepMetrics
from policy.model.memory import explaining_out_of_memory
from policy.model.numerics import numerics
from policy.model.template import get_template
from schemas.config import LearningConfig
from schemas.identity import digest_of
from schemas.references import PolicyRef, TableRef
from schemas.training import TRAINING
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.runtime import process_runtime


@pipeline_task("train-step", "train step {policy.next_step}")
def train_step(
    policy: PolicyRef,
    problems: TableRef,
    completions: TableRef,
    scores: TableRef,
    training: TableRef | None,
    config: LearningConfig,
) -> tuple[PolicyRef, TableRef]:
    """Update the policy once.

    `training` is the table of the steps before, None at the first. Returns the policy that it
    became and the training table with one row more.
    """
    runtime = process_runtime()
    store, models = runtime.store, runtime.models
    learner = models.learner(policy) if policy.step else models.start_learner(policy, config)
    completion_rows, score_rows = store.read(completions), store.read(scores)
    prompts = get_template(config.template).encode(
        store.read(problems)["prompt"].to_pylist(), learner.policy.tokenizer
    )
    rewards = score_rows["reward"].to_numpy().copy().reshape(len(prompts), -1)
    with explaining_out_of_memory(
        f"training on {config.samples} completions a problem",
        "lower --samples or --max-new-tokens, or take a smaller --model",
    ):
        metrics = learner.step(
            prompts,
            completion_rows["token_ids"].to_pylist(),
            completion_rows["logprobs"].to_pylist(),
            rewards,
            earlier_kl=kl_readings(store.read(training)) if training else (),
            max_kl_nats=config.max_kl_nats,
        )
    reached = policy.model_copy(
        update={
            "step": policy.step + 1,
            "digest": lineage(policy.digest, scores.digest, config),
        }
    )
    models.keep_learner(reached, learner)
    row = training_row(reached, metrics, completions, scores, score_rows)
    rows = [store.read(training).replace_schema_metadata(None), row] if training else [row]
    written = store.write(
        "training",
        pa.concat_tables(rows),
        producer="train-step",
        parents={"scores": scores.digest} | ({"training": training.digest} if training else {}),
        config=config.learning.model_dump() | {"numerics": numerics(config.device)},
    )
    return reached, written


def lineage(policy_digest: str, scores_digest: str, config: LearningConfig) -> str:
    """The digest of what a policy becomes by learning from these scores.

    Everything that decides the update is in it, for completions are found again by it: where the
    learning rate falls with the steps, their total too.
    """
    settings = config.learning.model_dump() | {
        "total_steps": config.steps if config.learning.schedule != "constant" else None,
        "temperature": config.sampling.temperature,
        "numerics": numerics(config.device),
    }
    return digest_of([policy_digest, scores_digest, settings])


def kl_readings(training: pa.Table) -> list[KlReading]:
    """The KL that each step of a training table measured, the newest last."""
    columns = (training[name].to_pylist() for name in ("kl_nats", "kl_error_nats"))
    return [KlReading(nats, error) for nats, error in zip(*columns, strict=True)]


def training_row(
    reached: PolicyRef,
    metrics: StepMetrics,
    completions: TableRef,
    scores: TableRef,
    rows: pa.Table,
) -> pa.Table:
    """One row of the training table, `rows` being those of the scores."""
    outcomes = rows["outcome"].to_pylist()
    formed = sum(outcome in ("correct", "wrong_answer") for outcome in outcomes)
    row = {
        "step": reached.step,
        "problems": metrics.problems,
        "completions": scores.rows,
        "tokens": metrics.tokens,
        "passes": metrics.passes,
        "reward_mean": metrics.reward_mean,
        "advantage_std": metrics.advantage_std,
        "valid_format_rate": formed / len(outcomes),
        "groups_with_signal": metrics.groups_with_signal,
        "loss": metrics.loss,
        "kl_nats": metrics.kl_nats,
        "kl_error_nats": metrics.kl_error_nats,
        "kl_nats_k3": metrics.kl_nats_k3,
        "entropy_nats_per_token": metrics.entropy_nats_per_token,
        "gradient_norm": metrics.gradient_norm,
        "clipped": metrics.clipped,
        "sampling_gap_nats": metrics.sampling_gap_nats,
        "learning_rate": metrics.learning_rate,
        "completions_digest": completions.digest,
        "scores_digest": scores.digest,
        "policy_lineage": reached.digest,
    }
    return pa.Table.from_pylist([row], schema=TRAINING.arrow)
