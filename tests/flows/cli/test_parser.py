"""The command line: exit codes, one line for a mistake, one JSON object for a machine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from flows.cli.parser import build_parser, main
from tests.data_folder import all_runs

VERBS = (
    "demo",
    "eval",
    "select",
    "learn",
    "rescore",
    "compare",
    "promote",
    "runs",
    "show",
    "doctor",
    "gc",
    "sync",
    "tokens",
    "score",
    "ask",
    "export",
    "up",
)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_explains_itself_in_80_columns(
    verb: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    with pytest.raises(SystemExit) as ended:
        main([verb, "--help"])
    assert ended.value.code == 0
    shown = capsys.readouterr().out
    assert "--json" in shown
    assert max(map(len, shown.splitlines())) <= 80


def test_help_says_what_each_loop_changes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        build_parser().parse_args(["--help"])
    shown = capsys.readouterr().out
    for words in ("changes nothing", "changes which output is used", "changes the model"):
        assert words in shown


def test_help_imports_nothing_that_only_work_needs() -> None:
    work = "psutil", "pyarrow", "torch", "mlflow", "prefect"
    code = (
        "import atexit, sys; from flows.cli.parser import main\n"
        f"atexit.register(lambda: print([name for name in {work} if name in sys.modules]))\n"
        "main(['eval', '--help'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.slow
def test_a_replay_needs_no_torch() -> None:
    code = "import sys, flows.eval, flows.selection; print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


@pytest.mark.slow
def test_what_was_asked_is_said_before_anything_heavy_is_imported() -> None:
    heavy = "torch", "transformers", "mlflow", "prefect"
    code = (
        "import sys; from flows import preflight; from flows.cli.verbs import loops as verbs\n"
        "def heavy_part(runtime, config):\n"
        f"    print([name for name in {heavy} if name in sys.modules]); sys.exit(0)\n"
        "preflight.check_model = heavy_part\n"
        "from flows.cli.parser import main; main(['eval', '--limit', '3', '--samples', '2'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
    said = "Loop A, evaluation: default, 3 problems x 2, arithmetic holdout"
    assert done.stderr.strip() == said


def test_help_needs_no_heavy_import() -> None:
    heavy = "torch", "transformers", "mlflow", "prefect", "pandas"
    code = (
        "import sys, flows.cli.parser; flows.cli.parser.build_parser();"
        f"print([name for name in {heavy} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["eval", "--limit", "0"], "--limit 0: is less than 1"),
        (["eval", "--samples", "x"], "--samples x:"),
        (["eval", "--temperature", "-1"], "--temperature -1:"),
        (["eval", "--dataset", "none.csv"], "--dataset none.csv: no such file"),
        (["eval", "--split", "test"], "no split 'test'"),
        (["eval", "--model", "nowhere"], "--model nowhere: no such folder"),
        (["eval", "--scorer", "nobody@1"], "nobody"),
        (["eval", "--completions", "x.parquet", "--seed", "1"], "--seed with --completions"),
        (["eval", "--completions", "none.jsonl"], "none.jsonl"),
        (["select", "--completions", "nobody"], "run nobody: no such run"),
        (["learn", "--top-k", "5"], "without top-k and top-p"),
        (["learn", "--samples", "1"], "--samples 1:"),
        (["learn", "--max-kl", "0"], "--max-kl 0: is not more than 0"),
        (["learn", "--resume", "nobody"], "no such run"),
        (["learn", "--resume", "nobody", "--max-kl", "3"], "no such run"),
        (["learn", "--resume", "x", "--steps", "3"], "--steps with --resume"),
        (["show", "nobody"], "no such run"),
    ],
)
def test_a_mistake_is_one_line_and_exit_2(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert reason in captured.err
    assert len(captured.err.strip().splitlines()) == 1
    assert captured.err.startswith("threeloops: ")


@pytest.fixture
def stored(tmp_path: Path) -> list[str]:
    """The arguments of a replay of a thousand stored completions."""
    dataset, answers = tmp_path / "problems.jsonl", tmp_path / "answers.jsonl"
    with dataset.open("w") as problems, answers.open("w") as completions:
        for i in range(1000):
            row = {"id": str(i), "prompt": f"What is {i} + 1?", "expected_answer": i + 1}
            problems.write(json.dumps(row) + "\n")
            answer = f"Final: {i + 1 + i % 2}" if i % 10 else f"final {i}"
            completions.write(json.dumps({"id": str(i), "completion": answer}) + "\n")
    return ["--dataset", str(dataset), "--completions", str(answers)]


@pytest.mark.slow
def test_a_replay_prints_what_the_course_prints(
    stored: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["eval", *stored]) == 0
    shown = capsys.readouterr().out
    assert "Loop A: evaluation (changed: nothing)" in shown
    assert "Pass rate: 400/1000 = 40 %" in shown
    for line in ("Wrong answer: 500", "Bad format: 100", "Truncated: 0", "n = 1000 problems"):
        assert line in shown


@pytest.mark.slow
def test_json_is_the_last_line_of_stdout_and_the_rest_is_elsewhere(stored: list[str]) -> None:
    environment = {k: v for k, v in os.environ.items() if k != "PREFECT_API_URL"}
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", "eval", *stored, "--json"],
        capture_output=True,
        text=True,
        check=True,
        env=environment,
    )
    assert time.monotonic() - started < 60
    (line,) = done.stdout.splitlines()
    result = json.loads(line)
    assert result["metrics"]["pass_rate"] == 0.4
    assert "Pass rate: 400/1000" in done.stderr


@pytest.mark.slow
def test_a_replay_can_be_limited_and_selected_from(
    stored: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["select", *stored, "--limit", "50", "--json"]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["metrics"]["problems"] == 50
    assert "likelihood" not in result["selected"]
    assert main(["select", *stored, "--pick", "likelihood"]) == 2


def test_a_text_is_judged_without_a_model_or_a_data_folder(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "none"))
    assert main(["score", "Final: 42", "--expected", "42"]) == 0
    said = capsys.readouterr().out
    assert "reward 1  correct, exact" in said
    assert "The rule of final_int@1:" in said
    assert max(map(len, said.splitlines())) <= 80
    assert main(["score", "so\nFinal: 42 ", "--expected", "42", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["verdict"]["reward"], found["verdict"]["code"]) == (0.0, "leading_text")
    reasoned = ["--scorer", "final_line_int", "--finish-reason", "length"]
    assert main(["score", "so\nFinal: 42", "--expected", "42", *reasoned]) == 0
    said = capsys.readouterr().out
    assert said.startswith("so\\nFinal: 42  (expected 42, length)")
    assert "truncated, cut_off_match: cut off, though it would have been right" in said
    assert main(["score", "x", "--expected", "4x"]) == 2
    assert "--expected 4x: is not a plain decimal integer" in capsys.readouterr().err
    assert not (tmp_path / "none").exists()


def test_a_question_of_ones_own_is_answered_and_judged_and_not_recorded(
    tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    asked = ["ask", "What is 2 + 2?", "--model", tiny, "--samples", "3", "--seed", "5"]
    assert main([*asked, "--expected", "4", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert len(found["answers"]) == 3
    for answer in found["answers"]:
        assert answer["verdict"]["reward"] == 0.0
        assert answer["logprob"] < 0
        assert 1 <= len(answer["tokens"]) <= 16
    assert main(asked) == 0
    said = capsys.readouterr().out
    assert "--expected INT judges each answer" in said
    assert "reward" not in said
    assert main([*asked, "--expected", "four"]) == 2
    assert main(["ask", "x", "--model", "./no-such-model"]) == 2
    assert all_runs() == []


def test_tokens_are_shown_with_what_cannot_be_seen(
    tiny: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["tokens", "Final: 42\n", "--model", tiny, "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["tokens"]
    assert "".join(row["piece"] for row in rows) == "Final: 42\n"
    assert main(["tokens", "4", "--model", tiny, "--prompt", "What is 2 + 2?", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)["tokens"]
    assert all(row["logprob"] < 0 and row["rank"] >= 1 for row in rows)
