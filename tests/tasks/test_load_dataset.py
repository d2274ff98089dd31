"""A split becomes a problems table; the same problems are the same table."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.errors import InputError
from tasks.load_dataset import load_dataset
from tasks.runtime.runtime import Runtime


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "sums.jsonl"
    rows = [
        {"id": f"p{i}", "prompt": f"{i} + 1?", "expected_answer": i + 1, "split": split}
        for i, split in enumerate(["train", "train", "holdout"])
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


def test_the_problems_of_a_split_are_kept_and_the_file_is_parsed_once(
    runtime: Runtime, file: Path
) -> None:
    train, holdout = (load_dataset(str(file), split) for split in ("train", "holdout"))
    assert runtime.store.read(train)["problem_id"].to_pylist() == ["p0", "p1"]
    assert runtime.store.read(holdout)["expected_answer"].to_pylist() == ["3"]
    assert load_dataset(str(file), "train") == train
    assert load_dataset(str(file), "train", 1).rows == 1
    assert runtime.datasets.parsed == 1


def test_a_file_that_changed_is_read_again(runtime: Runtime, file: Path) -> None:
    before = load_dataset(str(file), "holdout")
    file.write_text(file.read_text().replace("2 + 1?", "2 + one?"))
    assert load_dataset(str(file), "holdout").digest != before.digest
    assert runtime.datasets.parsed == 2


def test_the_built_in_dataset_is_read_without_a_file(runtime: Runtime) -> None:
    assert load_dataset("arithmetic", "dev", 5).rows == 5
    assert runtime.datasets.parsed == 0


def test_a_split_that_is_not_there_is_refused(runtime: Runtime, file: Path) -> None:
    with pytest.raises(InputError, match="no row has the split 'dev'"):
        load_dataset(str(file), "dev")
