"""Checkpoints of a learning run: the learner's state beside the references that it belongs to.

The learner writes its own state; this keeps the newest whole one and finds it again.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from artifacts.home import Home
from artifacts.store import write_whole
from schemas.config import Frozen
from schemas.errors import InputError
from schemas.references import PolicyRef, TableRef

RECORD = "checkpoint.json"


class CheckpointRecord(Frozen):
    """Which policy and which training table a checkpoint is at."""

    policy: PolicyRef
    training: TableRef


def checkpoint_folder(home: Home, run_id: str, step: int) -> Path:
    """Where the checkpoint of one step of a run lies."""
    return home.checkpoints / run_id / f"step-{step:06d}"


def write_checkpoint(
    folder: Path, save_learner: Callable[[Path], None], policy: PolicyRef, training: TableRef
) -> None:
    """Write a checkpoint, then delete the older ones of the same run.

    The record is written last: a folder without one is not a checkpoint.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_learner(folder / "learner")
    record = CheckpointRecord(policy=policy, training=training)
    write_whole(folder / RECORD, record.model_dump_json(indent=1).encode())
    for other in folder.parent.iterdir():
        if other != folder:
            shutil.rmtree(other)


def read_checkpoint(folder: Path) -> tuple[PolicyRef, TableRef]:
    """The references that a checkpoint belongs to."""
    record = CheckpointRecord.model_validate_json((folder / RECORD).read_bytes())
    return record.policy, record.training


def newest_checkpoint(home: Home, run_id: str) -> Path:
    """The newest whole checkpoint of a run; InputError when it has none."""
    whole = sorted((home.checkpoints / run_id).glob(f"step-*/{RECORD}"))
    if not whole:
        raise InputError(
            "the run has no checkpoint", f"--resume {run_id}", "start again without --resume"
        )
    return whole[-1].parent


def drop_checkpoints(home: Home, run_id: str) -> None:
    """Delete a run's checkpoints; its result is kept elsewhere."""
    shutil.rmtree(home.checkpoints / run_id, ignore_errors=True)
