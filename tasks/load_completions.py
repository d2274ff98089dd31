"""Task load-completions: answers that were made before, with the problems that they answer.

No model is loaded and nothing is generated.
"""

from __future__ import annotations

from artifacts.runs.replay import first_problems, stored_completions
from artifacts.store.tables import Store
from schemas.references import TableRef
from tasks.runtime.pipeline_task import pipeline_task


@pipeline_task("load-completions", "load completions of {source}")
def load_completions(
    source: str, problems: TableRef | None, limit: int | None
) -> tuple[TableRef, TableRef]:
    """The problems and completions behind a run id, a table or a JSONL file, the first `limit`."""
    store = Store()
    found = stored_completions(source, store, problems)
    return first_problems(store, *found, limit) if limit else found
