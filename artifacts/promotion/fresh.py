"""The gain of a version that was promoted, measured again on samples that decided nothing.

What passes a gate has been lucky on average. Fresh samples are free of that luck; the problems are
the same, so whether they suited this version is covered by the interval alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from artifacts.compare.comparison import compare_measurements
from artifacts.promotion.looks import sampled_on_holdout
from artifacts.registry.versions import lasting_name
from artifacts.runs.measured import read_measurement
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from schemas.config import EvalConfig, LearningConfig, SelectionConfig
from schemas.errors import InputError
from schemas.loops import LEARNING, SELECTION
from schemas.results import Decision, RatedComparison


def evaluations_anew(archive: Archive, decided: Decision) -> tuple[EvalConfig, EvalConfig]:
    """How to evaluate opponent and candidate again as the evidence was, with a seed not used yet.

    Raises InputError where the evidence's run or its configuration can no longer be read.
    """
    assert decided.evidence is not None  # nothing is promoted without
    deciding = archive.history.find(decided.evidence.runs[1].run_id)
    config = _evaluation(deciding)
    sides = (decided.against, decided.candidate)
    sampled = sampled_on_holdout(archive.history.every())
    used = {one.seed for one in sampled if one.digest in {side.digest for side in sides}}
    seed = next(seed for seed in itertools.count() if str(seed) not in used)
    opponent, candidate = (
        config.model_copy(
            update={"model": lasting_name(archive, side.name, side.digest), "seed": seed}
        )
        for side in sides
    )
    return opponent, candidate


def _evaluation(run: RunRecord) -> EvalConfig:
    """How loop A would measure what a run of any loop measured."""
    if run.loop is LEARNING:
        return run.config(LearningConfig).evaluation()
    config = run.config(SelectionConfig if run.loop is SELECTION else EvalConfig)
    return EvalConfig(**{name: getattr(config, name) for name in EvalConfig.model_fields})


def compare_fresh(archive: Archive, decided: Decision, run_ids: Sequence[str]) -> RatedComparison:
    """The two evaluations that were made again, compared.

    Raises InputError where they are not of the policies that were decided on, or not comparable.
    """
    opponent, candidate = (
        read_measurement(archive.store, archive.history.find(name)) for name in run_ids
    )
    for side, (name, digest) in (
        (opponent, (decided.against.name, decided.against.digest)),
        (candidate, (decided.candidate.name, decided.candidate.digest)),
    ):
        if side.policy != digest:
            raise InputError("it is not the model that was decided on any more", name)
    compared = compare_measurements(opponent, candidate, archive.history.loops())
    if not isinstance(compared, RatedComparison):
        raise InputError("the dataset, template or scorer has changed since the evidence was made")
    return compared
