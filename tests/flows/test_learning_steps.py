"""The steps of learning: what is not this process's any more stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from artifacts.store.shared.lease import Turn
from flows.development import evaluate_dev
from flows.learning_run import LearningRun, StepClock
from flows.learning_steps import keep_last_good, learn, rewind_to, take_step
from schemas.config import LearningConfig
from schemas.errors import InputError, StoppedError, StoreError
from schemas.measurements import Estimate
from schemas.references import PolicyRef, TableRef

POLICY = PolicyRef(name="start", digest="d")
TABLE = TableRef(kind="step", digest="t" * 64, rows=4)
RATE = Estimate(value=0.5, low=0.4, high=0.6, problems=6, completions=6)
TAKEN = "was not recorded: .* another machine may have gone on in its place"


def run_with(still_mine: Callable[[], bool]) -> LearningRun:
    """A run that knows whose turn it is, and says what it does to nobody."""
    progress = SimpleNamespace(log_message=lambda line: None)
    tracked = SimpleNamespace(reference="a run")
    return cast(
        "LearningRun",
        SimpleNamespace(
            turn=Turn(still_mine, "s3://bucket"),
            runtime=SimpleNamespace(progress=progress),
            tracked=tracked,
            start="a policy",
            config="a configuration",
        ),
    )


def test_a_run_that_another_machine_has_taken_over_keeps_its_later_checkpoints(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[Any] = []

    def restore(*arguments: Any) -> None:
        asked.append(arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr("flows.learning_steps.restore", restore)
    with pytest.raises(InputError, match="another machine may have gone on in its place"):
        rewind_to(run_with(lambda: False), 2)
    assert asked == [], "restoring an earlier step deletes the later ones"
    with pytest.raises(KeyboardInterrupt):
        rewind_to(run_with(lambda: True), 2)
    assert asked == [("a policy", "a run", "a configuration", 2)]


def where(task: str) -> str:
    """Where a step takes this task from."""
    of_sampling = task in ("draw_problems", "generate")
    return f"flows.{'step_sampling' if of_sampling else 'learning_steps'}.{task}"


class Told:
    """What of a run was written, by the name of who writes it; the tasks give what they are told.

    `turns` says of each time that it is asked whether this process still has its turn.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *turns: bool) -> None:
        self.written: list[str] = []
        self.held: list[bool] = []  # whether each of the next tables is still there
        self._turns = list(turns)
        module = "flows.learning_steps."
        for task, made in {
            "draw_problems": "problems",
            "generate": "completions",
            "score": "scores",
            "train_step": (POLICY.model_copy(update={"step": 1}), TABLE),
        }.items():
            monkeypatch.setattr(where(task), lambda *args, made=made, **more: made)
        for name in ("name_newest_step", "drop_sampled", "record_step", "record_stop"):
            monkeypatch.setattr(module + name, self._writes(name))
        monkeypatch.setattr("flows.development.record_dev", self._writes("record_dev"))

    def _writes(self, name: str) -> Callable[..., None]:
        return lambda *args: self.written.append(name)

    def run(self, dev_steps: frozenset[int] = frozenset()) -> LearningRun:
        """A run whose turn is as it was told."""
        nothing = SimpleNamespace(
            progress=SimpleNamespace(log_message=lambda line: None),
            models=SimpleNamespace(forget=lambda: None),
            group=None,  # of processes that share the work
            store=SimpleNamespace(hold=lambda table: self.held.pop(0) if self.held else True),
            archive=SimpleNamespace(steps=SimpleNamespace(rows=lambda newest: ())),
        )
        return LearningRun(
            runtime=cast("Any", nothing),
            config=LearningConfig(steps=2),
            tracked=cast("Any", SimpleNamespace()),
            start=POLICY,
            start_folder=cast("Any", None),
            problems=TABLE,
            dev_steps=dev_steps,
            clock=StepClock(),
            turn=Turn(lambda: self._turns.pop(0), "s3://bucket"),
        )


def test_a_step_that_ended_after_another_machine_took_the_run_is_not_named_and_drops_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told(monkeypatch, False)
    with pytest.raises(InputError, match=f"step 1 {TAKEN}"):
        take_step(told.run(), POLICY, None)
    assert told.written == []
    told = Told(monkeypatch, True)
    assert take_step(told.run(), POLICY, None)[1] == TABLE
    assert told.written == ["name_newest_step", "drop_sampled"]


def test_the_numbers_of_a_step_are_not_logged_into_a_run_that_was_lost_after_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told(monkeypatch, True, False)
    with pytest.raises(InputError, match=f"step 1 {TAKEN}"):
        learn(told.run(), resumed=False)
    assert told.written == ["name_newest_step", "drop_sampled"]


def test_what_dev_showed_is_not_logged_into_a_run_that_was_lost_meanwhile(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told(monkeypatch, False)
    measured = SimpleNamespace(summary=SimpleNamespace(pass_rate=RATE))
    monkeypatch.setattr("flows.development.measure", lambda *args: measured)
    with pytest.raises(InputError, match=f"what was measured on dev {TAKEN}"):
        evaluate_dev(told.run(frozenset({0})), POLICY, None)
    assert told.written == []


def test_why_learning_stopped_is_not_written_into_a_run_that_was_lost(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told(monkeypatch, False)
    with pytest.raises(InputError, match=f"why it stopped {TAKEN}"):
        keep_last_good(told.run(), StoppedError(3, "loss is nan", 0))
    assert told.written == []


def test_what_an_equal_run_dropped_before_it_was_held_is_made_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told(monkeypatch, True)
    made: list[str] = []
    for task in ("generate", "score"):
        monkeypatch.setattr(where(task), lambda *args, task=task, **more: made.append(task))
    told.held = [False, True, False, False, True]
    take_step(told.run(), POLICY, None)
    assert made == ["generate", "generate", "score", "score", "score"]


def test_a_table_that_goes_each_time_ends_the_run_with_a_line_and_is_not_made_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told = Told(monkeypatch)
    monkeypatch.setattr(where("generate"), lambda *args, **more: TABLE)
    told.held = [False] * 1000
    with pytest.raises(StoreError, match="^step table t{12}: it was deleted 10 times before it"):
        take_step(told.run(), POLICY, None)
    assert told.written == []
