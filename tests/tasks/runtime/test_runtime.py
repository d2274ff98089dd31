"""A process has one runtime for one data folder, and imports what is heavy only when it is used."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tasks.runtime.runtime import process_runtime


def test_a_data_folder_has_one_runtime(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = process_runtime()
    assert process_runtime() is first
    assert first.data_dir.root == tmp_path / "home"
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "other"))
    second = process_runtime()
    assert second is not first
    assert second.data_dir.root == tmp_path / "other"
    assert process_runtime() is second


def test_its_parts_are_made_once_and_belong_together() -> None:
    runtime = process_runtime()
    assert runtime.store is runtime.archive.store
    assert runtime.models is runtime.models
    heard: list[object] = []
    with runtime.progress.listening(heard.append):
        runtime.side_channel.publish_best_effort("a", lambda: 1 / 0)
    assert len(heard) == 1, "the side channel warns through the progress hub"


def test_making_it_imports_neither_torch_nor_prefect_nor_mlflow(tmp_path: Path) -> None:
    program = (
        "import sys; from tasks.runtime.runtime import process_runtime; process_runtime();"
        "print([name for name in ('torch', 'prefect', 'mlflow') if name in sys.modules])"
    )
    root = Path(__file__).parents[3]
    done = subprocess.run(
        [sys.executable, "-c", program],
        cwd=root,
        env={"PYTHONPATH": str(root), "THREELOOPS_HOME": str(tmp_path), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.strip() == "[]"
