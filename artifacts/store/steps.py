"""The steps of a learning run: each table names the one before it, so the newest leads to all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pyarrow as pa

from artifacts.store.parquet_table import provenance_of
from artifacts.store.tables import Store
from schemas.completions import COMPLETIONS
from schemas.errors import StoreError
from schemas.provenance import Provenance, Settings
from schemas.references import TableKind, TableRef
from schemas.steps import STEP_ROW, step_row_in
from schemas.training import TRAINING, TrainingRow, training_rows

BEFORE: tuple[TableKind, ...] = ("step", "training")  # what a step may follow


class Steps:
    """The rows of steps by the newest step's table; those read last are remembered.

    A run that an earlier version began has a training table in place of the tables of its first
    steps, and the way back ends there.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._newest = ""
        self._rows: tuple[TrainingRow, ...] = ()

    def write(
        self,
        rows: pa.Table,
        row: TrainingRow,
        *,
        before: TableRef | None,
        parents: Mapping[str, str],
        config: Settings,
    ) -> TableRef:
        """Keep the table of the step that followed `before`, with its own row beside its rows."""
        return self._store.write(
            "step",
            rows,
            producer="train-step",
            parents={**parents, **({before.kind: before.digest} if before else {})},
            config=config,
            notes={STEP_ROW: row.model_dump_json(exclude={"step_digest"})},
        )

    def rows(self, newest: TableRef | None) -> tuple[TrainingRow, ...]:
        """The row of every step up to the newest, the first one first.

        `newest` is a step table, or a training table of an earlier version. Raises StoreError where
        a table on the way is missing or was changed.
        """
        if newest is None:
            return ()
        later: list[TrainingRow] = []
        at: TableRef | None = newest
        while at is not None and at.digest != self._newest:
            if at.kind == "training":
                later += reversed(training_rows(self._store.read(at)))
                break
            row, at = _read(self._store, at)
            later.append(row)
        known = self._rows if at is not None and at.digest == self._newest else ()
        self._rows = (*known, *reversed(later))
        self._newest = newest.digest
        return self._rows

    def tables(self, newest: TableRef) -> dict[int, TableRef]:
        """The tables of the steps up to the newest, by step, as far back as they are whole."""
        found: dict[int, TableRef] = {}
        at: TableRef | None = newest
        while at is not None and at.kind == "step":
            try:
                row, before = _read(self._store, at)
            except StoreError:
                break
            found[row.step] = at
            at = before
        return found


def training_table(rows: tuple[TrainingRow, ...]) -> pa.Table:
    """The rows of a training table of these steps."""
    return pa.Table.from_pylist([row.model_dump() for row in rows], schema=TRAINING.arrow)


def step_before(store: Store, at: TableRef) -> tuple[int, TableRef | None, Provenance]:
    """The step of a step table or a training table, the table before it, and what made it."""
    table = store.columns(at.kind, at.digest, ["sample_index" if at.kind == "step" else "step"])
    made = provenance_of(table)
    step = step_row_in(table).step if at.kind == "step" else table.num_rows
    return step, _before(made), made


def tables_of(row: TrainingRow) -> tuple[tuple[TableKind, str], ...]:
    """Kind and digest of each table that a step left; an earlier version left two."""
    if row.step_digest is not None:
        return (("step", row.step_digest),)
    return (("completions", row.completions_digest), ("scores", row.scores_digest))


def learned_from(store: Store, row: TrainingRow, columns: Sequence[str]) -> tuple[str, pa.Table]:
    """Some columns of the completions and scores of a step, row by row, and their problems' digest.

    An earlier version kept both in tables of their own, which name a table of that step's problems.
    """
    if row.step_digest is not None:
        table = store.columns("step", row.step_digest, columns)
        return provenance_of(table).parent("problems"), table
    sampled = [name for name in columns if name in COMPLETIONS.columns]
    judged = [name for name in columns if name not in COMPLETIONS.columns]
    table = store.columns("completions", row.completions_digest, sampled)
    asked = provenance_of(table).parent("problems")
    if judged:
        scores = store.columns("scores", row.scores_digest, judged)
        for name in judged:
            table = table.append_column(scores.field(name), scores[name])
    return asked, table


def _read(store: Store, step: TableRef) -> tuple[TrainingRow, TableRef | None]:
    """A step's row, and the table before it."""
    table = store.columns("step", step.digest, ["sample_index"])
    row = step_row_in(table).model_copy(update={"step_digest": step.digest})
    return row, _before(provenance_of(table))


def _before(made: Provenance) -> TableRef | None:
    for kind in BEFORE:
        if kind in made.parents:
            return TableRef(kind=kind, digest=made.parents[kind], rows=0)
    return None
