"""The turn of a learning run: held until the run has ended, and without it nothing is recorded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import flows.learning as flow
from artifacts.store.shared.lease import Turn
from artifacts.tracking.connection import RESULT_FILE
from schemas.config import LearningConfig
from schemas.errors import InputError
from tasks.runtime.runtime import process_runtime
from tests.data_folder import all_runs

pytestmark = pytest.mark.slow


def test_the_turn_of_a_new_run_ends_after_the_run(
    learning_config: LearningConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    ended_as: list[str] = []

    @contextmanager
    def watched(*_: object) -> Iterator[Turn]:
        yield Turn()
        ended_as.extend(run.status for run in all_runs())

    monkeypatch.setattr(flow, "turn_of_run", watched)
    flow.learning_flow.fn(learning_config)
    assert ended_as == ["FINISHED"], "who waited for it would have gone on with a run that is over"


@pytest.mark.parametrize(
    ("last", "said", "has_result"),
    [
        ("register_learned", "the result was not recorded", False),
        ("record_learning", "the end of the run was not recorded", True),
    ],
)
def test_a_run_that_was_lost_at_its_end_keeps_its_checkpoints_and_is_not_said_to_have_finished(
    learning_config: LearningConfig,
    monkeypatch: pytest.MonkeyPatch,
    last: str,
    said: str,
    has_result: bool,
) -> None:
    lost: list[str] = []
    made: Callable[..., Any] = getattr(flow, last)

    def and_lose(*arguments: Any) -> Any:
        done = made(*arguments)
        lost.append(last)
        return done

    @contextmanager
    def losing(*_: object) -> Iterator[Turn]:
        yield Turn(lambda: not lost, "s3://bucket")

    monkeypatch.setattr(flow, last, and_lose)
    monkeypatch.setattr(flow, "turn_of_run", losing)
    with pytest.raises(InputError, match=f"^s3://bucket: {said}"):
        flow.learning_flow.fn(learning_config.model_copy(update={"checkpoint_every": 1}))
    (run,) = all_runs()
    assert run.status == "FAILED"
    assert (run.files.local(RESULT_FILE) is not None) == has_result
    kept = process_runtime().data_dir.checkpoints / run.run_id
    assert sorted(folder.name for folder in kept.iterdir()) == ["step-000002", "step-000003"]
