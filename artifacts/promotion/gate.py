"""The gate: whether a model version may become the champion, and on what evidence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import product

from artifacts.compare.comparison import compare_measurements, differing_parts
from artifacts.registry.versions import RegisteredVersion, champion_of
from artifacts.runs.lineage import made_by, trained_prompts
from artifacts.runs.measured import StoredMeasurement, read_measurement
from artifacts.store.tables import Store
from artifacts.text.numbers import points
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from schemas.errors import InputError
from schemas.loops import AFTER, BEFORE, EVALUATION, LEARNING
from schemas.result_parts import Candidate, Opponent
from schemas.results import Decision, RatedComparison
from scorers.final_int import FINAL_INT_1

HOLDOUT = "holdout"
Pair = tuple[StoredMeasurement, StoredMeasurement]


@dataclass
class Evidence:
    """The evaluations of one policy, and why some cannot be used.

    `measured` are on the holdout, `splits` those that others are on, `damaged` the reasons why a
    run's tables cannot be trusted.
    """

    measured: list[StoredMeasurement] = field(default_factory=list)
    splits: set[str] = field(default_factory=set)
    damaged: list[str] = field(default_factory=list)


def decide(archive: Archive, version: RegisteredVersion, min_gain: float) -> Decision:
    """Whether a version may be the champion, every reason against it, and the evidence.

    It may, if it was evaluated on the holdout with the same instrument as the champion (or, where
    there is none, as the model that it started from), no table of either was changed, it was not
    trained on the holdout, its weights are those that were registered, and the lower end of the
    paired 95 % interval of its gain is above `min_gain`. One damaged table of either is a reason
    against it, whatever other tables say.

    Of several evaluations with a common instrument the strict scorer's decide, then those of most
    problems, then of most samples, then the newest: never those with the largest gain.
    """
    runs, reasons = archive.history.loops(), []
    champion = champion_of(archive, version.model)
    against = _opponent(version, champion, runs)
    if champion is not None and champion.number == version.number:
        reasons.append("it is the champion already")
    elif champion is not None and champion.digest == version.digest:
        reasons.append(f"it has the same weights as the champion, {champion.name}")
    if not version.intact():
        reasons.append(f"its weights in {version.folder} no longer have the registered digest")
    own = evaluations(archive.store, version.digest, runs)
    others = evaluations(archive.store, against.digest, runs)
    reasons += [*own.damaged, *(line for line in others.damaged if line not in own.damaged)]
    if not against.digest:
        reasons.append("there is no champion, and no run says which model it started from")
    for name, found in ((version.name, own), (against.name, others)):
        if not found.measured and not found.damaged and name:
            reasons.append(_not_evaluated(name, found))
    pairs = [
        pair
        for pair in product(others.measured, own.measured)
        if pair[0].instrument == pair[1].instrument
    ]
    evidence: RatedComparison | None = None
    if pairs:
        compared = compare_measurements(*max(pairs, key=_weight), runs)
        assert isinstance(compared, RatedComparison)  # the pair has one instrument
        evidence, gain = compared, compared.difference
        if not gain.low > min_gain:
            reasons.append(
                f"its gain is {points(gain.value)} points, 95 % interval {points(gain.low)} "
                f"to {points(gain.high)}, and the lower end is not above {points(min_gain)}"
            )
    elif own.measured and others.measured:
        parts = differing_parts(others.measured[0].instrument, own.measured[0].instrument)
        reasons.append(
            f"{version.name} and {against.name} were evaluated on the holdout with different "
            f"instruments, in {', '.join(parts)}"
        )
    reasons += _trained_on(archive.store, version, own, runs)
    return Decision(
        decision="refused" if reasons else "promoted",
        promoted=not reasons,
        reasons=tuple(reasons),
        candidate=Candidate(name=version.name, digest=version.digest, run_id=version.run_id),
        against=against,
        min_gain=min_gain,
        pairs_considered=len(pairs),
        evidence=evidence,
        champion=None if reasons else version.name,
    )


def evaluations(store: Store, digest: str, runs: Sequence[RunRecord]) -> Evidence:
    """Every evaluation of the policy with this digest: loop A, or before and after learning.

    A selection run is none, and neither is a replay, which measures no policy.
    """
    found = Evidence()
    for run in runs:
        for stage in _stages(run, digest):
            try:
                measured = read_measurement(store, run, stage)
            except InputError as error:
                found.damaged.append(f"run {run.name}: {error}")
                continue
            if measured.policy != digest:
                found.damaged.append(f"run {run.name}: another model made its completions")
            elif measured.instrument.split == HOLDOUT:
                found.measured.append(measured)
            else:
                found.splits.add(measured.instrument.split)
    return found


def _stages(run: RunRecord, digest: str) -> list[str]:
    if run.status != "FINISHED" or not digest:
        return []
    stages = {EVALUATION: ("",), LEARNING: (BEFORE, AFTER)}.get(run.loop, ())
    return [
        stage
        for stage in stages
        if run.tags.get(f"model_digest_{stage}" if stage else "model_digest") == digest
    ]


def _opponent(
    version: RegisteredVersion, champion: RegisteredVersion | None, runs: Sequence[RunRecord]
) -> Opponent:
    if champion is not None:
        return Opponent(role="champion", name=champion.name, digest=champion.digest)
    maker = next((run for run in runs if run.run_id == version.run_id), None)
    tags = maker.tags if maker else {}
    return Opponent(
        role="start",
        name=tags.get("model_before", ""),
        digest=tags.get("model_digest_before", ""),
    )


def _not_evaluated(name: str, found: Evidence) -> str:
    elsewhere = f" (only on {', '.join(sorted(found.splits))})" if found.splits else ""
    return (
        f"{name} has no evaluation on the {HOLDOUT} split{elsewhere}; "
        f"threeloops eval --model {name} --split {HOLDOUT} makes one"
    )


def _trained_on(
    store: Store, version: RegisteredVersion, own: Evidence, runs: Sequence[RunRecord]
) -> list[str]:
    """Why the holdout is none for this version, where it was trained on some of it."""
    held = {p for side in own.measured for p in side.problems["prompt"].to_pylist()}
    reasons = []
    for run in made_by(version.digest, runs):
        try:
            shared = trained_prompts(store, run) & held
        except InputError as error:
            reasons.append(f"what run {run.name} was trained on cannot be read: {error}")
            continue
        if shared:
            reasons.append(f"run {run.name} was trained on {len(shared)} of the holdout's problems")
    return reasons


def _weight(pair: Pair) -> tuple[bool, int, int, int, int]:
    other, own = pair
    strict = f"{FINAL_INT_1.id}:{FINAL_INT_1.spec_digest}"
    return (
        own.instrument.scorer == strict,
        own.problems.num_rows,
        min(own.samples, other.samples),
        own.run.started_ms,
        other.run.started_ms,
    )
