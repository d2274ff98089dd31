"""Going back to the last good policy: what is not this process's any more stays as it is."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import pytest

from artifacts.store.shared.lease import Turn
from flows.learning_run import LearningRun
from flows.learning_steps import rewind_to
from schemas.errors import InputError


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
