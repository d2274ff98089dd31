"""A checkpoint is there whole or not at all, and the one before it stays."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.store.checkpoints import (
    checkpoint_folder,
    checkpoint_within,
    drop_checkpoints,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from artifacts.store.data_dir import DataDir
from schemas.errors import InputError
from schemas.references import PolicyRef, TableRef

TRAINING = TableRef(kind="training", digest="a" * 64, rows=2)


def policy(step: int) -> PolicyRef:
    return PolicyRef(name="m", digest="b" * 64, step=step)


def write(data_dir: DataDir, *steps: int, keep: int = 0) -> None:
    for step in steps:
        folder = checkpoint_folder(data_dir, "run", step)
        write_checkpoint(
            folder, lambda path: path.mkdir(exist_ok=False), policy(step), TRAINING, keep=keep
        )


def steps(data_dir: DataDir) -> list[str]:
    return sorted(folder.name for folder in data_dir.checkpoints.glob("run/*"))


def test_a_checkpoint_is_read_as_it_was_written(data_dir: DataDir) -> None:
    write(data_dir, 2)
    folder = newest_checkpoint(data_dir, "run")
    assert folder == data_dir.checkpoints / "run" / "step-000002"
    assert (folder / "learner").is_dir()
    assert read_checkpoint(folder) == (policy(2), TRAINING)


def test_the_one_before_stays_and_older_ones_go(data_dir: DataDir) -> None:
    write(data_dir, 1, 2, 10)
    assert steps(data_dir) == ["step-000002", "step-000010"]


def test_as_many_stay_as_are_to_be_kept(data_dir: DataDir) -> None:
    write(data_dir, 1, 2, 3, 4, keep=3)
    assert steps(data_dir) == ["step-000002", "step-000003", "step-000004"]


def test_the_same_step_is_written_again_in_place_of_the_first(data_dir: DataDir) -> None:
    write(data_dir, 1, 2, 2)
    assert steps(data_dir) == ["step-000001", "step-000002"]


def test_a_folder_without_its_record_is_no_checkpoint(data_dir: DataDir) -> None:
    write(data_dir, 1)

    def cut(path: Path) -> None:
        path.mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(checkpoint_folder(data_dir, "run", 2), cut, policy(2), TRAINING)
    assert newest_checkpoint(data_dir, "run").name == "step-000001"
    assert checkpoint_within(data_dir, "run", 2) == newest_checkpoint(data_dir, "run")


def test_a_run_without_a_checkpoint_is_refused(data_dir: DataDir) -> None:
    with pytest.raises(InputError, match="--resume run: the run has no checkpoint"):
        newest_checkpoint(data_dir, "run")


def test_going_back_to_a_step_deletes_the_later_ones(data_dir: DataDir) -> None:
    write(data_dir, 2, 4, 6, keep=3)
    assert checkpoint_within(data_dir, "run", 5) == checkpoint_folder(data_dir, "run", 4)
    assert steps(data_dir) == ["step-000002", "step-000004"]
    assert checkpoint_within(data_dir, "run", 1) is None
    assert steps(data_dir) == []


def test_at_the_end_none_stay_but_the_newest_to_be_kept(data_dir: DataDir) -> None:
    write(data_dir, 1, 2, 3, keep=3)
    (data_dir.checkpoints / "run" / "step-000009").mkdir()
    drop_checkpoints(data_dir, "run", keep=2)
    assert steps(data_dir) == ["step-000002", "step-000003"]
    drop_checkpoints(data_dir, "run")
    assert not (data_dir.checkpoints / "run").exists()
