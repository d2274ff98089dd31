"""Problems with known rates, from which measurements are drawn to check what is claimed of them.

Axes: R replications, B problems.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

THE_SAME = "the same"
Rates = NDArray[np.float64]
Draw = Callable[[np.random.Generator, tuple[int, int]], Rates]


@dataclass(frozen=True)
class Population:
    """Problems of one policy: `draw` gives the true rate of each of [R, B] problems.

    `typical` [Q] are rates of which each stands for the same share of all problems.
    """

    name: str
    draw: Draw
    typical: Rates

    def mean(self, function: Callable[[Rates], Rates]) -> Rates:
        """The mean over all problems of a function of their rates, [Q] to [Q, …]."""
        return np.asarray(function(self.typical).mean(axis=0))


@dataclass(frozen=True)
class PairOfPolicies:
    """Problems of two policies: `draw` gives both true rates of each, with this mean difference."""

    name: str
    draw: Callable[[np.random.Generator, tuple[int, int]], tuple[Rates, Rates]]
    difference: float = 0.0


def _beta(mean: float, concentration: float) -> Draw:
    """Rates of a Beta distribution; `concentration` is a + b."""
    return partial(_beta_rates, mean * concentration, (1 - mean) * concentration)


def _beta_rates(
    a: float, b: float, generator: np.random.Generator, shape: tuple[int, int]
) -> Rates:
    return generator.beta(a, b, size=shape)


def _constant(rate: float, generator: np.random.Generator, shape: tuple[int, int]) -> Rates:
    return np.full(shape, rate)


def alike(rate: float) -> Population:
    """Problems that all have the same rate."""
    return Population(f"all {rate:g}", partial(_constant, rate), np.array([rate]))


def _two_kinds(generator: np.random.Generator, shape: tuple[int, int]) -> Rates:
    """Half the problems at 0.05, half at 0.95."""
    return generator.choice([0.05, 0.95], size=shape)


def _one_of(
    rates: tuple[float, ...], generator: np.random.Generator, shape: tuple[int, int]
) -> Rates:
    return generator.choice(rates, size=shape)


def few_others(most: float, few: float, share: float) -> Population:
    """Nearly all problems have one rate, and a small share of them, one in so many, another."""
    rates = np.full(round(1 / share), most)
    rates[0] = few
    name = f"{share:.0%} at {few:g}, the rest at {most:g}"
    return Population(name, partial(_one_of, tuple(rates)), rates)


POPULATIONS = (
    *map(alike, (0.0, 0.01, 0.1, 0.5, 0.99)),
    Population("bimodal", _two_kinds, np.array([0.05, 0.95])),
    Population(
        "skewed", _beta(0.1, 0.5), betaincinv(0.05, 0.45, (np.arange(20_000) + 0.5) / 20_000)
    ),
    few_others(0.98, 0.02, 0.05),
    few_others(0.02, 0.98, 0.05),
)


def _same(population: Population) -> PairOfPolicies:
    return PairOfPolicies(f"{THE_SAME}, {population.name}", partial(_twice, population.draw))


def _twice(
    draw: Draw, generator: np.random.Generator, shape: tuple[int, int]
) -> tuple[Rates, Rates]:
    rates = draw(generator, shape)
    return rates, rates


def _swapped(generator: np.random.Generator, shape: tuple[int, int]) -> tuple[Rates, Rates]:
    """Half the problems 0.4 and 0.6, the other half the other way round."""
    half = generator.choice([-0.1, 0.1], size=shape)
    return 0.5 - half, 0.5 + half


def _apart(generator: np.random.Generator, shape: tuple[int, int]) -> tuple[Rates, Rates]:
    return _beta(0.3, 1.0)(generator, shape), _beta(0.3, 1.0)(generator, shape)


def _uneven(generator: np.random.Generator, shape: tuple[int, int]) -> tuple[Rates, Rates]:
    """A quarter of the problems rises by 0.3, the others fall by 0.1."""
    rises = generator.random(shape) < 0.25
    return np.full(shape, 0.4), np.where(rises, 0.7, 0.3)


def _rare(generator: np.random.Generator, shape: tuple[int, int]) -> tuple[Rates, Rates]:
    """A tenth of the problems is solved always, the others never, instead of all at 0.1."""
    return np.full(shape, 0.1), (generator.random(shape) < 0.1).astype(np.float64)


def _one_in(
    many: int, generator: np.random.Generator, shape: tuple[int, int]
) -> tuple[Rates, Rates]:
    """One problem in so many rises by 0.9, the others fall by as much in sum."""
    rises = generator.random(shape) < 1 / many
    return np.full(shape, 0.1), np.where(rises, 1.0, 0.1 - 0.9 / (many - 1))


EQUAL_MEANS = (
    *map(_same, POPULATIONS),
    PairOfPolicies("0.4 and 0.6 swapped", _swapped),
    PairOfPolicies("independent of each other", _apart),
    PairOfPolicies("a quarter +0.3, the rest -0.1", _uneven),
    PairOfPolicies("a tenth always, the rest never", _rare),
    PairOfPolicies("1 in 20 +0.9, the rest down", partial(_one_in, 20)),
    PairOfPolicies("1 in 100 +0.9, the rest down", partial(_one_in, 100)),
)


def gained(size: float) -> PairOfPolicies:
    """Every problem's failures are reduced by the same share, for a mean gain of `size`."""
    return PairOfPolicies(f"a gain of {size:g}", partial(_gained, size), size)


