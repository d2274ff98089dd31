"""The bars of the claims, and how often a cell is drawn to say on which side of its bar it is."""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np

AT_LEAST_COVERED, AT_MOST_REJECTED, AT_MOST_PROMOTED = 0.93, 0.055, 0.05
CLOSE = 3.0  # standard errors to a bar, below which a cell is drawn again
AGAIN = 4  # times the replications of a cell that is close to its bar
LONG = 20  # more times those of a cell that is beyond its bar, and may be so by chance

# what was counted by name, and of how many
Counted = dict[str, tuple[float, int]]
Cell = Callable[[np.random.Generator, int], Counted]


def count(cell: Cell, replications: int, seed: np.random.SeedSequence) -> Counted:
    """A cell drawn as often as it takes to say on which side of its bar it is."""
    rng = np.random.default_rng(seed)
    counted = cell(rng, replications)
    if any(_close(name, *count) for name, count in counted.items()):
        counted = _together(counted, cell(rng, AGAIN * replications))
    if any(_beyond(name, *count) and _close(name, *count) for name, count in counted.items()):
        counted = _together(counted, cell(rng, LONG * replications))
    return counted


def _together(first: Counted, second: Counted) -> Counted:
    """Both counts added up; of what is no count, the second, which is of more measurements."""
    return {
        name: (part + second[name][0], whole + second[name][1]) if whole > 1 else second[name]
        for name, (part, whole) in first.items()
    }


def _bar(name: str) -> float | None:
    bars = {"held": AT_LEAST_COVERED, "rejected": AT_MOST_REJECTED, "promoted": AT_MOST_PROMOTED}
    return AT_LEAST_COVERED if name.startswith("pass@") else bars.get(name)


def _close(name: str, part: float, whole: int) -> bool:
    """Whether chance alone could put a share on the other side of its bar."""
    bar = _bar(name)
    return bar is not None and abs(part / whole - bar) < CLOSE * sqrt(bar * (1 - bar) / whole)


def _beyond(name: str, part: float, whole: int) -> bool:
    bar = _bar(name)
    if bar is None:
        return False
    return part / whole < bar if bar == AT_LEAST_COVERED else part / whole > bar


def in_errors(errors: list[float], allowed: float = 0.0) -> float:
    """How far the mean of errors is beyond what is allowed, in its standard errors.

    It is 0 where all errors are equal: nothing was ever drawn then.
    """
    noise, off = float(np.std(errors)) / sqrt(len(errors)), float(np.mean(errors))
    if noise == 0:
        return 0.0
    return float(np.sign(off)) * max(abs(off) - allowed, 0.0) / noise
