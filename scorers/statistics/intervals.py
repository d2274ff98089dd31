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

    Otherwise the standard error s of the mean m comes from resampling problems, each with all its
    completions, in closed form (`spread_and_trust`). From s follows the number of independent
    trials with the same information, m(1 − m)/s², and the interval is Clopper and Pearson's with
    that number, as is usual for clustered surveys (Korn and Graubard, 1998): times (z/t)², where t
    is Student's quantile at B − 1 degrees of freedom. It lies between B and the number of
    completions. Where few problems carry the variance, s is not to be trusted, and each problem
    counts as one trial: n = B + w·(m(1 − m)/s² − B) with the trust w.

    The interval holds the true mean with the stated chance or a little more; `bench.referee`
    measures it for 5 to 1,000 problems, 1 to 64 samples and rates from 0 to 1, and
    docs/benchmarks.md lists every cell below 93 %. No interval is right for a rate that depends on
    one or two problems of a kind that the sample may not contain at all.
    """
    problems = int(counts.sum())
    mean = counts @ levels / problems
    trials = np.full(len(mean), float(problems))
    if problems > 1:
        spread, trust = spread_and_trust(levels, counts)
        binomial = mean * (1 - mean)
        informed = binomial / np.maximum(spread**2, binomial / completions + TINY)
        trials += trust * np.maximum(informed - problems, 0)
        shrunk = trials * (ndtri(0.5 + level / 2) / stdtrit(problems - 1, 0.5 + level / 2)) ** 2
        whole = np.all((levels == 0) | (levels == 1), axis=0)
        trials = np.where(whole, problems, np.maximum(problems, shrunk))
    return clopper_pearson(mean, trials, level)


def spread_and_trust(levels: Floats, counts: NDArray[np.int64]) -> tuple[Floats, Floats]:
    """Standard error s of the mean [K], and how far it can be trusted, w [K], from 0 to below 1.

    Resampling B problems with replacement gives a mean with the variance σ²/B, and a variance whose
    own variance is known too (Cramér, 1946, 27.4), so nothing is drawn at random. With σ² and the
    kurtosis κ of the B problems

        s = σ / √(B − 1)    and    ν = 2·E[v]² / Var[v] = 2·B / (κ − (B − 3)/(B − 1)),

    where ν are the degrees of freedom of a resampled variance v (Satterthwaite, 1946), about twice
    the number of problems that carry the variance, and w = max(0, ν − 8)/(ν + 8): 0 where four
    problems or fewer carry it, a half where about twelve do.
    """
    problems = int(counts.sum())
    mean = counts @ levels / problems
    apart = levels - mean
    variance = counts @ apart**2 / problems
    equal = np.ptp(levels, axis=0) == 0  # the variance is 0 for certain
    kurtosis = counts @ apart**4 / problems / np.where(equal, 1.0, np.maximum(variance**2, TINY))
    excess = np.where(equal, 1.0, kurtosis) - (problems - 3) / (problems - 1)
    freedom = np.clip(2 * problems / np.maximum(excess, 1 / problems), 1, problems - 1)
    spread = np.where(equal, 0.0, np.sqrt(variance / (problems - 1)))
    return spread, np.maximum(freedom - 8, 0) / (freedom + 8)


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
