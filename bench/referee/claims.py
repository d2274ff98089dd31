"""The table of claims: for each estimate that the program prints, its cells and their result."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass, field
from functools import partial

import numpy as np

from bench.process import Record, cores
from bench.referee.bars import (
    AT_LEAST_COVERED,
    AT_MOST_PROMOTED,
    AT_MOST_REJECTED,
    Counted,
    count,
)
from bench.referee.grid import PROBLEMS, Cells, all_cells


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
    found = _counted(all_cells(problems), replications, seed)
    return {"claims": [asdict(claim) for claim in _claims(found)]}


def _claims(found: dict[str, dict[str, Counted]]) -> Iterable[Claim]:
    shares = partial(_shares, found)
    off = shares("rates", "bias", prefix=True)
    ones, many = shares("rates", "pass@1"), shares("rates", "pass@", prefix=True)
    many = {name: share for name, share in many.items() if not name.endswith("pass@1")}
    unbiased = {
        "pass rate, pass@k": off,
        "mean reward": shares("rewards", "bias"),
        "rate over ties": shares("ties", "bias"),
        "difference of two runs": shares("equal", "bias") | shares("unequal", "bias"),
        "gain by a rule": _side_by_side(shares, "bias"),
        "divergence of best of N, beyond its stated bias": shares("costs", "bias"),
        "KL to the start": shares("kl", "bias"),
    }
    for name, cells in unbiased.items():
        yield _claim(name, "unbiased", "mean error in its standard errors", cells, _no_bias)
    covered = {
        "pass rate, family, valid format": ones,
        "pass@k, k > 1": many,
        "mean reward": shares("rewards", "held"),
        "rate over ties": shares("ties", "held"),
        "difference of two runs": shares("unequal", "held"),
        "gain by a rule": _side_by_side(shares, "held"),
        "divergence of best of N": shares("costs", "held"),
        "KL to the start": shares("kl", "held"),
    }
    for name, cells in covered.items():
        yield _claim(name, "the 95 % interval holds the truth", "coverage", cells, _covers)
    yield _claim(
        "difference of two runs", "called different in 5 % where means are equal",
        "type-I error", shares("equal", "rejected"), _rejects,
    )  # fmt: skip
    yield _claim(
        "gain by a rule", "a rule that knows nothing gains in 5 %", "type-I error",
        shares("picks", "rejected"), _rejects,
    )  # fmt: skip
    both = shares("equal", "disagreed") | shares("unequal", "disagreed")
    yield _claim(
        "difference of two runs", "test and interval agree", "share of disagreements", both,
        lambda share: share == 0,
    )  # fmt: skip
    yield from _about_power(shares)
    yield _claim(
        "gate", "without a gain at most 5 % are promoted",
        "promoted by 20 looks, versions, confirmations",
        shares("gate", "promoted"), lambda share: share <= AT_MOST_PROMOTED,
    )  # fmt: skip
    yield _claim(
        "gate", "a gain of 5 points passes within three looks in 80 %", "promoted",
        shares("gate power", "promoted"), lambda share: share >= 0.8,
    )  # fmt: skip
    claimed = shares("gate power", "claimed")
    yield _claim("gate", "(what is shown, for a true 0.05)", "mean gain", claimed, None)


def _about_power(shares: Callable[..., dict[str, float]]) -> Iterable[Claim]:
    """The smallest difference: in 80 % where it is printed so, within what is printed elsewhere."""
    found = shares("power", "found")
    few = {name: share for name, share in found.items() if ", 20 problems" in name}
    more = {name: share for name, share in found.items() if name not in few}
    for name, cells, least, largest in (
        ("60 problems or more: found four times in five", more, 0.72, 0.9),
        ("fewer: found in 70 to 97 %, as is printed", few, 0.70, 0.97),
        ("told after no change: found in 68 % or more", shares("power after nothing", "found"),
         0.68, 1.0),
        ("fewer than six problems find nothing", shares("no power", "found"), 0.0, 0.0),
    ):  # fmt: skip
        if cells:
            yield _claim(
                "smallest difference", name, "power", cells, partial(_between, least, largest)
            )


def _side_by_side(shares: Callable[..., dict[str, float]], what: str) -> dict[str, float]:
    """The cells of both rules whose gains are known."""
    return {
        f"{rule}, {name}": share
        for rule in ("best", "vote")
        for name, share in shares(rule, what).items()
    }


def _between(least: float, largest: float, share: float) -> bool:
    return least <= share <= largest


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
