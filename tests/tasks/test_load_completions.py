"""Completions that were made before come with their problems, cut to the first ones if wanted."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from schemas.errors import InputError
from schemas.imported import Part
from schemas.references import TableRef
from tasks.load_completions import load_completions
from tasks.runtime.runtime import Runtime


@pytest.fixture
def answers(tmp_path: Path) -> str:
    path = tmp_path / "answers.jsonl"
    ids = ("4+3", "1+2", "2+2")
    path.write_text("\n".join(json.dumps({"id": i, "samples": [i, "x"]}) for i in ids))
    return str(path)


def test_a_file_is_put_in_the_order_of_the_problems(
    runtime: Runtime, problems: TableRef, answers: str
) -> None:
    asked, completions = load_completions(answers, problems)
    assert asked == problems
    assert runtime.store.read(completions)["text"].to_pylist() == [
        "1+2",
        "x",
        "2+2",
        "x",
        "4+3",
        "x",
    ]


def test_a_table_of_ours_brings_its_problems_and_both_are_cut(
    runtime: Runtime, problems: TableRef, answers: str
) -> None:
    _, completions = load_completions(answers, problems)
    path = str(runtime.store.path(completions))
    assert load_completions(path, None) == (problems, completions)
    fewer, cut = load_completions(path, None, Part(limit=2))
    assert (fewer.rows, cut.rows) == (2, 4)
    assert runtime.store.read(fewer)["problem_id"].to_pylist() == ["1+2", "2+2"]


def test_a_file_without_a_dataset_is_refused(runtime: Runtime, answers: str) -> None:
    with pytest.raises(InputError, match="needs a dataset"):
        load_completions(answers, None)
