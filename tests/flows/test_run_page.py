"""What a person finds who opens a run in MLflow: words, tags, inputs, rows, and no row twice."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from flows.cli.parser import main
from flows.eval import eval_flow
from flows.learning import learning_flow
from schemas.config import EvalConfig, LearningConfig
from tasks.runtime.runtime import process_runtime
from tests.data_folder import all_runs, every_run

pytestmark = pytest.mark.slow

ALIVE = [
    "<script>alert(1)</script>",
    "**Final: 7** [x](y)",
    "\x1b[31mFinal: 7\x1b[0m",
    "=1+1",
    "$$x^2$$ `a` | b",
    "Final: 7",
]


def page(run_id: str) -> Any:
    """A run as MLflow has it."""
    return process_runtime().archive.tracking.client.get_run(run_id)


def note(run_id: str) -> str:
    return str(page(run_id).data.tags["mlflow.note.content"])


def test_the_description_says_what_was_measured_how_and_why_answers_failed(
    eval_config: EvalConfig,
) -> None:
    result = eval_flow.fn(eval_config)
    shown = note(result.run_id)
    assert shown.startswith("### pass@1 ")
    assert "95 % interval" in shown.splitlines()[0]
    assert "6 problems × 2 samples of `arithmetic` holdout" in shown
    failed = 12 - result.outcomes["correct"]
    assert f"Why {failed} of 12 answers failed" in shown
    first = result.failures[0]
    assert f"| `{first.code}` | {first.completions} |" in shown
    assert result.instrument.digest[:12] in shown
    assert len(shown) < 4000


def test_dataset_and_model_are_inputs_and_metrics_belong_to_both(eval_config: EvalConfig) -> None:
    result = eval_flow.fn(eval_config)
    inputs = page(result.run_id).inputs
    (given,) = inputs.dataset_inputs
    digest = result.instrument.parts.dataset
    assert digest.startswith(given.dataset.digest)
    assert len(given.dataset.digest) == 36
    tags = {tag.key: tag.value for tag in given.tags}
    assert tags == {"mlflow.data.context": "holdout", "threeloops.digest": digest}
    (model,) = inputs.model_inputs
    logged = process_runtime().archive.tracking.client.get_logged_model(model.model_id)
    assert logged.tags["threeloops.digest"] == result.model.digest
    rates = {metric.key: metric for metric in logged.metrics or ()}
    assert rates["pass_rate"].value == result.metrics.pass_rate
    assert rates["pass_rate"].dataset_digest == given.dataset.digest
    again = eval_flow.fn(eval_config.model_copy(update={"seed": 1}))
    (other,) = page(again.run_id).inputs.model_inputs
    assert other.model_id == model.model_id, "one policy is one logged model"


def test_what_completions_contain_comes_alive_nowhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, answers = tmp_path / "problems.jsonl", tmp_path / "answers.jsonl"
    problems = [{"id": f"<i>{i}", "prompt": "<b>7</b>?", "expected_answer": 7} for i in range(6)]
    dataset.write_text("".join(json.dumps(row) + "\n" for row in problems))
    given = [{"id": f"<i>{i}", "completion": text} for i, text in enumerate(ALIVE)]
    answers.write_text("".join(json.dumps(row) + "\n" for row in given))
    told = ["--dataset", str(dataset), "--completions", str(answers)]
    assert main(["eval", *told, "--json"]) == 0
    run = all_runs()[0]
    assert "\x1b" not in note(run.run_id)
    outside = re.sub(r"(`+).+?(?<!`)\1(?!`)", "", note(run.run_id))
    assert "<" not in outside
    assert "$" not in outside
    view = json.loads((run.folder / "completions_view.json").read_text())
    texts = {row[view["columns"].index("completion")] for row in view["data"]}
    assert texts == {text.replace("\x1b", "\\u001b") for text in ALIVE}


def test_a_report_that_cannot_be_made_costs_no_result_and_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise OSError("the disk is full")

    monkeypatch.setattr("artifacts.report.write.page_rows", fail)
    dataset, answers = tmp_path / "problems.jsonl", tmp_path / "answers.jsonl"
    dataset.write_text(json.dumps({"id": 1, "prompt": "7?", "expected_answer": 7}))
    answers.write_text(json.dumps({"id": 1, "completion": "Final: 7"}))
    told = ["--dataset", str(dataset), "--completions", str(answers)]
    assert main(["eval", *told, "--json"]) == 0
    said = capsys.readouterr()
    result = json.loads(said.out)
    assert (result["report"], result["metrics"]["pass_rate"]) == (None, 1.0)
    reason = "OSError: the disk is full"
    assert f"the run has no report.html: {reason}" in " ".join(said.err.split())
    run = all_runs()[0]
    assert (run.status, run.tags["report_error"]) == ("FINISHED", reason)
    kept = run.result()
    assert kept is not None
    assert kept.as_json() == result
    assert main(["show", run.name]) == 0
    assert f"no report was kept ({reason})" in capsys.readouterr().out


def test_a_run_that_fails_says_why_on_its_page(
    eval_config: EvalConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise RuntimeError("the <b>disk</b> is full")

    monkeypatch.setattr("engines.in_process.sample", fail)
    with pytest.raises(RuntimeError):
        eval_flow.fn(eval_config)
    shown = note(all_runs()[0].run_id)
    assert shown.startswith("### ended without a result")
    assert "`RuntimeError: the <b>disk</b> is full`" in shown


def test_a_learning_run_holds_its_measurements_as_children_and_resuming_doubles_nothing(
    learning_config: LearningConfig,
    monkeypatch: pytest.MonkeyPatch,
    rows_in: Callable[[str], dict[str, Any]],
) -> None:
    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("flows.learning.divergence", cut_off)
        with pytest.raises(KeyboardInterrupt):
            learning_flow.fn(learning_config)
    (run,) = all_runs()
    process_runtime().models.forget()
    result = learning_flow.fn(learning_config, resume=run.run_id)
    children = [child for child in every_run() if child.parent == run.run_id]
    assert sorted(child.stage for child in children) == ["after", "before"]
    assert [one.run_id for one in all_runs()] == [run.run_id], "they are listed with it, not beside"
    for child in children:
        rate = getattr(result.metrics, f"pass_rate_{child.stage}")
        assert (child.loop.letter, child.status, child.metrics["pass_rate"]) == (
            "A",
            "FINISHED",
            rate,
        )
        view = json.loads((child.folder / "completions_view.json").read_text())
        keys = [
            (row[view["columns"].index("problem")], row[view["columns"].index("sample")])
            for row in view["data"]
        ]
        assert len(keys) == len(set(keys)) == 8
    shown = page(run.run_id)
    assert "threeloops.error" not in shown.data.tags
    tables = json.loads(shown.data.tags["mlflow.loggedArtifacts"])
    assert sorted(table["path"] for table in tables) == [
        "completions_view_after.json",
        "completions_view_before.json",
    ]
    contexts = [tag.value for given in shown.inputs.dataset_inputs for tag in given.tags]
    assert sorted(value for value in contexts if len(value) < 64) == ["holdout", "train"]
    assert len(shown.inputs.model_inputs) == len(shown.outputs.model_outputs) == 1
    report = rows_in(Path(str(result.report)).read_text())
    assert report["stages"] == ["before", "after", *(f"step {i}" for i in range(1, 5))]
    assert (report["stage"].count(1), report["stage"].count(5)) == (4 * 2, 4 * 8)
    compared = main(["compare", f"{run.name}:before", f"{run.name}:after"])
    assert compared == 0
