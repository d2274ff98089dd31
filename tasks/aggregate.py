"""Task aggregate: a scores table becomes rates with intervals and counts of what went wrong.

It estimates nothing itself; `scorers` does.
"""

from __future__ import annotations

from artifacts.store.instrument import instrument_of
from artifacts.store.tables import Store, provenance_of
from schemas.references import PolicyRef, TableRef
from schemas.measurements import Measurement
from scorers.statistics.summary import summarize
from tasks.runtime.pipeline_task import pipeline_task


@pipeline_task("aggregate", "aggregate {scores.rows} scores")
def aggregate(
    problems: TableRef, completions: TableRef, scores: TableRef, policy: PolicyRef | None = None
) -> Measurement:
    """Summarise the scores and name the instrument that they were taken with."""
    store = Store()
    questions, verdicts = store.read(problems), store.read(scores)
    judged = provenance_of(verdicts)["config"]
    return Measurement(
        policy=policy,
        problems=problems,
        completions=completions,
        scores=scores,
        instrument=instrument_of(
            questions, store.read(completions), f"{judged['scorer']}:{judged['spec']}"
        ),
        summary=summarize(questions, verdicts),
    )
