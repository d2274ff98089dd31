"""What picking the best of N costs in KL, and what chance would reach without any knowledge.

Axes: B problems, N samples of each.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray
from scipy.special import gammaln, xlog1py, xlogy

from schemas.errors import InputError

FREE = 32  # weights that the program may choose
GRID = 400  # rates at which the bias is bounded
BEND_PENALTY = 1e-6  # nats of bias that one nat of bending is worth


def best_of_n_divergence(pass_rate: ArrayLike, samples: int) -> NDArray[np.float64]:
    """KL(best-of-N policy ‖ policy) in nats, exactly, for a reward of 0 or 1.

    `pass_rate` is p, the chance that one completion is correct, one number a problem; N is
    `samples`, drawn independently, and ties are broken uniformly. The best of N is wrong only if
    all N are, so it is correct with chance q = 1 − (1 − p)^N. Within the correct completions, and
    within the wrong ones, a uniform choice leaves the policy's own proportions. Hence the density
    ratio of the two policies is q/p on every correct completion and (1 − p)^(N−1) on every wrong
    one, and

        KL = q·log(q/p) + (1 − p)^N·(N − 1)·log(1 − p).

    It is 0 where p is 0 or 1, and at most `best_of_n_bound`. It is not for a p that was estimated
    from the same samples: that would be biased by up to a third; `divergence_weights` are for that.

    Raises InputError for a p outside [0, 1] or N below 1.
    """
    chance = np.asarray(pass_rate, dtype=np.float64)
    _at_least_one(samples)
    if not np.all((chance >= 0) & (chance <= 1)):
        raise InputError("a pass rate is not between 0 and 1")
    inside = (chance > 0) & (chance < 1)
    p = np.where(inside, chance, 0.5)
    log_wrong = np.log1p(-p)
    q = -np.expm1(samples * log_wrong)
    nats = q * np.log(q / p) + np.exp(samples * log_wrong) * (samples - 1) * log_wrong
    return np.where(inside, np.maximum(nats, 0.0), 0.0)


@cache
def divergence_weights(samples: int) -> tuple[NDArray[np.float64], float]:
    """An estimate w_c [N + 1] of the divergence for each count c of correct samples, and its bias.

    Of one problem only c of N are known, not p. A polynomial in p of degree N is all that has an
    unbiased estimate, and the divergence is none. So the weights are those whose expectation
    Σ_c w_c·Binomial(c; N, p) is closest to `best_of_n_divergence` where it is furthest from it: one
    linear program over a grid of p, with w_0 = w_N = 0 and no weight below 0. Far from 0 the
    weights are H_N − H_c with the harmonic numbers H, which estimate −log p; from `FREE` on they
    are set to that. A small penalty on bends picks the smoothest of weights that are equally good.

    The bias, in nats, is the largest over all p: 0.022 for two samples, 0.0046 for three, 5e-4 for
    four and below 2e-5 from eight on.

    Raises InputError for N below 1.
    """
    from scipy.optimize import linprog  # slow to import

    _at_least_one(samples)
    harmonic = np.concatenate([[0.0], np.cumsum(1 / np.arange(1, samples + 1))])
    weights = harmonic[-1] - harmonic
    weights[0] = 0.0
    free = min(samples - 1, FREE)
    if free == 0:
        weights.setflags(write=False)
        return weights, 0.0
    reach = 1.0 if free == samples - 1 else min(1.0, 4 * free / samples)
    angles = np.linspace(0, np.arcsin(np.sqrt(reach)), GRID)
    rates = np.sin(angles) ** 2  # dense near 0, where the divergence changes fastest
    chances = _binomial(samples, rates)  # [GRID, N + 1]
    missing = best_of_n_divergence(rates, samples) - chances[:, free + 1 :] @ weights[free + 1 :]
    bends = np.diff(np.eye(free), 2, axis=0) if free > 2 else np.zeros((0, free))
    # unknowns: the free weights, the largest bias, and the size of each bend
    near, smooth = chances[:, 1 : free + 1], np.eye(len(bends))
    off, level = np.zeros((GRID, len(bends))), np.zeros((len(bends), 1))
    one = np.ones((GRID, 1))
    found = linprog(
        np.concatenate([np.zeros(free), [1.0], np.full(len(bends), BEND_PENALTY)]),
        A_ub=np.block(
            [
                [near, -one, off],
                [-near, -one, off],
                [bends, level, -smooth],
                [-bends, level, -smooth],
            ]
        ),
        b_ub=np.concatenate([missing, -missing, np.zeros(2 * len(bends))]),
        bounds=(0, None),
        method="highs",
    )
    weights[1 : free + 1] = found.x[:free]
    bias = np.abs(chances @ weights - best_of_n_divergence(rates, samples)).max()
    weights.setflags(write=False)
    return weights, float(bias)


def best_of_n_bound(samples: int) -> float:
    """log N − (N − 1)/N nats: what the divergence of best-of-N is often said to be.

    It is an upper bound, exact only where no two completions tie (Beirami et al., "Theoretical
    guarantees on the best-of-n alignment policy", 2024); a reward of 0 or 1 always ties.
    """
    _at_least_one(samples)
    return float(np.log(samples) - (samples - 1) / samples)


def shuffled_pass_at_k(
    parsed_answers: Sequence[Sequence[str | None]] | NDArray[np.object_],
    expected_answers: Sequence[str],
    ks: Iterable[int] | None = None,
) -> dict[int, float]:
    """pass@k of a control that answers each problem with the other problems' answers.

    `parsed_answers` [B, N] and `expected_answers` [B]. For each problem, k answers are drawn
    without replacement from the (B − 1)·N that the policy gave to the other problems; the value is
    exact, not simulated: 1 − C(M − c, k)/C(M, k) with c right answers among M = (B − 1)·N, averaged
    over problems. If the policy's pass@k is not far above it, the policy knows which numbers are
    common answers, but not which belongs to which problem. By default for k = 1 … N.

    Raises InputError with fewer than two problems, or for a k outside 1 … N.
    """
    if len(parsed_answers) < 2:
        raise InputError("a control of shuffled answers needs two problems or more")
    number = len(parsed_answers[0])
    if number == 0 or any(len(row) != number for row in parsed_answers):
        raise InputError("every problem needs the same number of answers, one or more")
    answers: NDArray[np.object_] = np.array(parsed_answers, dtype=object)
    if len(expected_answers) != len(answers):
        raise InputError(f"{len(expected_answers)} expected answers for {len(answers)} problems")
    wanted = list(range(1, number + 1)) if ks is None else list(ks)
    if any(not 1 <= k <= number for k in wanted):
        raise InputError(f"k must be between 1 and {number}")
    named = np.concatenate([np.asarray(expected_answers, dtype=object), answers.ravel()])
    numbered = pa.array(named, pa.string()).dictionary_encode().indices.fill_null(-1).to_numpy()
    asked, given = numbered[: len(answers)], numbered[len(answers) :].reshape(answers.shape)
    times = np.bincount(given[given >= 0], minlength=int(asked.max()) + 1)
    right = (times[asked] - (given == asked[:, None]).sum(axis=1)).astype(np.float64)
    pool = (len(answers) - 1) * number
    before = np.arange(number, dtype=np.float64)
    wrong = np.maximum(pool - right[:, None] - before, 0) / (pool - before)
    values = (1 - np.cumprod(wrong, axis=1)).mean(axis=0)
    return {k: float(values[k - 1]) for k in wanted}


def _binomial(samples: int, rates: NDArray[np.float64]) -> NDArray[np.float64]:
    """The chance of each count 0 … N at each rate [G]: [G, N + 1]."""
    counts, rates = np.arange(samples + 1), rates[:, None]
    ways = gammaln(samples + 1) - gammaln(counts + 1) - gammaln(samples - counts + 1)
    chances = np.exp(ways + xlogy(counts, rates) + xlog1py(samples - counts, -rates))
    return np.asarray(chances, dtype=np.float64)


def _at_least_one(samples: int) -> None:
    if samples < 1:
        raise InputError(f"the best of {samples} does not exist")
