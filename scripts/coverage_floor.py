"""The share of lines that the tests run, room by room, against the floor of each; exit 1 below one.

It reads the data that `coverage run` wrote. Only lines count, not branches.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

FLOORS = {"scorers": 95, "schemas": 95, "policy": 95, "artifacts": 90, "tasks": 90, "flows": 90}
SHOWN = 3  # files named where a room is below its floor


@dataclass(frozen=True)
class File:
    """How many lines of one file can run, and how many of those no test ran."""

    path: str
    lines: int
    missed: int


def verdicts(files: Iterable[File]) -> tuple[list[str], bool]:
    """One line a room, and whether every room reaches its floor.

    A room without a single measured line is below its floor: nothing was measured there.
    """
    lines, reached = [], True
    files = list(files)
    for room, floor in FLOORS.items():
        inside = [file for file in files if Path(file.path).parts[0] == room]
        total = sum(file.lines for file in inside)
        missed = sum(file.missed for file in inside)
        share = 100 * (total - missed) / total if total else 0.0
        line = f"{room:<10} {share:6.2f} % of {total} lines, floor {floor} %"
        if share < floor:
            reached = False
            worst = sorted(inside, key=lambda file: -file.missed)[:SHOWN]
            named = ", ".join(f"{file.path} {file.missed}" for file in worst)
            line += f": too low; most lines are missed in {named or 'no file: none was measured'}"
        lines.append(line)
    return lines, reached


def measured(root: Path) -> list[File]:
    """Every Python file of the coverage data below a folder; templates are measured too."""
    from coverage import Coverage

    coverage = Coverage()
    coverage.load()
    found = []
    for name in sorted(coverage.get_data().measured_files()):
        path = Path(name)
        if path.is_relative_to(root) and path.suffix == ".py" and path.exists():
            _, lines, _, missed, _ = coverage.analysis2(name)
            found.append(File(str(path.relative_to(root)), len(lines), len(missed)))
    return found


if __name__ == "__main__":
    rooms, enough = verdicts(measured(Path.cwd()))
    print("\n".join(rooms))
    sys.exit(0 if enough else 1)
