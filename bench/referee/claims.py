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
    uneven = shares("kl, uneven", "held")
    few = {name: share for name, share in uneven.items() if ", 5 " in name or ", 20 " in name}
    for kinds, cells, holds in (
        ("where one problem in ten makes most of it: the 95 % interval holds the truth",
         {name: share for name, share in uneven.items() if name not in few}, _covers),
        ("of 5 and 20 such problems: it holds in half or more, as is printed",
         few, partial(_between, 0.45, 1.0)),
    ):  # fmt: skip
        if cells:
            yield _claim("KL to the start", kinds, "coverage", cells, holds)
    yield _claim(
        "difference of two runs", "called different in at most 5 % where means are equal",
        "type-I error", shares("equal", "rejected"), _rejects,
    )  # fmt: skip
    yield _claim(
        "gain by a rule", "a rule that knows nothing gains in at most 5 %", "type-I error",
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
    for kinds, group, least in (
        ("easy and hard problems: a gain of 5 points passes within three looks in 80 %",
         "gate power", 0.8),
        ("problems that are all alike, or a few solved: in 40 %", "gate power, alike", 0.4),
        ("these, and the opponent sampled at each look too: in 60 %",
         "gate power, alike, both sampled", 0.6),
    ):  # fmt: skip
        cells = shares(group, "promoted")
        yield _claim("gate", kinds, "promoted", cells, partial(_between, least, 1.0))
    yield _claim(
        "gate", "the gain that is shown is the true one", "mean error, as a rate",
        shares("gate shown", "off"), partial(_between, -0.005, 0.005),
    )  # fmt: skip


def _about_power(shares: Callable[..., dict[str, float]]) -> Iterable[Claim]:
    """The smallest difference is found as often as is printed beside it."""
    for name, cells, least, largest in (
        ("found in 70 to 97 %, as is printed", shares("power", "found"), 0.70, 0.97),
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
