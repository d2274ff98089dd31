"""Two learners never share a machine: the second waits for the first."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artifacts.store.data_dir import DataDir, current_data_dir
from artifacts.store.shared.folder import FolderObjects
from flows.orchestration.learner_lock import learner_lock

pytestmark = [pytest.mark.slow, pytest.mark.untraced]


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
        with learner_lock(current_data_dir(), "cpu", print):
            second = subprocess.Popen(
                [sys.executable, "-m", "flows.cli", *words],
                env=environment,
                stdout=output,
                stderr=output,
            )
            holder = f"waiting for the learner that uses this machine (process {os.getpid()})"
            wait_for(lambda: holder in " ".join(said.read_text().split()), "the line")
            assert second.poll() is None
            assert "Measured" not in said.read_text()
        assert second.wait(120) == 0, said.read_text()


def test_a_learner_that_has_ended_leaves_nothing_to_wait_for(data_dir: DataDir) -> None:
    lines: list[str] = []
    for _ in range(2):
        with learner_lock(data_dir, "cpu", lines.append):
            assert list((data_dir.root / "locks").iterdir())
    assert lines == []


def test_learners_of_two_data_folders_that_share_a_store_take_turns(
    tmp_path: Path, wait_for: Callable[..., Any]
) -> None:
    (tmp_path / "shared").mkdir()
    store = FolderObjects(tmp_path / "shared")
    lines: list[str] = []
    order: list[str] = []

    def second() -> None:
        with learner_lock(DataDir(tmp_path / "two"), "cpu", lines.append, store):
            order.append("second")

    waiting = threading.Thread(target=second)
    with learner_lock(DataDir(tmp_path / "one"), "cpu", lines.append, store):
        waiting.start()
        wait_for(lambda: lines, "the line")
        order.append("first")
    waiting.join(60)
    assert order == ["first", "second"]
    (line,) = lines
    assert line.startswith("waiting for the learner that uses this machine, of another machine or")
