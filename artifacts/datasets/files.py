"""Files of rows by their endings: which are known, their rows, and the problems in them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import pyarrow as pa

from artifacts.datasets.checked import checked_problems
from artifacts.datasets.columns import as_problems, refuse_absent
from artifacts.datasets.rows import PACKED, Row, csv_rows, jsonl_objects, parquet_rows
from schemas.config import Columns
from schemas.errors import InputError
from schemas.files import ending, is_file

AS_NAMED = Columns()
READABLE = ".jsonl, .csv, .parquet, or .jsonl and .csv with .gz or .zst behind it"
READERS: Mapping[str, Callable[[Path, Columns], Iterator[tuple[int, Row]]]] = {
    ".jsonl": lambda path, _: jsonl_objects(path),
    ".csv": csv_rows,
    ".parquet": parquet_rows,
}
# on the hub, `.json` is mostly what is called `.jsonl` elsewhere
SAME = {".json": ".jsonl"}


def kind_of(name: str | Path) -> str | None:
    """The ending in `READERS` that a file is read by, None for a file that cannot be read."""
    packed = ending(name) in PACKED
    kind = ending(Path(name).with_suffix("")) if packed else ending(name)
    kind = SAME.get(kind, kind)
    return None if kind not in READERS or (packed and kind == ".parquet") else kind


def file_rows(path: Path, columns: Columns) -> list[tuple[int, Row]]:
    """Number and fields of every row of a file; InputError where it cannot be read."""
    if (kind := kind_of(path)) is None:
        raise InputError(
            f"the ending {path.suffix or '(none)'} is not known", str(path), f"use {READABLE}"
        )
    return list(READERS[kind](path, columns))


def rows_of_files(paths: Sequence[Path], columns: Columns) -> list[tuple[int, Row]]:
    """The rows of several files, one after another; those of more than one are counted through."""
    if len(paths) == 1:
        return file_rows(paths[0], columns)
    rows = [row for path in paths for _, row in file_rows(path, columns)]
    return list(enumerate(rows, start=1))


def read_problem_file(name: str, columns: Columns = AS_NAMED, *, strict: bool = False) -> pa.Table:
    """Read and check a whole file of problems; InputError names the first bad row and why.

    With `strict` also for a named column that no row has.
    """
    path = Path(name)
    if not is_file(path):
        raise InputError(
            "no such file",
            f"--dataset {name}",
            "give arithmetic, a .jsonl, .csv or .parquet file, hf:OWNER/NAME or rg:GENERATOR",
        )
    rows = file_rows(path, columns)
    if not rows:
        raise InputError("has no rows", name, "give at least one problem")
    if strict:
        refuse_absent(rows, columns, name)
    return checked_problems(as_problems(rows, columns, name), name, columns)


def read_split(
    paths: list[Path], split: str, columns: Columns, dataset: str, *, strict: bool = False
) -> pa.Table:
    """Read and check the files of one split; whose split they are is not asked of their rows.

    Rows are split by hash where `columns` say so. With `strict`, InputError for a named column that
    no row has.
    """
    where = str(paths[0]) if len(paths) == 1 else f"{dataset}, split {split}"
    rows = rows_of_files(paths, columns) if paths else []
    if not rows:
        raise InputError(f"the split {split} has no rows", f"--dataset {dataset}")
    if strict:
        refuse_absent(rows, columns, where, ("id_column", "family_column"))
    needed = (columns.prompt_column, columns.answer_column)
    if (own := columns.split_column) not in needed:
        rows = [(at, {k: v for k, v in row.items() if k != own}) for at, row in rows]
    made = as_problems(rows, columns, where)
    if columns.split_by_hash is None:
        made = [(number, row | {"split": split}) for number, row in made]
    return checked_problems(made, where, columns)
