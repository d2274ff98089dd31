"""Task collect-training: the rows of all steps become the run's training table."""

from __future__ import annotations

from artifacts.store.steps import training_table
from schemas.references import TableRef
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.runtime import process_runtime


@pipeline_task("collect-training", "collect the training table")
def collect_training(newest: TableRef) -> TableRef:
    """The training table up to the newest step; where that is one already, it is returned."""
    archive = process_runtime().archive
    if newest.kind == "training":
        return newest
    return archive.store.write(
        "training",
        training_table(archive.steps.rows(newest)),
        producer="collect-training",
        parents={"step": newest.digest},
    )
