"""What is drawn and counted in one cell, with the program's own functions.

A cell is a kind of problems, a number of them, and a number of samples. Measurements are drawn from
problems with known rates; one near its bar is drawn more often.
"""

from __future__ import annotations

from collections.abc import Callable
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from bench.referee.populations import KindOfKl, PairOfPolicies, Population, gained
from scorers.selection.picked import mean_divergence
from scorers.statistics.best_of_n import best_of_n_divergence
from scorers.statistics.estimates import pass_at_k
from scorers.statistics.looks import level_of_look
from scorers.statistics.paired import paired_difference
from scorers.statistics.summary import mean_over_problems

AT_LEAST_COVERED, AT_MOST_REJECTED, AT_MOST_PROMOTED = 0.93, 0.055, 0.05
CLOSE = 3.0  # standard errors to a bar, below which a cell is drawn again
AGAIN = 4  # times the replications of a cell that is close to its bar
LONG = 20  # more times those of a cell that is beyond its bar, and may be so by chance

# what was counted by name, and of how many
Counted = dict[str, tuple[float, int]]
Cell = Callable[[np.random.Generator, int], Counted]


def _in_errors(errors: list[float]) -> float:
    """The mean of errors in its own standard errors, 0 where all are 0."""
    noise = float(np.std(errors)) / sqrt(len(errors))
    return float(np.mean(errors)) / noise if noise > 0 else 0.0


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
    off = np.mean(errors, axis=0)
    noise = np.std(errors, axis=0) / sqrt(replications)
    counted: Counted = {}
    for place, k in enumerate(ks):
        counted[f"pass@{k}"] = (float(held[place]), replications)
        seen = noise[place] > 0  # else no completion of these was ever correct
        counted[f"bias pass@{k}"] = (float(off[place] / noise[place]) if seen else 0.0, 1)
    return counted


def difference_cell(
    pair: PairOfPolicies,
    problems: int,
    samples: tuple[int, int],
    rng: np.random.Generator,
    replications: int,
) -> Counted:
    """How often the interval holds the difference, p is below 0.05, and the two disagree."""
    before, after = pair.draw(rng, (replications, problems))
    change = rng.binomial(samples[1], after) / samples[1]
    change -= rng.binomial(samples[0], before) / samples[0]
    held = rejected = disagreed = 0
    for row in change:
        found = paired_difference(row)
        held += found.low <= pair.difference <= found.high
        rejected += found.p_value < 0.05
        disagreed += (found.p_value < 0.05) != (found.low > 0 or found.high < 0)
    return {
        "held": (held, replications),
        "rejected": (rejected, replications),
        "disagreed": (disagreed, replications),
    }


def pick_cell(
    population: Population, problems: int, samples: int, rng: np.random.Generator, replications: int
) -> Counted:
    """A rule that knows nothing: how often it seems to gain or lose against pass@1."""
    correct = rng.binomial(samples, population.draw(rng, (replications, problems)))
    picked = rng.random(correct.shape) < correct / samples
    rejected = sum(
        paired_difference(right - of_all / samples).p_value < 0.05
        for right, of_all in zip(picked, correct, strict=True)
    )
    return {"rejected": (float(rejected), replications)}


def divergence_cell(
    population: Population, problems: int, samples: int, rng: np.random.Generator, replications: int
) -> Counted:
    """The divergence of the best of N, of all problems."""
    truth = float(population.mean(lambda rates: best_of_n_divergence(rates, samples)))
    held = 0
    for correct in rng.binomial(samples, population.draw(rng, (replications, problems))):
        found = mean_divergence(correct, samples)
        held += found.low <= truth + 1e-12 and truth <= found.high + 1e-12
    return {"held": (held, replications)}


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
    return {"held": (held, replications), "bias": (_in_errors(errors), 1)}


def detectable_cell(
    problems: int, samples: int, rng: np.random.Generator, replications: int
) -> Counted:
    """How often a difference is found that is as large as such runs call detectable."""

    def changes(size: float, runs: int) -> NDArray[np.float64]:
        before, after = gained(size).draw(rng, (runs, problems))
        gain: NDArray[np.float64] = rng.binomial(samples, after) / samples
        return gain - rng.binomial(samples, before) / samples

    size = 0.1
    for _ in range(6):
        told = [paired_difference(row).detectable for row in changes(size, 200)]
        size = min(0.6, float(np.mean(told)))
    found = sum(paired_difference(row).p_value < 0.05 for row in changes(size, replications))
    return {"found": (float(found), replications)}


def gate_cell(
    pair: PairOfPolicies,
    looks: int,
    rng: np.random.Generator,
    replications: int,
    *,
    versions: bool = False,
    turned: bool = False,
    problems: int = 240,
    samples: int = 4,
) -> Counted:
    """One candidate looked at again with fresh samples, or a new version at each look.

    The candidate is the second policy of the pair, or the first if the pair is `turned`.
    """
    promoted, claimed = 0, 0.0
    for _ in range(replications):
        before, after = pair.draw(rng, (1, problems))
        opponent, candidate = (after[0], before[0]) if turned else (before[0], after[0])
        theirs = rng.binomial(samples, opponent) / samples
        ours, taken = np.zeros(problems), 0
        for look in range(1, looks + 1):
            fresh = rng.binomial(samples, candidate)
            ours, taken = (fresh, samples) if versions else (ours + fresh, taken + samples)
            change = ours / taken - theirs
            if paired_difference(change, level=level_of_look(look)).low > 0:
                promoted += 1
                claimed += float(change.mean())
                break
    return {"promoted": (promoted, replications), "claimed": (claimed, max(1, promoted))}


def chase_cell(
    candidates: int,
    looks: int,
    rng: np.random.Generator,
    replications: int,
    *,
    problems: int = 60,
    samples: int = 4,
) -> Counted:
    """Candidates like the opponent, each measured once; then the best of them again and again.

    Every other time it is the opponent that is measured again.
    """
    promoted = 0
    for _ in range(replications):
        rates = gained(0.0).draw(rng, (1, problems))[0][0]
        correct = rng.binomial(samples, rates, size=(candidates + 1, problems))
        taken = np.full(candidates + 1, samples)
        for look in range(1, looks + 1):
            chased = min(look, candidates)
            if look > candidates:
                chased = 1 + int((correct[1:] / taken[1:, None]).mean(axis=1).argmax())
                measured = 0 if look % 2 else chased
                correct[measured] += rng.binomial(samples, rates)
                taken[measured] += samples
            change = correct[chased] / taken[chased] - correct[0] / taken[0]
            if paired_difference(change, level=level_of_look(look)).low > 0:
                promoted += 1
                break
    return {"promoted": (float(promoted), replications)}


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
