"""Rows of a person's file as the rows of problems: columns by their names, answers, ids, splits."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence

from artifacts.datasets.answer_pattern import last_groups
from artifacts.datasets.rows import IntegerText, Row
from schemas.config import Columns
from schemas.errors import InputError

GROUPED = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+", re.ASCII)
ID_DIGITS = 16  # of a prompt's digest, where a file has no ids
OPTIONAL = ("id_column", "family_column", "split_column")
SPLITS = {2: ("train", "holdout"), 3: ("train", "dev", "holdout")}
Numbered = tuple[int, Row]


def as_problems(rows: Sequence[Numbered], columns: Columns, name: str) -> list[Numbered]:
    """Each row with the fields of a problem: id, prompt, expected_answer, family, split.

    Where no row has an id, it is the start of the prompt's digest, so that it stays when rows are
    added or moved. Raises InputError with the row for a column that is missing, an answer that the
    pattern does not find, and splits by hash for a file that has splits.
    """
    has_ids = any(columns.id_column in row for _, row in rows)
    made = [(number, _as_problem(row, columns, f"{name}, row {number}")) for number, row in rows]
    if columns.answer_pattern is not None:
        _find_answers(made, columns.answer_pattern, name)
    if not has_ids:
        for _, row in made:
            row["id"] = _digest(str(row["prompt"]))[:ID_DIGITS]
    if columns.split_by_hash is not None:
        _split(made, columns.split_by_hash, name)
    return made


def refuse_absent(
    rows: Sequence[Numbered], columns: Columns, name: str, fields: Sequence[str] = OPTIONAL
) -> None:
    """InputError for a column that is named and in which no row has anything.

    It would be left out silently. The usual names count as not named.
    """
    for field in fields:
        column = getattr(columns, field)
        named = column != Columns.model_fields[field].default
        if named and not any(row.get(column) is not None for _, row in rows):
            option = f"--{field.replace('_', '-')}"
            raise InputError(
                f"no row has the column {column}", name, f"correct {option}, or leave it out"
            )


def _as_problem(row: Row, columns: Columns, where: str) -> Row:
    named = {"prompt": columns.prompt_column, "expected_answer": columns.answer_column}
    for field, column in named.items():
        if column not in row:
            option = "--prompt-column" if field == "prompt" else "--answer-column"
            raise InputError(
                f"{column} is missing",
                where,
                f"name it with {option}; there {_listed([str(name) for name in row])}",
            )
    made: Row = {field: row[column] for field, column in named.items()}
    others = {
        "id": columns.id_column, "family": columns.family_column, "split": columns.split_column,
    }  # fmt: skip
    made |= {field: row[column] for field, column in others.items() if column in row}
    return made


def _find_answers(rows: Iterable[Numbered], pattern: str, name: str) -> None:
    """Put the group of the pattern's last match in place of each answer that is not null."""
    answered = [(number, row) for number, row in rows if row["expected_answer"] is not None]
    texts: list[tuple[int, str]] = []
    for number, row in answered:
        if not isinstance(answer := row["expected_answer"], str):
            raise InputError(
                f"the answer is {answer!r}, not text",
                f"{name}, row {number}",
                "leave --answer-pattern out",
            )
        texts.append((number, answer))
    found = last_groups(pattern, texts, name)
    for (number, row), (_, text), integer in zip(answered, texts, found, strict=True):
        if integer is None:
            raise InputError(
                f"--answer-pattern {pattern} finds nothing in {text[-60:]!r}",
                f"{name}, row {number}",
            )
        grouped = GROUPED.fullmatch(integer)
        row["expected_answer"] = IntegerText(integer.replace(",", "")) if grouped else integer


def _split(rows: Iterable[Numbered], shares: str, name: str) -> None:
    """Give each row the split that its prompt's digest falls into: the same in every file."""
    parts = [int(part) for part in shares.split("/")]
    names, total = SPLITS[len(parts)], sum(parts)
    for number, row in rows:
        if row.get("split") is not None:
            raise InputError(
                "has a split already", f"{name}, row {number}", "leave --split-by-hash out"
            )
        place = int(_digest(f"split:{row['prompt']}")[:16], 16) / 2**64 * total
        row["split"] = next(
            split for split, end in zip(names, _ends(parts), strict=True) if place < end
        )


def _ends(parts: Sequence[int]) -> list[int]:
    return [sum(parts[: index + 1]) for index in range(len(parts))]


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8]) + (" and more" if len(names) > 8 else "")
    return f"is {shown}" if len(names) == 1 else f"are {shown or 'none'}"
