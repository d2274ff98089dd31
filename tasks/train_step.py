"""Task train-step: one update of the policy from scored completions; its numbers become a row.

Sampling and scoring came before; choosing the problems too.
"""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from artifacts.checkpoints import read_checkpoint, write_checkpoint
from artifacts.store import Store
from policy.learner import Learner, StepMetrics
from policy.load import fingerprint, numerics
from policy.memory import explaining_out_of_memory
from policy.template import get_template
from schemas.config import LearningConfig
from schemas.errors import InputError
from schemas.identity import digest_of
from schemas.references import PolicyRef, TableRef
from schemas.training import TRAINING
from tasks.pipeline_task import pipeline_task
from tasks.resident import keep_learner, resident_learner, start_learner


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
    store = Store()
    learner = resident_learner(policy) if policy.step else start_learner(policy, config)
    answers, verdicts = store.read(completions), store.read(scores)
    prompts = get_template(config.template).encode(
        store.read(problems)["prompt"].to_pylist(), learner.policy.tokenizer
    )
    rewards = verdicts["reward"].to_numpy().copy().reshape(len(prompts), -1)
    with explaining_out_of_memory(
        f"training on {config.samples} completions a problem",
        "lower --samples or --max-new-tokens, or take a smaller --model",
    ):
        metrics = learner.step(
            prompts,
            answers["token_ids"].to_pylist(),
            answers["logprobs"].to_pylist(),
            rewards,
            max_kl_nats=config.max_kl_nats,
        )
    reached = policy.model_copy(
        update={
            "step": policy.step + 1,
            "digest": lineage(policy.digest, scores.digest, config),
        }
    )
    keep_learner(reached, learner)
    row = training_row(reached, metrics, completions, scores, verdicts)
    rows = [store.read(training).replace_schema_metadata(None), row] if training else [row]
    written = store.write(
        "training",
        pa.concat_tables(rows),
        producer="train-step",
        parents={"scores": scores.digest} | ({"training": training.digest} if training else {}),
        config=config.learning.model_dump(),
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


def training_row(
    reached: PolicyRef,
    metrics: StepMetrics,
    completions: TableRef,
    scores: TableRef,
    verdicts: pa.Table,
) -> pa.Table:
    """One row of the training table."""
    outcomes = verdicts["outcome"].to_pylist()
    formed = sum(outcome in ("correct", "wrong_answer") for outcome in outcomes)
    row = {
        "step": reached.step,
        "problems": metrics.problems,
        "completions": scores.rows,
        "tokens": metrics.tokens,
        "reward_mean": metrics.reward_mean,
        "right_format": formed / len(outcomes),
        "groups_with_signal": metrics.groups_with_signal,
        "loss": metrics.loss,
        "kl_nats": metrics.kl_nats,
        "entropy_nats_per_token": metrics.entropy_nats_per_token,
        "gradient_norm": metrics.gradient_norm,
        "learning_rate": metrics.learning_rate,
        "completions_digest": completions.digest,
        "scores_digest": scores.digest,
        "policy_lineage": reached.digest,
    }
    return pa.Table.from_pylist([row], schema=TRAINING.arrow)


@pipeline_task("save-policy", "save {policy.name} after step {policy.step}")
def save_policy(policy: PolicyRef, folder: str, name: str) -> PolicyRef:
    """Write the learner's policy as a folder that any reference to a folder can load."""
    resident_learner(policy).export(Path(folder))
    return PolicyRef(name=name, folder=folder, digest=fingerprint(Path(folder)))


@pipeline_task("checkpoint", "checkpoint after step {policy.step}")
def checkpoint(policy: PolicyRef, training: TableRef, folder: str, keep: int = 0) -> None:
    """Write everything that going on from this step needs; of older ones the newest are kept."""
    save = resident_learner(policy).save
    write_checkpoint(Path(folder), save, policy, training, keep=keep)


@pipeline_task("restore", "restore {folder}")
def restore(start: PolicyRef, folder: str, config: LearningConfig) -> tuple[PolicyRef, TableRef]:
    """Bring the learner back to a checkpoint's step; returns its policy and training table.

    Raises InputError when `start`, which becomes the reference, is not what the run started from:
    an alias that has moved, or a folder that has changed.
    """
    policy, training = read_checkpoint(Path(folder))
    (first,) = Store().read(training).slice(0, 1).to_pylist()
    if lineage(start.digest, first["scores_digest"], config) != first["policy_lineage"]:
        raise InputError(
            "this is no longer the model that the run started from, and so not its reference",
            f"--model {start.name}",
            f"put back what was in {policy.folder}, or start again without --resume",
        )
    learner: Learner = start_learner(start, config)
    learner.load(Path(folder) / "learner")
    keep_learner(policy, learner)
    return policy, training
