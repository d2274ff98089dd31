"""Which cells are drawn for each estimate: kinds of problems, numbers of them, and of samples."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from functools import partial

import numpy as np

from bench.referee.bars import Cell, Counted
from bench.referee.gate import best_again_cell, confirmations_cell, gate_cell
from bench.referee.one_policy import divergence_cell, kl_cell, rate_cell, reward_cell, ties_cell
from bench.referee.populations import (
    EQUAL_MEANS,
    HARD_TO_SEE,
    KINDS_OF_KL,
    POPULATIONS,
    THE_SAME,
    UNEQUAL_MEANS,
    UNEVEN_KL,
    PairOfPolicies,
    few_solved,
    from_to,
    gained,
    gained_where_bimodal,
    half_gained,
    like_the_default,
)
from bench.referee.two_policies import detectable_cell, difference_cell, gain_cell, pick_cell
from scorers.statistics.paired import FEWEST

PROBLEMS = (5, 20, 60, 240, 1000)
SAMPLES = (1, 4, 16, 64)
PAIRS_OF_SAMPLES = ((1, 1), (4, 4), (16, 16), (64, 64), (1, 64), (64, 1), (4, 16), (16, 4))
GATE_PROBLEMS = (20, 240)

Cells = dict[str, Cell]


def all_cells(problems: Sequence[int] = PROBLEMS) -> dict[str, Cells]:
    """The cells of each group, by name; `problems` are the numbers of problems in them."""
    several = [n for n in SAMPLES if n > 1]
    few, many = ([b for b in problems if (b < FEWEST) == small] for small in (True, False))
    return {
        "rates": _of_populations(rate_cell, problems, SAMPLES),
        "rewards": _of_populations(reward_cell, problems, (4,)),
        "ties": _of_populations(ties_cell, problems, (4,)),
        "equal": _differences(EQUAL_MEANS, problems),
        "unequal": _differences(UNEQUAL_MEANS, problems),
        "picks": _of_populations(pick_cell, problems, several),
        "best": _of_populations(partial(gain_cell, "one"), problems, (4, 16)),
        "vote": _of_populations(partial(gain_cell, "half"), problems, (4, 16)),
        "costs": _of_populations(divergence_cell, problems, several),
        "kl": {
            _named(kind.name, b, n): partial(kl_cell, kind, b, n)
            for kind, b, n in itertools.product(KINDS_OF_KL, problems, (1, 4, 16))
        },
        "kl, uneven": {
            _named(UNEVEN_KL.name, b, n): partial(kl_cell, UNEVEN_KL, b, n)
            for b, n in itertools.product(problems, (1, 4, 16))
        },
        "power": _power(many),
        "power after nothing": _power(many, after_nothing=True),
        "no power": _power(few),
        "gate": _gate(),
        "gate power": _gate_power(
            (gained(0.05), like_the_default(0.05), gained_where_bimodal(0.05))
        ),
        "gate power, alike": _gate_power(HARD_TO_SEE),
        "gate power, alike, both sampled": _gate_power(HARD_TO_SEE, both=True),
        "gate shown": _gate_power((gained(0.02), gained(0.028), gained(0.05), from_to(0.3, 0.328))),
    }


def _of_populations(
    cell: Callable[..., object], problems: Sequence[int], samples: Sequence[int]
) -> Cells:
    return {
        _named(p.name, b, n): partial(cell, p, b, n)  # type: ignore[misc]
        for p, b, n in itertools.product(POPULATIONS, problems, samples)
    }


def _differences(pairs: Iterable[PairOfPolicies], problems: Sequence[int]) -> Cells:
    return {
        _named(pair.name, b, f"{n[0]} and {n[1]}"): partial(difference_cell, pair, b, n)
        for pair, b, n in itertools.product(pairs, problems, PAIRS_OF_SAMPLES)
    }


def _power(problems: Sequence[int], *, after_nothing: bool = False) -> Cells:
    kinds: dict[str, Callable[[float], PairOfPolicies]] = {"a gain": gained}
    if not after_nothing:
        kinds |= {"half of them gain": half_gained, "a few are solved": few_solved}
    return {
        _named(kind, b, n): partial(detectable_cell, b, n, made=made, after_nothing=after_nothing)
        for (kind, made), b, n in itertools.product(kinds.items(), problems, (1, 4, 16))
    }


def _gate() -> Cells:
    kinds = itertools.product(EQUAL_MEANS[1:], GATE_PROBLEMS, ("looks", "versions"), (False, True))
    cells: Cells = {
        f"{pair.name}{', the other way round' * reverse}, {b} problems, 20 {what}": partial(
            gate_cell, pair, 20, versions=what == "versions", reverse=reverse, problems=b
        )
        for pair, b, what, reverse in kinds
        if not (reverse and pair.name.startswith(THE_SAME))
    }
    cells |= {
        f"the best of {n} measured again, 60 problems": partial(best_again_cell, n, n + 20)
        for n in (1, 10)
    }
    return cells | {
        f"{pair.name}{', the other way round' * reverse}, {b} problems, 20 confirmations": partial(
            confirmations_cell, pair, 20, reverse=reverse, problems=b
        )
        for pair, b, reverse in itertools.product(EQUAL_MEANS[1:], GATE_PROBLEMS, (False, True))
        if not (reverse and pair.name.startswith(THE_SAME))
    }


def _gate_power(pairs: Iterable[PairOfPolicies], *, both: bool = False) -> Cells:
    return {
        f"{pair.name}, 3 looks": partial(_ten_times, partial(gate_cell, pair, 3, both=both))
        for pair in pairs
    }


def _ten_times(cell: Cell, rng: np.random.Generator, replications: int) -> Counted:
    """A cell that is drawn ten times as often, because it is fast and near its bar."""
    return cell(rng, 10 * replications)


def _named(kind: str, problems: int, samples: int | str) -> str:
    return f"{kind}, {problems} problems x {samples}"