def _gained(
    size: float, generator: np.random.Generator, shape: tuple[int, int]
) -> tuple[Rates, Rates]:
    return _failing_less(size / 0.7, _beta(0.3, 1.0)(generator, shape))


def like_the_default(size: float) -> PairOfPolicies:
    """The same, of rates that are spread as the default model's on its own problems.

    Their mean is 0.24, and the mean of pass@4 is 0.47.
    """
    name = f"a gain of {size:g}, rates as the default model's"
    return PairOfPolicies(name, partial(_gained_by_default, size), size)


def _gained_by_default(
    size: float, generator: np.random.Generator, shape: tuple[int, int]
) -> tuple[Rates, Rates]:
    return _failing_less(size / 0.76, _beta(0.24, 1.6)(generator, shape))


def gained_where_bimodal(size: float) -> PairOfPolicies:
    """The same, of rates of which half are 0.05 and half 0.95."""
    name = f"a gain of {size:g}, bimodal"
    return PairOfPolicies(name, partial(_gained_where_bimodal, size), size)


def _gained_where_bimodal(
    size: float, generator: np.random.Generator, shape: tuple[int, int]
) -> tuple[Rates, Rates]:
    return _failing_less(size / 0.5, _two_kinds(generator, shape))


def _failing_less(share: float, before: Rates) -> tuple[Rates, Rates]:
    return before, before + share * (1 - before)


def half_gained(size: float) -> PairOfPolicies:
    """Half the problems gain twice the size, the others nothing: as varied as it is large."""
    return PairOfPolicies(f"half gain, {size:g}", partial(_half_gained, size), size)


def _half_gained(
    size: float, generator: np.random.Generator, shape: tuple[int, int]
) -> tuple[Rates, Rates]:
    step = min(1.0, 2 * size)  # a larger gain is one of more problems
    before = np.full(shape, (1 - step) / 2)
    return before, before + step * (generator.random(shape) < size / step)


def from_to(before: float, after: float) -> PairOfPolicies:
    """All problems have one rate, and then another."""
    name = f"all {before:g}, then {after:g}"
    return PairOfPolicies(name, partial(_from_to, before, after), after - before)


def _from_to(
    before: float, after: float, generator: np.random.Generator, shape: tuple[int, int]
) -> tuple[Rates, Rates]:
    return np.full(shape, before), np.full(shape, after)


def few_solved(share: float) -> PairOfPolicies:
    """None of the problems is solved, then a small share of them always."""
    return PairOfPolicies(f"{share:g} solved of 0", partial(_few_solved, share), share)


def _few_solved(
    share: float, generator: np.random.Generator, shape: tuple[int, int]
) -> tuple[Rates, Rates]:
    return np.zeros(shape), (generator.random(shape) < share).astype(np.float64)


def some_solved(size: float) -> PairOfPolicies:
    """All problems are solved at 0.3, then a small share of them always."""
    return PairOfPolicies(f"all 0.3, a few then 1, {size:g}", partial(_some_solved, size), size)


def _some_solved(
    size: float, generator: np.random.Generator, shape: tuple[int, int]
) -> tuple[Rates, Rates]:
    return np.full(shape, 0.3), np.where(generator.random(shape) < size / 0.7, 1.0, 0.3)


HARD_TO_SEE = (from_to(0.3, 0.35), from_to(0.5, 0.55), some_solved(0.05))
UNEQUAL_MEANS = (
    from_to(0.1, 0.3),
    from_to(0.5, 0.99),
    gained(0.14),
    *map(few_solved, (0.01, 0.03, 0.1)),
)


@dataclass(frozen=True)
class KindOfKl:
    """How KL is spread over problems: `draw` gives the true KL of each of [R, B] problems."""

    name: str
    draw: Draw
    mean: float


def _gamma(generator: np.random.Generator, shape: tuple[int, int]) -> Rates:
    return generator.gamma(2.0, 1.0, size=shape)


def _uneven_kl(generator: np.random.Generator, shape: tuple[int, int]) -> Rates:
    return np.where(generator.random(shape) < 0.1, 15.0, 0.5)


def _log_normal(generator: np.random.Generator, shape: tuple[int, int]) -> Rates:
    return generator.lognormal(0.0, 1.2, size=shape)


KINDS_OF_KL = (
    KindOfKl("gamma", _gamma, 2.0),
    KindOfKl("skewed, log-normal", _log_normal, float(np.exp(1.2**2 / 2))),
)
UNEVEN_KL = KindOfKl("15 for one in ten, the rest 0.5", _uneven_kl, 1.95)
