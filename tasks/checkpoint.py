"""Tasks save-policy, checkpoint and restore: the state of learning, kept and brought back."""

from __future__ import annotations

from pathlib import Path

from artifacts.store.checkpoints import read_checkpoint, write_checkpoint
from artifacts.store.tables import Store
from policy.learning.learner import Learner
from policy.model.load import fingerprint
from schemas.config import LearningConfig
from schemas.errors import InputError
from schemas.references import PolicyRef, TableRef
from tasks.runtime.model_cache import keep_learner, resident_learner, start_learner
from tasks.runtime.pipeline_task import pipeline_task
from tasks.train_step import lineage


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
