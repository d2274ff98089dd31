"""Every estimate that the program prints, against what is claimed of it, by simulation.

For each estimate there are cells: a number of problems, a number of samples, a kind of problems. In
each cell measurements are drawn from problems with known rates, and the program's own functions
estimate from them. A cell near its bar is drawn more often.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from bench.populations import (
    EQUAL_MEANS,
    POPULATIONS,
    UNEQUAL_MEANS,
    PairOfPolicies,
    Population,
    gained,
)
from bench.process import Record, answer, cores
from scorers.statistics.best_of_n import (
    best_of_n_bound,
    best_of_n_divergence,
    divergence_weights,
)
from scorers.statistics.estimates import mean_rate, pass_at_k
from scorers.statistics.looks import level_of_look
from scorers.statistics.paired import paired_difference
from scorers.statistics.summary import mean_over_problems

PROBLEMS = (5, 20, 60, 240, 1000)
SAMPLES = (1, 4, 16, 64)
PAIRS_OF_SAMPLES = ((1, 1), (4, 4), (16, 16), (64, 64), (1, 64), (4, 16))
AT_LEAST_COVERED, AT_MOST_REJECTED = 0.93, 0.055
CLOSE = 3.0  # standard errors to a bar, below which a cell is drawn again
AGAIN = 4  # times the replications of a cell that is close to its bar
LONG = 20  # more times those of a cell that is beyond its bar, and may be so by chance

Correct = NDArray[np.int64]
# replications at a time -> for each name what was counted, and of how many
Counted = dict[str, tuple[float, int]]
Cell = Callable[[np.random.Generator, int], Counted]
Cells = dict[str, Cell]


@dataclass(frozen=True)
class Claim:
    """One row of the table: what is claimed of an estimate, how it was checked, what was found.

    `low`, `middle` and `high` are over the cells, `outside` names those beyond the bar.
    """

    estimate: str
    claim: str
    checked: str
    low: float
    middle: float
    high: float
    cells: int
    outside: list[str] = field(default_factory=list)


# --- what is drawn and counted in a cell ----------------------------------------------------------


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
        found = paired_difference(row, min(samples))
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
        paired_difference(right - of_all / samples, 1).p_value < 0.05
        for right, of_all in zip(picked, correct, strict=True)
    )
    return {"rejected": (float(rejected), replications)}


def divergence_cell(
    population: Population, problems: int, samples: int, rng: np.random.Generator, replications: int
) -> Counted:
    """The divergence of the best of N, as `scorers.selection.picked` estimates it."""
    truth = float(population.mean(lambda rates: best_of_n_divergence(rates, samples)))
    weights, bias = divergence_weights(samples)
    largest, held = float(weights.max()), 0
    for correct in rng.binomial(samples, population.draw(rng, (replications, problems))):
        found = mean_rate(weights[correct] / largest, samples)
        high = min(best_of_n_bound(samples), found.high * largest + bias)
        held += found.low * largest - bias <= truth + 1e-12 and truth <= high + 1e-12
    return {"held": (held, replications)}


def kl_cell(problems: int, samples: int, rng: np.random.Generator, replications: int) -> Counted:
    """KL of a learned policy: problems of gamma-distributed KL, mean 2 nats, log-ratios ± 2."""
    own = rng.gamma(2.0, 1.0, size=(replications, problems, 1))
    ratios = own + rng.normal(0, 2.0, size=(replications, problems, samples))
    held = 0
    for values in ratios:
        found = mean_over_problems(values)
        held += found.low <= 2.0 <= found.high
    return {"held": (held, replications)}


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
        told = [paired_difference(row, samples).detectable for row in changes(size, 200)]
        size = min(0.6, float(np.mean(told)))
    found = sum(
        paired_difference(row, samples).p_value < 0.05 for row in changes(size, replications)
    )
    return {"found": (float(found), replications)}


def gate_cell(
    gain: float,
    looks: int,
    rng: np.random.Generator,
    replications: int,
    *,
    versions: bool = False,
    problems: int = 240,
    samples: int = 4,
) -> Counted:
    """One candidate looked at again with fresh samples, or a new version at each look."""
    promoted, claimed = 0, 0.0
    for _ in range(replications):
        before, after = gained(gain).draw(rng, (1, problems))
        theirs = rng.binomial(samples, before[0]) / samples
        ours, taken = np.zeros(problems), 0
        for look in range(1, looks + 1):
            fresh = rng.binomial(samples, after[0])
            ours, taken = (fresh, samples) if versions else (ours + fresh, taken + samples)
            change = ours / taken - theirs
            if paired_difference(change, samples, level=level_of_look(look)).low > 0:
                promoted += 1
                claimed += float(change.mean())
                break
    return {"promoted": (promoted, replications), "claimed": (claimed, max(1, promoted))}


# --- the cells of each claim, and what they say together ------------------------------------------


def measure(replications: int, seed: int, problems: Sequence[int] = PROBLEMS) -> Record:
    """The table of all claims; `problems` are the numbers of problems in its cells."""
    several = [n for n in SAMPLES if n > 1]
    grid = list(itertools.product(POPULATIONS, problems, several))
    rates: Cells = {
        _named(p.name, b, n): partial(rate_cell, p, b, n)
        for p, b, n in itertools.product(POPULATIONS, problems, SAMPLES)
    }
    equal, unequal = _differences(EQUAL_MEANS, problems), _differences(UNEQUAL_MEANS, problems)
    picks: Cells = {_named(p.name, b, n): partial(pick_cell, p, b, n) for p, b, n in grid}
    costs: Cells = {_named(p.name, b, n): partial(divergence_cell, p, b, n) for p, b, n in grid}
    kl: Cells = {
        _named("gamma", b, n): partial(kl_cell, b, n)
        for b, n in itertools.product(problems, (1, 4, 16))
    }
    power: Cells = {
        _named("a gain", b, n): partial(detectable_cell, b, n)
        for b, n in itertools.product(problems, (1, 4, 16))
        if b >= 20
    }
    gate: Cells = {
        "no gain, 20 looks": partial(gate_cell, 0.0, 20),
        "no gain, 20 versions": partial(gate_cell, 0.0, 20, versions=True),
    }
    gate_power: Cells = {"a gain of 0.05, 3 looks": partial(gate_cell, 0.05, 3)}
    found = _counted(
        {
            "rates": rates, "equal": equal, "unequal": unequal, "picks": picks, "costs": costs,
            "kl": kl, "power": power, "gate": gate, "gate power": gate_power,
        },
        replications,
        seed,
    )  # fmt: skip
    return {"claims": [asdict(claim) for claim in _claims(found)]}


def _differences(pairs: Iterable[PairOfPolicies], problems: Sequence[int]) -> Cells:
    return {
        _named(pair.name, b, f"{n[0]} and {n[1]}"): partial(difference_cell, pair, b, n)
        for pair, b, n in itertools.product(pairs, problems, PAIRS_OF_SAMPLES)
    }


def _claims(found: dict[str, dict[str, Counted]]) -> Iterable[Claim]:
    shares = partial(_shares, found)
    off = shares("rates", "bias", prefix=True)
    yield _claim(
        "pass rate, pass@k", "unbiased", "mean error in its standard errors", off, _no_bias
    )
    ones, many = shares("rates", "pass@1"), shares("rates", "pass@", prefix=True)
    many = {name: share for name, share in many.items() if not name.endswith("pass@1")}
    for name, cells in (("pass rate, family, valid format", ones), ("pass@k, k > 1", many)):
        yield _claim(name, "the 95 % interval holds the truth", "coverage", cells, _covers)
    yield _claim(
        "difference of two runs", "called different in 5 % where means are equal",
        "type-I error", shares("equal", "rejected"), _rejects,
    )  # fmt: skip
    yield _claim(
        "difference of two runs", "the 95 % interval holds the truth",
        "coverage", shares("unequal", "held"), _covers,
    )  # fmt: skip
    both = shares("equal", "disagreed") | shares("unequal", "disagreed")
    yield _claim(
        "difference of two runs", "test and interval agree", "share of disagreements", both,
        lambda share: share == 0,
    )  # fmt: skip
    yield _claim(
        "smallest difference", "found four times in five", "power", shares("power", "found"),
        lambda share: 0.72 <= share <= 0.9,
    )  # fmt: skip
    yield _claim(
        "gain by a rule", "a rule that knows nothing gains in 5 %", "type-I error",
        shares("picks", "rejected"), _rejects,
    )  # fmt: skip
    yield _claim(
        "divergence of best of N", "the 95 % interval holds the truth", "coverage",
        shares("costs", "held"), _covers,
    )  # fmt: skip
    yield _claim(
        "KL to the start", "the 95 % interval holds the truth", "coverage", shares("kl", "held"),
        _covers,
    )  # fmt: skip
    yield _claim(
        "gate", "without a gain at most 5 % are promoted", "promoted in 20 looks, 20 versions",
        shares("gate", "promoted"), lambda share: share <= 0.05,
    )  # fmt: skip
    yield _claim(
        "gate", "a gain of 5 points passes within three looks in 80 %", "promoted",
        shares("gate power", "promoted"), lambda share: share >= 0.8,
    )  # fmt: skip
    claimed = shares("gate power", "claimed")
    yield _claim("gate", "(what decided, for a true 0.05)", "mean gain", claimed, None)


def _no_bias(errors: float) -> bool:
    return abs(errors) < 4.5  # of hundreds of cells the largest is about 3.5


def _covers(share: float) -> bool:
    return share >= AT_LEAST_COVERED


def _rejects(share: float) -> bool:
    return share <= AT_MOST_REJECTED


def _claim(
    estimate: str,
    claim: str,
    checked: str,
    cells: dict[str, float],
    holds: Callable[[float], bool] | None,
) -> Claim:
    shares = list(cells.values())
    outside = [
        f"{name}: {share:.3f}"
        for name, share in cells.items()
        if holds is not None and not holds(share)
    ]
    return Claim(
        estimate, claim, checked, min(shares), float(np.median(shares)), max(shares),
        len(shares), outside,
    )  # fmt: skip


def _shares(
    found: dict[str, dict[str, Counted]], group: str, what: str, *, prefix: bool = False
) -> dict[str, float]:
    """One number for each cell of a group, or for each of its counts that begin so."""
    return {
        f"{cell}, {name}" if prefix else cell: part / whole
        for cell, counted in found[group].items()
        for name, (part, whole) in counted.items()
        if (name.startswith(what) if prefix else name == what)
    }


def _named(kind: str, problems: int, samples: int | str) -> str:
    return f"{kind}, {problems} problems x {samples}"


def _counted(
    groups: dict[str, Cells], replications: int, seed: int
) -> dict[str, dict[str, Counted]]:
    """Every cell, each with a seed of its own, on all cores."""
    places = [(group, name) for group, cells in groups.items() for name in cells]
    seeds = np.random.SeedSequence(seed).spawn(len(places))
    jobs = [
        (groups[group][name], replications, own)
        for (group, name), own in zip(places, seeds, strict=True)
    ]
    with ProcessPoolExecutor(cores()) as pool:
        results = list(pool.map(_cell, jobs, chunksize=4))
    found: dict[str, dict[str, Counted]] = {group: {} for group in groups}
    for (group, name), counted in zip(places, results, strict=True):
        found[group][name] = counted
    return found


def _cell(job: tuple[Cell, int, np.random.SeedSequence]) -> Counted:
    cell, replications, seed = job
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
    bars = {"held": AT_LEAST_COVERED, "rejected": AT_MOST_REJECTED}
    return AT_LEAST_COVERED if name.startswith("pass@") else bars.get(name)


def _close(name: str, part: float, whole: int) -> bool:
    """Whether a share is too near its bar to be called on one side of it."""
    bar = _bar(name)
    return bar is not None and abs(part / whole - bar) < CLOSE * sqrt(bar * (1 - bar) / whole)


def _beyond(name: str, part: float, whole: int) -> bool:
    bar = _bar(name)
    if bar is None:
        return False
    return part / whole > bar if bar == AT_MOST_REJECTED else part / whole < bar


if __name__ == "__main__":
    answer(measure)
