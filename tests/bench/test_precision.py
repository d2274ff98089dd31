"""The table of the two precisions, from a tiny model and from figures by hand."""

from __future__ import annotations

import subprocess
import sys

import pytest

from bench.precision import lines
from bench.process import ROOT, Record


def one(seconds: float, gaps: list[float] | None = None) -> Record:
    found: Record = {
        "seconds": [seconds, seconds],
        "fraction_of_peak_distinct": 0.5,
        "peak_operations_per_second": 2e11,
        "other_cores_busy": 0.1,
    }
    if gaps is None:
        return found | {"completions_per_second": 100 / seconds}
    return found | {"seconds_per_step": seconds, "sampling_gap_nats": gaps}


def test_ratios_are_of_pairs_and_not_of_medians() -> None:
    setting = {"machine": {"cpu": "a processor", "cores": 2}, "model": "m"}
    found = {
        "sampling": [(one(4.0), one(2.0)), (one(9.0), one(3.0)), (one(2.0), one(2.0))],
        "a step": [(one(6.0, [1e-6]), one(4.0, [0.01, 0.02]))],
    }
    told = "\n".join(lines(setting, found))
    assert "25 completions/s, 50 % of 200 GFLOP/s" in told
    assert "2.00 x (1 to 3)" in told
    assert "| a step | 6 s, 50 % of 200 GFLOP/s | 4 s, 50 % of 200 GFLOP/s | 1.50 x" in told
    assert "0.01 to 0.02 nats a token (2 steps)" in told


@pytest.mark.slow
def test_it_runs_on_a_tiny_model() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "bench.precision", "--tiny", "--pairs", "1"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "| sampling 64 x 16 |" in done.stdout
