"""The best constant answer: the most frequent one, counted exactly."""

from __future__ import annotations

import random

import pytest

from schemas.errors import InputError
from scorers.statistics.summary import best_constant


def test_the_most_frequent_answer_is_counted() -> None:
    found = best_constant(["7", "-2", "7", "40"])
    assert (found.answer, found.correct, found.problems, found.rate) == ("7", 2, 4, 0.5)


def test_of_equally_frequent_answers_it_is_the_smallest_integer() -> None:
    numbers = [*range(-120, 121), 10**30, -(10**30)]
    for seed in range(20):
        some = random.Random(seed).sample(numbers, 7)
        assert best_constant([str(one) for one in some]).answer == str(min(some))


def test_answers_of_any_length_are_compared() -> None:
    assert best_constant(["9" * 6000, "1" * 6001]).answer == "9" * 6000
    assert best_constant(["-" + "9" * 6000, "-" + "1" * 6001]).answer == "-" + "1" * 6001


def test_without_problems_there_is_none() -> None:
    with pytest.raises(InputError, match="no problems"):
        best_constant([])
