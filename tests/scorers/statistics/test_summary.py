"""A scores table in a few numbers, worked by hand."""

from __future__ import annotations

import math

import numpy as np
import pyarrow as pa
import pytest

from schemas.errors import InputError
from scorers.statistics.best_of_n import shuffled_pass_at_k
from scorers.statistics.estimates import pass_rate
from scorers.statistics.summary import mean_over_problems, summarize

PROBLEMS = pa.table(
    {
        "problem_id": ["a", "b", "c"],
        "expected_answer": ["1", "2", "3"],
        "family": pa.array(["sum", "sum", None], pa.string()),
    }
)
# a: right and partly right; b: wrong and badly formed; c: right and cut off
ROWS = [
    ("a", 1.0, "correct", "exact", "1"),
    ("a", 0.5, "wrong_answer", "partial", "2"),
    ("b", 0.0, "wrong_answer", "other_integer", "1"),
    ("b", 0.0, "bad_format", "no_prefix", None),
    ("c", 1.0, "correct", "exact", "3"),
    ("c", 0.0, "truncated", "cut_off", None),
]


def scores(rows: list[tuple[str, float, str, str, str | None]] = ROWS) -> pa.Table:
    names = ("problem_id", "reward", "outcome", "code", "parsed_answer")
    columns = [pa.array(column) for column in zip(*rows, strict=True)]
    return pa.table(dict(zip(names, columns, strict=True)))


def test_the_rates_are_those_of_the_counts() -> None:
    found = summarize(PROBLEMS, scores())
    assert found.samples == 2
    assert found.pass_rate == pass_rate([1, 0, 1], 2)
    assert found.pass_rate.value == pytest.approx(1 / 3)
    # pass@2: problems a and c are solved by one of their two
    assert {k: estimate.value for k, estimate in found.pass_at_k.items()} == {
        1: pytest.approx(1 / 3),
        2: pytest.approx(2 / 3),
    }
    # well formed: both of a, one of b, one of c
    assert found.valid_format_rate.value == pytest.approx((1 + 1 / 2 + 1 / 2) / 3)


def test_a_partial_reward_counts_in_the_mean_reward_alone() -> None:
    found = summarize(PROBLEMS, scores())
    assert found.mean_reward.value == pytest.approx((0.75 + 0.0 + 0.5) / 3)
    assert found.mean_reward.value > found.pass_rate.value


def test_every_outcome_is_counted_and_codes_come_most_frequent_first() -> None:
    found = summarize(PROBLEMS, scores())
    assert found.outcomes == {"correct": 2, "wrong_answer": 2, "bad_format": 1, "truncated": 1}
    assert next(iter(found.codes.items())) == ("exact", 2)
    assert sum(found.codes.values()) == 6


def test_only_families_with_a_name_have_a_rate() -> None:
    found = summarize(PROBLEMS, scores())
    assert found.families.keys() == {"sum"}
    assert found.families["sum"] == pass_rate([1, 0], 2)


def test_the_control_answers_with_other_problems_answers() -> None:
    found = summarize(PROBLEMS, scores())
    # a is 1: of b's and c's four answers one is 1; b is 2: one of four; c is 3: none
    assert found.control[1] == pytest.approx((1 / 4 + 1 / 4 + 0) / 3)
    parsed: list[list[str | None]] = [["1", "2"], ["1", None], ["3", None]]
    assert found.control == shuffled_pass_at_k(parsed, ["1", "2", "3"])


def test_one_sample_or_one_problem_has_no_control() -> None:
    assert summarize(PROBLEMS, scores(ROWS[::2])).control == {}
    assert summarize(PROBLEMS.slice(0, 1), scores(ROWS[:2])).control == {}


@pytest.mark.parametrize("rows", [ROWS[:5], ROWS[2:] + ROWS[:2], ROWS[:2] * 3])
def test_scores_that_are_not_these_problems_in_order_are_refused(
    rows: list[tuple[str, float, str, str, str | None]],
) -> None:
    with pytest.raises(InputError, match="do not belong to these 3 problems"):
        summarize(PROBLEMS, scores(rows))


def test_the_mean_of_unbounded_values_has_students_interval_over_problem_means() -> None:
    found = mean_over_problems([[1.0, 3.0], [4.0, 4.0], [0.0, 0.0]])
    assert found.value == 2.0
    # problem means 2, 4, 0: deviation 2, standard error 2/√3; 4.3027 is Student's at 2 degrees
    assert found.low == pytest.approx(2 - 4.30265273 * 2 / math.sqrt(3))
    # with one at 2 + 2·2: the mean of 2, 4, 0, 6 is 3, deviation √(20/3); 3.1824 at 3 degrees
    assert found.high == pytest.approx(3 + 3.18244631 * math.sqrt(20 / 3) / 2)
    assert (found.problems, found.completions) == (3, 6)
    with pytest.raises(InputError, match="two problems or more"):
        mean_over_problems([[1.0, 2.0]])


@pytest.mark.parametrize(("problems", "samples"), [(5, 4), (20, 1), (20, 4), (60, 4)])
def test_kl_that_a_few_problems_make_is_held(problems: int, samples: int) -> None:
    # Student's interval alone holds it in 86 to 92 %
    generator = np.random.default_rng(8)
    runs, held, truth = 1000, 0, math.exp(1.2**2 / 2)
    for _ in range(runs):
        own = generator.lognormal(0, 1.2, size=(problems, 1))
        ratios = own + generator.normal(0, 2, size=(problems, samples))
        found = mean_over_problems(ratios.tolist())
        held += found.low <= truth <= found.high
    assert held / runs >= 0.93


def test_equal_measurements_still_have_a_width_unless_all_are_0() -> None:
    found = mean_over_problems([[1.0], [1.0]])
    assert found.low < 1.0 < found.high
    nothing = mean_over_problems([[0.0], [0.0]])
    assert (nothing.low, nothing.value, nothing.high) == (0.0, 0.0, 0.0)


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_measurements_that_are_no_numbers_are_refused(bad: float) -> None:
    with pytest.raises(InputError, match="not finite numbers"):
        mean_over_problems([[1.0], [bad]])
