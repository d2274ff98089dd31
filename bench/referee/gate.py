"""Cells of the gate: how often it promotes what gained nothing, and what gained."""

from __future__ import annotations

import numpy as np

from bench.referee.bars import Counted
from bench.referee.populations import PairOfPolicies, gained
from scorers.statistics.looks import level_of_look
from scorers.statistics.paired import paired_difference


def gate_cell(
    pair: PairOfPolicies,
    looks: int,
    rng: np.random.Generator,
    replications: int,
    *,
    versions: bool = False,
    reverse: bool = False,
    problems: int = 240,
    samples: int = 4,
) -> Counted:
    """One candidate looked at again with fresh samples, or a new version at each look.

    The candidate is the second policy of the pair, or the first with `reverse`.
    """
    promoted, claimed = 0, 0.0
    for _ in range(replications):
        before, after = pair.draw(rng, (1, problems))
        opponent, candidate = (after[0], before[0]) if reverse else (before[0], after[0])
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


def best_again_cell(
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
            watched = min(look, candidates)
            if look > candidates:
                watched = 1 + int((correct[1:] / taken[1:, None]).mean(axis=1).argmax())
                measured = 0 if look % 2 else watched
                correct[measured] += rng.binomial(samples, rates)
                taken[measured] += samples
            change = correct[watched] / taken[watched] - correct[0] / taken[0]
            if paired_difference(change, level=level_of_look(look)).low > 0:
                promoted += 1
                break
    return {"promoted": (float(promoted), replications)}
