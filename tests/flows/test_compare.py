"""Two runs are compared on the same instrument alone, and a gain is called by its loop."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli.parser import main
from flows.eval import eval_flow
from flows.learning import learning_flow
from flows.selection import selection_flow
from schemas.config import EvalConfig, LearningConfig, SelectionConfig
from tests.data_folder import find_run

pytestmark = pytest.mark.slow

Run = Callable[..., dict[str, Any]]
COUNT = 30


@pytest.fixture
def run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Run:
    """Call the command line with --json; gives its object, after checking the exit code."""

    def call(*arguments: str, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert main([*arguments, "--json"]) == code
        return dict(json.loads(capsys.readouterr().out))

    return call


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    path = tmp_path / "problems.jsonl"
    rows = [
        {
            "id": i,
            "prompt": f"What is {i} + 1?",
            "expected_answer": i + 1,
            "family": "even" if i % 2 == 0 else "odd",
        }
        for i in range(COUNT)
    ]
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return str(path)


@pytest.fixture
def replay(tmp_path: Path, dataset: str) -> Run:
    """Evaluate stored answers; `right(i, j)` says whether answer j to problem i is right."""

    def call(
        right: Callable[[int, int], bool], samples: int = 1, *, flow: Any = eval_flow, **more: Any
    ) -> dict[str, Any]:
        rows = [
            {"id": i, "samples": [f"Final: {i + right(i, j)}" for j in range(samples)]}
            for i in range(COUNT)
        ]
        path = tmp_path / "answers.jsonl"
        path.write_text("\n".join(json.dumps(row) for row in rows))
        config = SelectionConfig if flow is selection_flow else EvalConfig
        given = {"dataset": dataset, "completions": str(path)} | more
        return dict(flow.fn(config(**given)).as_json())

    return call


def test_the_same_instrument_is_answered_with_everything_that_the_answer_needs(
    replay: Run, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    first = replay(lambda i, _: i % 3 == 0)
    second = replay(lambda i, _: i % 3 != 1)
    result = run("compare", first["run_id"], second["run_id"])
    assert result["same_instrument"]
    assert [rate["value"] for rate in result["pass_rates"]] == pytest.approx([1 / 3, 2 / 3])
    difference = result["difference"]
    assert difference["value"] == pytest.approx(1 / 3)
    assert 0 < difference["low"] < 1 / 3 < difference["high"]
    assert (difference["better"], difference["worse"]) == (10, 0)
    assert 0 < difference["detectable"] < 1
    assert result["test"] == "student_paired"
    assert 0.0001 < result["p_value"] < 0.01, "10 of 30 rose and none fell"
    assert result["families"]["even"]["problems"] == 15
    assert len(result["flipped"]["better"]) == 3
    flip = result["flipped"]["better"][0]
    assert (flip["prompt"], flip["answer_before"]["text"]) == ("What is 2 + 1?", "Final: 2")
    assert flip["answer_after"] == {"text": "Final: 3", "code": "exact"}
    assert main(["compare", first["run_id"], second["run_id"]]) == 0
    shown = capsys.readouterr().out
    for words in (
        "+33.3",
        "same numbers as the interval: p = 0.00",
        "10 better, 0 worse",
        "same instr",
    ):
        assert words in shown


def test_several_samples_are_compared_problem_by_problem(replay: Run, run: Run) -> None:
    first, second = replay(lambda i, j: j == 0, 2), replay(lambda i, j: i < 15 or j == 0, 2)
    result = run("compare", first["run_id"], second["run_id"], "--rows", "0")
    assert result["p_value"] < 0.05
    assert result["difference"]["value"] == pytest.approx(0.25)
    assert result["flipped"] == {"better": [], "worse": []}


def test_different_instruments_are_refused_and_each_part_is_named_with_both_values(
    replay: Run, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = replay(lambda i, _: i % 3 == 0)
    loose = run("rescore", strict["run_id"], "--scorer", "contains_int@1")
    result = run("compare", strict["run_id"], loose["run_id"], code=1)
    assert (result["comparable"], list(result["differs"])) == (False, ["scorer"])
    assert [value.split(":")[0] for value in result["differs"]["scorer"]] == [
        "final_int@1",
        "contains_int@1",
    ]
    assert "difference" not in result
    assert main(["compare", strict["run_id"], loose["run_id"]]) == 1
    captured = capsys.readouterr()
    assert "final_int@1" in captured.out
    assert "contains_int@1" in captured.out
    assert "different instruments, in scorer; --allow scorer" in captured.err


def test_an_allowed_part_is_compared_and_said(
    replay: Run, run: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    strict = replay(lambda i, _: i % 3 == 0)
    loose = run("rescore", strict["run_id"], "--scorer", "contains_int@1")
    arguments = ("compare", strict["run_id"], loose["run_id"], "--allow", "scorer")
    result = run(*arguments)
    assert (result["comparable"], result["same_instrument"]) == (True, False)
    assert result["allowed"] == ["scorer"]
    assert result["difference"]["value"] == 0
    assert main([*arguments]) == 0
    assert "Compared all the same, as allowed" in capsys.readouterr().out
    run(*arguments[:-1], "split", code=1)


def test_other_problems_are_compared_where_both_have_them(replay: Run, run: Run) -> None:
    whole, part = replay(lambda i, _: True), replay(lambda i, _: i < 5, limit=10)
    run("compare", whole["run_id"], part["run_id"], code=1)
    result = run("compare", whole["run_id"], part["run_id"], "--allow", "dataset")
    assert result["left_out"] == [20, 0]
    assert result["difference"]["problems"] == 10
    assert result["difference"]["value"] == pytest.approx(-0.5)


def test_a_gain_by_search_is_not_called_learning(replay: Run, run: Run) -> None:
    measured = replay(lambda i, j: j == i % 3, 3)
    selected = replay(lambda i, j: j == i % 3, 3, flow=selection_flow)
    result = run("compare", measured["run_id"], f"{selected['run_id']}:oracle")
    assert [side["loop"] for side in result["runs"]] == ["A", "B"]
    assert [side["changed"] for side in result["runs"]] == ["nothing", "which output is used"]
    reading = " ".join(result["reading"])
    assert "a gain by search, not by learning" in reading
    assert "knows the expected answer" in reading
    assert result["pass_rates"][1]["value"] == 1
    every = run("compare", measured["run_id"], selected["run_id"])
    assert "before any was picked" in " ".join(every["reading"])
    assert every["difference"]["value"] == 0


def test_a_learning_run_compares_its_after_and_names_what_learning_did(
    learning_config: LearningConfig, run: Run
) -> None:
    learned = learning_flow.fn(learning_config)
    before, after = f"{learned.run_id}:before", learned.run_id
    result = run("compare", before, after)
    assert [side["stage"] for side in result["runs"]] == ["before", "after"]
    assert result["runs"][1]["steps"] == 4
    assert "made B's model from A's: a difference is by learning" in " ".join(result["reading"])
    back = run("compare", after, before)
    assert "made A's from B's" in " ".join(back["reading"])
    again = eval_flow.fn(learning_config.evaluation().model_copy(update={"seed": 1}))
    same = run("compare", before, again.run_id)
    assert "Both measured the same model" in " ".join(same["reading"])
    itself = run("compare", before, before)
    assert "the same measurement" in " ".join(itself["reading"])


@pytest.mark.parametrize("where", ["store", "copy"])
@pytest.mark.parametrize("place", [100, -1])
def test_a_table_that_was_edited_is_named_by_its_digest(
    replay: Run, capsys: pytest.CaptureFixture[str], where: str, place: int
) -> None:

    first, second = replay(lambda i, _: i % 3 == 0), replay(lambda i, _: i % 3 != 1)
    path = Path(second["tables"]["scores"])
    if where == "copy":
        path = find_run(second["run_id"]).folder / "tables" / "scores.parquet"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    assert main(["compare", first["run_id"], second["run_id"]]) == 2
    captured = capsys.readouterr()
    assert str(path) in captured.err
    assert "no longer have the digest" in captured.err
    assert captured.out == ""


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (":sideways", "no part 'sideways'"),
        (":before", "no completions_before"),
        (":majority", "no selections"),
    ],
)
def test_a_part_that_a_run_does_not_have_is_bad_input(
    part: str, reason: str, replay: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    first = replay(lambda i, _: True)
    assert main(["compare", first["run_id"], first["run_id"] + part]) == 2
    assert reason in capsys.readouterr().err
