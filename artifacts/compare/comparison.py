"""Two stored measurements compared: may they be, by how much they differ, and what that means."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence

from artifacts.runs.measured import StoredMeasurement
from artifacts.store.instrument import EXTERNAL
from artifacts.tracking.history import RunRecord
from schemas.engine import NOT_KNOWN, differing_engines
from schemas.errors import RefusedError
from schemas.instrument import Instrument
from schemas.loops import AFTER, LEARNING, SELECTION
from schemas.measurements import Estimate
from schemas.result_parts import (
    ComparedRun,
    Flipped,
    FlippedProblem,
    InstrumentRecord,
    PairedDifference,
)
from schemas.results import Comparison, RatedComparison
from scorers.statistics.counts import correct_counts
from scorers.statistics.estimates import pass_rate
from scorers.statistics.flips import flipped, problems_in_both
from scorers.statistics.intervals import LEVEL
from scorers.statistics.paired import PairedComparison, compare_paired

PARTS = tuple(Instrument.model_fields)
TEST = "student_paired"
DIGEST_TAG = "model_digest"
Counts = Mapping[str, tuple[int, int]]


def refuse_other_engine(first: StoredMeasurement, second: StoredMeasurement) -> None:
    """RefusedError where two measurements are not known to come from the same engine."""
    if parts := differing_engines(first.engine, second.engine):
        one, two = (side.engine.words if side.engine else NOT_KNOWN for side in (first, second))
        raise RefusedError(
            f"{first.name} and {second.name} are not known to come from the same engine, in "
            f"{', '.join(parts)}: A {one}; B {two}; without --same-engine they are compared"
        )


def differing_parts(first: Instrument, second: Instrument) -> dict[str, tuple[str, str]]:
    """The parts in which two instruments differ, each with both values."""
    ours, theirs = first.model_dump(), second.model_dump()
    return {part: (ours[part], theirs[part]) for part in PARTS if ours[part] != theirs[part]}


def compare_measurements(
    first: StoredMeasurement,
    second: StoredMeasurement,
    runs: Sequence[RunRecord],
    allow: Collection[str] = (),
    *,
    rows: int = 3,
) -> Comparison:
    """The second measurement against the first, or a refusal.

    The instruments must be equal, but for the parts in `allow`; where they are not, the comparison
    names the parts that differ and has no rates; otherwise it is a RatedComparison. Where the
    problems may differ, those that both have are compared, and RefusedError is raised when there
    are none. `rows` of the problems that flipped each way come with their texts. The learning
    run that made one policy from the other is searched among `runs`.
    """
    differs = differing_parts(first.instrument, second.instrument)
    refused = tuple(part for part in differs if part not in allow)
    compared = Comparison(
        comparable=not refused,
        same_instrument=not differs,
        differs=differs,
        refused_parts=refused,
        allowed=tuple(part for part in differs if part in allow),
        instrument=InstrumentRecord.of(second.instrument),
        runs=(_described(first, runs), _described(second, runs)),
        reading=() if refused else tuple(how_to_read(first, second, runs)),
    )
    return compared if refused else _rated(compared, first, second, rows)


def paired(
    first: StoredMeasurement, second: StoredMeasurement, *, level: float = LEVEL
) -> PairedComparison:
    """The second against the first on the problems that both have; RefusedError without any."""
    counts = _counts_in_both(first, second)
    families = dict(
        zip(
            second.problems["problem_id"].to_pylist(),
            second.problems["family"].to_pylist(),
            strict=True,
        )
    )
    return compare_paired(*counts, families=families, level=level)


def _counts_in_both(first: StoredMeasurement, second: StoredMeasurement) -> tuple[Counts, Counts]:
    """(correct, all) completions of each side, of the problems that both have."""
    ids = problems_in_both(first.problems, second.problems)
    if not ids:
        raise RefusedError(f"{first.name} and {second.name} have no problem in common")
    one, two = (correct_counts(side.scores) for side in (first, second))
    return {name: one[name] for name in ids}, {name: two[name] for name in ids}


def _rated(
    compared: Comparison, first: StoredMeasurement, second: StoredMeasurement, rows: int
) -> RatedComparison:
    counts = _counts_in_both(first, second)
    result = paired(first, second)
    one, two = (_pass_rate(side) for side in counts)
    ids = list(counts[0])
    better, worse = flipped(
        first.problems,
        ids,
        (first.completions, first.scores),
        (second.completions, second.scores),
    )
    return RatedComparison(
        **dict(compared),
        pass_rates=(one, two),
        difference=PairedDifference.model_validate(result.difference),
        test=TEST,
        p_value=result.difference.p_value,
        families={
            name: PairedDifference.model_validate(change)
            for name, change in result.families.items()
        },
        flipped=Flipped(
            better=tuple(FlippedProblem.model_validate(flip) for flip in better[:rows]),
            worse=tuple(FlippedProblem.model_validate(flip) for flip in worse[:rows]),
        ),
        left_out=(
            first.problems.num_rows - len(ids),
            second.problems.num_rows - len(ids),
        ),
    )


def _pass_rate(counts: Counts) -> Estimate:
    correct, samples = zip(*counts.values(), strict=True)
    return pass_rate(correct, samples)


def how_to_read(
    first: StoredMeasurement, second: StoredMeasurement, runs: Sequence[RunRecord]
) -> list[str]:
    """Sentences on what a difference between the two can mean: search, learning, or neither."""
    said = []
    sides = {"A": first, "B": second}
    loops = [side.run.loop for side in sides.values()]
    if loops[0] != loops[1]:
        told = [f"{key} is loop {s.run.loop.letter}" for key, s in sides.items()]
        changed = [f"changed: {s.run.loop.changed}" for s in sides.values()]
        said.append(f"{told[0]} ({changed[0]}), {told[1]} ({changed[1]}).")
    for key, side in sides.items():
        if side.rule:
            said.append(
                f"{key} is what the rule {side.rule} picked of {side.samples} answers a problem: "
                "its gain is a gain by search, not by learning; the model stayed as it was."
            )
            if side.rule == "oracle":
                said.append(
                    "The oracle knows the expected answer: its rate is what search could reach at "
                    "best, not what it reaches."
                )
        elif side.run.loop is SELECTION:
            said.append(
                f"{key} is a selection run, taken with all its samples, before any was picked; "
                f"{side.run.name}:RULE compares what a rule picked."
            )
        if part := side.partial:
            said.append(
                f"{key} is partial: {part.measured} of {part.asked} problems, those that have "
                f"{part.samples} answers; only problems that both have are compared."
            )
    return [*said, _models(first, second, runs)]


def _models(first: StoredMeasurement, second: StoredMeasurement, runs: Sequence[RunRecord]) -> str:
    if (first.digests, first.rule) == (second.digests, second.rule):
        return "A and B are the same measurement, read from the same tables."
    if EXTERNAL in (first.policy, second.policy):
        return (
            "Completions were made elsewhere: the model, the prompt and the sampling are not "
            "known, and a difference does not say whether search, learning or something else "
            "made it."
        )
    picked = first.rule or second.rule
    if first.policy == second.policy:
        if any(side.engine and side.engine.model_digest == NOT_KNOWN for side in (first, second)):
            return (
                "Both asked a server for the model of this name; whether its weights stayed the "
                "same is not known."
            )
        if picked:
            return "Both used the same model: the difference is in how an answer was picked."
        if first.instrument != second.instrument:
            return "Both measured the same model: a difference says how the instruments differ."
        return "Both measured the same model: it did not change, and a difference is chance."
    for start, end, made in (
        (first, second, "B's model from A's"),
        (second, first, "A's from B's"),
    ):
        if run := _learned(start.policy, end.policy, runs):
            caution = "a difference is by learning"
            if picked:
                caution = "answers were picked as well, so a difference is not by learning alone"
            elif first.instrument != second.instrument:
                caution = "a difference is by learning, by the instrument, or by both"
            return f"{run.name} (loop C) made {made}: {caution}."
    return "A and B are different models, neither made from the other: which is better, not why."


def _learned(start: str, end: str, runs: Sequence[RunRecord]) -> RunRecord | None:
    """The learning run that led from one policy's digest to another's."""
    for run in runs:
        tags = run.tags
        if (tags.get("model_digest_before"), tags.get("model_digest_after")) == (start, end):
            return run
    return None


def _named_by(policy: str, runs: Sequence[RunRecord]) -> str:
    """What a run that sampled it called a policy, or the start of its digest."""
    for run in runs:
        for tag, digest in run.tags.items():
            if digest == policy and tag.startswith(DIGEST_TAG):
                made = run.tags.get("registered") if tag.endswith(AFTER) else None
                return made or run.tags.get(tag.replace(DIGEST_TAG, "model"), policy[:12])
    return policy[:12]


def _described(side: StoredMeasurement, runs: Sequence[RunRecord]) -> ComparedRun:
    loop = side.run.loop
    learned = loop is LEARNING and side.stage == AFTER
    return ComparedRun(
        name=side.name,
        run_id=side.run.run_id,
        loop=loop.letter,
        loop_name=loop.name,
        changed=loop.changed,
        stage=side.stage or None,
        rule=side.rule,
        model=side.model or _named_by(side.policy, runs),
        model_digest=_known_digest(side),
        problems=side.problems.num_rows,
        samples=side.samples,
        instrument=side.instrument.digest,
        tables=side.digests,
        kl_nats=side.run.metrics.get("kl_nats") if learned else None,
        steps=json.loads(side.run.parameters.get("steps", "null")) if learned else None,
        engine=side.engine,
    )


def _known_digest(side: StoredMeasurement) -> str | None:
    if side.policy == EXTERNAL or (side.engine and side.engine.model_digest == NOT_KNOWN):
        return None
    return side.policy
