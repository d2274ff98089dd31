"""Evidence is pooled, each completion once, and every run that adds to it is a look."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from artifacts.promotion.evidence import (
    HOLDOUT,
    evaluations,
    first_evaluated_ms,
    looks,
    pooled,
    seeds_used,
)
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from schemas.references import PolicyRef
from scorers.statistics.counts import correct_counts
from tests.artifacts.measuring import evaluated, measure, policy_in

pytestmark = pytest.mark.slow

Evaluate = Callable[..., RunRecord]


@pytest.fixture
def policies(archive: Archive, tmp_path: Path) -> list[PolicyRef]:
    """An opponent and two candidates."""
    return [policy_in(archive, tmp_path / name, weights=name) for name in ("old", "new", "newer")]


@pytest.fixture
def evaluate(archive: Archive) -> Evaluate:
    """A run of loop A in which this policy gave these answers."""

    def call(policy: PolicyRef, *answers: str, **more: str) -> RunRecord:
        measured = measure(archive.store, *answers, policy=policy, first=0, split=HOLDOUT, **more)
        return evaluated(archive, measured)

    return call


def in_order(*runs: RunRecord) -> list[RunRecord]:
    """The runs, started a second apart."""
    return [replace(run, started_ms=1000 * place) for place, run in enumerate(runs)]


def test_evaluations_with_one_instrument_are_pooled_and_others_are_kept_apart(
    archive: Archive, policies: list[PolicyRef], evaluate: Evaluate
) -> None:
    old = policies[0]
    for answers in (("r", "w"), ("rw", "wr"), ("ww", "rr")):
        evaluate(old, *answers)
    evaluate(old, "r", "r", template="other@1:t")
    found = pooled(evaluations(archive.store, old.digest, archive.history.loops()).measured)
    assert sorted(one.samples for one in found.values()) == [1, 5]
    whole = max(found.values(), key=lambda one: one.samples)
    assert correct_counts(whole.scores) == {"p0": (2, 5), "p1": (3, 5)}
    assert whole.name.count(" + ") == 2
    assert len(set(whole.digests.values())) == 7, "one problems table, three of the others"


def test_the_same_completions_count_once_and_of_one_seed_the_most_samples(
    archive: Archive, policies: list[PolicyRef], evaluate: Evaluate
) -> None:
    old = policies[0]
    for answers in (("r", "w"), ("r", "w")):
        evaluate(old, *answers)
    for answers in (("w", "w"), ("ww", "wr"), ("rr", "rr")):
        evaluate(old, *answers, seed="3")
    measured = evaluations(archive.store, old.digest, archive.history.loops()).measured
    (found,) = pooled(measured).values()
    assert correct_counts(found.scores) == {"p0": (1, 3), "p1": (1, 3)}, "the older one of seed 3"
    assert seeds_used(measured) == {3}


def test_every_run_that_adds_evidence_is_a_look(
    policies: list[PolicyRef], evaluate: Evaluate
) -> None:
    old, new, newer = policies
    digests = [new.digest, newer.digest]
    runs = in_order(
        evaluate(old, "r"),
        evaluate(new, "w"),  # 1
        evaluate(new, "w"),  # the same completions
        evaluate(newer, "r"),  # 2: another candidate
        evaluate(old, "b"),  # 3: more is known of the opponent
        evaluate(old, "b"),
        evaluate(new, "c"),  # 4
    )
    assert [looks(runs[:end], digests, old.digest, 0) for end in range(1, 8)] == [
        1, 1, 1, 2, 3, 3, 4
    ]  # fmt: skip
    assert looks(runs[::-1], digests, old.digest, 0) == 4, "in whatever order they are listed"


def test_looks_count_from_when_the_opponent_became_champion(
    policies: list[PolicyRef], evaluate: Evaluate
) -> None:
    old, new, newer = policies
    runs = in_order(
        evaluate(old, "r"), evaluate(new, "w"), evaluate(old, "b"), evaluate(newer, "c")
    )
    assert looks(runs, [new.digest, newer.digest], old.digest, 1500) == 1
    assert first_evaluated_ms(runs, newer.digest) == 3000
    assert first_evaluated_ms(runs, "nobody") is None
