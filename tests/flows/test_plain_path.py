"""A model that the fast paths cannot serve says so at the command line, each reason once."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path

import pytest

from flows.cli.terminal import Terminal
from flows.learning import learning_flow
from policy.model.tiny import make_tiny_model
from schemas.config import LearningConfig
from tasks.runtime.runtime import process_runtime

pytestmark = pytest.mark.slow


@pytest.fixture
def say(tmp_path: Path, learning_config: LearningConfig) -> Callable[[str], None]:
    """Learn with a tiny model of an architecture under a terminal."""

    def learn(architecture: str) -> None:
        folder = make_tiny_model(tmp_path / architecture, architecture=architecture)
        config = learning_config.model_copy(update={"model": str(folder), "steps": 2})
        with Terminal(as_json=True).progress(process_runtime().progress):
            learning_flow.fn(config)

    return learn


def test_each_reason_is_one_line_on_stderr_for_a_whole_learning_run(
    say: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    say("gemma2")
    printed = capsys.readouterr()
    lines = [line for line in printed.err.splitlines() if "plain path" in line]
    plain = "Gemma2ForCausalLM takes the plain path, the same numbers several times slower: "
    assert lines == [
        # sampling finds the window; learning, whose paths may be shorter, finds the capped logits
        f"{plain}it attends to the last 24 tokens only",
        f"{plain}its logits are capped",
    ]
    assert "plain path" not in printed.out
    assert logging.getLogger("policy").propagate, "as before afterwards"
    assert not logging.getLogger("policy").handlers


def test_no_line_where_everything_is_shared(
    say: Callable[[str], None], capsys: pytest.CaptureFixture[str]
) -> None:
    say("qwen3")
    assert "plain path" not in capsys.readouterr().err
