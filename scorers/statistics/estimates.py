"""Rates over problems with honest intervals: pass rate, pass@k and rates by family.

A rate over several samples of the same problems is not a rate over independent trials: what was
drawn at random is the problem. So every interval here is over problems.

Axes: B problems, N samples of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import fsum

import numpy as np
from numpy.typing import ArrayLike, NDArray

from schemas.errors import InputError
from schemas.measurements import Estimate
from scorers.statistics.intervals import (
    LEVEL,
    Floats,
    intervals_over_problems,
    levels_of,
)

Counts = NDArray[np.int64]


def pass_rate(
    correct: ArrayLike,
    samples: ArrayLike,
    *,
    level: float = LEVEL,
) -> Estimate:
    """The mean over problems of the share of correct completions.

    `correct` [B] counts the correct completions of each problem, `samples` [B] (or one number) all
    of them. Every problem weighs the same, however many samples it has. The interval is over
    problems: Clopper and Pearson's when each has one sample, and with the number of trials that
    resampled problems are worth when they have several; see `intervals.intervals_over_problems`.

    Raises InputError without problems, or for impossible counts.
    """
    rates = problem_rates(correct, samples)
    return mean_rate(rates, samples, level=level)


def problem_rates(correct: ArrayLike, samples: ArrayLike) -> Floats:
    """The share of correct completions of each problem, [B]; arguments as for `pass_rate`."""
    right, total = _counts(correct, samples)
    return np.asarray(right / total, dtype=np.float64)


def mean_rate(
    rates: ArrayLike,
    samples: ArrayLike,
    *,
    level: float = LEVEL,
) -> Estimate:
    """The mean of `rates` [B], each in [0, 1] and one problem's, with its interval over problems.

    For rates that are not a share of correct completions, such as a mean reward. Raises InputError
    without problems, or for a rate outside [0, 1].
    """
    values = np.asarray(rates, dtype=np.float64)
    _, total = _counts(np.zeros(values.shape, dtype=np.int64), samples)
    if not np.all((values >= 0) & (values <= 1)):
        raise InputError("a problem's rate is not between 0 and 1")
    levels, counts = levels_of(values)
    return _estimates(levels, counts, int(total.sum()), level)[0]


def pass_at_k(
    correct: ArrayLike,
    samples: ArrayLike,
    ks: Iterable[int] | None = None,
    *,
    level: float = LEVEL,
) -> dict[int, Estimate]:
    """pass@k for each k, by default 1 … N: the chance that k samples hold a correct one.

    Per problem the unbiased estimate 1 − C(N − c, k)/C(N, k) from c correct of N samples (Chen et
    al., "Evaluating Large Language Models Trained on Code", 2021, equation 1), then the mean over
    problems. Arguments and interval are as for `pass_rate`, which pass@1 equals.

    Raises InputError for problems with different numbers of samples, and for a k above N: N samples
    give no unbiased estimate for N + 1.
    """
    right, total = _counts(correct, samples)
    number = int(total[0])
    if np.any(total != number):
        raise InputError(
            f"pass@k compares problems at the same N, but they have {total.min()} to "
            f"{total.max()} samples",
            remedy="give every problem the same number of samples",
        )
    wanted = list(range(1, number + 1)) if ks is None else list(ks)
    for k in wanted:
        if not 1 <= k <= number:
            raise InputError(
                f"pass@{k} cannot be estimated from {number} samples a problem",
                remedy=f"ask for k from 1 to {number}, or take at least {k} samples",
            )
    solved, counts = np.unique(right, return_counts=True)
    levels = pass_at_k_of(solved, number)[:, [k - 1 for k in wanted]]
    found = _estimates(levels, counts, int(total.sum()), level)
    return dict(zip(wanted, found, strict=True))


def pass_at_k_of(correct: ArrayLike, samples: int) -> Floats:
    """1 − C(N − c, k)/C(N, k) for each c of `correct` [L] and k = 1 … N: [L, N].

    Computed as the product over j < k of (N − c − j)/(N − j), without factorials that overflow.
    """
    right = np.asarray(correct, dtype=np.float64)[:, None]
    before = np.arange(samples, dtype=np.float64)
    wrong = np.maximum(samples - right - before, 0) / (samples - before)
    values = np.asarray(1 - np.cumprod(wrong, axis=1), dtype=np.float64)
    values[:, 0] = right[:, 0] / samples  # exactly, so that pass@1 is the pass rate
    return values


def family_rates(
    correct: ArrayLike,
    samples: ArrayLike,
    families: Sequence[str | None],
    *,
    level: float = LEVEL,
) -> dict[str, Estimate]:
    """The pass rate of each family of problems, by name; problems without a family are left out.

    `families` [B] names each problem's. The intervals are not corrected for their number: among
    twenty families one is expected to miss the true rate. Raises InputError as `pass_rate` does.
    """
    right, total = _counts(correct, samples)
    if len(families) != len(right):
        raise InputError(f"{len(families)} families are given for {len(right)} problems")
    names = np.array(["" if name is None else name for name in families], dtype=object)
    present = np.array([name is not None for name in families])
    return {
        name: pass_rate(
            right[present & (names == name)],
            total[present & (names == name)],
            level=level,
        )
        for name in sorted(set(names[present]))
    }


def _counts(correct: ArrayLike, samples: ArrayLike) -> tuple[Counts, Counts]:
    """Both as integers [B], or InputError."""
    right = np.atleast_1d(np.asarray(correct))
    if right.ndim != 1 or right.size == 0:
        raise InputError("there are no problems, so there is no rate")
    total = np.asarray(samples)
    if total.ndim == 1 and total.shape != right.shape:
        raise InputError(f"{len(total)} numbers of samples are given for {len(right)} problems")
    total = np.broadcast_to(total, right.shape)
    if np.any(right != right.astype(np.int64)) or np.any(total != total.astype(np.int64)):
        raise InputError("numbers of completions must be whole")
    if np.any(total < 1):
        raise InputError("a problem has no samples, so it has no rate", remedy="leave it out")
    if np.any(right < 0) or np.any(right > total):
        raise InputError("a problem has more correct completions than completions, or fewer than 0")
    return right.astype(np.int64), total.astype(np.int64)


def _estimates(levels: Floats, counts: Counts, completions: int, level: float) -> list[Estimate]:
    """One estimate for each of the K columns of `levels` [L, K]."""
    lows, highs = intervals_over_problems(levels, counts, completions, level=level)
    problems = int(counts.sum())
    means = [fsum(column) / problems for column in (counts[:, None] * levels).T]
    return [
        Estimate(
            value=mean,
            low=min(float(low), mean),
            high=max(float(high), mean),
            problems=problems,
            completions=completions,
        )
        for mean, low, high in zip(means, lows, highs, strict=True)
    ]
