"""Two score tables of the same completions: the four counts and the rows behind them."""

from __future__ import annotations

import pyarrow as pa
import pytest

from schemas.errors import InputError
from scorers.contains_int import CONTAINS_INT_1
from scorers.final_int import FINAL_INT_1
from scorers.scorer import Scorer
from scorers.statistics.changes import compare_scores

TEXTS = [
    "Final: 12",  # right for both
    "12 apples",  # only the lenient pays
    "3 times 4 is 12",  # the same, with another code
    "Final: 12.",  # and another
    "so 12",  # the same as the third
    "Final: 13",  # wrong for both, another code
    "",  # wrong for both
]


def scores(scorer: Scorer, order: list[int] | None = None) -> pa.Table:
    rows = len(TEXTS)
    verdicts = scorer.score(pa.array(TEXTS), pa.array(["stop"] * rows), pa.array(["12"] * rows))
    table = pa.table(
        {
            "problem_id": pa.array([f"p{place // 2}" for place in range(rows)]),
            "sample_index": pa.array([place % 2 for place in range(rows)], pa.int32()),
            **{name: verdicts[name] for name in verdicts.column_names},
        }
    )
    return table if order is None else table.take(pa.array(order))


def test_the_four_counts_add_up_and_the_flips_are_grouped_by_code() -> None:
    found = compare_scores(scores(FINAL_INT_1), scores(CONTAINS_INT_1))
    assert found.rows == 7
    assert (found.correct_in_both, found.correct_only_before) == (1, 0)
    assert (found.correct_only_after, found.correct_in_neither) == (4, 2)
    won = [group for group in found.groups if group.direction == "won"]
    assert [(group.codes, group.count) for group in won] == [
        (("no_prefix", "contained"), 3),
        (("trailing_text", "contained"), 1),
    ]
    assert [row.problem_id for row in won[0].first(9)] == ["p0", "p1", "p2"]
    assert won[0].first(1)[0].reward == (0.0, 1.0)
    assert won[0].first(1)[0].outcome == ("bad_format", "correct")


def test_the_other_way_round_the_same_rows_are_lost() -> None:
    there = compare_scores(scores(FINAL_INT_1), scores(CONTAINS_INT_1))
    back = compare_scores(scores(CONTAINS_INT_1), scores(FINAL_INT_1))
    lost = [group for group in back.groups if group.direction == "lost"]
    assert back.correct_only_before == there.correct_only_after == 4
    assert sum(group.count for group in lost) == 4
    assert [group for group in back.groups if group.direction == "won"] == []


def test_rows_whose_code_alone_changed_come_last() -> None:
    found = compare_scores(scores(FINAL_INT_1), scores(CONTAINS_INT_1))
    directions = [group.direction for group in found.groups]
    assert directions == sorted(directions, key=lambda way: way == "moved")
    assert ("other_integer", "other_integers") in [
        group.codes for group in found.groups if group.direction == "moved"
    ]


def test_the_order_of_the_rows_does_not_matter() -> None:
    shuffled = scores(CONTAINS_INT_1, [6, 0, 3, 1, 5, 2, 4])
    assert compare_scores(scores(FINAL_INT_1), shuffled) == compare_scores(
        scores(FINAL_INT_1), scores(CONTAINS_INT_1)
    )


def test_a_table_against_itself_has_no_changes() -> None:
    found = compare_scores(scores(FINAL_INT_1), scores(FINAL_INT_1))
    assert found.groups == ()
    assert (found.correct_in_both, found.correct_in_neither) == (1, 6)


def test_tables_of_other_completions_are_refused_with_counts() -> None:
    whole = scores(FINAL_INT_1)
    with pytest.raises(InputError, match="6 are in both, 1 only in the first, 0 only in the sec"):
        compare_scores(whole, whole.slice(0, 6))
    with pytest.raises(InputError, match="second score table holds a completion twice"):
        compare_scores(whole, pa.concat_tables([whole, whole]))
    with pytest.raises(InputError, match="first score table is empty"):
        compare_scores(whole.slice(0, 0), whole)
