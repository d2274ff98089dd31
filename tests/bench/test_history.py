"""What breaks the bar of a second is told; a copy of a run names copies alone."""

from __future__ import annotations

import pytest

from bench.copied_rows import Family
from bench.history import COMMANDS, _print
from flows.cli.parser import build_parser


def spent(cpu: float) -> dict[str, float]:
    return {"wall_seconds": cpu, "cpu_seconds": cpu}


def test_what_takes_more_than_a_second_longer_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    figures = {
        "runs": {"0": spent(1.0), "9": spent(1.9)},
        "show {eval}": {"0": spent(1.0), "9": spent(2.1)},
        "doctor": {"0": spent(1.0), "9": spent(30.0)},
    }
    assert _print(figures, [0, 9]) == ["show {eval}"], "the doctor looks at all that is kept"
    shown = capsys.readouterr().out.splitlines()
    assert shown[0].startswith("| seconds: wall / CPU | 0 older runs | 9 older runs |")
    assert shown[-1] == "breaks the bar of +1 s: show {eval}"


def test_every_command_that_is_measured_is_there() -> None:
    assert {command.split()[0] for command in COMMANDS} <= build_parser().verbs.keys()


def test_a_copy_names_copies_alone() -> None:
    family = Family(3, {"a" * 64: "b" * 64, "eval-1a2b3c": "eval-4d5e6f"})
    assert family.renamed(b"scores:" + b"a" * 64) == b"scores:" + b"b" * 64
    assert family.renamed(b"eval-1a2b3c:after, eval-1a2b3d") == b"eval-4d5e6f:after, eval-1a2b3d"
