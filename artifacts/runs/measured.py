"""A measurement that a run has kept: its tables read again, its instrument rebuilt from them.

No tag is trusted for what was measured.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from artifacts.store.engine import engine_of
from artifacts.store.instrument import EXTERNAL, instrument_of
from artifacts.store.origin import told_of
from artifacts.store.parquet_table import provenance_of
from artifacts.store.tables import Store
from artifacts.tracking.archive import Archive
from artifacts.tracking.files import LocalFiles
from artifacts.tracking.history import RunRecord
from schemas.config import SELECTION_RULES
from schemas.engine import EngineRecord
from schemas.errors import InputError, StoreError
from schemas.identity import file_digest
from schemas.imported import ImportedFrom, PartialAnswers
from schemas.instrument import Instrument
from schemas.loops import AFTER, BEFORE, DEMO, LEARNING
from schemas.references import TableRef


@dataclass(frozen=True)
class StoredMeasurement:
    """One measurement of one run.

    - `stage`: `before` or `after` of a learning run, else empty.
    - `rule`: the selection rule whose picks these are, or None for all samples.
    - `policy`: the digest of the policy that made the completions, or `external`.
    - `samples`: completions drawn a problem; with a rule, one of them is in the tables.
    - `digests`: of the stored tables that everything here was read from.
    - `imported`, `partial`: which program made the completions, and what of them was missing.
    - `pooled_with`: names of further measurements of the same kind whose rows are here too.
    - `engine`: what made the completions; None for those from outside.
    """

    run: RunRecord
    stage: str
    rule: str | None
    instrument: Instrument
    policy: str
    samples: int
    problems: pa.Table
    completions: pa.Table
    scores: pa.Table
    digests: Mapping[str, str]
    imported: ImportedFrom | None = None
    partial: PartialAnswers | None = None
    pooled_with: tuple[str, ...] = ()
    engine: EngineRecord | None = None

    @property
    def name(self) -> str:
        """The run's name, with what of it was measured: `learn-1a2b3c:after`."""
        part = self.rule or self.stage
        own = f"{self.run.name}:{part}" if part else self.run.name
        return " + ".join((own, *self.pooled_with))

    @property
    def model(self) -> str:
        """What the run called the policy; empty for a replay, which does not know its name."""
        suffix = f"_{self.stage}" if self.stage else ""
        if self.stage == AFTER and "registered" in self.run.tags:
            return self.run.tags["registered"]
        elsewhere = "completions made elsewhere" if self.policy == EXTERNAL else ""
        if self.imported and self.imported.model:
            elsewhere = self.imported.model
        if self.engine and self.engine.answers_as:
            elsewhere = self.engine.answers_as
        return self.run.tags.get(f"model{suffix}", elsewhere)


def find_measurement(archive: Archive, name: str) -> StoredMeasurement:
    """The measurement called RUN, RUN:before, RUN:after, or RUN:RULE for a rule's picks.

    A learning run alone means what it measured after. Raises InputError where there is none, and
    StoreError where a table is not what its digest says.
    """
    known = (BEFORE, AFTER, *SELECTION_RULES)
    head, colon, part = name.rpartition(":")
    if not colon:
        head, part = name, ""
    elif part not in known:
        raise InputError(f"there is no part {part!r}", f"run {name}", f"use {', '.join(known)}")
    run = archive.history.find(head)
    if run.loop is DEMO:
        raise InputError(
            "a demo measured nothing itself", f"run {name}", "name one of the three runs below it"
        )
    if part in SELECTION_RULES:
        return read_measurement(archive.store, run, rule=part)
    return read_measurement(archive.store, run, part or (AFTER if run.loop is LEARNING else ""))


