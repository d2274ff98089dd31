"""Two learners never share a machine: the second waits for the first."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artifacts.store.data_dir import DataDir
from flows.orchestration.learner_lock import sole_learner


def test_a_second_learner_waits_until_the_first_has_ended(
    environment: dict[str, str],
    tiny: str,
    small_sums: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    wait_for: Callable[..., Any],
) -> None:
    monkeypatch.setenv("THREELOOPS_HOME", environment["THREELOOPS_HOME"])
    said = tmp_path / "said.txt"
    words = [
        "learn", "--model", tiny, "--dataset", small_sums, "--limit", "4", "--steps", "1",
        "--max-new-tokens", "6", "--dev-every", "0", "--problems-per-step", "2", "--samples", "4",
    ]  # fmt: skip
    with said.open("wb") as output:
        with sole_learner("cpu"):
            second = subprocess.Popen(
                [sys.executable, "-m", "flows.cli", *words],
                env=environment,
                stdout=output,
                stderr=output,
            )
            wait_for(lambda: "waiting for the learner" in said.read_text(), "the line")
            assert second.poll() is None
            assert "Measured" not in said.read_text()
        assert second.wait(120) == 0, said.read_text()


def test_a_learner_that_has_ended_leaves_nothing_to_wait_for(data_dir: DataDir) -> None:
    for _ in range(2):
        with sole_learner("cpu"):
            assert list((data_dir.root / "locks").iterdir())
