"""Task score: one scorer scores every stored completion; the scores become a table."""

from __future__ import annotations

import pyarrow as pa

from artifacts.store.keys import task_key
from schemas.problems import expected_answers
from schemas.references import TableRef
from scorers.registry import BUILT_IN, get_scorer
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.runtime import process_runtime


@pipeline_task("score", "score {completions.rows} completions with {scorer}")
def score(problems: TableRef, completions: TableRef, scorer: str) -> TableRef:
    """Score every completion against its problem's expected answer, in one pass over columns.

    Scores of a built-in scorer are found again in the store. Another scorer runs each time: its
    digest cannot know of every file that it reads.
    """
    store = process_runtime().store
    chosen = get_scorer(scorer)
    parents = {"problems": problems.digest, "completions": completions.digest}
    config = {"scorer": chosen.id, "spec": chosen.spec_digest}
    key = task_key("scores", "score", parents=parents, config=config)
    if chosen in BUILT_IN and (found := store.find(key)):
        return found
    rows = store.read(completions)
    expected = expected_answers(store.read(problems), rows["problem_id"])
    verdicts = chosen.score(rows["text"], rows["finish_reason"], expected)
    table = pa.table(
        {name: rows[name] for name in ("problem_id", "sample_index")}
        | {name: verdicts[name] for name in verdicts.column_names}
    )
    if chosen in BUILT_IN:
        return store.keep(key, table)
    return store.write("scores", table, producer="score", parents=parents, config=config)
