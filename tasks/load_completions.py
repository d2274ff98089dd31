"""Task load-completions: completions that were made before, with the problems that they answer."""

from __future__ import annotations

from artifacts.runs.replay import first_problems, stored_completions
from schemas.references import TableRef
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.runtime import process_runtime


@pipeline_task("load-completions", "load completions of {source}")
def load_completions(
    source: str, problems: TableRef | None, limit: int | None
) -> tuple[TableRef, TableRef]:
    """The problems and completions behind a run id, a table or a JSONL file, the first `limit`."""
    archive = process_runtime().archive
    found = stored_completions(archive, source, problems)
    return first_problems(archive.store, *found, limit) if limit else found
