"""The bench of shards on workers runs, whatever its figures."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.clusters import ROOT, bare_environment

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_shards_are_measured_on_workers(name: str, tiny: str, tmp_path: Path) -> None:
    pytest.importorskip(f"prefect_{name}", reason="install threeloops[engines]")
    done = subprocess.run(
        [sys.executable, "-m", "bench.workers", name, "--model", tiny, "--quick"],
        cwd=ROOT,
        env=bare_environment(TMPDIR=str(tmp_path)),
        capture_output=True,
        text=True,
        timeout=1200,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    rows = [line.split(" | ")[0].strip("| ") for line in done.stdout.splitlines() if "|" in line]
    assert {"one process, 2 threads", f"2 workers of {name}", "1", "2", "4"} <= set(rows)
    assert list(tmp_path.iterdir()) == [], "what it made for itself is gone"
