"""The evidence on a policy: every measurement of it on the holdout, each seed once.

If somebody could choose the measurement that decides, they could measure again until one is lucky.
So nobody chooses: all measurements with the same instrument are pooled, and every run that adds to
them counts as a look (`artifacts.promotion.looks`).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import pyarrow as pa

from artifacts.runs.measured import StoredMeasurement, read_measurement
from artifacts.store.parquet_table import provenance_of
from artifacts.store.tables import Store
from artifacts.tracking.history import RunRecord
from schemas.errors import InputError
from schemas.instrument import Instrument
from schemas.loops import AFTER, BEFORE, EVALUATION, LEARNING, SELECTION

HOLDOUT = "holdout"


@dataclass
class Evidence:
    """The measurements of one policy, and why some cannot be used.

    `measured` are on the holdout, oldest first; of several with one instrument and one seed, only
    the first is there, and `repeated` has a line for each other. `splits` are those that others
    are on, `damaged` the reasons why a run's tables cannot be trusted.
    """

    measured: list[StoredMeasurement] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)
    splits: set[str] = field(default_factory=set)
    damaged: list[str] = field(default_factory=list)


def evidence_on(store: Store, digest: str, runs: Sequence[RunRecord]) -> Evidence:
    """Every measurement of the policy with this digest, by whatever loop.

    Loop A's, loop B's with all its samples, before and after learning; a replay measures no policy.
    Completions that were sampled with the same seed can be the same ones, and who sees a rate
    could ask for more of its seed or fewer; so the oldest measurement of a seed counts alone.
    """
    found = Evidence()
    by_seed: dict[tuple[Instrument, str], StoredMeasurement] = {}
    for run, stage in sorted(_measured_stages(digest, runs), key=lambda one: one[0].started_ms):
        try:
            measured = read_measurement(store, run, stage)
        except InputError as error:
            found.damaged.append(f"run {run.name}: {error}")
            continue
        if measured.policy != digest:
            found.damaged.append(f"run {run.name}: another model made its completions")
        elif measured.instrument.split != HOLDOUT:
            found.splits.add(measured.instrument.split)
        else:
            made = provenance_of(measured.completions)
            seed = str(made.config.get("seed", measured.digests["completions"]))
            first = by_seed.setdefault((measured.instrument, seed), measured)
            if first is measured:
                found.measured.append(measured)
            elif first.digests["completions"] != measured.digests["completions"]:
                found.repeated.append(
                    f"{measured.name} adds nothing: {first.name} has its seed, {seed}, already; "
                    "another --seed adds samples"
                )
    return found


def pooled(measured: Iterable[StoredMeasurement]) -> dict[Instrument, StoredMeasurement]:
    """All measurements of one policy with the same instrument as one, by instrument."""
    by_instrument: dict[Instrument, list[StoredMeasurement]] = {}
    for one in measured:
        by_instrument.setdefault(one.instrument, []).append(one)
    return {instrument: _joined(parts) for instrument, parts in by_instrument.items()}


def _measured_stages(digest: str, runs: Sequence[RunRecord]) -> Iterator[tuple[RunRecord, str]]:
    return ((run, stage) for run in runs for stage in _stages(run, digest))


def _stages(run: RunRecord, digest: str) -> list[str]:
    if not digest:
        return []
    stages = {EVALUATION: ("",), SELECTION: ("",), LEARNING: (BEFORE, AFTER)}.get(run.loop, ())
    return [
        stage
        for stage in stages
        if run.measured(stage)
        and run.tags.get(f"model_digest_{stage}" if stage else "model_digest") == digest
    ]


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
