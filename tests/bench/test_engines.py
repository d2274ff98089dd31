"""The bench of engines runs on a real server, whatever its figures."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.bench.printed import printed_by

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1200)]


def test_engines_are_measured_beside_ours(tiny: str, tmp_path: Path) -> None:
    pytest.importorskip("openai", reason="install threeloops[server]")
    words = ["--quick", "--model", tiny, "--vllm", str(tmp_path / "none")]
    printed = printed_by("bench.engines", *words, scratch=tmp_path)
    assert "vLLM is left out" in printed
    cells = [line.strip("| ").split(" | ") for line in printed.splitlines() if "|" in line]
    ((_, shape, theirs, ours, ratio),) = [one for one in cells if one[0] == "transformers serve"][
        :1
    ]
    assert shape == "3 x 2"
    assert float(ours) > 0 < float(theirs)
    assert ratio == f"{float(ours) / float(theirs):.1f} x as fast" or float(theirs) < 10
    assert list(tmp_path.iterdir()) == [], "what it made for itself is gone"
