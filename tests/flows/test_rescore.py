"""Stored completions under another scorer, and a scorer under golden rows; no model is loaded."""

from __future__ import annotations

import importlib
import json
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli.parser import main
from tests.data_folder import find_run

pytestmark = pytest.mark.slow

RowsIn = Callable[[str], dict[str, Any]]
TEXTS = ["Final: 1", "Final: 2\n", "the answer is 3", "Final: 40", "no idea"]


@pytest.fixture(autouse=True)
def _no_model(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    monkeypatch.setattr("tasks.runtime.model_cache.load_policy", refuse)
    monkeypatch.setattr("flows.eval.resolve_policy", refuse)


def lines(path: Path, rows: list[dict[str, Any]]) -> str:
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    rows = [{"id": i, "prompt": f"What is {i} + 1?", "expected_answer": i + 1} for i in range(5)]
    return lines(tmp_path / "problems.jsonl", rows)


@pytest.fixture
def answers(tmp_path: Path) -> str:
    rows = [{"id": i, "completion": text} for i, text in enumerate(TEXTS)]
    return lines(tmp_path / "answers.jsonl", rows)


def result_of(
    arguments: list[str], capsys: pytest.CaptureFixture[str], code: int = 0
) -> dict[str, Any]:
    capsys.readouterr()
    assert main([*arguments, "--json"]) == code
    return dict(json.loads(capsys.readouterr().out))


def test_rescoring_a_run_shows_the_two_by_two_and_the_rows_that_flipped(
    dataset: str, answers: str, capsys: pytest.CaptureFixture[str], rows_in: RowsIn
) -> None:
    made = result_of(["eval", "--dataset", dataset, "--completions", answers], capsys)
    assert main(["rescore", made["run_id"], "--scorer", "contains_int@1"]) == 0
    shown = capsys.readouterr().out
    assert "What changed from final_int@1 to contains_int@1" in shown
    assert "What is 1 + 1? -> Final: 2\\n  (expected Final: 2)" in shown
    again = result_of(["rescore", made["run_id"][:8], "--scorer", "contains_int@1"], capsys)
    changes = again["changes"]
    assert [changes[name] for name in ("correct_in_both", "correct_only_before")] == [1, 0]
    assert [changes[name] for name in ("correct_only_after", "correct_in_neither")] == [2, 2]
    assert changes["scored_before"] is True
    won = [group for group in changes["groups"] if group["direction"] == "won"]
    assert changes["groups"][: len(won)] == won, "changed rewards come first"
    assert {row["completion"] for group in won for row in group["rows"]} == set(TEXTS[1:3])
    assert again["tables"]["completions"] == made["tables"]["completions"]
    assert again["tables"]["scores"] != made["tables"]["scores"]
    kept = json.loads((find_run(again["run_id"]).folder / "changes.json").read_text())
    assert kept == changes
    report = rows_in(Path(again["report"]).read_text())
    directions = [report["directions"][change] for change in report["change"]]
    assert directions.count("won") == 2, "its report says what changed"


def test_a_limit_compares_the_rows_that_both_scored(
    dataset: str, answers: str, capsys: pytest.CaptureFixture[str], rows_in: RowsIn
) -> None:
    made = result_of(["eval", "--dataset", dataset, "--completions", answers], capsys)
    again = result_of(["rescore", made["run_id"], "--scorer", "last_int@1", "--limit", "3"], capsys)
    assert again["changes"]["rows"] == 3
    assert len(rows_in(Path(again["report"]).read_text())["change"]) == 3


def test_the_first_samples_alone_are_scored_again(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": i, "samples": [text, "It is 7", "It is 8"]} for i, text in enumerate(TEXTS)]
    path = lines(tmp_path / "three.jsonl", rows)
    made = result_of(["eval", "--dataset", dataset, "--completions", path], capsys)
    again = ["rescore", made["run_id"], "--scorer", "contains_int@1"]
    result = result_of([*again, "--samples", "1"], capsys)
    assert (made["samples"], result["samples"], result["changes"]["rows"]) == (3, 1, 5)
    assert result["changes"]["scored_before"] is True
    shown = [row for group in result["changes"]["groups"] for row in group["rows"]]
    assert {row["completion"] for row in shown} <= set(TEXTS)
    assert main([*again, "--samples", "4"]) == 2
    assert "has 3 completions a problem, not 4; give at most 3" in capsys.readouterr().err


def test_missing_answers_are_refused_or_left_out(
    dataset: str, answers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(answers).write_text("\n".join(Path(answers).read_text().splitlines()[:4]))
    words = ["rescore", answers, "--dataset", dataset, "--scorer", "contains_int@1"]
    assert main(words) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "1 of 5 problems have no completion (first: '4'); " in said
    assert said.endswith("or add --allow-missing")
    result = result_of([*words, "--allow-missing"], capsys)
    assert (result["partial"]["asked"], result["partial"]["without_answer"]) == (5, 1)
    assert (result["metrics"]["problems"], result["changes"]["rows"]) == (4, 4)
    again = ["rescore", result["run_id"], "--scorer", "last_int@1"]
    assert result_of(again, capsys)["changes"]["rows"] == 4, "a partial run needs no such word"


def test_the_best_constant_answer_is_told_beside_what_the_other_scorer_gives(
    dataset: str, answers: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["rescore", answers, "--dataset", dataset, "--scorer", "contains_int@1"]
    best = result_of(words, capsys)["best_constant"]
    assert best == best | {"answer": "1", "problems": 5, "rate": 0.2}
    assert main(words) == 0
    assert "best constant answer: 1 is right for 1/5 = 20 %" in capsys.readouterr().out


def test_completions_of_a_file_are_compared_with_the_strict_scorer(
    dataset: str, answers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["rescore", answers, "--dataset", dataset, "--scorer", "contains_int@1"]
    result = result_of(arguments, capsys)
    assert result["changes"]["scored_before"] is False
    assert result["changes"]["before"] == "final_int@1"
    assert main(arguments) == 0
    assert "had no scores" in capsys.readouterr().out


def test_a_score_table_that_was_edited_is_named(
    dataset: str, answers: str, capsys: pytest.CaptureFixture[str]
) -> None:
    made = result_of(["eval", "--dataset", dataset, "--completions", answers], capsys)
    path = Path(made["tables"]["scores"])
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    assert main(["rescore", made["run_id"], "--scorer", "contains_int@1"]) == 2
    error = capsys.readouterr().err
    assert str(path) in error
    assert "no longer have the digest" in error


def golden(path: Path, *rewards: object) -> str:
    rows = zip(range(5), TEXTS, rewards, strict=False)
    return lines(path, [{"id": i, "completion": t, "expected_reward": r} for i, t, r in rows])


def test_golden_rows_that_match_pass(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = golden(tmp_path / "golden.jsonl", 1, 0, 0.0, False, 0)
    result = result_of(["rescore", "--golden", path, "--dataset", dataset], capsys)
    assert (result["passed"], result["rows"]) == (True, 5)


def test_golden_misses_are_listed_and_exit_1(
    dataset: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = golden(tmp_path / "golden.jsonl", 1, 0, 0, 1, 0)
    arguments = ["rescore", "--golden", path, "--dataset", dataset, "--scorer", "contains_int@1"]
    result = result_of(arguments, capsys, code=1)
    assert [miss["row"] for miss in result["false_positives"]] == [2, 3]
    assert [miss["completion"] for miss in result["false_negatives"]] == ["Final: 40"]
    assert main(arguments) == 1
    shown = capsys.readouterr().out
    assert "False positives (exploits that pay): 2" in shown
    assert "row 2, problem 1: Final: 2\\n  gets 1, not 0" in shown


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": 9, "completion": "x", "expected_reward": 1}, "row 1: there is no problem '9'"),
        ({"id": 1, "completion": 5, "expected_reward": 1}, "row 1: its completion is 5"),
        ({"id": 1, "completion": "x"}, "row 1: it has no expected_reward"),
        ({"id": 1, "completion": "x", "expected_reward": 2}, "row 1: its expected_reward is 2"),
        (
            {"id": 1, "completion": "x", "expected_reward": 1, "finish_reason": "eos"},
            "row 1: its finish_reason is 'eos'",
        ),
    ],
)
def test_a_golden_row_that_cannot_be_used_is_one_line_and_exit_2(
    row: dict[str, Any],
    reason: str,
    dataset: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    path = lines(tmp_path / "golden.jsonl", [row])
    assert main(["rescore", "--golden", path, "--dataset", dataset]) == 2
    error = capsys.readouterr().err
    assert reason in error
    assert len(error.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ([], "needs either RUN or --golden FILE"),
        (["x", "--golden", "y"], "needs either RUN or --golden FILE"),
        (["--golden", "none.jsonl"], "--golden none.jsonl: no such file"),
        (["nobody"], "no such run"),
        (["nobody", "--rows", "-1"], "--rows -1: is less than 0"),
    ],
)
def test_what_cannot_be_rescored_is_exit_2(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["rescore", *arguments]) == 2
    assert reason in capsys.readouterr().err


OWN = """
from scorers.custom import custom_scorer

@custom_scorer(name="ends_right", version=1, spec="The text ends in the right integer.")
def ends_right(text, finish_reason, expected_answer):
    return text.endswith(expected_answer)
"""


def test_a_scorer_in_the_working_directory_is_found(
    dataset: str,
    answers: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    (tmp_path / "a_scorer_of_mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.path", [entry for entry in __import__("sys").path if entry])
    arguments = ["rescore", answers, "--dataset", dataset]
    result = result_of([*arguments, "--scorer", "a_scorer_of_mine:ends_right"], capsys)
    assert result["changes"]["after"] == "ends_right@1"
    assert result["changes"]["correct_only_after"] == 1


def test_an_edited_scorer_is_asked_again_and_parts_of_a_reward_are_no_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    dataset, answers = tmp_path / "d.jsonl", tmp_path / "a.jsonl"
    dataset.write_text(
        '{"id": "a", "prompt": "1?", "expected_answer": 1, "family": "words (easy) // :smile:"}\n'
        '{"id": "b", "prompt": "2?", "expected_answer": 2}\n'
    )
    answers.write_text('{"id": "a", "completion": "1"}\n{"id": "b", "completion": "3"}\n')
    helper = tmp_path / "helper_of_mine.py"
    (tmp_path / "scorer_of_mine.py").write_text(
        "from helper_of_mine import reward\n"
        "from scorers.custom import custom_scorer\n"
        "@custom_scorer(name='parts', version=1, spec='Some of the reward.')\n"
        "def scorer(text, finish_reason, expected_answer): return reward(text, expected_answer)\n"
    )
    asked = ["eval", "--dataset", str(dataset), "--completions", str(answers)]
    found = []
    for body in ("text == expected", "0.5"):
        helper.write_text(f"def reward(text, expected): return {body}\n")
        for module in ("scorer_of_mine", "helper_of_mine"):
            sys.modules.pop(module, None)
        importlib.invalidate_caches()
        shutil.rmtree(tmp_path / "__pycache__", ignore_errors=True)
        assert main([*asked, "--scorer", "scorer_of_mine:scorer", "--json"]) == 0
        captured = capsys.readouterr()
        found.append(json.loads(captured.out)["metrics"])
    assert [metrics["pass_rate"] for metrics in found] == [0.5, 0.0], "never the verdicts of before"
    assert [metrics["mean_reward"] for metrics in found] == [0.5, 0.5]
    assert "Mean reward: 0.500" in captured.err
    assert ":smile:" in captured.err, "a user's text is shown as it is"
