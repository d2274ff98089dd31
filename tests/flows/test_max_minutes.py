"""Learning with a time limit ends with a whole version, and says after how many steps."""

from __future__ import annotations

from typing import Any

import pytest

from flows import development, learning, learning_steps
from flows.cli.parser import main
from flows.learning import learning_flow
from schemas.config import LearningConfig
from schemas.results import LearningResult
from tasks.runtime.progress import Event, Message, Progress
from tasks.runtime.runtime import process_runtime
from tests.data_folder import all_runs

pytestmark = pytest.mark.slow


class Clock:
    """Seconds that pass where the work is: each step takes 60, an evaluation 30, dev 15."""

    seconds = 1000.0

    def monotonic(self) -> float:
        return self.seconds


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    made = Clock()
    monkeypatch.setattr("flows.learning_run.time", made)
    for module, name, seconds in (
        (learning_steps, "take_step", 60.0),
        (learning, "evaluate", 30.0),
        (development, "measure", 15.0),
    ):
        monkeypatch.setattr(module, name, _taking(made, getattr(module, name), seconds))
    return made


def _taking(clock: Clock, work: Any, seconds: float) -> Any:
    def call(*given: Any, **more: Any) -> Any:
        done = work(*given, **more)
        clock.seconds += seconds
        return done

    return call


@pytest.fixture
def limited(learning_config: LearningConfig) -> LearningConfig:
    """Five minutes: 30 s before, 15 s on dev, 45 s kept free, which leaves 210 s for steps."""
    update = {"max_minutes": 5.0, "checkpoint_every": 100, "dev_every": 4}
    return learning_config.model_copy(update=update)


def test_it_ends_with_a_whole_version_and_says_so(
    limited: LearningConfig, clock: Clock, capsys: pytest.CaptureFixture[str]
) -> None:
    heard: list[Event] = []
    with process_runtime().progress.listening(heard.append):
        result = learning_flow.fn(limited)
    assert (result.ended_by, result.metrics.steps) == ("time", 3)
    assert clock.seconds - 1000 <= 300, "in time"
    assert result.model.name == "models:/threeloops/1"
    (run,) = all_runs()
    assert run.status == "FINISHED"
    assert (run.tags["ended_by"], run.tags["steps_made"]) == ("time", "3 of 4 steps")
    said = [event.text for event in heard if isinstance(event, Message)]
    assert "no other step fits into 5 minutes: learning ends after 3 of 4 steps" in said
    (first, *_) = (e for e in heard if isinstance(e, Progress) and e.work == "learning")
    assert first.seconds_left == pytest.approx(150, abs=5), "no longer than the limit leaves"
    client = process_runtime().archive.tracking.client
    note = client.get_run(run.run_id).data.tags["mlflow.note.content"]
    assert "ended by its limit of 5 minutes, after 3 of 4 steps" in note
    assert not (process_runtime().data_dir.checkpoints / run.run_id).exists()
    assert main(["show", run.run_id]) == 0
    assert "ended by --max-minutes 5, after 3 of 4 steps" in capsys.readouterr().out
    assert main(["learn", "--resume", run.run_id, "--max-minutes", "9"]) == 2
    assert (
        "the run has finished, ended by its time limit after 3 of 4 steps; learn from its model "
        "version: --model models:/threeloops/1"
    ) in capsys.readouterr().err


def test_all_steps_that_fit_are_an_end_by_steps(limited: LearningConfig, clock: Clock) -> None:
    result = learning_flow.fn(limited.model_copy(update={"max_minutes": 60.0}))
    assert (result.ended_by, result.metrics.steps) == ("steps", 4)
    assert "steps_made" not in all_runs()[0].tags


def test_what_is_killed_after_its_time_goes_on_from_its_last_step(
    limited: LearningConfig, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("flows.learning.save_policy", killed)
        with pytest.raises(KeyboardInterrupt):
            learning_flow.fn(limited)
    process_runtime().models.forget()
    run_id = all_runs()[0].run_id
    heard: list[Event] = []
    more = limited.model_copy(update={"max_minutes": None})
    with process_runtime().progress.listening(heard.append):
        result = learning_flow.fn(more, resume=run_id)
    assert isinstance(result, LearningResult)
    assert (result.ended_by, result.metrics.steps) == ("steps", 4)
    steps = [e.done for e in heard if isinstance(e, Progress) and e.work == "learning"]
    assert steps == [4], "the steps within the limit are not made again"


@pytest.mark.parametrize("given", ["0", "-1", "nan", "inf", "ten"])
def test_a_limit_is_a_number_of_minutes_above_zero(
    given: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["learn", "--max-minutes", given]) == 2
    assert f"--max-minutes {given}" in capsys.readouterr().err
