"""Two runs on the same problems: how much they differ, with an interval, and what could be seen.

The caller has checked that both runs used the same instrument.

**What is estimated.** The problems are a sample from a population of problems, and each problem has
a true rate under either policy. The estimand is the mean, over that population, of the difference
of the two rates. The null hypothesis is that this mean is 0: single problems may differ, some in
favour of one policy and some of the other. So no test that assumes more may be used, such as
permuting completions within problems, which asks whether any problem differs at all; nor one that
is right only where both runs have the same number of samples, such as flipping the signs of
differences.

Axes: B problems, N samples of each (the two runs may differ in N).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from schemas.errors import InputError
from scorers.statistics.estimates import problem_rates
from scorers.statistics.intervals import LEVEL, Floats, spread_and_trust

POWER = 0.8


@dataclass(frozen=True)
class Difference:
    """The pass rate of the second run minus the first's, over `problems` problems both have.

    `better` and `worse` count the problems whose pass rate rose and fell. `p_value` is two-sided
    and comes from the same numbers as the interval, so that it is below 0.05 exactly where the 95 %
    interval excludes 0. `detectable` is the smallest true difference that is found with a chance of
    80 %, if it varies from problem to problem as much as these differences do; do not expect to see
    a smaller one. After a result near 0 it can be too small, because a true change often varies
    more than no change.
    """

    value: float
    low: float
    high: float
    problems: int
    better: int
    worse: int
    detectable: float
    p_value: float


@dataclass(frozen=True)
class PairedComparison:
    """Two runs compared problem by problem.

    Do not read the p-values of the families: among many some would always be small.
    """

    before: float
    after: float
    difference: Difference
    families: Mapping[str, Difference] = field(default_factory=dict)


def compare_paired(
    before: Mapping[str, tuple[int, int]],
    after: Mapping[str, tuple[int, int]],
    *,
    families: Mapping[str, str | None] | None = None,
    level: float = LEVEL,
) -> PairedComparison:
    """Compare two runs; each maps a problem's id to its correct completions and its samples.

    `families` maps ids to families. Problems may come in any order; they must be the same, or
    InputError says how many are only in one. Raises it also without problems and for
    impossible counts.
    """
    only_before, only_after = len(before.keys() - after.keys()), len(after.keys() - before.keys())
    if only_before or only_after:
        raise InputError(
            f"the runs have different problems: {len(before.keys() & after.keys())} are in both, "
            f"{only_before} only in the first, {only_after} only in the second",
            remedy="measure both on the same dataset, split and limit",
        )
    ids = sorted(before)
    first, second = (
        np.array([run[name] for name in ids], dtype=np.int64).reshape(-1, 2)
        for run in (before, after)
    )
    rates = [problem_rates(run[:, 0], run[:, 1]) for run in (first, second)]
    change, fewest = rates[1] - rates[0], np.minimum(first[:, 1], second[:, 1])
    groups = {} if families is None else _groups([families.get(name) for name in ids])
    return PairedComparison(
        before=float(rates[0].mean()),
        after=float(rates[1].mean()),
        difference=paired_difference(change, fewest, level=level),
        families={
            name: paired_difference(change[own], fewest[own], level=level)
            for name, own in groups.items()
        },
    )


def paired_difference(change: ArrayLike, fewest: ArrayLike, *, level: float = LEVEL) -> Difference:
    """The mean of `change` [B], each problem's difference of rates in [−1, 1], and its interval.

    `fewest` [B] (or one number) is the smaller of the two runs' numbers of samples: one more
    success in that run moves a problem's difference by 1/`fewest`.

    The mean's standard error s and its trust w are those of resampled problems
    (`intervals.spread_and_trust`). Problems are resampled in pairs, so that what the two runs have
    in common does not widen the interval. Where few problems changed, s is too small (and 0 where
    none did), so it is blended with the standard error of the same problems and two more, of which
    one rose from 0 to 1 and one fell from 1 to 0 (Bonett and Price, 2012, add two such pairs for
    verdicts of one sample): centre and variance are w times the one plus 1 − w times the other. So
    the interval is wide enough for a few problems of a kind that was not drawn. The trust is the
    smaller one of two: of the problems as they are, and of them with two more that moved as far as
    any did, or by one step of the fewer samples if that is more. Where one run has few samples and
    the other many, a rare success of the first is such a step, and may not have been seen yet. The
    quantile is Student's at B − 1 degrees of freedom, for the interval and for the p-value.

    `bench.referee` measures how often the interval holds the true difference, and how often it
    excludes 0 where the true difference is 0, for equal and unequal numbers of samples and for
    policies that differ problem by problem with equal means. Plain percentiles of resamples hold
    only 84 % at B = 50 and 54 % at B = 20.

    Raises InputError without problems.
    """
    values: Floats = np.asarray(np.round(np.asarray(change, np.float64), 12), np.float64)
    problems = values.size
    if problems == 0:
        raise InputError("there are no problems to compare")
    mean = float(values.mean())
    more = np.concatenate([values, [1.0, -1.0]])
    centre, variance = float(more.mean()), float(more.var()) / (problems + 2)
    if problems > 1:
        spread, trust = _spread(values)
        step = max(float(np.abs(values).max()), 1 / float(np.min(fewest)))
        padded = _spread(np.concatenate([values, [step, -step]]))[1]
        weight = min(trust, padded) if spread > 0 else 0.0
        centre = weight * mean + (1 - weight) * centre
        variance = weight * spread**2 + (1 - weight) * variance
    error, freedom = float(np.sqrt(variance)), max(problems - 1, 1)
    quantile = float(stdtrit(freedom, 0.5 + level / 2))
    return Difference(
        value=mean,
        low=max(-1.0, min(centre - quantile * error, mean)),
        high=min(1.0, max(centre + quantile * error, mean)),
        problems=problems,
        better=int((values > 0).sum()),
        worse=int((values < 0).sum()),
        detectable=min(1.0, error * (quantile + float(stdtrit(freedom, POWER)))),
        p_value=min(1.0, 2 * float(stdtr(freedom, -abs(centre) / error))),
    )


def _spread(values: Floats) -> tuple[float, float]:
    """Standard error of the mean of [B] values, and its trust; each value is a level of its own."""
    spread, trust = spread_and_trust(values[:, None], np.ones(values.size, dtype=np.int64))
    return float(spread[0]), float(trust[0])


def _groups(families: Sequence[str | None]) -> dict[str, NDArray[np.int64]]:
    """The rows of each family that has a name, by name."""
    named = sorted({name for name in families if name is not None})
    return {
        name: np.flatnonzero([family == name for family in families]).astype(np.int64)
        for name in named
    }
