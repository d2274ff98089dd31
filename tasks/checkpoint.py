"""Tasks save-policy, checkpoint and restore: the state of learning, kept and brought back."""

from __future__ import annotations

from artifacts.store.checkpoints import (
    CheckpointRecord,
    checkpoint_folder,
    checkpoint_within,
    newest_checkpoint,
    write_checkpoint,
)
from artifacts.store.shared.lease import Turn
from artifacts.store.steps import Steps
from artifacts.tracking.logged_models import model_folder
from policy.model.precision import arithmetic_of, precision_of
from schemas.config import Compute, LearningConfig
from schemas.errors import InputError
from schemas.references import PolicyRef, RunRef, TableRef
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.runtime import process_runtime


@pipeline_task("save-policy", "save {policy.name} after step {policy.step}")
def save_policy(policy: PolicyRef, run: RunRef, name: str) -> PolicyRef:
    """Write the learner's policy into the folder of the model that a run makes, as `name`."""
    runtime = process_runtime()
    folder = model_folder(runtime.archive.tracking, run)
    runtime.models.learner(policy).export(folder)
    saved = PolicyRef(name=name, digest=runtime.archive.folders.digest(folder))
    runtime.archive.folders.share(folder)
    return saved


@pipeline_task("checkpoint", "checkpoint after step {policy.step}")
def checkpoint(policy: PolicyRef, newest: TableRef, run: RunRef, keep: int = 0) -> None:
    """Write everything that a run needs to go on from this step; the newest older ones are kept.

    `newest` is the step's table, which leads to those of the steps before. Raises InputError where
    another machine has this run by now.
    """
    runtime = process_runtime()
    folder = checkpoint_folder(runtime.data_dir, run.run_id, policy.step)
    learner = runtime.models.learner(policy)
    computed = arithmetic_of(learner.policy.model).dtype
    compute = Compute(device=str(learner.policy.device), precision=precision_of(computed))
    at = CheckpointRecord(
        policy=policy,
        training=newest,
        start=learner.policy.digest,
        numerics=runtime.numerics_of_steps(compute),
    )
    turn = runtime.turns.get(run.run_id, Turn())
    write_checkpoint(
        folder,
        learner.save,
        at,
        keep=keep,
        shared=runtime.archive.shared,
        still_ours=lambda: turn.refuse_lost("the checkpoint"),
    )


@pipeline_task("restore", "restore {run.name}")
def restore(
    start: PolicyRef, run: RunRef, config: LearningConfig, last: int | None = None
) -> tuple[PolicyRef, TableRef | None]:
    """Bring the learner back to a run's newest checkpoint; returns its policy and its step's table.

    With `last`, to the newest one up to that step; later ones are deleted, and where there is none
    it is the start, without a table. A checkpoint that is damaged, or to which a step's table is
    missing, is passed over. Raises InputError when `start`, which becomes the reference,
    is not what the run started from: an alias that has moved, or a folder that has changed.
    """
    runtime = process_runtime()
    warn = runtime.progress.log_message
    shared = runtime.archive.shared

    def check(record: CheckpointRecord) -> None:
        Steps(runtime.store).rows(record.training)  # each is read anew

    if last is None:
        found = newest_checkpoint(runtime.data_dir, run.run_id, warn, check, shared)
    elif within := checkpoint_within(runtime.data_dir, run.run_id, last, warn, check, shared):
        found = within
    else:
        return start, None
    record = found.record
    # an earlier version did not record the start here; the learner's own state has it too
    if record.start not in ("", start.digest):
        raise InputError(
            "this is no longer the model that the run started from, and so not its reference",
            f"--model {start.name}",
            f"put back what was in {runtime.archive.folders.find(start)}, or start again "
            "without --resume",
        )
    now = runtime.numerics_of_steps(config.compute)
    if record.numerics not in ("", now):
        warn(
            f"warning: up to step {record.policy.step} this run was computed with "
            f"{record.numerics}, and goes on with {now}: the last bits of what follows are not "
            "those of a run without a stop"
        )
    learner = runtime.models.start_learner(start, config)
    learner.load(found.folder / "learner")
    runtime.models.keep_learner(record.policy, learner)
    return record.policy, record.training
