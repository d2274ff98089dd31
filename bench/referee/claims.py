"""The table of claims: for each estimate that the program prints, its cells and their result."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np

from bench.process import Record, cores
from bench.referee.cells import (
    AT_LEAST_COVERED,
    AT_MOST_PROMOTED,
    AT_MOST_REJECTED,
    Cell,
    Counted,
    chase_cell,
    count,
    detectable_cell,
    difference_cell,
    divergence_cell,
    gate_cell,
    kl_cell,
    pick_cell,
    rate_cell,
)
from bench.referee.populations import (
    EQUAL_MEANS,
    KINDS_OF_KL,
    POPULATIONS,
    THE_SAME,
    UNEQUAL_MEANS,
    PairOfPolicies,
    gained,
)

PROBLEMS = (5, 20, 60, 240, 1000)
SAMPLES = (1, 4, 16, 64)
PAIRS_OF_SAMPLES = ((1, 1), (4, 4), (16, 16), (64, 64), (1, 64), (4, 16))

GATE_PROBLEMS = (20, 240)

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
        _named(kind.name, b, n): partial(kl_cell, kind, b, n)
        for kind, b, n in itertools.product(KINDS_OF_KL, problems, (1, 4, 16))
    }
    power: Cells = {
        _named("a gain", b, n): partial(detectable_cell, b, n)
        for b, n in itertools.product(problems, (1, 4, 16))
        if b >= 20
    }
    gate: Cells = {
        f"{pair.name}{', turned' * turned}, {b} problems, 20 {what}": partial(
            gate_cell, pair, 20, versions=what == "versions", turned=turned, problems=b
        )
        for pair, b, what, turned in itertools.product(
            EQUAL_MEANS[1:], GATE_PROBLEMS, ("looks", "versions"), (False, True)
        )
        if not (turned and pair.name.startswith(THE_SAME))
    }
    gate |= {
        f"the best of {n} chased, 60 problems": partial(chase_cell, n, n + 20) for n in (1, 10)
    }
    gate_power: Cells = {"a gain of 0.05, 3 looks": partial(gate_cell, gained(0.05), 3)}
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
        "gate", "without a gain at most 5 % are promoted", "promoted by 20 looks, 20 versions",
        shares("gate", "promoted"), lambda share: share <= AT_MOST_PROMOTED,
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
        results = list(pool.map(count, *zip(*jobs, strict=True), chunksize=4))
    found: dict[str, dict[str, Counted]] = {group: {} for group in groups}
    for (group, name), counted in zip(places, results, strict=True):
        found[group][name] = counted
    return found
