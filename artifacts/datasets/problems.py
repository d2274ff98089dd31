"""Problems: the built-in dataset by name, or a person's own JSONL, CSV or Parquet file.

Every fault of a file is one line with its row; nothing is repaired, dropped or guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa

from artifacts.datasets import arithmetic
from artifacts.datasets.columns import as_problems
from artifacts.datasets.rows import PACKED, IntegerText, Row, csv_rows, jsonl_objects, parquet_rows
from schemas.config import Columns
from schemas.errors import InputError
from schemas.files import ending, is_file
from schemas.problems import CANONICAL_INTEGER

ALL_ROWS = "all"
AS_NAMED = Columns()
NEEDED = ("id", "prompt", "expected_answer")  # of a problem
READERS: Mapping[str, Callable[[Path, Columns], Iterator[tuple[int, Row]]]] = {
    ".jsonl": lambda path, _: jsonl_objects(path),
    ".csv": csv_rows,
    ".parquet": parquet_rows,
}


@dataclass(frozen=True)
class BuiltIn:
    """A dataset that needs no file: its splits, and the problems table of a split."""

    splits: tuple[str, ...]
    problems: Callable[[str], pa.Table]


BUILT_IN: Mapping[str, BuiltIn] = {
    arithmetic.NAME: BuiltIn(arithmetic.SPLITS, arithmetic.arithmetic),
}


class Datasets:
    """Datasets as one process reads them: a file is parsed once, and again only if it changed.

    `parsed` counts the files that were parsed.
    """

    def __init__(self) -> None:
        self.parsed = 0
        self._tables: dict[tuple[Path, Columns], tuple[tuple[int, int], pa.Table]] = {}

    def load(
        self, dataset: str, split: str, limit: int | None = None, columns: Columns = AS_NAMED
    ) -> pa.Table:
        """The first `limit` problems of a split, as a problems table.

        A file may have a column `split`; without one, all its rows are measured, whatever `split`
        says, and the table says so (`split` is "all"). Raises InputError with the row and the
        reason.
        """
        if (built_in := BUILT_IN.get(dataset)) is None:
            table = select_split(self._file(dataset, columns), split, dataset)
        elif split in built_in.splits:
            table = built_in.problems(split)
        else:
            raise InputError(
                f"no split {split!r}",
                f"dataset {dataset}",
                f"use one of {', '.join(built_in.splits)}",
            )
        return table.slice(0, limit) if limit else table

    def has_split(self, dataset: str, split: str, columns: Columns = AS_NAMED) -> bool:
        """Whether a dataset has rows of this split; a file that knows no splits has none."""
        if (built_in := BUILT_IN.get(dataset)) is not None:
            return split in built_in.splits
        return split in self._file(dataset, columns)["split"].unique().to_pylist()

    def whole(self, dataset: str, columns: Columns = AS_NAMED) -> pa.Table:
        """Every problem of a dataset, whatever its split."""
        return pa.concat_tables(self._all(dataset, columns))

    def split_of(self, dataset: str, identity: str, columns: Columns = AS_NAMED) -> str | None:
        """The split of the problem with this id, None where no split has it."""
        for table in self._all(dataset, columns):
            if (row := table["problem_id"].index(identity).as_py()) >= 0:
                return str(table["split"][row].as_py())
        return None

    def expected_answers(self, dataset: str, columns: Columns = AS_NAMED) -> dict[str, str]:
        """The expected answer of every problem of a dataset by its id, whatever its split."""
        return {
            identity: expected
            for table in self._all(dataset, columns)
            for identity, expected in zip(
                table["problem_id"].to_pylist(), table["expected_answer"].to_pylist(), strict=True
            )
        }

    def _all(self, dataset: str, columns: Columns) -> list[pa.Table]:
        if (built_in := BUILT_IN.get(dataset)) is not None:
            return [built_in.problems(split) for split in built_in.splits]
        return [self._file(dataset, columns)]

    def _file(self, name: str, columns: Columns) -> pa.Table:
        path = Path(name).absolute()
        state = (path.stat().st_mtime_ns, path.stat().st_size) if is_file(path) else (0, 0)
        known = self._tables.get((path, columns))
        if known is None or known[0] != state:
            self.parsed += 1
            table = read_problem_file(name, columns)
            known = self._tables[path, columns] = (state, table)
        return known[1]


def select_split(table: pa.Table, split: str, where: str) -> pa.Table:
    """The rows of one split; all rows where the file knows no splits."""
    import pyarrow.compute as pc

    names = table["split"].unique().to_pylist()
    if names == [ALL_ROWS]:
        return table
    chosen = table.filter(pc.equal(table["split"], split))
    if not chosen.num_rows:
        raise InputError(f"no row has the split {split!r}", where, f"it has {', '.join(names)}")
    return chosen


def refuse_shared_prompts(train: pa.Table, measured: pa.Table, where: str) -> None:
    """InputError when a measured prompt is also trained on: its rate would measure memory."""
    seen = set(train["prompt"].to_pylist())
    for identity, prompt in zip(
        measured["problem_id"].to_pylist(), measured["prompt"].to_pylist(), strict=True
    ):
        if prompt in seen:
            raise InputError(
                f"problem {identity!r} is measured, but its prompt is also trained on",
                where,
                "give training and measuring different problems, in a column `split`",
            )


def read_problem_file(name: str, columns: Columns = AS_NAMED) -> pa.Table:
    """Read and check a whole file of problems; InputError names the first bad row and why."""
    path = Path(name)
    if not is_file(path):
        raise InputError(
            "no such file",
            f"--dataset {name}",
            f"give {', '.join(BUILT_IN)}, or a .jsonl, .csv or .parquet file",
        )
    packed = ending(path) in PACKED
    kind = ending(path.with_suffix("")) if packed else ending(path)
    if kind not in READERS or (packed and kind == ".parquet"):
        raise InputError(
            f"the ending {path.suffix or '(none)'} is not known",
            name,
            "use .jsonl, .csv, .parquet, or .jsonl and .csv with .gz or .zst behind it",
        )
    rows = list(READERS[kind](path, columns))
    if not rows:
        raise InputError("has no rows", name, "give at least one problem")
    return _checked(as_problems(rows, columns, name), name)


def _checked(rows: list[tuple[int, Row]], name: str) -> pa.Table:
    first_row: dict[str, int] = {}
    expected_of: dict[str, tuple[str, int]] = {}  # prompt to its answer and its row
    columns: dict[str, list[str | None]] = {
        field: [] for field in ("problem_id", "prompt", "expected_answer", "family", "split")
    }
    for number, row in rows:
        where = f"{name}, row {number}"
        for field in NEEDED:
            if field not in row:
                raise InputError(f"{field} is missing", where, f"give {', '.join(NEEDED)}")
            if row[field] is None:
                raise InputError(f"{field} is null", where, "give a value, or delete the row")
        identity = _text(row["id"], "id", where)
        prompt = _text(row["prompt"], "prompt", where)
        if not identity.strip():
            raise InputError("id is empty", where)
        if not prompt.strip():
            raise InputError("prompt is empty", where, "write the question")
        expected = _integer(row["expected_answer"], where)
        if identity in first_row:
            raise InputError(
                f"id {identity!r} is a duplicate of row {first_row[identity]}",
                where,
                "give every problem an id of its own",
            )
        first_row[identity] = number
        known, at = expected_of.setdefault(prompt, (expected, number))
        if known != expected:
            raise InputError(
                f"the same prompt has the answer {expected} here and {known} in row {at}",
                where,
                "keep the right one",
            )
        family, split = row.get("family"), row.get("split")
        columns["problem_id"].append(identity)
        columns["prompt"].append(prompt)
        columns["expected_answer"].append(expected)
        columns["family"].append(None if family is None else _text(family, "family", where))
        columns["split"].append(ALL_ROWS if split is None else _text(split, "split", where))
    if len(set(columns["split"])) > 1 and ALL_ROWS in columns["split"]:
        number = rows[columns["split"].index(ALL_ROWS)][0]
        raise InputError(
            "split is missing, but other rows have one",
            f"{name}, row {number}",
            "give it everywhere",
        )
    return pa.table({field: pa.array(values, pa.string()) for field, values in columns.items()})


def _text(value: Any, field: str, where: str) -> str:
    if not isinstance(value, str):
        if field in ("id", "family") and isinstance(value, int) and not isinstance(value, bool):
            return str(value)
        raise InputError(f"{field} is {value!r}, not text", where, "put it in quotes")
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        raise InputError(
            f"{field} holds half of a surrogate pair, which is no character", where
        ) from None
    return str(value)


def _integer(value: Any, where: str) -> str:
    if isinstance(value, IntegerText):
        return "0" if value == "-0" else str(value)
    if isinstance(value, str) and re.fullmatch(CANONICAL_INTEGER, value, re.ASCII):
        return value
    shown = json.dumps(value, ensure_ascii=False, default=str)
    raise InputError(
        f"expected_answer {shown} is not an integer", where, "write it in plain digits, as 42 or -7"
    )
