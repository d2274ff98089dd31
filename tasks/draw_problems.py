"""Task draw-problems: the problems that one step of learning samples completions of."""

from __future__ import annotations

from artifacts.store.keys import task_key
from policy.learning.batches import batch_rows
from schemas.references import DrawnRows, TableRef
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.runtime import process_runtime


@pipeline_task("draw-problems", "draw {count} problems for step {step}")
def draw_problems(problems: TableRef, *, step: int, count: int, seed: int) -> DrawnRows:
    """Take `count` different problems; each comes once before any comes again.

    The draw depends on the seed and the step alone, so a resumed run draws the same ones. They are
    not stored: which rows they are says where they are, and a step leaves no file for them.
    """
    store = process_runtime().store
    key = task_key(
        "problems",
        "draw-problems",
        parents={"problems": problems.digest},
        config={"step": step, "count": count, "seed": seed},
    )
    places = batch_rows(problems.rows, count=count, step=step, seed=seed)
    would_be = store.would_be(key, store.read(problems).take(places))
    return DrawnRows(
        kind=would_be.kind,
        digest=would_be.digest,
        rows=would_be.rows,
        drawn_from=problems,
        places=tuple(places),
    )
