"""A run's problems and its policy are MLflow's inputs, and a metric belongs to both."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from mlflow.exceptions import MlflowException

from artifacts.store.instrument import dataset_digest
from artifacts.tracking.archive import Archive
from artifacts.tracking.inputs import CONTEXT, dataset_name, measured_on, use_dataset
from artifacts.tracking.run import Place, TrackedRun, tracked_run
from schemas.config import EvalConfig
from schemas.errors import InputError
from schemas.loops import EVALUATION
from schemas.references import TableRef
from tests.artifacts.measuring import evaluated, measure, policy_in, problems_table


@pytest.fixture
def run(archive: Archive) -> Iterator[TrackedRun]:
    with tracked_run(archive, EVALUATION, EvalConfig(), Place()) as made:
        yield made


@pytest.fixture
def problems(archive: Archive) -> TableRef:
    return archive.store.write("problems", problems_table(3), producer="test")


def test_a_dataset_is_recorded_once_with_its_digest_split_and_table(
    archive: Archive, run: TrackedRun, problems: TableRef
) -> None:
    whole = dataset_digest(archive.store.read(problems))
    for _ in range(2):
        assert use_dataset(run, problems, "sums") == ("sums", whole[:36])
    inputs = archive.tracking.client.get_run(run.run_id).inputs
    assert inputs is not None
    (used,) = inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("sums", whole[:36])
    tags = {tag.key: tag.value for tag in used.tags}
    assert tags == {CONTEXT: "holdout", "threeloops.digest": whole}
    assert str(archive.store.path(problems)) in used.dataset.source


THERE = "(sqlite3.IntegrityError) UNIQUE constraint failed: datasets.experiment_id, datasets.name"
IN_POSTGRES = 'duplicate key value violates unique constraint "dataset_pk"'


@pytest.mark.parametrize(
    ("said", "times", "recorded"),
    [
        (THERE, 2, True),
        (IN_POSTGRES, 2, True),
        (THERE, 99, False),
        ("database is locked", 1, False),
    ],
)
def test_a_dataset_that_another_run_adds_at_the_same_moment_is_recorded_again(
    run: TrackedRun,
    problems: TableRef,
    monkeypatch: pytest.MonkeyPatch,
    said: str,
    times: int,
    recorded: bool,
) -> None:
    log_inputs = run.archive.tracking.client.log_inputs
    failed: list[tuple[Any, ...]] = []

    def refused(*given: Any, **more: Any) -> None:
        if len(failed) < times:
            failed.append(given)
            raise MlflowException(said)
        log_inputs(*given, **more)

    monkeypatch.setattr(run.archive.tracking.client, "log_inputs", refused)
    with nullcontext() if recorded else pytest.raises(MlflowException, match=re.escape(said)):
        use_dataset(run, problems, "sums")
    inputs = run.archive.tracking.client.get_run(run.run_id).inputs
    assert bool(inputs and inputs.dataset_inputs) == recorded


@pytest.mark.parametrize("name", ["/data/sums.jsonl", "sums.csv", "sums.parquet", "sums"])
def test_a_file_is_called_as_it_is_without_folder_and_ending(
    run: TrackedRun, problems: TableRef, name: str
) -> None:
    assert use_dataset(run, problems, name)[0] == "sums"


def test_a_measurement_belongs_to_its_policy_unless_it_is_a_replay(
    archive: Archive, run: TrackedRun, problems: TableRef, tmp_path: Path
) -> None:
    replayed = measured_on(run, problems, "sums", None)
    assert (replayed["model_id"], replayed["dataset_name"]) == (None, "sums")
    policy = policy_in(archive, tmp_path / "model")
    measured = measured_on(run, problems, "sums", policy)
    inputs = archive.tracking.client.get_run(run.run_id).inputs
    assert inputs is not None
    (used,) = inputs.model_inputs
    assert measured == replayed | {"model_id": used.model_id}
    run.metrics({"rate": 0.5}, of=measured)
    (metric,) = archive.tracking.client.get_logged_model(used.model_id).metrics or []
    assert (metric.dataset_name, metric.value) == ("sums", 0.5)


@pytest.mark.parametrize(
    ("completions", "name"),
    [(None, "mine"), ("answers.JSONL", "mine"), ("/store/a.parquet", "stored problems")],
)
def test_problems_are_called_by_where_their_completions_come_from(
    archive: Archive, completions: str | None, name: str
) -> None:
    config = EvalConfig(dataset="mine", completions=completions)
    assert dataset_name(config, archive.history) == name


def test_the_problems_of_a_replayed_run_are_called_as_that_run_called_them(
    archive: Archive,
) -> None:
    first = evaluated(archive, measure(archive.store, "r"), dataset="theirs")
    config = EvalConfig(completions=first.name, dataset="mine")
    assert dataset_name(config, archive.history) == "theirs"
    with pytest.raises(InputError, match="no such run"):
        dataset_name(EvalConfig(completions="no-run"), archive.history)
