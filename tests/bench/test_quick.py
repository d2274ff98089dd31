"""The benches run, whatever their figures: each one once, on a tiny model."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.untraced]

ROOT = Path(__file__).resolve().parents[2]
BENCHMARKS = {"matmul", "train_step", "sampler", "rescore", "orchestration", "referee"}


def test_every_benchmark_runs_and_the_page_names_no_path_of_this_machine(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench", "--quick", "--output", str(tmp_path / "out")],
        cwd=ROOT,
        env=os.environ | {"THREELOOPS_HOME": str(tmp_path / "home")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    page = (tmp_path / "out" / "benchmarks.md").read_text(encoding="utf-8")
    raw = (tmp_path / "out" / "benchmarks.json").read_text(encoding="utf-8")
    found = json.loads(raw)
    assert {record["benchmark"] for record in found["records"]} >= BENCHMARKS
    assert all(record["peak_memory_bytes"] > 0 for record in found["records"])
    for text in (page, raw):
        assert str(tmp_path) not in text
        assert str(ROOT) not in text
        assert "bench-" not in text, "the scratch folder"
    assert "no CUDA device at hand" in page or found["gpu"]
    (rescored,) = (record for record in found["records"] if record["label"] == "rescore task")
    assert rescored["rows"] == 800
