"""The problems of a step depend on the seed and the step alone, and each comes once a round."""

from __future__ import annotations

import pytest

from schemas.errors import InputError
from schemas.references import TableRef
from tasks.draw_problems import draw_problems
from tasks.runtime.runtime import Runtime


def drawn(runtime: Runtime, problems: TableRef, step: int, count: int = 1) -> list[str]:
    reference = draw_problems(problems, step=step, count=count, seed=0)
    return list(runtime.store.read(reference)["problem_id"].to_pylist())


def test_every_problem_comes_once_before_any_comes_again(
    runtime: Runtime, problems: TableRef
) -> None:
    everything = sorted(runtime.store.read(problems)["problem_id"].to_pylist())
    for first in (1, 4):
        rounds = [drawn(runtime, problems, step)[0] for step in range(first, first + 3)]
        assert sorted(rounds) == everything


def test_a_step_draws_the_same_problems_again(runtime: Runtime, problems: TableRef) -> None:
    first = draw_problems(problems, step=1, count=2, seed=0)
    assert draw_problems(problems, step=1, count=2, seed=0) == first
    runtime.store.path(first).unlink()
    assert draw_problems(problems, step=1, count=2, seed=0) == first
    others = {draw_problems(problems, step=step, count=3, seed=9).digest for step in (1, 2, 3)}
    assert len(others) > 1


def test_a_step_with_more_problems_than_there_are_is_refused(
    runtime: Runtime, problems: TableRef
) -> None:
    with pytest.raises(InputError, match="a step needs 4 problems and there are 3"):
        drawn(runtime, problems, step=1, count=4)
