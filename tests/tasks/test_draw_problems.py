"""The problems of a step depend on the seed and the step alone, and each comes once a round."""

from __future__ import annotations

import pytest

from artifacts.store.keys import task_key
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


def test_a_step_draws_the_same_problems_again(problems: TableRef) -> None:
    first = draw_problems(problems, step=1, count=2, seed=0)
    assert draw_problems(problems, step=1, count=2, seed=0) == first
    others = {draw_problems(problems, step=step, count=3, seed=9).digest for step in (1, 2, 3)}
    assert len(others) > 1


def test_what_was_drawn_is_not_stored_and_has_the_digest_that_it_would_have(
    runtime: Runtime, problems: TableRef
) -> None:
    """Seeds of samples come from this digest, so it must stay what it was when it was stored."""
    before = sorted(runtime.store.root.rglob("*"))
    found = draw_problems(problems, step=1, count=2, seed=0)
    assert sorted(runtime.store.root.rglob("*")) == before
    key = task_key(
        "problems",
        "draw-problems",
        parents={"problems": problems.digest},
        config={"step": 1, "count": 2, "seed": 0},
    )
    kept = runtime.store.keep(key, runtime.store.read(found))
    assert (found.digest, found.rows) == (kept.digest, 2)
    assert runtime.store.read(found).to_pylist() == runtime.store.read(kept).to_pylist()


def test_a_step_with_more_problems_than_there_are_is_refused(
    runtime: Runtime, problems: TableRef
) -> None:
    with pytest.raises(InputError, match="a step needs 4 problems and there are 3"):
        drawn(runtime, problems, step=1, count=4)
