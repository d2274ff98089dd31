"""Datasets of the hub and generated ones through the loops: pinned, recorded, and compared."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from artifacts.datasets.problems import Datasets
from flows.cli.parser import main
from flows.learning import learning_flow
from schemas.config import LearningConfig
from schemas.errors import InputError
from schemas.results import EvalResult, LearningResult
from tests.data_folder import all_runs, every_run, find_run
from tests.hub_server import Hub, hub_server

pytestmark = pytest.mark.slow

GENERATED = "rg:chain_sum:max_terms=2,max_digits=1,size=100"
ROWS = [{"id": str(n), "prompt": f"{n}?", "expected_answer": n // 2} for n in range(6)]
SPLITS = {"train": ROWS[:2], "test": ROWS[2:]}
FILES: dict[str, str | bytes] = {
    f"{split}.jsonl": "".join(json.dumps(row) + "\n" for row in rows)
    for split, rows in SPLITS.items()
}


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    with hub_server() as running:
        monkeypatch.setenv("HF_ENDPOINT", running.url)
        running.add("owner/halves", FILES)
        yield running


@pytest.fixture
def replay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The words that score stored answers to the split `test`, of which two of four are right."""
    monkeypatch.setattr("flows.cli.verbs.loops.configure_prefect", lambda data_dir: None)
    path = tmp_path / "answers.jsonl"
    path.write_text("".join(f'{{"id": "{n}", "completion": "Final: 1"}}\n' for n in range(2, 6)))
    return ["eval", "--completions", str(path), "--split", "test", "--dataset"]


def measured(run: int = 0) -> EvalResult:
    result = all_runs()[run].result()
    assert isinstance(result, EvalResult)
    return result


def test_a_measurement_has_the_commit_in_its_configuration_and_its_instrument(
    hub: Hub, replay: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    first = hub.repositories["owner/halves"].branches["main"]
    assert main([*replay, "hf:owner/halves"]) == 0
    said = capsys.readouterr().out
    assert "pass@1 is not above the best constant answer: 1 is right for 2/4 = 50 %" in said
    result = measured()
    assert result.config.dataset == f"hf:owner/halves@{first}"
    part = result.instrument.parts.dataset
    assert part.startswith(f"hf:owner/halves@{first}:")
    assert len(part.rpartition(":")[2]) == 64
    assert find_run(result.run_id).metrics["best_constant_rate"] == 0.5
    assert main([*replay, "hf:owner/halves", "--limit", "2"]) == 0
    assert measured().instrument.parts.dataset.startswith(f"hf:owner/halves@{first}:")

    second = hub.add("owner/halves", FILES | {"LICENSE": "MIT"})
    assert main([*replay, "hf:owner/halves"]) == 0
    parts = [measured(run).instrument.parts.model_dump() for run in (0, 2)]
    assert parts[0].pop("dataset") == parts[1].pop("dataset").replace(first, second)
    assert parts[0] == parts[1]
    runs = all_runs()
    capsys.readouterr()
    assert main(["compare", runs[2].name, runs[0].name]) == 1
    assert "dataset" in capsys.readouterr().out
    assert main(["compare", runs[2].name, runs[0].name, "--allow", "dataset"]) == 0


def test_a_dataset_that_cannot_be_had_ends_before_anything_is_recorded(
    hub: Hub, replay: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ("hf:owner/none", "hf:owner/halves@v9", "rg:sudoku"):
        assert main([*replay, name]) == 2
        (line,) = [one for one in capsys.readouterr().err.splitlines() if one.strip()]
        assert line.startswith(f"threeloops: --dataset {name}: ")
    assert all_runs() == []


def test_learning_on_generated_problems(
    learning_config: LearningConfig,
) -> None:
    config = learning_config.model_copy(update={"dataset": GENERATED, "steps": 2, "limit": None})
    result: LearningResult = learning_flow.fn(config)
    source = Datasets().source(GENERATED)
    assert source.startswith("rg:chain_sum@0.1.25:")
    assert result.instrument.parts.dataset.startswith(f"{source}:")
    assert result.metrics.steps == 2
    holdout = Datasets().load(GENERATED, "holdout")
    best = result.before.best_constant
    assert best is not None
    assert best == result.after.best_constant
    answers = holdout["expected_answer"].to_pylist()
    assert (best.correct, best.problems) == (max(map(answers.count, answers)), len(answers))
    stages = [run for run in every_run() if run.stage == "before"]
    assert [run.metrics["best_constant_rate"] for run in stages] == [best.rate]


def test_learning_on_a_dataset_of_the_hub_is_pinned(
    hub: Hub, learning_config: LearningConfig
) -> None:
    changed = {
        "dataset": "hf:owner/halves", "split": "test", "steps": 1, "problems_per_step": 2,
    }  # fmt: skip
    config = learning_config.model_copy(update=changed)
    result: LearningResult = learning_flow.fn(config)
    commit = hub.repositories["owner/halves"].branches["main"]
    assert result.config.dataset == f"hf:owner/halves@{commit}"
    assert sum(line.startswith("GET /api/datasets") for line in hub.asked) == 1


def test_learning_gives_an_answer_the_tokens_that_its_template_needs(
    tiny: str, small_sums: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[LearningConfig] = []

    def keep(runtime: object, flow: object, config: Any, *_: object, **__: object) -> None:
        seen.append(config)
        raise InputError("enough")

    monkeypatch.setattr("flows.cli.verbs.loops.configure_prefect", lambda data_dir: None)
    monkeypatch.setattr("flows.cli.verbs.loops.run_flow", keep)
    monkeypatch.setattr("flows.preflight.check_model", lambda runtime, config: None)
    words = ["learn", "--model", tiny, "--dataset", small_sums, "--problems-per-step", "4"]
    assert main([*words, "--template", "reason_then_final@1", "--scorer", "final_line_int@1"]) == 2
    assert seen[0].sampling.max_new_tokens == 256
