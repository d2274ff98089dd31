"""An exact test of whether two runs on the same problems differ by more than chance.

`scorers.statistics.paired` says how large the difference is.

Axis: B problems.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.errors import InputError

EXACT_WORK = 200_000_000  # additions; beyond them chance is sampled
FLIPS = 100_000  # sampled sign patterns
LATTICE = 1_000_000  # differences are rounded to this part of 1 where the numbers of samples vary


def sign_flip_test(differences: ArrayLike, lattice: int, seed: int = 0) -> tuple[float, bool]:
    """Two-sided p-value of the permutation test over problems, and whether it is exact.

    If the two runs were the same, each problem's difference could as well have had the other sign:
    the p-value is the share of all 2^B sign patterns whose sum is at least as far from 0 as the
    observed one (Fisher, 1935). With one sample a problem it is McNemar's exact test
    (McNemar, 1947).

    `differences` [B] are rates of one run minus the other's, and multiples of 1/`lattice` (the
    least common multiple of the numbers of samples), so that sums are whole numbers and equal sums
    are equal. The distribution over all patterns is then built without listing them, by one
    addition of shifted copies for each problem. Where that would take more than `EXACT_WORK`
    additions, `FLIPS` patterns are sampled instead, and the observed one is counted among them
    (p = (1 + hits)/(1 + FLIPS); Phipson and Smyth, 2010), so that p is never 0.

    Raises InputError without problems or for a difference outside [−1, 1].
    """
    values = np.asarray(differences, dtype=np.float64)
    if values.ndim != 1 or values.size == 0:
        raise InputError("there are no problems to compare")
    if not np.all(np.abs(values) <= 1):
        raise InputError("a difference of rates is not between -1 and 1")
    steps = np.rint(values * min(lattice, LATTICE)).astype(np.int64)
    sizes = np.abs(steps[steps != 0])
    observed = abs(int(steps.sum()))
    if sizes.size == 0:
        return 1.0, True
    sizes //= np.gcd.reduce(sizes)
    observed //= int(np.gcd.reduce(np.abs(steps)))
    if int(sizes.sum()) * sizes.size <= EXACT_WORK:
        return _exact(sizes, observed), True
    return _sampled(sizes, observed, seed), False


def _exact(sizes: NDArray[np.int64], observed: int) -> float:
    """Share of sign patterns with |Σ ± size| ≥ observed."""
    total = int(sizes.sum())
    chance = np.zeros(2 * total + 1)  # of each sum from −total to total
    chance[total] = 1.0
    reach = 0
    for size in sorted(sizes.tolist()):
        low, high = total - reach, total + reach + 1
        half = chance[low:high] / 2
        chance[low:high] = 0.0
        chance[low - size : high - size] += half
        chance[low + size : high + size] += half
        reach += size
    far = np.abs(np.arange(-total, total + 1)) >= observed
    return min(1.0, float(chance[far].sum()))


def _sampled(sizes: NDArray[np.int64], observed: int, seed: int) -> float:
    generator = np.random.default_rng(seed)
    sums = np.zeros(FLIPS, dtype=np.int64)
    for size, number in zip(*np.unique(sizes, return_counts=True), strict=True):
        sums += size * (2 * generator.binomial(number, 0.5, size=FLIPS) - number)
    hits = int((np.abs(sums) >= observed).sum())
    return (1 + hits) / (1 + FLIPS)
