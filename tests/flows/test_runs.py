"""What has been run is listed, filtered and sorted; failures are grouped by code with examples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from flows.cli.parser import main
from flows.learning import learning_flow
from schemas.config import LearningConfig
from tests.data_folder import find_run

pytestmark = pytest.mark.slow

TEXTS = {  # 40 % right in the first run, 60 % in the second
    "one": lambda i: "Final: 7" if i < 4 else "Final: 8" if i < 8 else " Final: 7",
    "two": lambda i: "Final: 7" if i < 6 else "Final:\u200b 7",
}


@pytest.fixture
def runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> dict[str, dict[str, Any]]:
    """Two replays of ten answers each, the second on a dataset of its own."""
    made = {}
    for name, text in TEXTS.items():
        dataset, answers = tmp_path / f"{name}.jsonl", tmp_path / f"{name}_answers.jsonl"
        dataset.write_text(
            "".join(
                json.dumps(
                    {
                        "id": str(i),
                        "prompt": f"{name}: seven of {i}?",
                        "expected_answer": 7,
                        "family": "even" if i % 2 == 0 else "odd",
                    }
                )
                + "\n"
                for i in range(10)
            )
        )
        answers.write_text(
            "".join(json.dumps({"id": str(i), "completion": text(i)}) + "\n" for i in range(10))
        )
        told = ["--dataset", str(dataset), "--completions", str(answers), "--json"]
        assert main(["eval", *told]) == 0
        made[name] = json.loads(capsys.readouterr().out)
    return made


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Any:
    """Run a verb with --json and return its object."""

    def call(*arguments: str) -> dict[str, Any]:
        assert main([*arguments, "--json"]) == 0
        return dict(json.loads(capsys.readouterr().out))

    return call


def names(answer: dict[str, Any]) -> list[str]:
    return [run["run_id"] for run in answer["runs"]]


def test_without_runs_the_list_says_how_to_make_some(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs"]) == 0
    assert "No runs yet" in capsys.readouterr().out


def test_runs_are_listed_newest_first_and_sorted_as_asked(runs: Any, ask: Any) -> None:
    one, two = (runs[name]["run_id"] for name in ("one", "two"))
    assert names(ask("runs")) == [two, one]
    sources = [Path(run["source"]).name for run in ask("runs")["runs"]]
    assert sources == ["two_answers.jsonl", "one_answers.jsonl"]
    assert names(ask("runs", "--sort", "pass_rate")) == [two, one]
    assert names(ask("runs", "--sort", "loop")) == [two, one]
    assert names(ask("runs", "--limit", "1")) == [two]
    by_instrument = sorted(runs.values(), key=lambda run: run["instrument"]["digest"])
    listed = names(ask("runs", "--sort", "instrument"))
    assert listed == [run["run_id"] for run in by_instrument]


def test_runs_are_filtered_by_loop_model_and_instrument(runs: Any, ask: Any) -> None:
    digest = runs["one"]["instrument"]["digest"]
    assert names(ask("runs", "--instrument", digest[:8])) == [runs["one"]["run_id"]]
    assert names(ask("runs", "--loop", "C")) == []
    assert names(ask("runs", "--model", "gpt")) == []
    assert len(names(ask("runs", "--loop", "A"))) == 2


def test_a_filter_that_nothing_fits_is_not_an_empty_data_folder(
    runs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "--loop", "C"]) == 0
    assert "None of the 2 runs fits" in capsys.readouterr().out


def test_the_list_fits_80_columns_and_gives_every_rate_its_interval(
    runs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["runs", "--failures"]) == 0
    shown = capsys.readouterr().out
    assert "40 [12, 74]" in shown
    assert "from …_answers.jsonl" in shown
    assert all(len(line) <= 80 for line in shown.splitlines())


def test_failures_are_grouped_by_code_over_all_listed_runs(
    runs: Any, ask: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    groups = {group["code"]: group for group in ask("runs", "--failures")["failures"]}
    assert {code: group["completions"] for code, group in groups.items()} == {
        "invisible_character": 4,
        "other_integer": 4,
        "leading_space": 2,
    }
    assert groups["other_integer"]["example"]["completion"] == "Final: 8"
    assert main(["runs", "--failures"]) == 0
    shown = capsys.readouterr().out
    assert "bad format / invisible_character: 4" in shown
    assert "Final:\\u200b 7" in shown, "what cannot be seen is written out"


def test_show_groups_failures_and_marks_what_cannot_be_seen(
    runs: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", runs["one"]["run_id"][:8]]) == 0
    shown = capsys.readouterr().out
    assert "wrong answer / other_integer: 4" in shown
    assert "one: seven of 4? -> Final: 8  (expected Final: 7)" in shown
    assert "␠Final: 7" in shown
    assert Path(shown.split("for a browser: ")[1].strip()) == Path(runs["one"]["report"])


def test_show_can_be_narrowed_to_a_code_and_a_family(runs: Any, ask: Any) -> None:
    run = runs["one"]["run_id"]
    rows = ask("show", run, "--code", "other_integer", "--family", "even")["rows"]
    assert [row["problem"] for row in rows] == ["4", "6"]
    for wrong in (["--code", "nonsense"], ["--family", "prime"], ["--rows", "-1"]):
        assert main(["show", run, *wrong]) == 2


def test_equal_answers_to_a_problem_are_shown_once_with_their_number(
    tmp_path: Path, ask: Any
) -> None:
    dataset, answers = tmp_path / "d.jsonl", tmp_path / "a.jsonl"
    dataset.write_text('{"id": "a", "prompt": "Seven?", "expected_answer": 7}\n')
    answers.write_text('{"id": "a", "samples": ["Final: 8", "Final: 9", "Final: 8"]}\n')
    run = ask("eval", "--dataset", str(dataset), "--completions", str(answers))["run_id"]
    rows = ask("show", run)["rows"]
    assert [(row["completion"], row["times"]) for row in rows] == [("Final: 8", 2), ("Final: 9", 1)]


def test_the_surest_answers_come_first_where_asked(
    learning_config: LearningConfig, ask: Any
) -> None:
    run = learning_flow.fn(learning_config).run_id
    rows = ask("show", run, "--sort", "likelihood", "--rows", "99")["rows"]
    groups: dict[str, list[float]] = {}
    for row in rows:
        groups.setdefault(row["code"], []).append(row["sum_logprob"])
    assert all(sums == sorted(sums, reverse=True) for sums in groups.values())


def test_decisions_of_the_gate_are_listed_and_shown(
    learning_config: LearningConfig, ask: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    learning_flow.fn(learning_config)
    assert main(["promote", "models:/threeloops/1", "--json"]) == 1
    decided = json.loads(capsys.readouterr().out)
    listed = ask("runs")
    (decision,) = listed["decisions"]
    assert (decision["run_id"], decision["decision"]) == (decided["run_id"], "refused")
    assert len(listed["runs"]) == 1, "a decision is no loop"
    assert ask("show", decision["name"])["reasons"] == decided["reasons"]
    assert main(["runs"]) == 0
    assert "refused" in capsys.readouterr().out


def test_a_finished_run_without_its_result_is_not_called_unfinished(
    runs: dict[str, dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    name = runs["one"]["run_id"]
    (find_run(name).folder / "result.json").unlink()
    assert main(["show", name]) == 2
    said = capsys.readouterr().err
    assert "the run has finished, and its result is not there any more" in said
    assert "`threeloops doctor`" in said
