"""Task drop-sampled: what a step sampled and scored is in its table, and need not lie beside it."""

from __future__ import annotations

from schemas.references import TableRef
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.runtime import process_runtime


@pipeline_task("drop-sampled", "drop {completions.rows} completions that a step table holds")
def drop_sampled(completions: TableRef, scores: TableRef) -> None:
    """Delete the tables that a step was made of, with their keys.

    The scores go first: they can be made again from the completions, and not the other way round.
    """
    store = process_runtime().store
    for table in (scores, completions):
        store.discard(table)
