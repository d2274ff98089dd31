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

pytestmark = [pytest.mark.slow, pytest.mark.untraced]


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


Lose = Callable[[str], None]


@pytest.fixture
def lose_after(monkeypatch: pytest.MonkeyPatch) -> Lose:
    """Let the turn be lost as soon as a function of the flow has returned."""
    lost: list[str] = []

    @contextmanager
    def losing(*_: object) -> Iterator[Turn]:
        yield Turn(lambda: not lost, "s3://bucket")

    def after(name: str) -> None:
        made: Callable[..., Any] = getattr(flow, name)

        def and_lose(*arguments: Any) -> Any:
            done = made(*arguments)
            lost.append(name)
            return done

        monkeypatch.setattr(flow, name, and_lose)
        monkeypatch.setattr(flow, "turn_of_run", losing)

    return after


@pytest.mark.parametrize(
    ("last", "said", "has_result"),
    [
        ("register_learned", "the result was not recorded", False),
        ("record_learning", "the end of the run was not recorded", True),
    ],
)
def test_a_run_that_was_lost_at_its_end_keeps_its_checkpoints_and_is_not_said_to_have_finished(
    learning_config: LearningConfig, lose_after: Lose, last: str, said: str, has_result: bool
) -> None:
    lose_after(last)
    with pytest.raises(InputError, match=f"^s3://bucket: {said}"):
        flow.learning_flow.fn(learning_config.model_copy(update={"checkpoint_every": 1}))
    (run,) = all_runs()
    assert run.status == "FAILED"
    assert (run.files.local(RESULT_FILE) is not None) == has_result
    kept = process_runtime().data_dir.checkpoints / run.run_id
    assert sorted(folder.name for folder in kept.iterdir()) == ["step-000002", "step-000003"]


def test_a_run_that_was_lost_after_it_was_measured_records_no_rate(
    learning_config: LearningConfig, lose_after: Lose
) -> None:
    lose_after("evaluate")
    with pytest.raises(InputError, match="^s3://bucket: the measurement before learning was not"):
        flow.learning_flow.fn(learning_config)
    (run,) = all_runs()
    assert not [name for name in run.metrics if name.startswith("pass_rate")]


def test_a_run_that_was_lost_while_its_weights_were_written_does_not_name_them(
    learning_config: LearningConfig, lose_after: Lose, monkeypatch: pytest.MonkeyPatch
) -> None:
    named: list[object] = []
    monkeypatch.setattr(flow, "name_digest", lambda *given: named.append(given))
    lose_after("save_policy")
    with pytest.raises(InputError, match="^s3://bucket: what was learned was not recorded"):
        flow.learning_flow.fn(learning_config)
    assert named == []
