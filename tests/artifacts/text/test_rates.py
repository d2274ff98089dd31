"""The rows of a rate table: the same names, order and numbers for every page that shows them."""

from __future__ import annotations

from collections.abc import Callable

from artifacts.text.rates import constant_line, family_rows, needs_answer, partial_reward, rate_rows
from schemas.config import SELECTION_RULES
from schemas.measurements import ConstantAnswer
from schemas.result_parts import Rates

MakeRates = Callable[..., Rates]


def test_pass_at_k_comes_first_then_valid_format_then_the_families(rates: MakeRates) -> None:
    rows = rate_rows(rates(1 / 3, 0.1, 0.7))
    assert [(row.kind, row.name) for row in rows] == [
        ("pass_at_k", "pass@1"),
        ("pass_at_k", "pass@2"),
        ("valid_format", "valid format"),
        ("family", "<u>sums</u>"),
        ("family", "pass@1"),
    ]
    (first,) = rows[0].cells
    assert (first.value, first.low, first.high) == (1 / 3, 0.1, 0.7)
    assert (first.problems, first.completions) == (3, 9)
    assert rows[4].cells[0].problems == 2, "a family has its own number of problems"


def test_a_family_that_is_called_like_a_rate_is_told_apart(rates: MakeRates) -> None:
    titles = [row.title for row in rate_rows(rates(1 / 3, 0.1, 0.7))]
    assert titles == ["pass@1", "pass@2", "valid format", "<u>sums</u>", "family pass@1"]


def test_sides_stand_beside_each_other(rates: MakeRates) -> None:
    rows = rate_rows(rates(0.2, 0.1, 0.4), rates(0.5, 0.3, 0.7))
    assert [cell.value for cell in rows[0].cells] == [0.2, 0.5]
    assert all(len(row.cells) == 2 for row in rows)


def test_a_rate_that_one_side_lacks_has_no_row(rates: MakeRates) -> None:
    before, after = rates(0.2, 0.1, 0.4), rates(0.5, 0.3, 0.7)
    less = after.model_copy(update={"families": {"pass@1": after.families["pass@1"]}})
    assert [row.name for row in family_rows(before, less)] == ["pass@1"]


def test_k_is_ordered_as_a_number(rates: MakeRates) -> None:
    side = rates(0.2, 0.1, 0.4)
    ks = dict.fromkeys((10, 2, 1), 0.5)
    metrics = side.metrics.model_copy(update={"pass_at_k": ks})
    intervals = side.intervals.model_copy(update={"pass_at_k": dict.fromkeys(ks, (0.4, 0.6))})
    rows = rate_rows(side.model_copy(update={"metrics": metrics, "intervals": intervals}))
    assert [row.name for row in rows[:3]] == ["pass@1", "pass@2", "pass@10"]


def test_the_mean_reward_is_shown_only_where_it_says_something_else(rates: MakeRates) -> None:
    side = rates(0.2, 0.1, 0.4)
    assert partial_reward(side) is None
    parts = side.model_copy(
        update={
            "metrics": side.metrics.model_copy(update={"mean_reward": 0.35}),
            "intervals": side.intervals.model_copy(update={"mean_reward": (0.3, 0.45)}),
        }
    )
    mean = partial_reward(parts)
    assert mean is not None
    assert (mean.value, mean.low, mean.high) == (0.35, 0.3, 0.45)


def test_only_the_oracle_needs_the_expected_answer() -> None:
    assert [rule for rule in SELECTION_RULES if needs_answer(rule)] == ["oracle"]


def test_the_best_constant_answer_stands_beside_pass_at_1(rates: MakeRates) -> None:
    side = rates(0.5, 0.34, 0.7)
    assert constant_line(side) == "best constant answer: 3 is right for 1/3 = 33 %"
    for low in (1 / 3, 0.2):  # an interval that begins there does not lie above it
        assert constant_line(rates(0.5, low, 0.7), "pass@1 after") == (
            "pass@1 after is not above the best constant answer: 3 is right for 1/3 = 33 %"
        )


def test_an_answer_of_many_digits_is_shortened(rates: MakeRates) -> None:
    long = ConstantAnswer(answer="1" * 5000, rate=0.25, correct=1, problems=4)
    side = rates(0.5, 0.34, 0.7).model_copy(update={"best_constant": long})
    assert constant_line(side) == "best constant answer: 11111111111… is right for 1/4 = 25 %"


def test_a_result_of_an_earlier_version_has_no_best_constant_answer(rates: MakeRates) -> None:
    side = rates(0.5, 0.34, 0.7)
    stored = side.model_dump(mode="json")
    del stored["best_constant"]
    read = Rates.model_validate(stored)
    assert constant_line(read) == ""
    assert "best_constant" not in read.as_json()
