"""Scores are found again where the rule is ours; another scorer runs each time."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from artifacts.store.parquet_table import provenance_of
from schemas.references import TableRef
from scorers.scorer import Scorer
from tasks.load_completions import load_completions
from tasks.runtime.runtime import Runtime
from tasks.score import score


@pytest.fixture
def completions(runtime: Runtime, problems: TableRef, tmp_path: Path) -> TableRef:
    path = tmp_path / "answers.jsonl"
    texts = {"1+2": "Final: 3", "2+2": "Final: 5", "4+3": "seven"}
    path.write_text("\n".join(json.dumps({"id": i, "completion": t}) for i, t in texts.items()))
    return load_completions(str(path), problems)[1]


def test_each_completion_has_a_reward_and_an_outcome(
    runtime: Runtime, problems: TableRef, completions: TableRef
) -> None:
    table = runtime.store.read(score(problems, completions, "final_int@1"))
    assert table["problem_id"].to_pylist() == ["1+2", "2+2", "4+3"]
    assert table["reward"].to_pylist() == [1.0, 0.0, 0.0]
    assert table["outcome"].to_pylist() == ["correct", "wrong_answer", "bad_format"]
    assert provenance_of(table).parents == {
        "problems": problems.digest,
        "completions": completions.digest,
    }
    assert provenance_of(table).config["scorer"] == "final_int@1"


def test_scores_of_a_built_in_scorer_are_taken_from_the_store(
    problems: TableRef, completions: TableRef, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = score(problems, completions, "final_int@1")

    def never(*_: object) -> None:
        raise AssertionError("it was scored again")

    monkeypatch.setattr(Scorer, "score", never)
    assert score(problems, completions, "final_int@1") == first


MINE = """
from scorers.custom import custom_scorer

calls = []

@custom_scorer(name="mine", version=1, spec="a rule")
def mine(text, finish_reason, expected_answer):
    calls.append(text)
    return "3" in text
"""


def test_a_scorer_of_someone_else_runs_each_time(
    runtime: Runtime,
    problems: TableRef,
    completions: TableRef,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    (tmp_path / "my_rules.py").write_text(MINE)
    monkeypatch.syspath_prepend(tmp_path)
    first = score(problems, completions, "my_rules:mine")
    assert score(problems, completions, "my_rules:mine") == first
    assert runtime.store.read(first)["reward"].to_pylist() == [1.0, 0.0, 0.0]
    assert len(sys.modules.pop("my_rules").calls) == 6


def test_a_scorer_of_someone_else_that_answers_otherwise_now_is_believed(
    runtime: Runtime,
    problems: TableRef,
    completions: TableRef,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    place = f"RIGHT = Path({str(tmp_path / 'right')!r})"
    reads = MINE.replace("calls = []", f"from pathlib import Path\n{place}\ncalls = []")
    reads = reads.replace('"3" in text', "RIGHT.read_text() in text")
    (tmp_path / "reading_rules.py").write_text(reads)
    monkeypatch.syspath_prepend(tmp_path)
    found = []
    for right in ("3", "5"):
        (tmp_path / "right").write_text(right)
        made = score(problems, completions, "reading_rules:mine")
        found.append(runtime.store.read(made)["reward"].to_pylist())
    assert found == [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    sys.modules.pop("reading_rules")
