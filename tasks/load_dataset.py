"""Task load-dataset: a dataset's split becomes a problems table."""

from __future__ import annotations

from artifacts.datasets.files import AS_NAMED
from artifacts.store.instrument import SOURCE
from schemas.config import Columns
from schemas.references import TableRef
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.runtime import process_runtime


@pipeline_task("load-dataset", "load {dataset} {split}")
def load_dataset(
    dataset: str, split: str, limit: int | None = None, columns: Columns = AS_NAMED
) -> TableRef:
    """Read the first `limit` problems of a split and keep them; InputError names a bad row.

    `columns` say where a file has what a problem needs. Where problems are from, beyond what they
    say, stays with the table, and goes into the instrument from there.
    """
    runtime = process_runtime()
    problems = runtime.datasets.load(dataset, split, limit, columns)
    source = runtime.datasets.source(dataset)
    made_with = {SOURCE: source} if source else None
    return runtime.store.write("problems", problems, producer="load-dataset", config=made_with)
