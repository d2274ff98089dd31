"""A step's problems depend on seed and step alone, and no problem comes twice before all came."""

from __future__ import annotations

import pytest

from policy.learning.batches import batch_rows
from schemas.errors import InputError


def test_every_row_comes_once_before_any_comes_again() -> None:
    deck = [row for step in range(1, 5) for row in batch_rows(12, count=3, step=step, seed=1)]
    assert sorted(deck) == list(range(12))
    again = [row for step in range(5, 9) for row in batch_rows(12, count=3, step=step, seed=1)]
    assert sorted(again) == list(range(12))
    assert again != deck


def test_the_choice_depends_on_seed_and_step_alone() -> None:
    first = batch_rows(100, count=8, step=7, seed=3)
    assert batch_rows(100, count=8, step=7, seed=3) == first
    assert batch_rows(100, count=8, step=7, seed=4) != first


def test_rows_of_one_step_differ_even_across_the_end_of_a_deck() -> None:
    for step in range(1, 20):
        rows = batch_rows(10, count=4, step=step, seed=0)
        assert len(set(rows)) == 4


def test_more_than_there_are_is_refused() -> None:
    with pytest.raises(InputError, match="needs 5 problems and there are 4"):
        batch_rows(4, count=5, step=1, seed=0)
