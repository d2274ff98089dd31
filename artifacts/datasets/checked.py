"""Rows with the fields of a problem as a problems table, each checked.

Every fault is one line with its row; nothing is repaired, dropped or guessed.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from artifacts.datasets.rows import IntegerText, Row
from schemas.config import Columns
from schemas.errors import InputError
from schemas.problems import CANONICAL_INTEGER

ALL_ROWS = "all"  # the split of rows that know none
NEEDED = ("id", "prompt", "expected_answer")  # of a problem


def checked_problems(
    rows: Sequence[tuple[int, Row]], name: str, columns_of_file: Columns | None = None
) -> pa.Table:
    """The problems table of these rows; InputError names the first bad row of `name` and why.

    It calls question and answer as `columns_of_file` does, where the rows are from a file.
    """
    called = {field: field for field in NEEDED}
    if columns_of_file is not None:
        called["prompt"] = columns_of_file.prompt_column
        called["expected_answer"] = columns_of_file.answer_column
    may_have_pattern = columns_of_file is not None and columns_of_file.answer_pattern is None
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
                raise InputError(
                    f"{called[field]} is null", where, "give a value, or delete the row"
                )
        identity = _text(row["id"], "id", where)
        prompt = _text(row["prompt"], called["prompt"], where)
        if not identity.strip():
            raise InputError("id is empty", where)
        if not prompt.strip():
            raise InputError(f"{called['prompt']} is empty", where, "write the question")
        expected = _integer(
            row["expected_answer"], called["expected_answer"], where, may_have_pattern
        )
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


def _integer(value: Any, called: str, where: str, may_have_pattern: bool) -> str:
    if isinstance(value, IntegerText):
        return "0" if value == "-0" else str(value)
    if isinstance(value, str) and re.fullmatch(CANONICAL_INTEGER, value, re.ASCII):
        return value
    shown = json.dumps(value, ensure_ascii=False, default=str)
    remedy = "write it in plain digits, as 42 or -7"
    if may_have_pattern and isinstance(value, str) and re.search("[0-9]", value):
        remedy += ", or say with --answer-pattern where it stands"
    raise InputError(f"{called} {shown} is not an integer", where, remedy)
