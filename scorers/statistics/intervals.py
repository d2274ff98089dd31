"""Intervals for the mean over problems of numbers between 0 and 1: exact where there is a theory.

Axes: B problems, K statistics of each problem, L distinct problems (levels).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import betaincinv, ndtri, stdtrit

Floats = NDArray[np.float64]

LEVEL = 0.95
TINY = float(np.finfo(float).tiny)


def intervals_over_problems(
    levels: Floats, counts: NDArray[np.int64], completions: int, *, level: float = LEVEL
) -> tuple[Floats, Floats]:
    """Low and high [K] for the mean over problems of K statistics in [0, 1].

    Problems whose statistics are equal form one level: `levels` [L, K], held by `counts` [L]
    problems, B in all, with `completions` completions in all.

    A statistic that is 0 or 1 for every problem is one trial a problem, and the interval is the
    exact one of Clopper and Pearson (1934) with n = B. That covers one sample a problem, and pass@N
    of N samples.

    Otherwise the standard error s of the mean m is that of the problems and two more, of which one
    has a statistic of 0 and one of 1 (`with_two_more`), for the problems of another kind that were
    not drawn. From s follows the number of independent trials with the same information,
    m(1 − m)/s², and the interval is Clopper and Pearson's with that number, as is usual for
    clustered surveys (Korn and Graubard, 1998): times (z/t)², where t is Student's quantile at
    B − 1 degrees of freedom. It lies between B and the number of completions.

    The interval holds the true mean in 93 % or more of all measurements at a level of 95 %, in each
    cell of `bench.referee`: 5 to 1,000 problems, 1 to 64 samples, rates from 0 to 1, and
    populations that are mostly solved or mostly unsolved with a few problems of the other kind.
    It is often wider than needed, because it allows for such problems where there are none.
    """
    problems = int(counts.sum())
    mean = counts @ levels / problems
    trials = np.full(len(mean), float(problems))
    if problems > 1:
        _, spread = with_two_more(levels, counts, (0.0, 1.0))
        informed = np.minimum(mean * (1 - mean) / spread**2, completions)
        shrunk = informed * (ndtri(0.5 + level / 2) / stdtrit(problems - 1, 0.5 + level / 2)) ** 2
        whole = np.all((levels == 0) | (levels == 1), axis=0)
        trials = np.where(whole, problems, np.maximum(problems, shrunk))
    return clopper_pearson(mean, trials, level)


def with_two_more(
    levels: Floats, counts: NDArray[np.int64], ends: tuple[float, float]
) -> tuple[Floats, Floats]:
    """Mean [K] of the problems and two more, at the `ends` of what is possible, and its error [K].

    The error is the standard error σ/√(B + 2) with the variance σ² of all B + 2. Bonett and Price
    (2012) add two such pairs to verdicts of one sample each.

    Why: a share q of problems of another kind is in no sample of B problems with a chance of
    (1 − q)^B, which is 5 % at q = 3/B. They can move the true mean by 3/B of the way to either end,
    and the problems that were drawn do not show it, however alike they are. The two more problems
    add about as much to each side for differences, between −1 and 1: an error of √2/B, which is
    2.8/B with the quantile. An interval that is narrower for alike problems does not hold for such
    populations. For a rate they add 2/B to the far end, which is less than 3/B. Up to 64 samples a
    problem, what the samples themselves vary makes up for it; with thousands of samples and 1 in B
    problems of another kind, coverage falls to 0.87.
    """
    problems = int(counts.sum()) + 2
    more = np.array(ends)[:, None]  # [2, 1]
    centre = (counts @ levels + more.sum()) / problems
    squares = counts @ (levels - centre) ** 2 + ((more - centre) ** 2).sum(axis=0)
    return centre, np.sqrt(squares) / problems


def levels_of(values: ArrayLike) -> tuple[Floats, NDArray[np.int64]]:
    """The distinct values of [B] numbers as levels [L, 1], and how many there are of each [L]."""
    levels, counts = np.unique(np.asarray(values, dtype=np.float64), return_counts=True)
    return levels[:, None], counts


def clopper_pearson(rate: Floats, trials: Floats, level: float = LEVEL) -> tuple[Floats, Floats]:
    """Ends [K] of the exact interval for rates [K] of independent trials (Clopper & Pearson, 1934).

    Beyond each end, a result as far from it as the observed one has a chance below (1 − level)/2.
    `trials` [K] may be effective numbers and need not be whole. An interval never has width zero
    and never leaves [0, 1].
    """
    right, wrong = rate * trials, (1 - rate) * trials
    tail = (1 - level) / 2
    low = betaincinv(np.maximum(right, TINY), wrong + 1, tail)
    high = betaincinv(right + 1, np.maximum(wrong, TINY), 1 - tail)
    low, high = np.where(right > 0, low, 0.0), np.where(wrong > 0, high, 1.0)
    return np.minimum(low, rate), np.maximum(high, rate)
