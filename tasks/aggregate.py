"""Task aggregate: a scores table becomes rates with intervals and counts of what went wrong."""

from __future__ import annotations

from artifacts.store.instrument import instrument_of
from artifacts.store.parquet_table import provenance_of
from schemas.measurements import Measurement
from schemas.references import PolicyRef, TableRef
from scorers.statistics.summary import summarize
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.runtime import process_runtime


@pipeline_task("aggregate", "aggregate {scores.rows} scores")
def aggregate(
    problems: TableRef, completions: TableRef, scores: TableRef, policy: PolicyRef | None = None
) -> Measurement:
    """Summarise the scores and name the instrument that they were taken with."""
    store = process_runtime().store
    problem_rows, score_rows = store.read(problems), store.read(scores)
    return Measurement(
        policy=policy,
        problems=problems,
        completions=completions,
        scores=scores,
        instrument=instrument_of(
            problem_rows, store.read(completions), provenance_of(score_rows).scorer
        ),
        summary=summarize(problem_rows, score_rows),
    )
