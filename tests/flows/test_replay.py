"""A file of completions is replayed whatever its name, on the split that it answers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.cli.parser import main
from tests.data_folder import all_runs

pytestmark = pytest.mark.slow  # each replay reads MLflow's database


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    """Three problems in each of two splits, neither of which is called holdout."""
    rows = [
        {"id": f"{split}-{n}", "prompt": f"{split} {n}?", "expected_answer": n, "split": split}
        for split in ("easy", "hard")
        for n in range(3)
    ]
    path = tmp_path / "Problems.JSONL"
    path.write_text("\n".join(map(json.dumps, rows)))
    return str(path)


def answers(folder: Path, *ids: str, name: str = "answers.jsonl") -> str:
    """A file that answers each problem with `Final: 1`."""
    path = folder / name
    path.write_text("\n".join(json.dumps({"id": i, "completion": "Final: 1"}) for i in ids))
    return str(path)


HARD = [f"hard-{n}" for n in range(3)]


def replayed(capsys: pytest.CaptureFixture[str], *words: str) -> dict[str, Any]:
    assert main([*words, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out))


def refused(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    assert main(words) == 2
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert all_runs() == []
    return line


@pytest.mark.parametrize("name", ["answers.jsonl", "ANSWERS.JSONL", "answers.JsonL", "answers.txt"])
def test_a_file_is_a_file_whatever_the_case_of_its_ending(
    name: str, dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = answers(tmp_path, *HARD, name=name)
    result = replayed(capsys, "eval", "--dataset", dataset, "--completions", file)
    assert result["metrics"]["pass_rate"] == 1 / 3
    assert result["instrument"]["parts"]["split"] == "hard"


def test_the_split_that_was_answered_is_found_and_may_be_named(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["--dataset", dataset, "--completions", answers(tmp_path, *HARD)]
    found = replayed(capsys, "select", *given)
    named = replayed(capsys, "select", *given, "--split", "hard")
    assert found["instrument"] == named["instrument"]
    assert found["config"]["split"] == named["config"]["split"] == "hard"
    rescored = replayed(capsys, "rescore", given[3], "--dataset", dataset)
    assert rescored["instrument"]["parts"]["split"] == "hard"


def test_a_split_of_the_built_in_dataset_is_found(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from artifacts.datasets.arithmetic import arithmetic

    file = answers(tmp_path, *arithmetic("dev")["problem_id"].to_pylist())
    result = replayed(capsys, "eval", "--completions", file)
    assert result["instrument"]["parts"]["split"] == "dev"


def test_what_does_not_fit_is_one_line_before_a_run_begins(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["eval", "--dataset", dataset, "--completions"]
    line = refused(capsys, *given, answers(tmp_path, *HARD), "--split", "holdout")
    assert "no row has the split 'holdout'; it has easy, hard" in line
    line = refused(capsys, *given, answers(tmp_path, "nobody", "hard-1"))
    assert "answers.jsonl, row 1: id 'nobody' is not in the dataset" in line
    assert "--dataset" in line
    line = refused(capsys, *given, answers(tmp_path))
    assert "answers.jsonl: has no rows" in line


def test_a_run_or_a_table_brings_its_split_with_it(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    made = replayed(capsys, "eval", "--dataset", dataset, "--completions", answers(tmp_path, *HARD))
    for source in (made["run_id"], made["tables"]["completions"]):
        again = replayed(capsys, "eval", "--completions", source)
        assert again["instrument"] == made["instrument"]
        assert main(["eval", "--completions", source, "--split", "easy"]) == 2
        assert "--split with --completions" in capsys.readouterr().err
