"""The bench of start-up: what it times, and how it says it."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.process import BenchError
from bench.startup import Took, command, row


def test_a_row_has_medians() -> None:
    runs = [Took(wall, 2 * wall, wall / 10, 0.0, {}) for wall in (9.0, 1.0, 2.0)]
    assert row("`runs`", 2.0, runs) == "| `runs` | 2.0 s | 4.0 s | 0.20 s | 2 s | 0.0 busy |"


def test_a_command_is_timed_until_it_ends_and_until_it_says_something(tmp_path: Path) -> None:
    took = command(tmp_path, ["--help"])
    assert 0 < took.first_line <= took.wall
    assert took.cpu > 0


def test_one_that_fails_is_no_figure(tmp_path: Path) -> None:
    with pytest.raises(BenchError, match="show nobody failed"):
        command(tmp_path, ["show", "nobody"])
