"""Evidence is pooled over all runs of a policy, each seed once."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from artifacts.promotion.evidence import HOLDOUT, evidence_on, pooled
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from schemas.references import PolicyRef
from scorers.selection.picked import pick_all
from scorers.statistics.counts import correct_counts
from tests.artifacts.measuring import evaluated, measure, policy_in, selected

pytestmark = pytest.mark.slow

Evaluate = Callable[..., RunRecord]


@pytest.fixture
def policy(archive: Archive, tmp_path: Path) -> PolicyRef:
    return policy_in(archive, tmp_path / "model")


@pytest.fixture
def evaluate(archive: Archive) -> Evaluate:
    """A run of loop A in which this policy gave these answers."""

    def call(policy: PolicyRef, *answers: str, **more: str) -> RunRecord:
        measured = measure(archive.store, *answers, policy=policy, first=0, split=HOLDOUT, **more)
        return evaluated(archive, measured)

    return call


def test_evaluations_with_one_instrument_are_pooled_and_others_are_kept_apart(
    archive: Archive, policy: PolicyRef, evaluate: Evaluate
) -> None:
    for answers in (("r", "w"), ("rw", "wr"), ("ww", "rr")):
        evaluate(policy, *answers)
    evaluate(policy, "r", "r", template="other@1:t")
    found = pooled(evidence_on(archive.store, policy.digest, archive.history.loops()).measured)
    assert sorted(one.samples for one in found.values()) == [1, 5]
    whole = max(found.values(), key=lambda one: one.samples)
    assert correct_counts(whole.scores) == {"p0": (2, 5), "p1": (3, 5)}
    assert whole.name.count(" + ") == 2
    assert len(set(whole.digests.values())) == 7, "one problems table, three of the others"


def test_of_one_seed_the_first_measurement_counts_and_the_others_are_named(
    archive: Archive, policy: PolicyRef, evaluate: Evaluate
) -> None:
    first = evaluate(policy, "w", "w", seed="3")
    more = evaluate(policy, "ww", "wr", seed="3")
    evaluate(policy, "w", "w", seed="3")  # the same completions: nothing to say
    evaluate(policy, "r", "r", seed="4")
    evidence = evidence_on(archive.store, policy.digest, archive.history.loops())
    (found,) = pooled(evidence.measured).values()
    assert correct_counts(found.scores) == {"p0": (1, 2), "p1": (1, 2)}
    assert evidence.repeated == [
        f"{more.name} adds nothing: {first.name} has its seed, 3, already; another --seed adds "
        "samples"
    ]


def test_what_selection_sampled_is_evidence_and_a_replay_is_none(
    archive: Archive, policy: PolicyRef
) -> None:
    store = archive.store
    measured = measure(store, "rr", policy=policy, seed="1")
    table = pick_all(store.read(measured.completions), store.read(measured.scores), ("random",), 0)
    run = selected(archive, measured, store.write("selections", table, producer="test"))
    evaluated(archive, measure(store, "rw"))
    runs = archive.history.loops()
    assert len(runs) == 2
    (found,) = evidence_on(store, policy.digest, runs).measured
    assert (found.run.run_id, found.samples) == (run.run_id, 2)
    assert evidence_on(store, "", runs).measured == []
