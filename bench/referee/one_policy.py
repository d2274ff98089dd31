"""Cells of what is estimated of one policy: rates, the divergence of the best of N, KL.

A cell is a kind of problems, a number of them, and a number of samples. Measurements are drawn from
problems with known rates, and estimated with the program's own functions.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import binom

from bench.referee.bars import Counted, in_errors
from bench.referee.populations import KindOfKl, Population
from scorers.selection.picked import mean_divergence
from scorers.statistics.best_of_n import best_of_n_divergence, divergence_weights
from scorers.statistics.estimates import mean_rate, pass_at_k
from scorers.statistics.summary import mean_over_problems

ROUNDING = 1e-9  # of rates so close to 1 that no measurement is below it


def rate_cell(
    population: Population, problems: int, samples: int, rng: np.random.Generator, replications: int
) -> Counted:
    """pass@k for k = 1, 2, 4 … N: how often the interval holds, and how far the mean is off."""
    ks = sorted({1, samples, *(k for k in (2, 4, 8, 16, 32) if k < samples)})
    truth = population.mean(lambda rates: 1 - (1 - rates[:, None]) ** np.array(ks))
    rates = population.draw(rng, (replications, problems))
    held, errors = np.zeros(len(ks)), []
    for correct in rng.binomial(samples, rates):
        found = pass_at_k(correct, samples, ks)
        ends = np.array([(one.low, one.value, one.high) for one in found.values()])
        held += (ends[:, 0] <= truth + 1e-12) & (truth <= ends[:, 2] + 1e-12)
        errors.append(ends[:, 1] - truth)
    counted: Counted = {}
    for place, k in enumerate(ks):
        counted[f"pass@{k}"] = (float(held[place]), replications)
        off = [float(error[place]) for error in errors]
        counted[f"bias pass@{k}"] = (in_errors(off, ROUNDING), 1)
    return counted


def reward_cell(
    population: Population, problems: int, samples: int, rng: np.random.Generator, replications: int
) -> Counted:
    """Mean reward, where a completion earns 0, a half or 1: a half for each of two parts."""
    truth = float(population.mean(lambda rates: rates))
    rates = population.draw(rng, (replications, problems))
    return _mean_rates(rng.binomial(2 * samples, rates) / (2 * samples), samples, truth)


def ties_cell(
    population: Population, problems: int, samples: int, rng: np.random.Generator, replications: int
) -> Counted:
    """The rate over ties of a vote between two answers, one of them right."""
    half = samples / 2

    def won(rates: np.ndarray) -> np.ndarray:
        return np.asarray(binom.sf(half, samples, rates) + binom.pmf(half, samples, rates) / 2)

    correct = rng.binomial(samples, population.draw(rng, (replications, problems)))
    earned = (correct > half) + (correct == half) / 2
    return _mean_rates(earned, samples, float(population.mean(won)))


def _mean_rates(earned: np.ndarray, samples: int, truth: float) -> Counted:
    """The mean of what each problem earned, [R, B]."""
    held, errors = 0, []
    for row in earned:
        found = mean_rate(row, samples)
        held += found.low <= truth + 1e-12 and truth <= found.high + 1e-12
        errors.append(found.value - truth)
    return {"held": (held, len(earned)), "bias": (in_errors(errors), 1)}


def divergence_cell(
    population: Population, problems: int, samples: int, rng: np.random.Generator, replications: int
) -> Counted:
    """The divergence of the best of N, whose weights have a known largest bias."""
    truth = float(population.mean(lambda rates: best_of_n_divergence(rates, samples)))
    held, errors = 0, []
    for correct in rng.binomial(samples, population.draw(rng, (replications, problems))):
        found = mean_divergence(correct, samples)
        held += found.low <= truth + 1e-12 and truth <= found.high + 1e-12
        errors.append(found.value - truth)
    allowed = divergence_weights(samples)[1] + 1e-7
    return {"held": (held, replications), "bias": (in_errors(errors, allowed), 1)}


def kl_cell(
    kind: KindOfKl, problems: int, samples: int, rng: np.random.Generator, replications: int
) -> Counted:
    """KL of a learned policy, whose log-ratios scatter by ± 2 nats around each problem's KL."""
    own = kind.draw(rng, (replications, problems))[:, :, None]
    ratios = own + rng.normal(0, 2.0, size=(replications, problems, samples))
    held, errors = 0, []
    for values in ratios:
        found = mean_over_problems(values)
        held += found.low <= kind.mean <= found.high
        errors.append(found.value - kind.mean)
    return {"held": (held, replications), "bias": (in_errors(errors), 1)}
