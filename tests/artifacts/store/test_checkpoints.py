"""A checkpoint is there whole or not at all, and the one before it stays."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from artifacts.store.checkpoints import (
    CheckpointRecord,
    checkpoint_folder,
    checkpoint_within,
    drop_checkpoints,
    newest_checkpoint,
    read_checkpoint,
    write_checkpoint,
)
from artifacts.store.data_dir import DataDir
from artifacts.store.shared.checkpoints import RECORD
from policy.files.atomic_folder import held_alone
from schemas.errors import InputError, StoreError
from schemas.references import PolicyRef, TableRef

TRAINING = TableRef(kind="training", digest="a" * 64, rows=2)


def policy(step: int) -> PolicyRef:
    return PolicyRef(name="m", digest="b" * 64, step=step)


def at(step: int) -> CheckpointRecord:
    return CheckpointRecord(
        policy=policy(step), training=TRAINING, start="c" * 64, numerics="cpu float32"
    )


def save(folder: Path) -> None:
    """A learner of two files."""
    folder.mkdir(exist_ok=False)
    (folder / "weights.safetensors").write_bytes(b"weights")
    (folder / "state.json").write_text("{}")


def write(data_dir: DataDir, *steps: int, keep: int = 0) -> None:
    for step in steps:
        folder = checkpoint_folder(data_dir, "run", step)
        write_checkpoint(folder, save, at(step), keep=keep)


def steps(data_dir: DataDir) -> list[str]:
    return sorted(folder.name for folder in data_dir.checkpoints.glob("run/*"))


def test_a_checkpoint_is_read_as_it_was_written(data_dir: DataDir) -> None:
    write(data_dir, 2)
    found = newest_checkpoint(data_dir, "run")
    assert found.folder == data_dir.checkpoints / "run" / "step-000002"
    assert (found.folder / "learner").is_dir()
    assert found.record == read_checkpoint(found.folder)
    assert found.record.model_copy(update={"files": None}) == at(2)
    assert found.record.files is not None
    assert set(found.record.files) == {"learner/weights.safetensors", "learner/state.json"}


def test_the_one_before_stays_and_older_ones_go(data_dir: DataDir) -> None:
    write(data_dir, 1, 2, 10)
    assert steps(data_dir) == ["step-000002", "step-000010"]


def test_as_many_stay_as_are_to_be_kept(data_dir: DataDir) -> None:
    write(data_dir, 1, 2, 3, 4, keep=3)
    assert steps(data_dir) == ["step-000002", "step-000003", "step-000004"]


def test_an_older_one_that_another_process_holds_is_left_to_it(data_dir: DataDir) -> None:
    write(data_dir, 1, 2)
    with held_alone(checkpoint_folder(data_dir, "run", 1)) as mine:
        assert mine
        write(data_dir, 3)
        assert steps(data_dir) == ["step-000001", "step-000002", "step-000003"]
    write(data_dir, 4)
    assert steps(data_dir) == ["step-000003", "step-000004"]


def test_the_same_step_is_written_again_in_place_of_the_first(data_dir: DataDir) -> None:
    write(data_dir, 1, 2, 2)
    assert steps(data_dir) == ["step-000001", "step-000002"]


def test_a_folder_without_its_record_is_no_checkpoint(data_dir: DataDir) -> None:
    write(data_dir, 1)

    def cut(path: Path) -> None:
        path.mkdir()
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_checkpoint(checkpoint_folder(data_dir, "run", 2), cut, at(2))
    assert newest_checkpoint(data_dir, "run").folder.name == "step-000001"
    assert checkpoint_within(data_dir, "run", 2) == newest_checkpoint(data_dir, "run")


def test_a_run_without_a_checkpoint_is_refused(data_dir: DataDir) -> None:
    with pytest.raises(InputError, match="--resume run: the run has no checkpoint"):
        newest_checkpoint(data_dir, "run")


def test_going_back_to_a_step_deletes_the_later_ones(data_dir: DataDir) -> None:
    write(data_dir, 2, 4, 6, keep=3)
    within = checkpoint_within(data_dir, "run", 5)
    assert within is not None
    assert within.folder == checkpoint_folder(data_dir, "run", 4)
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


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[0] ^= 1
    file.write_bytes(content)


DAMAGE: dict[str, Callable[[Path], object]] = {
    "one byte of the weights": lambda folder: flip(folder / "learner" / "weights.safetensors"),
    "a file is gone": lambda folder: (folder / "learner" / "state.json").unlink(),
    "an empty record": lambda folder: (folder / RECORD).write_bytes(b""),
    "a record of something else": lambda folder: (folder / RECORD).write_text('{"policy": 3}'),
    "a record that is no text": lambda folder: (folder / RECORD).write_bytes(b"\xff\xfe"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_newest_checkpoint_is_passed_over_with_one_line(
    data_dir: DataDir, damage: str
) -> None:
    write(data_dir, 1, 2)
    newest = checkpoint_folder(data_dir, "run", 2)
    DAMAGE[damage](newest)
    said: list[str] = []
    found = newest_checkpoint(data_dir, "run", said.append)
    assert found.folder == checkpoint_folder(data_dir, "run", 1)
    (line,) = said
    assert line.startswith(f"warning: {newest}")
    assert line.endswith("; this checkpoint is not used")
    assert "\n" not in line
    said.clear()
    within = checkpoint_within(data_dir, "run", 2, said.append)
    assert within == found
    assert len(said) == 1


def test_an_altered_file_is_named_with_both_digests(data_dir: DataDir) -> None:
    write(data_dir, 1)
    folder = checkpoint_folder(data_dir, "run", 1)
    flip(folder / "learner" / "weights.safetensors")
    with pytest.raises(StoreError, match=r"expected [0-9a-f]{12}, found [0-9a-f]{12}") as caught:
        read_checkpoint(folder)
    assert str(folder / "learner" / "weights.safetensors") in str(caught.value)


def test_a_checkpoint_that_cannot_be_used_otherwise_is_passed_over_too(data_dir: DataDir) -> None:
    write(data_dir, 1, 2)

    def check(record: CheckpointRecord) -> None:
        if record.policy.step == 2:
            raise StoreError("its table is gone", "training table")

    said: list[str] = []
    assert newest_checkpoint(data_dir, "run", said.append, check).record.policy.step == 1
    assert said == ["warning: training table: its table is gone; this checkpoint is not used"]


def test_a_run_whose_checkpoints_are_all_damaged_is_refused_in_one_line(data_dir: DataDir) -> None:
    write(data_dir, 1, 2)
    for step in (1, 2):
        (checkpoint_folder(data_dir, "run", step) / RECORD).write_text("{")
    with pytest.raises(
        InputError, match="--resume run: none of its checkpoints can be used"
    ) as caught:
        newest_checkpoint(data_dir, "run")
    assert str(checkpoint_folder(data_dir, "run", 2) / RECORD) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert checkpoint_within(data_dir, "run", 2) is None


def test_a_checkpoint_of_a_former_version_is_used_and_it_is_said_that_nothing_is_checked(
    data_dir: DataDir,
) -> None:
    write(data_dir, 1)
    folder = checkpoint_folder(data_dir, "run", 1)
    former = {"policy": policy(1).model_dump(), "training": TRAINING.model_dump()}
    (folder / RECORD).write_text(json.dumps(former))
    said: list[str] = []
    found = newest_checkpoint(data_dir, "run", said.append)
    assert found.record == CheckpointRecord(policy=policy(1), training=TRAINING)
    (line,) = said
    assert "has no digests of its files" in line
