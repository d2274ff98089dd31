"""Task load-dataset: a dataset's split becomes a problems table.

It does not render prompts; the prompt template does, when completions are generated.
"""

from __future__ import annotations

from artifacts.datasets.problems import load_problems
from artifacts.store.tables import Store
from schemas.references import TableRef
from tasks.runtime.pipeline_task import pipeline_task


@pipeline_task("load-dataset", "load {dataset} {split}")
def load_dataset(dataset: str, split: str, limit: int | None = None) -> TableRef:
    """Read the first `limit` problems of a split and keep them; InputError names a bad row."""
    problems = load_problems(dataset, split, limit)
    return Store().write("problems", problems, producer="load-dataset")
