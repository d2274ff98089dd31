"""A learning run that ended early goes on from its checkpoint, with its own settings."""

from __future__ import annotations

import pytest

from artifacts.runs.resuming import refuse_other_settings, resumable, settings_of
from artifacts.store.checkpoints import CheckpointRecord, checkpoint_folder, write_checkpoint
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from artifacts.tracking.run import Place, tracked_run
from schemas.config import EvalConfig, LearningConfig, LearningSettings
from schemas.errors import InputError
from schemas.loops import EVALUATION, LEARNING
from schemas.references import PolicyRef, TableRef

CONFIG = LearningConfig(steps=4)


@pytest.fixture
def stopped(archive: Archive) -> RunRecord:
    """A learning run that was stopped by hand."""
    with (
        pytest.raises(KeyboardInterrupt),
        tracked_run(archive, LEARNING, CONFIG, Place()) as run,
    ):
        raise KeyboardInterrupt
    return archive.history.find(run.run_id)


def checkpointed(archive: Archive, run: RunRecord) -> None:
    write_checkpoint(
        checkpoint_folder(archive.data_dir, run.run_id, 2),
        lambda folder: folder.mkdir(),
        CheckpointRecord(
            policy=PolicyRef(name="m", digest="d" * 64, step=2),
            training=TableRef(kind="training", digest="e" * 64, rows=2),
        ),
    )


def test_a_run_that_ended_early_goes_on_once_it_has_a_checkpoint(
    archive: Archive, stopped: RunRecord
) -> None:
    with pytest.raises(InputError, match="the run has no checkpoint"):
        resumable(archive, stopped.name)
    checkpointed(archive, stopped)
    assert resumable(archive, stopped.name) == stopped


def test_a_run_that_finished_does_not_go_on(archive: Archive) -> None:
    with tracked_run(archive, LEARNING, CONFIG, Place()) as run:
        pass
    checkpointed(archive, archive.history.find(run.run_id))
    with pytest.raises(InputError, match="the run has finished; learn from its model version"):
        resumable(archive, run.name)


def test_a_run_of_another_loop_does_not_go_on(archive: Archive) -> None:
    with tracked_run(archive, EVALUATION, EvalConfig(), Place()) as run:
        pass
    with pytest.raises(InputError, match=f"--resume {run.name}: is not a learning run"):
        resumable(archive, run.name)


def test_its_settings_come_back(stopped: RunRecord) -> None:
    assert settings_of(stopped) == CONFIG


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"steps": 5}, "with steps 4"),
        ({"learning": LearningSettings(kl_weight=0.5)}, "with learning"),
        ({"seed": 1, "max_kl_nats": 2.0}, "with seed 0"),
    ],
)
def test_another_setting_is_refused(
    stopped: RunRecord, change: dict[str, object], reason: str
) -> None:
    with pytest.raises(InputError, match=f"goes on as it was set, {reason}"):
        refuse_other_settings(stopped, CONFIG.model_copy(update=change))


def test_the_limit_of_the_guard_may_change(stopped: RunRecord) -> None:
    refuse_other_settings(stopped, CONFIG)
    refuse_other_settings(stopped, CONFIG.model_copy(update={"max_kl_nats": 0.5}))
