"""A run is resumed from where it was cut off, once; what was finished stays as it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

from artifacts.registry.versions import registered_versions
from artifacts.runs.lineage import made_by
from artifacts.runs.resuming import how_to_go_on
from artifacts.store.checkpoints import drop_checkpoints
from artifacts.store.data_dir import DataDir
from artifacts.store.shared.objects import Objects
from artifacts.tracking.history import RunRecord
from flows.cli.parser import main
from flows.learning import learning_flow
from schemas.config import LearningConfig
from schemas.errors import InputError
from tasks.runtime.runtime import process_runtime
from tests.data_folder import all_runs, every_run

pytestmark = [pytest.mark.slow, pytest.mark.untraced]

CutOff = Callable[[str], RunRecord]


@pytest.fixture
def cut_off(learning_config: LearningConfig, monkeypatch: pytest.MonkeyPatch) -> CutOff:
    """A learning run that is cut off when it calls this function."""

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    def call(name: str) -> RunRecord:
        with monkeypatch.context() as patched:
            patched.setattr(f"flows.{name}", stop)
            with pytest.raises(KeyboardInterrupt):
                learning_flow.fn(learning_config)
        process_runtime().models.forget()
        return all_runs()[0]

    return call


def test_a_run_that_finishes_while_another_waits_to_resume_it_stays_finished(
    learning_config: LearningConfig, cut_off: CutOff, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = cut_off("learning.save_policy")

    @contextmanager
    def after_the_first(*_: object) -> Iterator[None]:
        with monkeypatch.context() as patched:
            patched.setattr("flows.learning.learner_lock", lambda *_: contextmanager(_alone)())
            learning_flow.fn(learning_config, resume=run.run_id)
        yield

    monkeypatch.setattr("flows.learning.learner_lock", after_the_first)
    with pytest.raises(InputError, match="the run has finished"):
        learning_flow.fn(learning_config, resume=run.run_id)
    (finished,) = all_runs()
    assert finished.status == "FINISHED"
    assert "error" not in finished.tags
    assert finished.measured("after")
    assert main(["show", finished.run_id]) == 0


def test_a_run_that_is_stopped_while_it_tidies_goes_on_from_what_is_left(
    learning_config: LearningConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    def and_stop(data_dir: DataDir, run_id: str, shared: Objects | None, *, keep: int) -> None:
        drop_checkpoints(data_dir, run_id, shared, keep=keep)
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("flows.learning.drop_checkpoints", and_stop)
        with pytest.raises(KeyboardInterrupt):
            learning_flow.fn(learning_config)
    process_runtime().models.forget()
    (run,) = all_runs()
    assert run.status == "KILLED"
    learning_flow.fn(learning_config, resume=run.run_id)
    (run,) = all_runs()
    assert run.status == "FINISHED"
    assert len(registered_versions(process_runtime().archive)) == 1
    assert not (process_runtime().data_dir.checkpoints / run.run_id).exists()


def test_who_stops_learning_is_told_the_run_only_where_it_can_go_on(cut_off: CutOff) -> None:
    archive = process_runtime().archive
    cut_off("learning_steps.train_step")
    assert "there is no checkpoint yet" in how_to_go_on(archive)
    run = cut_off("learning.save_policy")
    assert how_to_go_on(archive) == f"go on with: threeloops learn --resume {run.name}"


def _alone() -> Iterator[None]:
    yield


def test_a_measurement_that_was_finished_before_the_cut_is_not_opened_again(
    learning_config: LearningConfig, cut_off: CutOff
) -> None:
    run = cut_off("learning.save_policy")
    before = {child.run_id: _ended(child) for child in every_run() if child.stage}
    assert len(before) == 1
    learning_flow.fn(learning_config, resume=run.run_id)
    stages = {child.run_id: child for child in every_run() if child.stage}
    assert sorted(child.stage for child in stages.values()) == ["after", "before"]
    for child, ended in before.items():
        assert _ended(stages[child]) == ended


def test_a_run_that_was_cut_off_after_it_had_registered_registers_once_and_is_evidence(
    learning_config: LearningConfig, cut_off: CutOff
) -> None:
    run = cut_off("learning.record_learning")
    assert run.status == "KILLED"
    digest = run.tags["model_digest_after"]
    assert [made.run_id for made in made_by(digest, [run])] == [run.run_id]
    assert "training" in run.table_refs()
    resumed = learning_flow.fn(learning_config, resume=run.run_id)
    assert registered_versions(process_runtime().archive) == ["models:/threeloops/1"]
    assert resumed.model.name == "models:/threeloops/1"


def _ended(run: RunRecord) -> int:
    info = process_runtime().archive.tracking.client.get_run(run.run_id).info
    return int(info.end_time)
