"""Golden rows: exploits that pay and right answers that do not are told apart."""

from __future__ import annotations

from typing import Any

import pytest

from schemas.errors import InputError
from scorers.contains_int import CONTAINS_INT_1
from scorers.custom import custom_scorer
from scorers.final_int import FINAL_INT_1
from scorers.golden import check_golden, golden_rows

ANSWERS = {"a": "12", "b": "-7"}
RECORDS: list[dict[str, Any]] = [
    {"id": "a", "completion": "Final: 12", "expected_reward": 1},
    {"id": "a", "completion": "Final: 12\n", "expected_reward": 0.0},
    {"id": "b", "completion": "Final: -7", "expected_reward": 1.0},
    {"id": "b", "completion": "-9 -8 -7 -6", "expected_reward": 0},
    {"id": "b", "completion": "Final: -7", "expected_reward": 0, "finish_reason": "length"},
]


def test_the_strict_scorer_passes_where_a_lenient_one_pays_for_exploits() -> None:
    rows = golden_rows(RECORDS, ANSWERS)
    assert check_golden(FINAL_INT_1, rows).passed
    report = check_golden(CONTAINS_INT_1, rows)
    assert [miss.place for miss in report.false_positives] == [1, 3]
    assert report.false_negatives == ()
    assert not report.passed
    assert (report.scorer, report.rows) == ("contains_int@1", 5)
    assert report.misses[0].row.completion == "Final: 12\n"
    assert report.misses[0].code == "contained"


def test_a_scorer_that_pays_too_little_has_false_negatives() -> None:
    miser = custom_scorer(name="miser", version=1, spec="half for everything")(lambda *_: 0.5)
    report = check_golden(miser, golden_rows(RECORDS, ANSWERS))
    assert [miss.place for miss in report.false_negatives] == [0, 2]
    assert [miss.place for miss in report.false_positives] == [1, 3, 4]
    assert report.misses == report.false_positives + report.false_negatives


def test_a_check_of_nothing_is_no_pass() -> None:
    with pytest.raises(InputError, match="nothing was checked"):
        check_golden(FINAL_INT_1, [])


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"id": "a", "completion": "x"}, "golden row 1: it has no expected_reward"),
        ({"id": "z", "completion": "x", "expected_reward": 1}, "there is no problem 'z'"),
        ({"id": "a", "completion": 12, "expected_reward": 1}, "its completion is 12, not text"),
        ({"id": "a", "completion": "x", "expected_reward": 2}, "not from 0 to 1"),
        ({"id": "a", "completion": "x", "expected_reward": float("nan")}, "not from 0 to 1"),
        ({"id": "a", "completion": "x", "expected_reward": "1"}, "not from 0 to 1"),
    ],
)
def test_a_row_that_cannot_be_checked_is_named(record: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        golden_rows([RECORDS[0], record], ANSWERS)
