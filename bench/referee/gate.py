"""Cells of the gate: how often it promotes what gained nothing, and what gained."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from artifacts.promotion.confirmation import MORE_SAMPLES
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
    both: bool = False,
    problems: int = 240,
    samples: int = 4,
) -> Counted:
    """One candidate looked at again with fresh samples, or a new version at each look.

    The candidate is the second policy of the pair, or the first with `reverse`; with `both` the
    opponent is sampled at each look as well. What passes is confirmed; if it is not, the samples of
    the confirmation are evidence too, and two more looks. After a promotion the gain is measured
    once more: `off` is how far what is shown is from the true gain.
    """
    promoted, off = 0, 0.0
    for _ in range(replications):
        before, after = pair.draw(rng, (1, problems))
        opponent, candidate = (after[0], before[0]) if reverse else (before[0], after[0])
        theirs, ours = Measured(opponent, rng), Measured(candidate, rng)
        theirs.sample(samples)
        look = confirmations = 0
        for number in range(looks):
            if versions:
                ours = Measured(candidate, rng)
            if both and number:
                theirs.sample(samples)
            ours.sample(samples)
            look += 1
            if not _gains(ours.rates - theirs.rates, look):
                continue
            confirmations += 1
            look += 2
            again = ours.sample(MORE_SAMPLES * samples) - theirs.sample(MORE_SAMPLES * samples)
            if _gains(again, confirmations):
                promoted += 1
                shown = ours.sample(MORE_SAMPLES * samples) - theirs.sample(MORE_SAMPLES * samples)
                off += float(shown.mean()) - (-pair.difference if reverse else pair.difference)
                break
    return {"promoted": (promoted, replications), "off": (off, max(1, promoted))}


def confirmations_cell(
    pair: PairOfPolicies,
    confirmations: int,
    rng: np.random.Generator,
    replications: int,
    *,
    reverse: bool = False,
    problems: int = 240,
    samples: int = 4,
) -> Counted:
    """Somebody whose evidence always passes, however it was chosen, asks so many times."""
    promoted = 0
    for _ in range(replications):
        before, after = pair.draw(rng, (1, problems))
        opponent, candidate = (after[0], before[0]) if reverse else (before[0], after[0])
        theirs, ours = Measured(opponent, rng), Measured(candidate, rng)
        more = MORE_SAMPLES * samples
        promoted += any(
            _gains(ours.sample(more) - theirs.sample(more), number)
            for number in range(1, confirmations + 1)
        )
    return {"promoted": (float(promoted), replications)}


class Measured:
    """A policy and every sample of it so far; `problem_rates` are its true rates, `[B]`."""

    def __init__(self, problem_rates: NDArray[np.float64], rng: np.random.Generator) -> None:
        self.problem_rates, self.rng = problem_rates, rng
        self.correct, self.samples = np.zeros(len(problem_rates)), 0

    @property
    def rates(self) -> NDArray[np.float64]:
        """The measured rate of each problem, `[B]`, over all samples."""
        return self.correct / self.samples

    def sample(self, samples: int) -> NDArray[np.float64]:
        """Draw more samples of each problem; their own rates, `[B]`."""
        fresh = self.rng.binomial(samples, self.problem_rates)
        self.correct, self.samples = self.correct + fresh, self.samples + samples
        own: NDArray[np.float64] = fresh / samples
        return own


def _gains(change: NDArray[np.float64], look: int) -> bool:
    return bool(paired_difference(change, level=level_of_look(look)).low > 0)


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

    Every other time it is the opponent that is measured again. How often the evidence passes is
    counted; whether it would be confirmed is another cell.
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
            if _gains(change, look):
                promoted += 1
                break
    return {"promoted": (float(promoted), replications)}