def read_measurement(
    store: Store, run: RunRecord, stage: str = "", rule: str | None = None
) -> StoredMeasurement:
    """Read the tables of one stage of a run, or of what a rule picked in it.

    Raises InputError where the run has no such tables, and StoreError, naming the table, where
    one is missing, its bytes have another digest, or it was made from other tables than the run's.
    """
    suffix = f"_{stage}" if stage else ""
    wanted = {"problems": "problems", "completions": f"completions{suffix}"}
    wanted |= {"scores": f"scores{suffix}"}
    if rule:
        wanted |= {"selections": "selections"}
    kept = run.table_refs()
    if missing := [name for name in wanted.values() if name not in kept]:
        raise InputError(
            f"it has no {' and no '.join(missing)}",
            f"run {run.name}" + (f":{rule or stage}" if rule or stage else ""),
            "name a run that finished, and a part that it has",
        )
    digests = {role: kept[name][1] for role, name in wanted.items()}
    tables = {role: _intact(store, run, name, stage) for role, name in wanted.items()}
    for role, table in tables.items():
        for parent, digest in provenance_of(table).parents.items():
            # a table cut by --limit has a longer one of its own kind as a parent
            if parent != role and digests.get(parent, digest) != digest:
                raise StoreError(
                    f"it was made from other {parent} than the run's", f"{role} of run {run.name}"
                )
    problems, completions, scores = (tables[role] for role in ("problems", "completions", "scores"))
    made = provenance_of(completions)
    samples = completions.num_rows // problems.num_rows
    instrument = instrument_of(problems, completions, provenance_of(tables["scores"]).scorer)
    if rule:
        picks = _picks(tables["selections"], rule, run)
        completions, scores = (_only(table, picks) for table in (completions, scores))
    return StoredMeasurement(
        run=run,
        stage=stage,
        rule=rule,
        instrument=instrument,
        policy=made.setting("policy"),
        samples=samples,
        problems=problems,
        completions=completions,
        scores=scores,
        digests=digests,
        engine=engine_of(made),
        **told_of(made),
    )


def stored_table(store: Store, run: RunRecord, name: str) -> TableRef:
    """The reference of the table that a run keeps under this name; InputError without one."""
    kept = run.table_refs()
    if name not in kept:
        raise InputError(f"it has no {name} table", f"run {run.name}")
    kind, digest = kept[name]
    return store.lookup(kind, digest)


def _intact(store: Store, run: RunRecord, name: str, stage: str) -> pa.Table:
    """A run's table from the store, after the copies among its files here were checked too."""
    reference = stored_table(store, run, name)
    table = store.read(reference)
    for copy in _copies(run, name, stage):
        if copy.exists() and file_digest(copy) != reference.digest:
            raise StoreError(
                f"its bytes no longer have the digest {reference.digest[:12]}; it was changed "
                "after it was written",
                str(copy),
                f"the table as it was is {store.path(reference)}",
            )
    return table


def _copies(run: RunRecord, name: str, stage: str) -> Iterator[Path]:
    """Where the data folder may have a copy: in the run itself, or in the one of the stage inside.

    What MLflow keeps elsewhere is not fetched: nothing is read from there in place of the store.
    """
    if not isinstance(run.files, LocalFiles):
        return
    yield run.folder / "tables" / f"{name}.parquet"
    if child := run.tags.get(f"measured.{stage}"):
        of_child = run.folder.parents[1] / child / run.folder.name
        yield of_child / "tables" / f"{name.removesuffix(f'_{stage}')}.parquet"


def _picks(selections: pa.Table, rule: str, run: RunRecord) -> set[tuple[str, int]]:
    rows = [row for row in selections.to_pylist() if row["rule"] == rule]
    if not rows:
        used = ", ".join(selections["rule"].unique().to_pylist())
        raise InputError("it did not pick by this rule", f"run {run.name}:{rule}", f"use {used}")
    return {(row["problem_id"], row["sample_index"]) for row in rows}


def _only(table: pa.Table, keys: set[tuple[str, int]]) -> pa.Table:
    columns = (table[name].to_pylist() for name in ("problem_id", "sample_index"))
    return table.filter(pa.array([key in keys for key in zip(*columns, strict=True)]))
