"""The evidence on a policy: every evaluation of it, each completion once, and how often one looked.

If somebody could choose the evaluation that decides, they could evaluate again until one is lucky.
So nobody chooses: all evaluations with the same instrument are pooled, and every run that adds to
them counts as a look.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from artifacts.runs.measured import StoredMeasurement, read_measurement
from artifacts.store.tables import Store, provenance_of
from artifacts.tracking.history import RunRecord
from schemas.errors import InputError
from schemas.instrument import Instrument
from schemas.loops import AFTER, BEFORE, EVALUATION, LEARNING

HOLDOUT = "holdout"


@dataclass
class Evidence:
    """The evaluations of one policy, and why some cannot be used.

    `measured` are on the holdout, `splits` those that others are on, `damaged` the reasons why a
    run's tables cannot be trusted.
    """

    measured: list[StoredMeasurement] = field(default_factory=list)
    splits: set[str] = field(default_factory=set)
    damaged: list[str] = field(default_factory=list)


def evaluations(store: Store, digest: str, runs: Sequence[RunRecord]) -> Evidence:
    """Every evaluation of the policy with this digest: loop A, or before and after learning.

    A selection run is none, and neither is a replay, which measures no policy.
    """
    found = Evidence()
    for run, stage in _measured_stages(digest, runs):
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


def pooled(measured: Iterable[StoredMeasurement]) -> dict[Instrument, StoredMeasurement]:
    """All evaluations of one policy with the same instrument as one, by instrument.

    Completions count once: a stored result that was run again adds nothing, and of several
    evaluations with one seed, whose samples may be the same, the one with most samples counts, the
    oldest of equal ones.
    """
    by_instrument: dict[Instrument, dict[str, StoredMeasurement]] = {}
    oldest_first = sorted(measured, key=lambda one: one.run.started_ms)
    for one in oldest_first:
        seeds = by_instrument.setdefault(one.instrument, {})
        seed = provenance_of(one.completions).config.get("seed", one.digests["completions"])
        known = seeds.get(str(seed))
        if known is None or known.samples < one.samples:
            seeds[str(seed)] = one
    return {
        instrument: _joined(list(seeds.values())) for instrument, seeds in by_instrument.items()
    }


def looks(
    runs: Sequence[RunRecord], candidates: Iterable[str], opponent: str, since_ms: int
) -> int:
    """How often one could have compared a candidate with the opponent so far, 1 or more.

    `candidates` and `opponent` are digests of policies. Each run since then that added completions
    of a candidate is a look, whether or not the gate was asked, because anyone can read the rates.
    So is a later run that added to what was known of the opponent. Completions that were known
    already add nothing.
    """
    candidates = set(candidates) - {opponent}
    known: set[str] = set()
    of_opponent, count = False, 0
    for run in sorted(runs, key=lambda one: one.started_ms):
        recent = run.started_ms >= since_ms
        ours = {c for digest in candidates for c in _completions(run, digest)} - known
        theirs = set(_completions(run, opponent)) - known
        count += recent and bool(ours or (theirs and of_opponent and count))
        of_opponent = of_opponent or bool(theirs)
        known |= ours | theirs
    return max(1, count)


def seeds_used(measured: Iterable[StoredMeasurement]) -> set[int]:
    """The seeds that completions were sampled with, as far as their tables say."""
    seeds = (provenance_of(one.completions).config.get("seed") for one in measured)
    return {seed for seed in seeds if isinstance(seed, int)}


def first_evaluated_ms(runs: Sequence[RunRecord], digest: str) -> int | None:
    """When a policy was first evaluated, in milliseconds since 1970; None where it never was."""
    return min((run.started_ms for run, _ in _measured_stages(digest, runs)), default=None)


def _measured_stages(digest: str, runs: Sequence[RunRecord]) -> Iterator[tuple[RunRecord, str]]:
    return ((run, stage) for run in runs for stage in _stages(run, digest))


def _stages(run: RunRecord, digest: str) -> list[str]:
    if run.status != "FINISHED" or not digest:
        return []
    stages = {EVALUATION: ("",), LEARNING: (BEFORE, AFTER)}.get(run.loop, ())
    return [
        stage
        for stage in stages
        if run.tags.get(f"model_digest_{stage}" if stage else "model_digest") == digest
    ]


def _completions(run: RunRecord, digest: str) -> list[str]:
    """The digests of the completions of a policy that a run keeps."""
    tables = run.table_refs()
    names = [f"completions_{s}" if s else "completions" for s in _stages(run, digest)]
    return [tables[name][1] for name in names if name in tables]


def _joined(parts: list[StoredMeasurement]) -> StoredMeasurement:
    """Evaluations of the same problems by the same policy, as one with all their samples."""
    newest, *older = sorted(parts, key=lambda one: one.run.started_ms, reverse=True)
    digests = dict(newest.digests)
    for one in older:
        digests |= {f"{role} of {one.name}": digest for role, digest in one.digests.items()}
    return replace(
        newest,
        samples=sum(one.samples for one in parts),
        completions=pa.concat_tables(_rows(one.completions) for one in parts),
        scores=pa.concat_tables(_rows(one.scores) for one in parts),
        digests=digests,
        pooled_with=tuple(one.name for one in older),
    )


def _rows(table: pa.Table) -> pa.Table:
    return table.replace_schema_metadata(None)
