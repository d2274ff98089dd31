"""The confirmation: a version that passes is measured once more, on samples nobody has seen.

Whoever asks the gate chooses what to measure, and when. What is known can be chosen from: seeds
that were tried under another scorer, runs that were broken off, a copy of the model elsewhere. So
the evidence only says which version is worth the effort. What decides is measured afterwards, with
a seed that is drawn at that moment.

What decided was lucky more often than not, or it would not have passed: of a true gain of 2 points
those that pass show 3. So the gain is measured once more after that. This figure decides nothing,
whatever it is, and is the one to quote. The problems are the same; whether they suit this version
is what the interval covers.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from artifacts.compare.comparison import compare_measurements
from artifacts.promotion.gate import held_at, refused
from artifacts.registry.versions import lasting_name
from artifacts.runs.measured import StoredMeasurement, read_measurement
from artifacts.text.numbers import level_in_words, points, points_interval
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from schemas.config import EvalConfig, LearningConfig, SelectionConfig
from schemas.errors import InputError
from schemas.loops import LEARNING, SELECTION
from schemas.results import Decision, RatedComparison

MORE_SAMPLES = 2  # times the samples of the evidence, so that a true gain is seldom missed
MOST_SAMPLES = 4096  # as an evaluation allows
SEEDS = 2**31
CHANGED = "the dataset, template or scorer has changed since the evidence was made"


def evaluations_anew(archive: Archive, decided: Decision) -> tuple[EvalConfig, EvalConfig]:
    """How to evaluate opponent and candidate again as the evidence was, but for seed and samples.

    Raises InputError where the evidence's run or its configuration can no longer be read.
    """
    assert decided.evidence is not None  # nothing passes without
    compared = decided.evidence.runs
    config = _evaluation(archive.all_history.find(compared[1].run_id))
    samples = min(MOST_SAMPLES, MORE_SAMPLES * min(run.samples for run in compared))
    seed = secrets.randbelow(SEEDS)
    opponent, candidate = (
        config.model_copy(
            update={
                "model": lasting_name(archive, side.name, side.digest),
                "seed": seed,
                "samples": samples,
                # the cluster of the evidence may be gone, and who samples changes nothing
                "task_runner": None,
            }
        )
        for side in (decided.against, decided.candidate)
    )
    return opponent, candidate


def _evaluation(run: RunRecord) -> EvalConfig:
    """How loop A would measure what a run of any loop measured."""
    if run.loop is LEARNING:
        return run.config(LearningConfig).evaluation()
    config = run.config(SelectionConfig if run.loop is SELECTION else EvalConfig)
    return EvalConfig(**{name: getattr(config, name) for name in EvalConfig.model_fields})


def confirmed(archive: Archive, decided: Decision, run_ids: Sequence[str], number: int) -> Decision:
    """The decision after its two evaluations: refused where they do not show the gain as well.

    The n-th confirmation against an opponent is held to the level of the n-th look. Raises
    InputError where the runs are not of the policies that were decided on, or not comparable.
    """
    sides, compared = _compared(archive, decided, run_ids)
    held, gain = held_at(sides, number)
    decided = decided.model_copy(update={"fresh": compared, "fresh_held": held})
    if held.low > decided.min_gain:
        return decided
    return refused(
        decided,
        f"measured again on fresh samples, its gain is {points(gain)} points, "
        f"{level_in_words(held.level)} interval {points_interval(held)} at confirmation {number}, "
        f"and the lower end is not above {points(decided.min_gain)}",
    )


def with_gain(archive: Archive, decided: Decision, run_ids: Sequence[str]) -> Decision:
    """The decision with the gain that two evaluations found which decided nothing.

    Raises InputError as `confirmed` does.
    """
    return decided.model_copy(update={"gain": _compared(archive, decided, run_ids)[1]})


def _compared(
    archive: Archive, decided: Decision, run_ids: Sequence[str]
) -> tuple[tuple[StoredMeasurement, StoredMeasurement], RatedComparison]:
    """What two evaluations found of the policies that are decided on, and the difference."""
    opponent, candidate = (
        read_measurement(archive.store, archive.all_history.find(name)) for name in run_ids
    )
    for side, (name, digest) in (
        (opponent, (decided.against.name, decided.against.digest)),
        (candidate, (decided.candidate.name, decided.candidate.digest)),
    ):
        if side.policy != digest:
            raise InputError("it is not the model that was decided on any more", name)
        # what was looked at, such as which problems it was trained on, is about this instrument
        if decided.evidence is None or side.instrument.digest != decided.evidence.instrument.digest:
            raise InputError(CHANGED)
    runs = archive.all_history.loops_with({opponent.policy, candidate.policy})
    compared = compare_measurements(opponent, candidate, runs)
    assert isinstance(compared, RatedComparison)  # both have the evidence's instrument
    return (opponent, candidate), compared
