"""Which program wrote a file of answers, and what it says: the one door to all readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from artifacts.datasets.rows import jsonl_objects
from artifacts.foreign import (
    inspect_log,
    lm_eval_samples,
    openai_batch,
    trl_completions,
    verifiers_results,
)
from artifacts.foreign.answers import ForeignLog, refuse_mixed_models
from schemas.errors import InputError
from schemas.files import ending, is_file

Reader = Callable[[Path], ForeignLog]
OF_LINES = (lm_eval_samples, openai_batch, verifiers_results)
FORMATS = ("inspect", "lm-eval", "trl", "openai-batch", "verifiers")


def reader_of(path: Path) -> Reader | None:
    """How a file of another program is read; None for answers as JSON lines in our own form.

    Raises InputError where the file cannot be read, or its first row is no JSON object.
    """
    if not is_file(path):
        raise InputError("no such file", f"--completions {path}")
    if ending(path) == ".parquet":
        return trl_completions.read
    try:
        with path.open("rb") as file:
            start = file.read(4)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", str(path)) from None
    if inspect_log.recognise(path, start):
        return inspect_log.read
    for _, row in jsonl_objects(path):
        return next((module.read for module in OF_LINES if module.recognise(row)), None)
    return None


def read_log(path: Path, read: Reader) -> ForeignLog:
    """The log of another program; InputError also where it is empty or of more than one model."""
    log = read(path)
    if not log.answers:
        raise InputError("has no answers", str(path), "give at least one")
    refuse_mixed_models(log, str(path))
    return log
