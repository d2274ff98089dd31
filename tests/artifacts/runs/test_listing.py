"""Which rows of a run are shown: the most frequent code first, equal answers once."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from artifacts.runs.listing import choose_rows
from schemas.errors import InputError


def row(problem: str, text: str, code: str, logprob: float | None, **given: Any) -> dict[str, Any]:
    return {
        "prompt": f"{problem}?",
        "completion": text,
        "outcome": "correct" if code == "exact" else "bad_format",
        "reward": float(code == "exact"),
        "expected": "7",
        "code": code,
        "sum_logprob": logprob,
        "tokens": 3,
        "family": "sums",
        "problem": problem,
        "sample": 0,
    } | given


ROWS = pa.Table.from_pylist(
    [
        row("a", "7", "exact", -1.0),
        row("a", "no", "text", -3.0, sample=1),
        row("b", "no", "text", -0.5, family="products"),
        row("b", "no", "text", None, sample=1, family="products"),
        row("b", "<b>", "text", -0.1, sample=2, family=None),
    ]
)


def chosen(**given: Any) -> list[tuple[str, int, list[tuple[str, str, int]]]]:
    groups = choose_rows(ROWS, run_name="eval-1", per_code=given.pop("per_code", 9), **given)
    return [
        (g.code, g.completions, [(row.problem, row.completion, row.times) for row in g.rows])
        for g in groups
    ]


def test_the_most_frequent_code_comes_first_and_equal_answers_are_counted() -> None:
    assert chosen() == [
        ("text", 4, [("a", "no", 1), ("b", "no", 2), ("b", "<b>", 1)]),
        ("exact", 1, [("a", "7", 1)]),
    ]


def test_a_number_of_rows_cuts_each_code_and_no_count() -> None:
    assert chosen(per_code=1) == [("text", 4, [("a", "no", 1)]), ("exact", 1, [("a", "7", 1)])]
    assert chosen(per_code=0) == [("text", 4, []), ("exact", 1, [])]


def test_the_surest_come_first_and_unknown_log_probabilities_last() -> None:
    (text, _, rows), _ = chosen(surest_first=True)
    assert (text, rows) == ("text", [("b", "<b>", 1), ("b", "no", 2), ("a", "no", 1)])


def test_rows_can_be_narrowed_to_a_code_and_a_family() -> None:
    assert chosen(code="text", family="products") == [("text", 2, [("b", "no", 2)])]


@pytest.mark.parametrize("name", ["code", "family"])
def test_a_code_or_family_that_no_row_has_is_refused(name: str) -> None:
    with pytest.raises(InputError, match=f"--{name} odd") as error:
        chosen(**{name: "odd"})
    assert "no completion of run eval-1 has it" in str(error.value)
