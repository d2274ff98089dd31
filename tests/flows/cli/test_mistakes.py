"""Whatever is given wrongly, the answer is one line with what, where and what to do, and exit 2."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from flows.cli.parser import main
from tests.data_folder import all_runs

LONG = "x" * 5000
NINES, MORE_NINES = "9" * 400, "9" * 5000


def line(capsys: pytest.CaptureFixture[str], *words: str) -> str:
    """What a mistake prints."""
    assert main(words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    *asked, said = captured.err.splitlines()
    assert not asked
    assert said.startswith("threeloops: ")
    assert len(said) < 2000
    return said


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        ([], ["VERB", "`threeloops --help`"]),
        (["nope"], ["'nope'", "`threeloops --help`"]),
        (["evl"], ["there is no verb evl; did you mean eval? `threeloops --help`"]),
        (["score", "--", "-5", "--expected", "5"], ["--expected; options stand before --"]),
        (
            ["eval", "--completions", "eval-nope", "--dataset", "x.jsonl"],
            ["run eval-nope: no such run"],
        ),
        (["eval", "--nope"], ["--nope"]),
        (["eval", "--limit"], ["eval: --limit", "`threeloops eval --help`"]),
        (["compare", "a"], ["compare:", "B", "`threeloops compare --help`"]),
        (["compare", "a", "b", "--allow", "x"], ["--allow", "'x'"]),
        (["eval", "--device", "tpu"], ["--device", "'tpu'"]),
        (["runs", "--limit", "abc"], ["--limit: 'abc' is not a whole number"]),
        (["runs", "--limit", MORE_NINES], ["--limit", "is not a whole number below a billion"]),
        (["show", "x", "--rows", "1.5"], ["--rows: '1.5' is not a whole number"]),
        (["promote", "x", "--min-gain", "abc"], ["--min-gain: 'abc' is not a number"]),
        (["eval", "--limit", "abc"], ["--limit abc: is not a whole number; give digits, as 20"]),
        (["eval", "--limit", "1.5"], ["--limit 1.5: is not a whole number"]),
        (["eval", "--limit", NINES], ["--limit 999", "is more than 1000000000"]),
        (["eval", "--limit", MORE_NINES], ["--limit 999"]),
        (["eval", "--seed", NINES], ["--seed 999"]),
        (["eval", "--temperature", "abc"], ["--temperature abc: is not a number; give digits"]),
        (["eval", "--temperature", "nan"], ["--temperature nan: "]),
        (["learn", "--learning-rate", "inf"], ["--learning-rate inf: "]),
        (["learn", "--steps", NINES], ["--steps 999", "1000000"]),
        (["learn", "--max-tokens-per-pass", NINES], ["--max-tokens-per-pass 999"]),
    ],
)
def test_a_word_that_cannot_be_read(
    words: list[str], parts: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    said = line(capsys, *words)
    for part in parts:
        assert part in said


@pytest.mark.parametrize("name", [LONG, "a/" * 3000, "a\0b", "~nobody-here/x"])
@pytest.mark.parametrize(
    "words",
    [
        ["eval", "--model"],
        ["tokens", "x", "--model"],
        ["eval", "--dataset"],
        ["eval", "--completions"],
        ["rescore"],
        ["rescore", "--golden"],
        ["show"],
        ["eval", "--scorer"],
        ["eval", "--template"],
        ["learn", "--resume"],
    ],
)
@pytest.mark.parametrize("ending", ["", ".jsonl"])
def test_a_name_that_nothing_can_have(
    words: list[str], name: str, ending: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line(capsys, *words, name + ending)


@pytest.mark.parametrize("option", ["--model", "--dataset", "--completions", "--split"])
def test_a_name_with_bytes_that_are_no_text(
    option: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = Path(os.fsdecode(os.fsencode(tmp_path) + b"/a\xff.jsonl"))
    path.write_text(json.dumps({"id": "1", "prompt": "1?", "expected_answer": 1}))
    said = line(capsys, "eval", option, str(path))
    assert option in said
    assert said.endswith(r"a\udcff.jsonl: holds bytes that are not UTF-8 text")
    assert all_runs() == []


@pytest.mark.parametrize(
    "words",
    [
        ["score", "\udcff", "--expected", "4"],
        ["ask", "\udcff"],
        ["tokens", "\udcff"],
        ["promote", "models:/m/1", "--rollback", "--reason", "\udcff"],
        ["runs", "--experiment", "\udcff"],
    ],
)
def test_a_text_with_bytes_that_are_no_text(
    words: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert "\\udcff: holds bytes that are not UTF-8 text" in line(capsys, *words)


def test_a_replayed_problem_whose_answer_is_no_text_says_why(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    problems, answers = tmp_path / "p.jsonl", tmp_path / "a.jsonl"
    problems.write_text(json.dumps({"id": "1", "prompt": "1?", "expected_answer": "\ud800"}))
    answers.write_text(json.dumps({"id": "1", "completion": "Final: 1"}))
    said = line(capsys, "eval", "--dataset", str(problems), "--completions", str(answers))
    assert r'p.jsonl, row 1: expected_answer "\ud800" is not an integer' in said
    assert all_runs() == []


@pytest.mark.parametrize(
    ("pattern", "answer", "said"),
    [
        (
            r"#### \d+",
            "#### 1",
            r"--answer-pattern #### \d+: has 0 groups; put the answer into one",
        ),
        ("((?:a+)+)b", "a" * 40, "row 1: --answer-pattern ((?:a+)+)b takes more than 0.5 s"),
    ],
)
def test_a_pattern_that_finds_no_answer_loads_no_model(
    pattern: str,
    answer: str,
    said: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def refuse(*arguments: Any, **named: Any) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr("tasks.runtime.model_cache.load_policy", refuse)
    problems, file = tmp_path / "p.jsonl", tmp_path / "pattern.yaml"
    problems.write_text(json.dumps({"id": "1", "prompt": "1?", "expected_answer": answer}))
    file.write_text(json.dumps({"columns": {"answer_pattern": pattern}}))
    words = ("eval", "--dataset", str(problems))
    assert said in line(capsys, *words, "--answer-pattern", pattern)
    told = line(capsys, *words, "--config", str(file))
    assert said.removeprefix(f"--answer-pattern {pattern}: ") in told
    assert all_runs() == []
    assert not list((tmp_path / "home").glob("tables/*/*.parquet"))


@pytest.mark.parametrize("name", ["tables", "models", "checkpoints", "prefect", "mlartifacts"])
def test_a_file_where_a_folder_of_the_data_folder_belongs(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / name).touch()
    with monkeypatch.context() as patch:
        patch.setenv("THREELOOPS_HOME", str(tmp_path / "other"))
        said = line(capsys, "runs")
    assert f"{tmp_path}/other/{name}: is no folder that can be written" in said


def test_a_folder_where_the_database_belongs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "other" / "mlflow.db").mkdir(parents=True)
    with monkeypatch.context() as patch:
        patch.setenv("THREELOOPS_HOME", str(tmp_path / "other"))
        assert "mlflow.db: is no file that can be written" in line(capsys, "runs")


def test_a_data_folder_below_a_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    with monkeypatch.context() as patch:
        patch.setenv("THREELOOPS_HOME", str(tmp_path / "file" / "home"))
        assert "the data folder cannot be made (Not a directory)" in line(capsys, "runs")


def test_a_folder_in_the_way_of_what_is_written_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    problems, answers = tmp_path / "p.jsonl", tmp_path / "a.jsonl"
    problems.write_text(json.dumps({"id": "1", "prompt": "1?", "expected_answer": 1}))
    answers.write_text(json.dumps({"id": "1", "completion": "Final: 1"}))
    (tmp_path / "home" / "tables").mkdir(parents=True)
    (tmp_path / "home" / "tables" / "problems").touch()
    assert main(["eval", "--dataset", str(problems), "--completions", str(answers)]) == 2
    said = capsys.readouterr().err.splitlines()[-1]
    assert "home/tables/problems" in said
    assert "move away what stands in its place" in said
