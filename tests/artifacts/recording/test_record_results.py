"""The result of each loop is what its run keeps, word for word, with its report and pictures."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from artifacts.recording.measured_rows import MeasuredRows
from artifacts.recording.record import (
    REPLAYED,
    add_to_result,
    record_evaluation,
    record_learning,
    record_measurement,
    record_selection,
    record_training,
)
from artifacts.tracking.archive import Archive
from artifacts.tracking.run import Place, tracked_run
from schemas.config import EvalConfig, LearningConfig, SelectionConfig
from schemas.loops import AFTER, BEFORE, EVALUATION, LEARNING, SELECTION
from schemas.measurements import Estimate, Learned, Measurement, Selection, StepRate
from schemas.references import PolicyRef
from scorers.selection.picked import divergence_of_best, pick_all, selected_rates
from tests.artifacts.measuring import measure, policy_in, training_table

pytestmark = pytest.mark.slow

KL = Estimate(value=0.25, low=0.125, high=0.5, problems=2, completions=4)
Rows = MeasuredRows


@pytest.fixture
def policy(archive: Archive, tmp_path: Path) -> PolicyRef:
    return policy_in(archive, tmp_path / "model")


@pytest.fixture
def rows(archive: Archive, policy: PolicyRef) -> Rows:
    """Two problems with two samples: one right, one wrong, one without format, one right."""
    return Rows.read(archive.store, measure(archive.store, "rw", "br", policy=policy))


def test_an_evaluation(archive: Archive, rows: Rows, policy: PolicyRef) -> None:
    config = EvalConfig(samples=2)
    with tracked_run(archive, EVALUATION, config, Place()) as run:
        record_measurement(run, rows, "sums")
        result = record_evaluation(run, config, rows)
    assert archive.history.find(run.run_id).result() == result
    assert result.metrics.pass_at_k == {1: 0.5, 2: 1.0}
    assert (result.model.digest, result.samples) == (policy.digest, 2)
    assert result.model.folder == str(archive.folders.find(policy))
    assert result.outcomes == rows.measured.summary.outcomes
    assert sum(group.completions for group in result.failures) == 2
    assert set(result.tables) == {"problems", "completions", "scores"}
    kept = (*result.tables.values(), *result.pictures.values(), str(result.report))
    assert all(Path(path).is_file() for path in kept)
    assert set(result.pictures) == {"pass_at_k.png"}


def test_stored_completions_of_one_sample_have_no_model_and_no_picture(archive: Archive) -> None:
    rows, config = Rows.read(archive.store, measure(archive.store, "r", "w")), EvalConfig()
    with tracked_run(archive, EVALUATION, config, Place()) as run:
        result = record_evaluation(run, config, rows)
    assert result.model == REPLAYED
    assert result.pictures == {}


def test_a_selection_and_what_is_added_to_it_later(archive: Archive, rows: Rows) -> None:
    config = SelectionConfig(samples=2)
    table = pick_all(rows.completions, rows.scores, ("oracle", "likelihood"), seed=0)
    nats, bound = divergence_of_best(rows.scores)
    selection = Selection(
        picks=archive.store.write("selections", table, producer="test"),
        rates=selected_rates(table, rows.scores),
        divergence_nats=nats,
        divergence_bound_nats=bound,
    )
    with tracked_run(archive, SELECTION, config, Place()) as run:
        record_measurement(run, rows, "sums")
        result = record_selection(run, config, rows, selection)
    found = archive.history.find(run.run_id)
    assert found.result() == result
    assert result.metrics.selected_pass_rate == {"oracle": 1.0, "likelihood": 0.5}
    assert result.best_of_n.bound_nats == pytest.approx(math.log(2) - 1 / 2)
    assert found.metrics["selected_pass_rate.oracle"] == 1.0
    assert found.table_refs()["selections"] == ("selections", selection.picks.digest)
    assert add_to_result(run, result, report=None) == found.result()
    assert found.result() != result


def learned_from(start: Measurement, end: Measurement, archive: Archive) -> Learned:
    assert start.policy is not None
    assert end.policy is not None
    return Learned(
        start=start.policy,
        trained=end.policy,
        before=start,
        after=end,
        kl_nats=KL,
        training=training_table(archive.store, start, start),
        dev=(StepRate(step=0, rate=KL), StepRate(step=2, rate=KL)),
        wall_seconds=3.0,
        seconds_per_step=1.5,
    )


def test_learning(archive: Archive, rows: Rows, policy: PolicyRef, tmp_path: Path) -> None:
    trained = policy_in(archive, tmp_path / "trained", weights="trained")
    after = Rows.read(archive.store, measure(archive.store, "rr", "rb", policy=trained))
    learned = learned_from(rows.measured, after.measured, archive)
    version = trained.model_copy(update={"name": "models:/mine/1"})
    config = LearningConfig(steps=2)
    with tracked_run(archive, LEARNING, config, Place()) as run:
        for stage, side in ((BEFORE, rows), (AFTER, after)):
            record_measurement(run, side, "sums", stage)
        record_training(run, learned.training)
        result = record_learning(run, config, learned, after, version)
    found = archive.history.find(run.run_id)
    assert found.result() == result
    assert (result.metrics.pass_rate_before, result.metrics.pass_rate_after) == (0.5, 0.75)
    assert (result.metrics.steps, result.metrics.seconds_per_step) == (2, 1.5)
    assert result.metrics.clipped_steps == 2
    assert result.gain is not None
    assert (result.gain.value, result.gain.problems) == (0.25, 2)
    assert (result.model.name, result.model.started_from) == ("models:/mine/1", policy.name)
    assert [(rate.step, rate.value) for rate in result.dev] == [(0, 0.25), (2, 0.25)]
    assert result.outcomes_before == rows.measured.summary.outcomes
    assert result.outcomes == after.measured.summary.outcomes
    assert (found.tags["registered"], found.metrics["kl_nats"]) == ("models:/mine/1", 0.25)
    copies = [path.name for path in (found.folder / "tables").iterdir()]
    assert copies == ["training.parquet"]
    assert all(Path(path).is_file() for path in (*result.pictures.values(), str(result.report)))
    assert set(result.pictures) == {"learning.png"}
