"""Completions that were made before: found in a run, in a table, or imported from JSONL."""

from __future__ import annotations

import contextlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from artifacts.datasets.files import AS_NAMED
from artifacts.datasets.problems import Datasets
from artifacts.datasets.rows import jsonl_objects
from artifacts.store.instrument import EXTERNAL
from artifacts.store.parquet_size import check_decoded_size
from artifacts.store.tables import Store, provenance_of, read_parquet
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import History
from schemas.completions import COMPLETIONS
from schemas.config import Columns
from schemas.errors import InputError
from schemas.files import is_file, source_of
from schemas.finish_reasons import FINISH_REASONS, STOP
from schemas.identity import file_digest
from schemas.references import TableRef

# the names under which a run keeps completions, the one to replay first
RUN_TABLES = ("completions", "completions_after")


def check_source(history: History, source: str) -> None:
    """InputError when `--completions` names neither a file nor a run; nothing is read."""
    if source_of(source) == "run":
        history.find(source)
    elif not is_file(Path(source)):
        raise InputError("no such file", f"--completions {source}")


def answered_split(
    datasets: Datasets, dataset: str, path: Path, columns: Columns = AS_NAMED
) -> str:
    """The split of a dataset that a JSONL file of completions answers: that of its first row.

    Raises InputError where the file has no row, or its first one answers no problem of the dataset.
    """
    for number, row in jsonl_objects(path):
        where = f"{path}, row {number}"
        identity = _identity(row, where)
        if (split := datasets.split_of(dataset, identity, columns)) is not None:
            return split
        raise InputError(
            f"id {identity!r} is not in the dataset {dataset}",
            where,
            "give the --dataset that was answered",
        )
    raise InputError("has no rows", str(path), "give at least one completion")


def stored_completions(
    archive: Archive, source: str, problems: TableRef | None = None
) -> tuple[TableRef, TableRef]:
    """The problems and completions behind `--completions`: a run, one of our tables, or a JSONL.

    A JSONL file needs `problems`; a run or a table of ours brings its own. Raises InputError when
    there is no such thing or the two do not belong together.
    """
    path, kind = Path(source), source_of(source)
    if kind == "jsonl":
        if problems is None:
            raise InputError("needs a dataset", source, "add --dataset FILE")
        return problems, import_jsonl(path, archive.store, problems)
    if kind == "parquet":
        return _of_table(path, archive.store)
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

    return (
        store.lookup("problems", provenance.parents["problems"]),
        store.lookup("completions", file_digest(path)),
    )


def first_problems(
    store: Store, problems: TableRef, completions: TableRef, limit: int
) -> tuple[TableRef, TableRef]:
    """The same two tables cut to the first `limit` problems, with their provenance kept."""
    table = store.read(problems)
    if limit >= table.num_rows:
        return problems, completions
    kept = table.slice(0, limit)
    stored = store.read(completions)
    mask = pc.is_in(stored["problem_id"], kept["problem_id"].combine_chunks())
    provenance = provenance_of(stored)
    small = store.write(
        "problems",
        kept,
        producer="limit",
        parents={"problems": problems.digest},
        config=provenance_of(table).config,
    )
    return small, store.write(
        "completions",
        stored.filter(mask),
        producer="limit",
        parents={"problems": small.digest, "completions": completions.digest},
        config=provenance.config,
    )


def import_jsonl(path: Path, store: Store, problems: TableRef) -> TableRef:
    """Bring a JSONL file of completions into the store, next to the problems they answer.

    Lines are `{"id", "completion"}` or `{"id", "samples": [text or {"completion", …}]}`; an
    object may add `finish_reason` ("stop" when absent). Every problem needs the same number of
    completions, and every id must be known.
    """
    if not is_file(path):
        raise InputError("no such file", f"--completions {path}")
    known = store.read(problems)["problem_id"].to_pylist()
    answers: dict[str, list[tuple[str, str]]] = {}
    for number, row in jsonl_objects(path):
        where = f"{path}, row {number}"
        identity = _identity(row, where)
        if identity in answers:
            raise InputError(
                f"id {identity!r} appears twice", where, 'put its answers in one "samples" list'
            )
        answers[identity] = list(_samples(row, where))
    if not answers:
        raise InputError("has no rows", str(path), "give at least one completion")
    _refuse_mismatch(known, answers, str(path))
    rows = [
        (identity, index, text, finish)
        for identity in known
        for index, (text, finish) in enumerate(answers[identity])
    ]
    ids, indexes, texts, finishes = zip(*rows, strict=True)
    empty = {
        name: pa.nulls(len(rows), column.type)
        for name, column in COMPLETIONS.columns.items()
        if column.nullable
    }
    table = pa.table(
        {
            "problem_id": pa.array(ids, pa.string()),
            "sample_index": pa.array(indexes, pa.int32()),
            "text": pa.array(texts, pa.string()),
            "finish_reason": pa.array(finishes, pa.string()),
            **empty,
        }
    )
    return store.write(
        "completions",
        table,
        producer="import",
        parents={"problems": problems.digest},
        config={"template": EXTERNAL, "sampling": EXTERNAL, "policy": EXTERNAL},
    )


def _identity(row: dict[str, Any], where: str) -> str:
    if row.get("id") is None:
        raise InputError("id is missing", where)
    identity = str(row["id"])
    try:
        identity.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError("id holds half of a surrogate pair", where) from None
    return identity


def _samples(row: dict[str, Any], where: str) -> Iterator[tuple[str, str]]:
    if ("completion" in row) == ("samples" in row):
        raise InputError('needs either "completion" or "samples"', where)
    samples = row.get("samples", [row])
    if not isinstance(samples, list) or not samples:
        raise InputError("samples is not a list with at least one answer", where)
    for sample in samples:
        value = sample if isinstance(sample, dict) else {"completion": sample}
        text, finish = value.get("completion"), value.get("finish_reason", STOP)
        if type(text) is not str:
            raise InputError(f"completion is {text!r}, not text", where, "put it in quotes")
        if finish not in FINISH_REASONS:
            raise InputError(
                f"finish_reason is {finish!r}", where, f"write {' or '.join(FINISH_REASONS)}"
            )
        # Arrow holds UTF-8 alone: half a surrogate pair is kept as its escape, and is no answer
        yield text.encode("utf-8", "backslashreplace").decode("utf-8"), finish


def _refuse_mismatch(known: list[str], answers: dict[str, list[Any]], where: str) -> None:
    names = set(known)
    unknown = [identity for identity in answers if identity not in names]
    if unknown:
        raise InputError(
            f"{len(unknown)} of {len(answers)} ids are not in this split of the dataset "
            f"(first: {unknown[0]!r})",
            where,
            "give the --dataset and the --split that were answered; a file answers one split",
        )
    missing = [identity for identity in known if identity not in answers]
    if missing:
        raise InputError(
            f"{len(missing)} of {len(known)} problems have no completion (first: {missing[0]!r})",
            where,
            "answer every problem, or give a dataset of those that were answered",
        )
    counts = Counter(len(samples) for samples in answers.values())
    if len(counts) > 1:
        shown = ", ".join(f"{size} for {times} problems" for size, times in sorted(counts.items()))
        raise InputError(
            f"problems have different numbers of completions ({shown})", where, "give all the same"
        )
