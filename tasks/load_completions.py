"""Task load-completions: completions that were made before, with the problems that they answer."""

from __future__ import annotations

from artifacts.runs.parts import WHOLE
from artifacts.runs.replay import stored_completions
from schemas.imported import Part
from schemas.references import TableRef
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.runtime import process_runtime


@pipeline_task("load-completions", "load completions of {source}")
def load_completions(
    source: str, problems: TableRef | None, part: Part = WHOLE
) -> tuple[TableRef, TableRef]:
    """The problems and completions behind a run id, a table or a file, or a part of them."""
    return stored_completions(process_runtime().archive, source, problems, part)
