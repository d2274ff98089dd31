"""Every run that added to the evidence, or showed a rate on the way, is a look; once."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pytest

from artifacts.promotion.evidence import HOLDOUT
from artifacts.promotion.looks import first_sampled_ms, looks, sampled_on_holdout
from artifacts.recording.record import name_policy
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from artifacts.tracking.run import Place, tracked_run
from schemas.config import EvalConfig
from schemas.loops import EVALUATION, SELECTION
from schemas.references import PolicyRef
from tests.artifacts.measuring import evaluated, measure, policy_in, selected
from tests.artifacts.promotion.conftest import Learning

pytestmark = pytest.mark.slow

Evaluate = Callable[..., RunRecord]


@pytest.fixture
def policies(archive: Archive, tmp_path: Path) -> list[PolicyRef]:
    """An opponent and two candidates."""
    return [policy_in(archive, tmp_path / name, weights=name) for name in ("old", "new", "newer")]


@pytest.fixture
def evaluate(archive: Archive) -> Evaluate:
    """A run of loop A in which this policy gave these answers."""

    def call(policy: PolicyRef, seed: int, answer: str = "r", **more: str) -> RunRecord:
        more = {"split": HOLDOUT} | more
        measured = measure(archive.store, answer, policy=policy, first=0, seed=str(seed), **more)
        return evaluated(archive, measured, split=more["split"])

    return call


@pytest.fixture
def cut_off(archive: Archive) -> Evaluate:
    """A run of loop A of this policy that was stopped before it had a result."""

    def call(policy: PolicyRef, seed: int, samples: int = 1) -> RunRecord:
        settings = EvalConfig(samples=samples, seed=seed)
        with (
            suppress(KeyboardInterrupt),
            tracked_run(archive, EVALUATION, settings, Place()) as run,
        ):
            name_policy(run, policy)
            raise KeyboardInterrupt
        return archive.history.find(run.run_id)

    return call


def in_order(*runs: RunRecord) -> list[RunRecord]:
    """The runs, started a second apart."""
    return [replace(run, started_ms=1000 * place) for place, run in enumerate(runs)]


def counted(runs: list[RunRecord], policies: list[PolicyRef], since_ms: int = 0) -> list[int]:
    """The looks after each of the runs."""
    digests = [policy.digest for policy in policies]
    return [looks(runs[:end], digests, digests[0], since_ms) for end in range(1, len(runs) + 1)]


def test_every_run_that_adds_evidence_is_a_look(
    policies: list[PolicyRef], evaluate: Evaluate
) -> None:
    old, new, newer = policies
    runs = in_order(
        evaluate(old, 0),  # there must be one
        evaluate(new, 0),  # 1
        evaluate(new, 0),  # the same again
        evaluate(newer, 0),  # 2: another candidate
        evaluate(old, 1),  # 3: more is known of the opponent
        evaluate(old, 1),
        evaluate(new, 1),  # 4
        evaluate(new, 1, "rrr"),  # more samples of a seed that was used add nothing
    )
    assert counted(runs, policies) == [1, 1, 1, 2, 3, 3, 4, 4]
    digests = [policy.digest for policy in policies]
    assert looks(runs[::-1], digests, old.digest, 0) == 4, "in whatever order they are listed"


def test_measuring_the_opponent_until_it_looks_weak_is_no_free_look(
    policies: list[PolicyRef], evaluate: Evaluate
) -> None:
    old, new, _ = policies
    runs = in_order(*(evaluate(old, seed) for seed in range(4)), evaluate(new, 0))
    assert counted(runs, policies) == [1, 1, 2, 3, 4]


def test_a_run_that_was_cut_off_is_a_look_and_the_same_again_is_none(
    policies: list[PolicyRef], evaluate: Evaluate, cut_off: Evaluate
) -> None:
    old, new, _ = policies
    runs = in_order(
        evaluate(old, 0),
        cut_off(new, 0),  # 1
        cut_off(new, 0),
        evaluate(new, 0),  # what was begun, brought to its end
        cut_off(new, 0),
        cut_off(new, 1, samples=2),  # 2
        cut_off(new, 1, samples=3),  # 3: other samples of the same seed
        evaluate(new, 1),  # 4
        evaluate(new, 1),
    )
    assert counted(runs, policies) == [1, 1, 1, 1, 1, 2, 3, 4, 4]


def test_what_selection_sampled_is_a_look(
    archive: Archive, policies: list[PolicyRef], evaluate: Evaluate
) -> None:
    old, new, _ = policies
    measured = measure(archive.store, "rw", policy=new)
    runs = in_order(
        evaluate(old, 0), evaluate(new, 1), selected(archive, measured, measured.scores)
    )
    assert [run.loop for run in runs] == [EVALUATION, EVALUATION, SELECTION]
    assert counted(runs, policies) == [1, 1, 2]


def test_another_scorer_of_the_same_completions_is_another_look(
    policies: list[PolicyRef], evaluate: Evaluate
) -> None:
    old, new, _ = policies
    runs = in_order(
        evaluate(old, 0),
        evaluate(new, 0),  # 1
        evaluate(old, 0, scorer="last_int@1"),  # 2: the opponent's second instrument
        evaluate(new, 0, scorer="last_int@1"),  # 3
        evaluate(new, 0, scorer="contains_int@1"),  # which the opponent was never measured with
        evaluate(new, 1, split="dev"),  # no evidence
    )
    assert counted(runs, policies) == [1, 1, 2, 3, 3, 3]


def test_before_and_after_of_one_learning_run_are_one_look(
    archive: Archive, learning: Learning
) -> None:
    runs = archive.history.every()
    digests = [learning.start.digest, learning.trained.digest]
    assert looks(runs, digests, digests[0], 0) == 1
    assert {one.digest for one in sampled_on_holdout(runs)} == set(digests)


def test_looks_count_from_when_the_opponent_became_champion(
    policies: list[PolicyRef], evaluate: Evaluate
) -> None:
    old, new, newer = policies
    runs = in_order(evaluate(old, 0), evaluate(new, 0), evaluate(old, 1), evaluate(newer, 0))
    assert counted(runs, policies, since_ms=2500)[-1] == 1
    assert counted(runs, policies, since_ms=1500)[-1] == 2
    assert first_sampled_ms(runs, newer.digest) == 3000
    assert first_sampled_ms(runs, "nobody") is None
