"""The split dev is measured while learning goes on, and learning does not notice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from artifacts.tracking.run import TrackedRun
from flows.development import restore_dev_rates
from flows.eval import eval_flow
from flows.learning import learning_flow
from flows.learning_run import LearningRun, StepClock
from schemas.config import LearningConfig
from schemas.errors import InputError
from schemas.references import PolicyRef
from schemas.results import LearningResult
from tasks.load_dataset import load_dataset
from tasks.runtime.progress import Event, Message
from tasks.runtime.runtime import process_runtime
from tasks.train_step import train_step
from tests.data_folder import all_runs, find_run, stored
from tests.flows.conftest import problems_file

pytestmark = [pytest.mark.slow, pytest.mark.untraced]


def messages(events: list[Event]) -> list[str]:
    """The lines for a person among what was reported."""
    return [event.text for event in events if isinstance(event, Message)]


def history(run_id: str, name: str) -> dict[int, float]:
    """A metric of a run by step."""
    client = process_runtime().archive.tracking.client
    return {point.step: point.value for point in client.get_metric_history(run_id, name)}


def test_dev_is_measured_at_the_start_every_k_steps_and_at_the_end(
    learning_config: LearningConfig,
) -> None:
    heard: list[Event] = []
    config = learning_config.model_copy(update={"steps": 5, "dev_limit": 5})
    with process_runtime().progress.listening(heard.append):
        result = learning_flow.fn(config)
    assert [point.step for point in result.dev] == [0, 2, 4, 5]
    for point in result.dev:
        assert 0 <= point.low <= point.value <= point.high <= 1
        assert (point.problems, point.completions) == (5, 5)
    for bound in ("", "_low", "_high"):
        logged = history(result.run_id, f"dev_pass_rate{bound}")
        key = bound.lstrip("_") or "value"
        assert logged == {point.step: getattr(point, key) for point in result.dev}
    lines = [text for text in messages(heard) if "pass@1 on dev" in text]
    assert len(lines) == 4
    assert "n = 5 problems" in lines[0]


def test_a_measurement_on_dev_is_the_one_that_evaluation_takes(
    learning_config: LearningConfig,
) -> None:
    result = learning_flow.fn(learning_config)
    again = eval_flow.fn(learning_config.development())
    assert again.metrics.pass_rate == result.dev[0].value
    assert again.instrument.parts.split == "dev"
    assert result.instrument.parts.split == "holdout", "the result is not dev's"
    last = learning_config.development().model_copy(update={"model": "models:/threeloops/1"})
    assert eval_flow.fn(last).metrics.pass_rate == result.dev[-1].value


def test_measuring_dev_changes_neither_the_training_table_nor_the_weights(
    learning_config: LearningConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    measured = learning_flow.fn(learning_config)
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "other"))
    process_runtime().models.forget()
    without = learning_flow.fn(learning_config.model_copy(update={"dev_every": 0}))
    assert without.dev == ()
    assert without.model.digest == measured.model.digest
    tables = [Path(result.tables["training"]).read_bytes() for result in (measured, without)]
    assert tables[0] == tables[1]
    assert "dev_pass_rate" not in find_run(without.run_id).metrics


def test_a_resumed_run_finds_what_was_seen_before_it_was_cut_off(
    learning_config: LearningConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    config = learning_config.model_copy(update={"dev_every": 1})
    whole = learning_flow.fn(config)
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "other"))
    steps: list[int] = []

    def cut_off(*arguments: Any) -> Any:
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return train_step(*arguments)

    monkeypatch.setattr("flows.learning_steps.train_step", cut_off)
    with pytest.raises(KeyboardInterrupt):
        learning_flow.fn(config)
    (run,) = all_runs()
    process_runtime().models.forget()
    resumed = learning_flow.fn(config, resume=run.run_id)
    assert resumed.dev == whole.dev
    assert history(run.run_id, "dev_pass_rate") == history_of(whole)


def test_a_run_that_is_resumed_with_other_threads_finds_what_was_seen_before(
    learning_config: LearningConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = learning_config.model_copy(update={"dev_every": 1, "checkpoint_every": 1})
    steps: list[int] = []

    def cut_off(*arguments: Any) -> Any:
        steps.append(1)
        if len(steps) == 3:
            raise KeyboardInterrupt
        return train_step(*arguments)

    with monkeypatch.context() as patch:
        patch.setattr("flows.learning_steps.train_step", cut_off)
        with pytest.raises(KeyboardInterrupt):
            learning_flow.fn(config)
    (run,) = all_runs()
    seen = history(run.run_id, "dev_pass_rate")
    assert set(seen) == {0, 1, 2}
    process_runtime().models.forget()
    monkeypatch.setattr("torch.get_num_threads", lambda: 7)
    heard: list[Event] = []
    with process_runtime().progress.listening(heard.append):
        resumed = learning_flow.fn(config, resume=run.run_id)
    assert {point.step: point.value for point in resumed.dev if point.step in seen} == seen
    assert len([text for text in messages(heard) if "goes on with" in text]) == 1


def history_of(result: LearningResult) -> dict[int, float]:
    """What should have been logged for a result."""
    return {point.step: point.value for point in result.dev}


def test_a_resumed_run_goes_on_without_what_has_left_the_store(
    learning_config: LearningConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    result, runtime = learning_flow.fn(learning_config), process_runtime()
    training = pq.read_table(result.tables["training"])
    place = training.column_names.index("policy_lineage")
    lost = training.set_column(place, "policy_lineage", pa.array(["0" * 64] * training.num_rows))
    reference = stored().write("training", lost.replace_schema_metadata(None), producer="test")
    runtime.models.forget()
    recorded = find_run(result.run_id)
    run = LearningRun(
        runtime,
        learning_config,
        TrackedRun(recorded.run_id, recorded.name, recorded.loop, runtime.archive),
        start=PolicyRef(name="x", digest=recorded.tags["model_digest_before"]),
        start_folder=Path(learning_config.model),
        problems=load_dataset(learning_config.dataset, learning_config.train_split),
        dev_steps=frozenset({0, 2}),
        clock=StepClock(),
    )
    heard: list[Event] = []
    with runtime.progress.listening(heard.append):
        seen = restore_dev_rates(run, reference)
    assert [point.step for point in seen] == [0]
    assert "after step 2 is no longer in the store" in messages(heard)[-1]


def without_dev(config: LearningConfig, folder: Path) -> LearningConfig:
    """The same with a dataset whose dev problems are gone."""
    rows = [json.loads(line) for line in Path(config.dataset).read_text().splitlines()]
    kept = problems_file(folder, *(row for row in rows if row["split"] != "dev"))
    return config.model_copy(update={"dataset": kept})


def test_a_dataset_without_dev_is_learned_from_and_said_so_once(
    learning_config: LearningConfig, tmp_path: Path
) -> None:
    heard: list[Event] = []
    with process_runtime().progress.listening(heard.append):
        result = learning_flow.fn(without_dev(learning_config, tmp_path))
    assert result.dev == ()
    assert len([text for text in messages(heard) if "no split dev" in text]) == 1


def test_dev_problems_that_are_trained_on_are_refused(
    learning_config: LearningConfig, tmp_path: Path
) -> None:
    rows = [json.loads(line) for line in Path(learning_config.dataset).read_text().splitlines()]
    shared = next(row for row in rows if row["split"] == "train") | {"id": "x", "split": "dev"}
    config = learning_config.model_copy(
        update={"dataset": problems_file(tmp_path, *rows, shared), "dev_limit": 120}
    )
    with pytest.raises(InputError, match="also trained on"):
        learning_flow.fn(config)
    assert learning_flow.fn(config.model_copy(update={"dev_every": 0, "steps": 1})).dev == ()
