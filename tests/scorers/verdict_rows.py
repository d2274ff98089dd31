"""A scorer's definition and its pass over columns, asked about the same rows."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import pyarrow as pa

from scorers.scorer import Scorer, Verdict

Row = tuple[str, str, str]  # text, finish_reason, expected_answer
Shown = tuple[float, str, str, str | None]


def storable(text: str) -> bool:
    """Whether an Arrow column can hold the text; it holds Unicode, so no lone surrogates."""
    return not re.search("[\ud800-\udfff]", text)


def by_columns(scorer: Scorer, rows: Sequence[Row]) -> list[Shown]:
    """The verdicts of one pass over columns."""
    columns = [pa.array(list(column), pa.string()) for column in zip(*rows, strict=True)]
    return [tuple(row.values()) for row in scorer.score(*columns).to_pylist()]


def by_definition(score_one: Callable[[str, str, str], Verdict], row: Row) -> Shown:
    """The verdict of the definition."""
    verdict = score_one(*row)
    return verdict.reward, verdict.outcome, verdict.code, verdict.parsed_answer
