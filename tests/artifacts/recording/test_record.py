"""What is measured becomes metrics, tags and tables of the run, before its result is made."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from artifacts.recording.measured_rows import MeasuredRows
from artifacts.recording.record import (
    metric_part,
    record_dev,
    record_measurement,
    record_step,
    record_stop,
    summary_metrics,
)
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from artifacts.tracking.logged_models import known_model, model_folder
from artifacts.tracking.run import Place, TrackedRun, tracked_run
from schemas.config import LearningConfig
from schemas.errors import StoppedError
from schemas.loops import LEARNING
from schemas.measurements import Estimate, Measurement, StepRate
from schemas.references import PolicyRef
from tests.artifacts.measuring import measure, policy_in, training_table


@pytest.fixture
def policy(archive: Archive, tmp_path: Path) -> PolicyRef:
    return policy_in(archive, tmp_path / "model")


@pytest.fixture
def measured(archive: Archive, policy: PolicyRef) -> Measurement:
    """Two problems with two samples: one right, one wrong, one without format, one right."""
    return measure(archive.store, "rw", "br", policy=policy)


@pytest.fixture
def run(archive: Archive) -> Iterator[TrackedRun]:
    with tracked_run(archive, LEARNING, LearningConfig(), Place()) as made:
        yield made


def rows_of(archive: Archive, measured: Measurement) -> MeasuredRows:
    return MeasuredRows.read(archive.store, measured)


def kept(run: TrackedRun) -> RunRecord:
    return run.archive.history.find(run.run_id)


def test_a_measurement_is_kept_as_tables_metrics_instrument_and_rows(
    archive: Archive, run: TrackedRun, measured: Measurement, policy: PolicyRef
) -> None:
    record_measurement(run, rows_of(archive, measured), "sums")
    found = kept(run)
    assert found.table_refs() == {
        name: (name, getattr(measured, name).digest)
        for name in ("problems", "completions", "scores")
    }
    copies = {path.name for path in (found.folder / "tables").iterdir()}
    assert copies == {"problems.parquet", "completions.parquet", "scores.parquet"}
    assert found.metrics["pass_rate"] == 0.5
    assert found.tags["instrument"] == measured.instrument.digest
    assert (found.tags["model"], found.tags["model_digest"]) == (policy.name, policy.digest)
    assert (found.folder / "completions_view.json").is_file()
    model_id = known_model(archive.tracking, policy.digest)
    assert model_id is not None
    model = archive.tracking.client.get_logged_model(model_id)
    assert {metric.key for metric in model.metrics or []} == set(summary_metrics(measured.summary))


def test_a_stage_is_named_in_everything_and_copies_no_table(
    archive: Archive, run: TrackedRun, measured: Measurement
) -> None:
    record_measurement(run, rows_of(archive, measured), "sums", "after")
    found = kept(run)
    assert set(found.table_refs()) == {"problems", "completions_after", "scores_after"}
    assert not (found.folder / "tables").exists()
    assert found.metrics["pass_rate_after"] == 0.5
    assert "pass_rate" not in found.metrics
    assert found.tags["model_digest_after"]
    assert (found.folder / "completions_view_after.json").is_file()


def test_a_summary_has_plain_names_for_all_its_rates(measured: Measurement) -> None:
    metrics = summary_metrics(measured.summary)
    rate = measured.summary.pass_rate
    assert metrics == {
        "pass_rate": 0.5,
        "pass_rate_low": rate.low,
        "pass_rate_high": rate.high,
        "valid_format_rate": 0.75,
        "mean_reward": 0.5,
        "best_constant_rate": measured.summary.best_constant.rate,
        "problems": 2,
        "completions": 4,
        "pass_at_1": 0.5,
        "pass_at_2": 1.0,
        "outcome.correct": 2,
        "outcome.wrong_answer": 1,
        "outcome.bad_format": 1,
        "outcome.truncated": 0,
        "family.even.pass_rate": 0.5,
    }


def test_a_name_becomes_part_of_a_metrics_name_and_stays_apart_from_others() -> None:
    assert metric_part("sums of-2_x") == "sums of-2_x"
    odd = [metric_part(text) for text in ("a+b", "a*b", "é" * 90)]
    assert len(set(odd)) == 3
    assert odd[0].startswith("a_b-")
    assert len(odd[2]) == 60 + 7


def test_a_step_is_logged_at_its_step_with_its_time(
    archive: Archive, run: TrackedRun, measured: Measurement
) -> None:
    training = training_table(archive.store, measured, measured)
    step = record_step(run, LearningConfig(), training, wall_seconds=1.5)
    assert (step.row.step, step.without_signal) == (2, 0)
    client = archive.tracking.client
    for name, value in (("loss", 0.25), ("wall_seconds", 1.5), ("clipped", 1.0)):
        (metric,) = client.get_metric_history(run.run_id, f"step.{name}")
        assert (metric.step, metric.value) == (2, value)


def test_a_rate_on_dev_is_logged_and_told_with_its_interval(run: TrackedRun) -> None:
    rate = Estimate(value=0.25, low=0.1, high=0.5, problems=8, completions=8)
    told = record_dev(run, StepRate(step=10, rate=rate))
    assert told == ("step 10: pass@1 on dev 25 % (95 % interval 10 % to 50 %, n = 8 problems)")
    metrics = kept(run).metrics
    assert [metrics[f"dev_pass_rate{end}"] for end in ("", "_low", "_high")] == [0.25, 0.1, 0.5]


@pytest.mark.parametrize(
    ("last_good", "kept_text"), [(0, "the one it started from"), (2, "after step 2, is kept in")]
)
def test_a_stop_keeps_the_training_table_and_no_weights(
    archive: Archive, run: TrackedRun, measured: Measurement, last_good: int, kept_text: str
) -> None:
    folder = model_folder(archive.tracking, run.reference)
    folder.mkdir(parents=True, exist_ok=True)
    training = training_table(archive.store, measured, measured) if last_good else None
    told = record_stop(run, StoppedError(3, "loss is nan", last_good), training)
    assert str(told).startswith("learning stopped at step 3: loss is nan; the last good policy")
    assert kept_text in str(told)
    assert "no version was registered" in str(told)
    assert not folder.exists()
    tags = kept(run).tags
    assert (tags["stopped_at_step"], tags["last_good_step"]) == ("3", str(last_good))
    assert ("table.training" in tags) == bool(last_good)
