"""The bench of shards on workers runs, whatever its figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.printed import printed_by

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1200)]


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_shards_are_measured_on_workers(name: str, tiny: str, tmp_path: Path) -> None:
    pytest.importorskip(f"prefect_{name}", reason="install threeloops[engines]")
    words = [name, "--model", tiny, "--quick"]
    printed = printed_by("bench.workers", *words, scratch=tmp_path)
    rows = [line.split(" | ")[0].strip("| ") for line in printed.splitlines() if "|" in line]
    assert {"one process, 2 threads", f"2 workers of {name}", "1", "2", "4"} <= set(rows)
    assert list(tmp_path.iterdir()) == [], "what it made for itself is gone"
