"""Task train-step: one update of the policy from scored completions; both become a table."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from artifacts.store.parquet_table import provenance_of
from policy.learning.guard import KlReading
from policy.learning.off_policy import Served
from policy.learning.step_metrics import StepMetrics
from policy.model.memory import explaining_out_of_memory
from policy.model.numerics import numerics
from policy.model.template import get_template
from schemas.config import LearningConfig
from schemas.identity import digest_of
from schemas.references import DrawnRows, PolicyRef, TableRef
from schemas.scores import SCORES
from schemas.training import TrainingRow
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.runtime import process_runtime


@pipeline_task("train-step", "train step {policy.next_step}")
def train_step(
    policy: PolicyRef,
    problems: TableRef,
    completions: TableRef,
    scores: TableRef,
    before: TableRef | None,
    config: LearningConfig,
    sampled_by: PolicyRef | None = None,
) -> tuple[PolicyRef, TableRef]:
    """Update the policy once.

    `before` is the table of the step before, None at the first. `sampled_by` is the policy that a
    server sampled with, None where this process has sampled with the policy itself. Returns the
    policy that it became and the step's table, which has all that was learned from, row by row.
    """
    runtime = process_runtime()
    store, models = runtime.store, runtime.models
    computed_by = runtime.numerics_of_steps(config.compute)
    learner = models.learner(policy) if policy.step else models.start_learner(policy, config)
    completion_rows, score_rows = store.read(completions), store.read(scores)
    prompts = get_template(config.template).encode(
        store.read(problems)["prompt"].to_pylist(), learner.policy.tokenizer
    )
    token_ids = completion_rows["token_ids"].to_pylist()
    rewards = score_rows["reward"].to_numpy().copy().reshape(len(prompts), -1)
    with explaining_out_of_memory(
        f"training on {config.samples} completions a problem",
        "lower --samples or --max-new-tokens, or take a smaller --model",
    ):
        metrics = learner.step(
            prompts,
            token_ids,
            completion_rows["logprobs"].to_pylist(),
            rewards,
            earlier_kl=kl_readings(runtime.archive.steps.rows(before)),
            max_kl_nats=config.max_kl_nats,
            served=_served(sampled_by),
        )
        after = learner.sum_logprobs(prompts, token_ids) if config.logprob_after else None
    reached = policy.model_copy(
        update={
            "step": policy.step + 1,
            "digest": lineage(policy.digest, scores.digest, config, computed_by),
        }
    )
    models.keep_learner(reached, learner)
    asked = problems.drawn_from if isinstance(problems, DrawnRows) else problems
    sampled, judged = (provenance_of(rows).config for rows in (completion_rows, score_rows))
    written = runtime.archive.steps.write(
        step_rows(completion_rows, score_rows, metrics, after),
        training_row(reached, metrics, completions, scores, score_rows),
        before=before,
        parents={
            "problems": asked.digest,
            "completions": completions.digest,
            "scores": scores.digest,
        },
        config={
            **sampled,
            **judged,
            **config.learning.model_dump(),
            **off_policy_settings(config),
            "numerics": computed_by,
        },
    )
    return reached, written


def lineage(
    policy_digest: str, scores_digest: str, config: LearningConfig, computed_by: str = ""
) -> str:
    """The digest of what a policy becomes by learning from these scores.

    Everything that decides the update is in it, for completions are found again by it: where the
    learning rate falls with the steps, their total too. `computed_by` are the numerics of the step,
    by default those of one process like this.
    """
    settings = config.learning.model_dump() | {
        "total_steps": config.steps if config.learning.schedule != "constant" else None,
        "temperature": config.sampling.temperature,
        "numerics": computed_by or numerics(config.compute),
        **({"shard_weights": True} if config.shard_weights else {}),
        **off_policy_settings(config),
    }
    return digest_of([policy_digest, scores_digest, settings])


def off_policy_settings(config: LearningConfig) -> dict[str, Any]:
    """What of a step depends on policies that are older than the one it updates; none on policy."""
    if not config.sampler.max_off_policy_steps:
        return {}
    names = ("max_off_policy_steps", "importance_cap")
    return {name: getattr(config.sampler, name) for name in names}


def _served(sampled_by: PolicyRef | None) -> Served | None:
    if sampled_by is None or sampled_by.engine is None:
        return None
    return Served(step=sampled_by.step, dtype=sampled_by.engine.dtype)


def kl_readings(rows: Sequence[TrainingRow]) -> list[KlReading]:
    """The KL that each step measured, the newest last."""
    return [KlReading(row.kl_nats, row.kl_error_nats) for row in rows]


def step_rows(
    completions: pa.Table, scores: pa.Table, metrics: StepMetrics, after: Sequence[float] | None
) -> pa.Table:
    """The rows of a step's table; `after` are the log-probabilities under the updated policy."""
    each, count = metrics.each, completions.num_rows
    numbers = {
        "baseline": each.baselines,
        "advantage": each.advantages,
        "kl_penalty_nats": each.kl_penalties,
        "sum_logprob_before": each.sum_logprobs,
        "sum_logprob_after": [None] * count if after is None else after,
        "sum_logprob_reference": each.sum_logprobs_reference,
    }
    return pa.table(
        {name: completions[name] for name in completions.column_names}
        | {name: scores[name] for name in scores.column_names if name not in SCORES.key}
        | {name: pa.array(values, pa.float64()) for name, values in numbers.items()}
    )


def training_row(
    reached: PolicyRef,
    metrics: StepMetrics,
    completions: TableRef,
    scores: TableRef,
    rows: pa.Table,
) -> TrainingRow:
    """One row of the training table, `rows` being those of the scores."""
    outcomes = rows["outcome"].to_pylist()
    formed = sum(outcome in ("correct", "wrong_answer") for outcome in outcomes)
    return TrainingRow(
        step=reached.step,
        problems=metrics.problems,
        completions=scores.rows,
        tokens=metrics.tokens,
        passes=metrics.passes,
        reward_mean=metrics.reward_mean,
        advantage_std=metrics.advantage_std,
        valid_format_rate=formed / len(outcomes),
        groups_with_signal=metrics.groups_with_signal,
        loss=metrics.loss,
        kl_nats=metrics.kl_nats,
        kl_error_nats=metrics.kl_error_nats,
        kl_nats_k3=metrics.kl_nats_k3,
        entropy_nats_per_token=metrics.entropy_nats_per_token,
        gradient_norm=metrics.gradient_norm,
        clipped=metrics.clipped,
        sampling_gap_nats=metrics.sampling_gap_nats,
        learning_rate=metrics.learning_rate,
        completions_digest=completions.digest,
        scores_digest=scores.digest,
        policy_lineage=reached.digest,
        off_policy_steps=metrics.off_policy_steps,
        truncated_share=metrics.truncated_share,
    )
