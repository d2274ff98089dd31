"""Task score: one scorer judges every stored completion; the verdicts become a scores table.

It never sees a model: scoring stored answers again is the same call.
"""

from __future__ import annotations

import pyarrow as pa
import pyarrow.compute as pc

from artifacts.store.tables import Store, task_key
from schemas.references import TableRef
from scorers.registry import BUILT_IN, get_scorer
from tasks.runtime.pipeline_task import pipeline_task


@pipeline_task("score", "score {completions.rows} completions with {scorer}")
def score(problems: TableRef, completions: TableRef, scorer: str) -> TableRef:
    """Judge every completion against its problem's expected answer, in one pass over columns.

    What one of our scorers said before is found again. Another's is asked each time: its digest
    cannot know of every file that it reads.
    """
    store = Store()
    judge = get_scorer(scorer)
    settings = {"scorer": judge.id, "spec": judge.spec_digest}
    key = task_key("score", problems=problems.digest, completions=completions.digest, **settings)
    if judge in BUILT_IN and (found := store.find(key)):
        return found
    answers, questions = store.read(completions), store.read(problems)
    row = pc.index_in(answers["problem_id"], questions["problem_id"].combine_chunks())
    expected = questions["expected_answer"].take(row)
    verdicts = judge.score(answers["text"], answers["finish_reason"], expected)
    table = pa.table(
        {name: answers[name] for name in ("problem_id", "sample_index")}
        | {name: verdicts[name] for name in verdicts.column_names}
    )
    return store.write(
        "scores",
        table,
        producer="score",
        parents={"problems": problems.digest, "completions": completions.digest},
        config=settings,
        key=key,
    )
