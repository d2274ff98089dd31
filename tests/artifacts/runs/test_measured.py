"""A measurement is rebuilt from a run's tables, and refused where one is not what it says."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.runs.measured import find_measurement, read_measurement
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from artifacts.tracking.run import Place, tracked_run
from schemas.config import LearningConfig
from schemas.errors import InputError, StoreError
from schemas.loops import DEMO
from schemas.measurements import Measurement
from schemas.references import PolicyRef
from scorers.selection.picked import pick_all
from tests.artifacts.measuring import (
    evaluated,
    learned,
    measure,
    policy_in,
    selected,
    training_table,
)

pytestmark = pytest.mark.slow


@pytest.fixture
def policy(archive: Archive, tmp_path: Path) -> PolicyRef:
    return policy_in(archive, tmp_path / "model")


@pytest.fixture
def measured(archive: Archive, policy: PolicyRef) -> Measurement:
    return measure(archive.store, "wr", "bw", policy=policy)


@pytest.fixture
def run(archive: Archive, measured: Measurement) -> RunRecord:
    return evaluated(archive, measured)


def test_everything_is_read_from_the_tables(
    archive: Archive, run: RunRecord, measured: Measurement, policy: PolicyRef
) -> None:
    found = find_measurement(archive, run.run_id)
    assert (found.instrument, found.policy) == (measured.instrument, policy.digest)
    assert (found.stage, found.rule, found.samples) == ("", None, 2)
    assert (found.name, found.model) == (run.name, policy.name)
    assert found.scores["reward"].to_pylist() == [0.0, 1.0, 0.0, 0.0]
    assert found.digests == {
        name: getattr(measured, name).digest for name in ("problems", "completions", "scores")
    }


def test_a_learning_run_alone_means_what_it_measured_after(
    archive: Archive, measured: Measurement, tmp_path: Path
) -> None:
    trained = policy_in(archive, tmp_path / "trained", weights="trained")
    after = measure(archive.store, "rr", "rr", policy=trained)
    run = learned(archive, measured, after, training_table(archive.store, measured))
    assert find_measurement(archive, run.name).name == f"{run.name}:after"
    assert find_measurement(archive, run.name).policy == trained.digest
    before = find_measurement(archive, f"{run.name}:before")
    assert (before.stage, before.policy) == ("before", str(run.tags["model_digest_before"]))
    archive.tracking.client.set_tag(run.run_id, "threeloops.registered", "models:/mine/1")
    assert find_measurement(archive, run.name).model == "models:/mine/1"
    assert find_measurement(archive, f"{run.name}:before").model == run.tags["model_before"]


def test_what_a_rule_picked_is_one_completion_a_problem(
    archive: Archive, measured: Measurement
) -> None:
    store = archive.store
    table = pick_all(
        store.read(measured.completions), store.read(measured.scores), ("oracle",), seed=0
    )
    run = selected(archive, measured, store.write("selections", table, producer="test"))
    found = find_measurement(archive, f"{run.name}:oracle")
    assert (found.rule, found.samples, found.name) == ("oracle", 2, f"{run.name}:oracle")
    assert found.completions.num_rows == found.scores.num_rows == 2
    assert found.scores.to_pylist()[0]["sample_index"] == 1, "the right one of the first problem"
    assert find_measurement(archive, run.name).completions.num_rows == 4
    with pytest.raises(InputError, match="it did not pick by this rule; use oracle"):
        find_measurement(archive, f"{run.name}:majority")


def test_completions_from_elsewhere_are_called_so(archive: Archive) -> None:
    run = evaluated(archive, measure(archive.store, "r"))
    assert find_measurement(archive, run.name).model == "completions made elsewhere"


@pytest.mark.parametrize(
    ("part", "reason"),
    [
        (":best", r"there is no part 'best'; use before, after, oracle"),
        (":before", r"it has no completions_before and no scores_before"),
        (":oracle", r"it has no selections"),
    ],
)
def test_a_part_that_a_run_does_not_have_is_refused(
    archive: Archive, run: RunRecord, part: str, reason: str
) -> None:
    with pytest.raises(InputError, match=f"run {run.name}{part}: {reason}"):
        find_measurement(archive, f"{run.name}{part}")


def test_a_changed_copy_among_the_artifacts_is_refused(archive: Archive, run: RunRecord) -> None:
    copy = run.folder / "tables" / "scores.parquet"
    copy.write_bytes(copy.read_bytes() + b"x")
    with pytest.raises(StoreError, match=r"scores\.parquet: its bytes .* the table as it was is"):
        read_measurement(archive.store, run)
    copy.unlink()
    assert read_measurement(archive.store, run).samples == 2, "the store alone is enough"


def test_a_table_that_was_lost_is_refused(archive: Archive, run: RunRecord) -> None:
    archive.store.path(archive.store.lookup(*run.table_refs()["scores"])).unlink()
    with pytest.raises(StoreError, match="no such scores table in the store"):
        read_measurement(archive.store, run)


def test_scores_of_other_completions_are_refused(archive: Archive, run: RunRecord) -> None:
    other = measure(archive.store, "rr", "rr")
    archive.tracking.client.set_tag(
        run.run_id, "threeloops.table.scores", f"scores:{other.scores.digest}"
    )
    (run.folder / "tables" / "scores.parquet").unlink()
    with pytest.raises(StoreError, match="made from other completions than the run's"):
        find_measurement(archive, run.run_id)


def test_a_demo_is_no_measurement(archive: Archive) -> None:
    with tracked_run(archive, DEMO, LearningConfig(), Place()) as run:
        pass
    with pytest.raises(InputError, match="a demo measured nothing itself"):
        find_measurement(archive, run.run_id)
