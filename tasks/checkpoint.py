"""Tasks save-policy, checkpoint and restore: the state of learning, kept and brought back."""

from __future__ import annotations

from artifacts.store.checkpoints import (
    checkpoint_folder,
    checkpoint_within,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from artifacts.tracking.logged_models import model_folder
from schemas.config import LearningConfig
from schemas.errors import InputError
from schemas.references import PolicyRef, RunRef, TableRef
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.runtime import process_runtime
from tasks.train_step import lineage


@pipeline_task("save-policy", "save {policy.name} after step {policy.step}")
def save_policy(policy: PolicyRef, run: RunRef, name: str) -> PolicyRef:
    """Write the learner's policy into the folder of the model that a run makes, as `name`."""
    runtime = process_runtime()
    folder = model_folder(runtime.archive.tracking, run)
    runtime.models.learner(policy).export(folder)
    return PolicyRef(name=name, digest=runtime.archive.folders.digest(folder))


@pipeline_task("checkpoint", "checkpoint after step {policy.step}")
def checkpoint(policy: PolicyRef, training: TableRef, run: RunRef, keep: int = 0) -> None:
    """Write everything that a run needs to go on from this step; the newest older ones are kept."""
    runtime = process_runtime()
    folder = checkpoint_folder(runtime.data_dir, run.run_id, policy.step)
    write_checkpoint(folder, runtime.models.learner(policy).save, policy, training, keep=keep)


@pipeline_task("restore", "restore {run.name}")
def restore(
    start: PolicyRef, run: RunRef, config: LearningConfig, last: int | None = None
) -> tuple[PolicyRef, TableRef | None]:
    """Bring the learner back to a run's newest checkpoint; returns its policy and training table.

    With `last`, to the newest one up to that step; later ones are deleted, and where there is none
    it is the start, without a table. Raises InputError when `start`, which becomes the reference,
    is not what the run started from: an alias that has moved, or a folder that has changed.
    """
    runtime = process_runtime()
    if last is None:
        folder = newest_checkpoint(runtime.data_dir, run.run_id)
    elif (within := checkpoint_within(runtime.data_dir, run.run_id, last)) is not None:
        folder = within
    else:
        return start, None
    policy, training = read_checkpoint(folder)
    (first,) = runtime.store.read(training).slice(0, 1).to_pylist()
    folder_of_start = runtime.archive.folders.find(start)
    if lineage(start.digest, first["scores_digest"], config) != first["policy_lineage"]:
        raise InputError(
            "this is no longer the model that the run started from, and so not its reference",
            f"--model {start.name}",
            f"put back what was in {folder_of_start}, or start again without --resume",
        )
    learner = runtime.models.start_learner(start, config)
    learner.load(folder / "learner")
    runtime.models.keep_learner(policy, learner)
    return policy, training
