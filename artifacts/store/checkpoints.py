"""Checkpoints of a learning run: the learner's state beside the references that it belongs to."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

from artifacts.store.atomic_file import write_atomic
from artifacts.store.data_dir import DataDir
from schemas.config import Frozen
from schemas.errors import InputError
from schemas.references import PolicyRef, TableRef

RECORD = "checkpoint.json"


class CheckpointRecord(Frozen):
    """Which policy and which training table a checkpoint is at."""

    policy: PolicyRef
    training: TableRef


def checkpoint_folder(data_dir: DataDir, run_id: str, step: int) -> Path:
    """Where the checkpoint of one step of a run lies."""
    return data_dir.checkpoints / run_id / f"step-{step:06d}"


def write_checkpoint(
    folder: Path,
    save_learner: Callable[[Path], None],
    policy: PolicyRef,
    training: TableRef,
    *,
    keep: int = 0,
) -> None:
    """Write a checkpoint, then delete those of the same run before the one before.

    With `keep`, the newest so many stay.

    The record is written last: a folder without one is not a checkpoint. The one before stays,
    because only the next step measures whether the policy of this one is sound.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    save_learner(folder / "learner")
    record = CheckpointRecord(policy=policy, training=training)
    write_atomic(folder / RECORD, record.model_dump_json(indent=1).encode())
    before = [other for other in _whole_checkpoints(folder.parent) if other < folder]
    for other in folder.parent.iterdir():
        if other not in (folder, *before[-max(1, keep - 1) :]):
            shutil.rmtree(other)


def read_checkpoint(folder: Path) -> tuple[PolicyRef, TableRef]:
    """The references that a checkpoint belongs to."""
    record = CheckpointRecord.model_validate_json((folder / RECORD).read_bytes())
    return record.policy, record.training


def newest_checkpoint(data_dir: DataDir, run_id: str) -> Path:
    """The newest whole checkpoint of a run; InputError when it has none."""
    whole = _whole_checkpoints(data_dir.checkpoints / run_id)
    if not whole:
        raise InputError(
            "the run has no checkpoint", f"--resume {run_id}", "start again without --resume"
        )
    return whole[-1]


def checkpoint_within(data_dir: DataDir, run_id: str, step: int) -> Path | None:
    """The newest whole checkpoint up to a step, or None; later ones are deleted."""
    last = checkpoint_folder(data_dir, run_id, step)
    whole = _whole_checkpoints(last.parent)
    for later in (folder for folder in whole if folder > last):
        shutil.rmtree(later)
    return max((folder for folder in whole if folder <= last), default=None)


def drop_checkpoints(data_dir: DataDir, run_id: str, *, keep: int = 0) -> None:
    """Delete a run's checkpoints but for the newest `keep`; its result is kept elsewhere."""
    of_run = data_dir.checkpoints / run_id
    kept = _whole_checkpoints(of_run)[-keep:] if keep else []
    for folder in of_run.glob("*"):
        if folder not in kept:
            shutil.rmtree(folder, ignore_errors=True)
    if not kept:
        shutil.rmtree(of_run, ignore_errors=True)


def _whole_checkpoints(of_run: Path) -> list[Path]:
    return sorted(record.parent for record in of_run.glob(f"step-*/{RECORD}"))
