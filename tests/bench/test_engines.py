"""The bench of engines runs on a real server, whatever its figures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.clusters import ROOT, bare_environment

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1200)]


def test_engines_are_measured_beside_ours(tiny: str, tmp_path: Path) -> None:
    pytest.importorskip("openai", reason="install threeloops[server]")
    words = ["--quick", "--model", tiny, "--vllm", str(tmp_path / "none")]
    done = subprocess.run(
        [sys.executable, "-m", "bench.engines", *words],
        cwd=ROOT,
        env=bare_environment(TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "vLLM is left out" in done.stdout
    cells = [line.strip("| ").split(" | ") for line in done.stdout.splitlines() if "|" in line]
    ((_, shape, theirs, ours, ratio),) = [one for one in cells if one[0] == "transformers serve"][
        :1
    ]
    assert shape == "3 x 2"
    assert float(ours) > 0 < float(theirs)
    assert ratio == f"{float(ours) / float(theirs):.1f} x as fast" or float(theirs) < 10
    assert list(tmp_path.iterdir()) == [], "what it made for itself is gone"
