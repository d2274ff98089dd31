"""Completions that were made before: found in a run, in a table, or in a file from elsewhere."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pyarrow as pa

from artifacts.runs.imported import import_answers
from artifacts.runs.parts import WHOLE, first_of
from artifacts.store.parquet_size import check_decoded_size
from artifacts.store.parquet_table import provenance_of, read_parquet
from artifacts.store.tables import Store
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import History
from schemas.completions import COMPLETIONS
from schemas.errors import InputError
from schemas.files import is_file, source_of
from schemas.identity import file_digest
from schemas.imported import Part
from schemas.references import TableRef

# the names under which a run keeps completions, the one to replay first
RUN_TABLES = ("completions", "completions_after")


def check_source(history: History, source: str) -> None:
    """InputError when `--completions` names neither a file nor a run; nothing is read."""
    if source_of(source) == "run":
        history.find(source)
    elif not is_file(Path(source)):
        raise InputError("no such file", f"--completions {source}")


def stored_completions(
    archive: Archive, source: str, problems: TableRef | None = None, part: Part = WHOLE
) -> tuple[TableRef, TableRef]:
    """The problems and completions behind `--completions`: a run, one of our tables, or a file.

    A file of answers needs `problems`; a run or a table of ours brings its own. Raises InputError
    when there is no such thing, the two do not belong together, or `part` wants what is not there.
    """
    path, kind = Path(source), source_of(source)
    if kind == "answers":
        if problems is None:
            raise InputError("needs a dataset", source, "add --dataset FILE")
        return import_answers(path, archive.store, problems, part)
    found = _of_table(path, archive.store) if kind == "table" else _of_run(archive, source)
    return first_of(archive.store, *found, part, source)


def _of_run(archive: Archive, source: str) -> tuple[TableRef, TableRef]:
    run = archive.history.find(source)
    tables = run.table_refs()
    name = next((name for name in RUN_TABLES if name in tables), None)
    if name is None or "problems" not in tables:
        raise InputError("the run has no completions", f"run {source}", "name one that finished")
    return (
        archive.store.lookup("problems", tables["problems"][1]),
        archive.store.lookup("completions", tables[name][1]),
    )


def _of_table(path: Path, store: Store) -> tuple[TableRef, TableRef]:
    if not is_file(path):
        raise InputError("no such file", f"--completions {path}")
    with contextlib.suppress(pa.ArrowException, OSError):  # reading it gives the reason
        check_decoded_size(path, list(COMPLETIONS.columns))
    table = read_parquet(path, COMPLETIONS)
    provenance = provenance_of(table)
    if "problems" not in provenance.parents:
        raise InputError(
            "does not say which problems it answers", str(path), "give the run that made it"
        )
    found = (
        store.lookup("problems", provenance.parents["problems"]),
        store.lookup("completions", file_digest(path)),
    )
    for one in found:  # perhaps no run refers to it any more
        store.hold(one)
    return found
