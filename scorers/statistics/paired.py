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
from math import sqrt

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import stdtr, stdtrit

from schemas.errors import InputError
from scorers.statistics.estimates import problem_rates
from scorers.statistics.intervals import LEVEL, Floats, with_two_more

POWER = 0.8
FEWEST = 6  # problems, below which no result differs from 0 at a level of 95 %
STEPS, CLOSE_ENOUGH = 50, 1e-6  # of an iteration


@dataclass(frozen=True)
class Difference:
    """The pass rate of the second run minus the first's, over `problems` problems both have.

    `better` and `worse` count the problems whose pass rate rose and fell. `p_value` is two-sided
    and comes from the same numbers as the interval, so that it is below 0.05 exactly where the 95 %
    interval excludes 0. `detectable` is the smallest true difference that is found with a chance of
    80 %, if it varies from problem to problem by as much as its own size, beside what these
    differences vary; do not expect to see a smaller one. It is 1 where none is found so often. The
    chance was measured to be between 70 and 97 %: it is larger where few problems make the change.
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
    change = rates[1] - rates[0]
    groups = {} if families is None else _groups([families.get(name) for name in ids])
    return PairedComparison(
        before=float(rates[0].mean()),
        after=float(rates[1].mean()),
        difference=paired_difference(change, level=level),
        families={
            name: paired_difference(change[own], level=level) for name, own in groups.items()
        },
    )


def paired_difference(change: ArrayLike, *, level: float = LEVEL) -> Difference:
    """The mean of `change` [B], each problem's difference of rates in [−1, 1], and its interval.

    Problems are resampled in pairs, so that what the two runs have in common does not widen the
    interval. Centre and standard error are those of the problems and two more, of which one rose
    from 0 to 1 and one fell from 1 to 0 (`intervals.with_two_more`): problems of another kind may
    have moved so far, and none of them may have been drawn. The quantile is Student's at B − 1
    degrees of freedom, for the interval and for the p-value.

    Fewer than `FEWEST` problems cannot show a difference: even if all of them rose from 0 to 1, the
    interval holds 0. That is no matter of this formula. Where each problem rises or falls with the
    same chance, five go the same way in 6 % of all cases.

    `bench.referee` measures how often the interval holds the true difference, and how often it
    excludes 0 where the true difference is 0: for equal and unequal numbers of samples, for
    policies that differ problem by problem with equal means, and where a few problems move far and
    all others a little the other way. Plain percentiles of resamples hold only 84 % at B = 50 and
    54 % at B = 20.

    Raises InputError without problems, and for a change that no two rates can have.
    """
    values: Floats = np.asarray(np.round(np.asarray(change, np.float64), 12), np.float64)
    problems = values.size
    if problems == 0:
        raise InputError("there are no problems to compare")
    if not np.all(np.abs(values) <= 1):
        raise InputError("a problem's difference of rates is not between -1 and 1")
    mean = float(values.mean())
    centres, errors = with_two_more(values[:, None], np.ones(problems, np.int64), (-1.0, 1.0))
    centre, error = float(centres[0]), float(errors[0])
    freedom = max(problems - 1, 1)
    quantile = float(stdtrit(freedom, 0.5 + level / 2))
    return Difference(
        value=mean,
        low=max(-1.0, min(centre - quantile * error, mean)),
        high=min(1.0, max(centre + quantile * error, mean)),
        problems=problems,
        better=int((values > 0).sum()),
        worse=int((values < 0).sum()),
        detectable=_detectable(values, quantile),
        p_value=min(1.0, 2 * float(stdtr(freedom, -abs(centre) / error))),
    )


def _detectable(values: Floats, quantile: float) -> float:
    """The smallest true mean δ of differences [B] whose interval excludes 0 in 80 %; at most 1.

    Two more problems shrink a mean of δ to δ·B/(B + 2). It must reach the `quantile` of the error
    that has them, and beyond it Student's 80 % quantile of the error of the mean alone. A change
    varies: δ is taken to vary over problems by as much as its own size, beside what these
    differences vary without their mean.
    """
    problems = values.size
    # what varies without a change: the variance, less what a mean as large as theirs brings with it
    # (the square of a mean is on average too large by its own variance)
    spread = float(values.var(ddof=1)) if problems > 1 else 0.0
    noise = max(spread + spread / problems - float(values.mean()) ** 2, 0.0)
    beyond = float(stdtrit(max(problems - 1, 1), POWER))
    size = 0.0
    for _ in range(STEPS):  # rises to the smallest δ that reaches what it must
        variance = noise + size**2
        centre = size * problems / (problems + 2)
        squares = problems * (variance + size**2) + 2
        error = sqrt((squares / (problems + 2) - centre**2) / (problems + 2))
        needed = quantile * error + beyond * sqrt(variance / problems)
        before, size = size, needed * (problems + 2) / problems
        if size >= 1:
            return 1.0
        if size - before < CLOSE_ENOUGH:
            break
    return size


def _groups(families: Sequence[str | None]) -> dict[str, NDArray[np.int64]]:
    """The rows of each family that has a name, by name."""
    named = sorted({name for name in families if name is not None})
    return {
        name: np.flatnonzero([family == name for family in families]).astype(np.int64)
        for name in named
    }
