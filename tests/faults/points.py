"""The list of commit points: every place that changes a data folder, as tracing has found them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

LISTED = Path(__file__).with_name("commit_points.txt")
HEAD = (
    "# Every place in our code that changes a data folder or tells MLflow something, by command.\n"
    "# `python -m tests.faults --points` writes it; a place that is met and is not here, or is\n"
    "# here and not met, fails the harness.\n"
)
Points = set[tuple[str, str]]  # name of the scene, point


def listed() -> Points:
    """The points in the list."""
    found: Points = set()
    for line in LISTED.read_text().splitlines() if LISTED.exists() else ():
        if line and not line.startswith("#"):
            scene, point = line.split(" | ")
            found.add((scene, point))
    return found


def write_list(points: Iterable[tuple[str, str]]) -> None:
    """Make the list anew."""
    LISTED.write_text(HEAD + "".join(f"{scene} | {point}\n" for scene, point in sorted(points)))


def faults_of_list(met: Points) -> list[str]:
    """What is met and not listed, and what is listed and not met."""
    known = listed()
    unknown = [f"not in {LISTED.name}: {scene} | {point}" for scene, point in sorted(met - known)]
    gone = [f"no longer met: {scene} | {point}" for scene, point in sorted(known - met)]
    return [*unknown, *gone]
