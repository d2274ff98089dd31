"""A version passes the gate on evidence alone; every reason against it is named."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.promotion.decisions import begin_decision
from artifacts.promotion.gate import confirmation_number, decide
from artifacts.registry.versions import make_champion, register_version, registered_version
from artifacts.tracking.archive import Archive
from schemas.results import Decision
from tests.artifacts.measuring import (
    evaluated,
    learned,
    measure,
    policy_in,
    training_table,
)
from tests.artifacts.promotion.conftest import PROBLEMS, Learning, record_decision

pytestmark = pytest.mark.slow


def reasons(decision: Decision, count: int = 1) -> list[str]:
    assert not decision.promoted
    assert decision.decision == "refused"
    assert decision.champion is None
    assert len(decision.reasons) == count
    return list(decision.reasons)


def test_a_clear_gain_over_the_start_is_promoted(archive: Archive, learning: Learning) -> None:
    decision = decide(archive, learning.version, min_gain=0.0)
    assert (decision.promoted, decision.reasons) == (True, ())
    assert decision.champion == learning.version.name
    assert (decision.against.role, decision.against.digest) == ("start", learning.start.digest)
    assert decision.pairs_considered == 1
    assert decision.evidence is not None
    assert decision.evidence.difference.value == 1.0
    assert [run.stage for run in decision.evidence.runs] == ["before", "after"]


def test_the_lower_end_of_the_gain_decides(archive: Archive, learning: Learning) -> None:
    held = decide(archive, learning.version, min_gain=0.0).held
    assert held is not None
    assert held.look == 1
    (reason,) = reasons(decide(archive, learning.version, min_gain=held.low))
    assert reason.startswith("its gain is +100.0 points, 97.0 % interval +")
    assert decide(archive, learning.version, min_gain=held.low - 1e-9).promoted


def test_the_champion_is_not_promoted_again(archive: Archive, learning: Learning) -> None:
    make_champion(archive, learning.version)
    told = reasons(decide(archive, learning.version, min_gain=0.0), 2)
    assert told[0] == "it is the champion already"


def test_the_same_weights_as_the_champion_are_refused(archive: Archive, learning: Learning) -> None:
    make_champion(archive, learning.version)
    made = register_version(
        archive,
        "mine",
        learning.trained,
        archive.folders.find(learning.trained),
        "0123456789abcdef",  # another run that ended with the same weights
        "",
    )
    decision = decide(archive, registered_version(archive, made.name), min_gain=-1.0)
    assert "it has the same weights as the champion, models:/mine/1" in decision.reasons
    assert decision.against.role == "champion"


def test_a_worse_version_does_not_replace_the_champion(
    archive: Archive, learning: Learning, tmp_path: Path
) -> None:
    make_champion(archive, learning.version)
    worse = policy_in(archive, tmp_path / "worse", weights="worse")
    evaluated(archive, measure(archive.store, *["w"] * PROBLEMS, policy=worse))
    made = register_version(archive, "mine", worse, archive.folders.find(worse), "", "")
    (reason,) = reasons(decide(archive, registered_version(archive, made.name), min_gain=0.0))
    assert reason.startswith("its gain is -100.0 points")


def test_weights_that_changed_are_refused(archive: Archive, learning: Learning) -> None:
    (learning.version.folder / "model.safetensors").write_text("others")
    (reason,) = reasons(decide(archive, learning.version, min_gain=0.0))
    assert reason.endswith("no longer have the registered digest")


def test_one_damaged_table_is_a_reason_whatever_others_say(
    archive: Archive, learning: Learning
) -> None:
    again = evaluated(archive, measure(archive.store, *["rr"] * PROBLEMS, policy=learning.trained))
    copy = again.folder / "tables" / "scores.parquet"
    copy.write_bytes(b"x")
    (reason,) = reasons(decide(archive, learning.version, min_gain=0.0))
    assert reason.startswith(f"run {again.name}: ")


def test_completions_of_another_model_are_no_evidence(archive: Archive, learning: Learning) -> None:
    other = evaluated(archive, measure(archive.store, *["r"] * PROBLEMS, policy=learning.start))
    archive.tracking.client.set_tag(
        other.run_id, "threeloops.model_digest", learning.trained.digest
    )
    (reason,) = reasons(decide(archive, learning.version, min_gain=0.0))
    assert reason == f"run {other.name}: another model made its completions"


def test_what_was_trained_on_the_holdout_is_refused(
    archive: Archive, learning: Learning, tmp_path: Path
) -> None:
    trained = policy_in(archive, tmp_path / "cheat", weights="cheat")
    after = measure(archive.store, *["r"] * PROBLEMS, policy=trained)
    batch = measure(archive.store, "rw", "rw", policy=learning.trained)  # of the holdout itself
    run = learned(archive, learning.after, after, training_table(archive.store, batch))
    made = register_version(archive, "mine", trained, archive.folders.find(trained), run.run_id, "")
    told = decide(archive, registered_version(archive, made.name), min_gain=-1.0).reasons
    assert told == (f"run {run.name} was trained on 2 of the holdout's problems",)
    archive.store.path(archive.store.lookup(*run.table_refs()["training"])).unlink()
    told = decide(archive, registered_version(archive, made.name), min_gain=-1.0).reasons
    assert told[0].startswith(f"what run {run.name} was trained on cannot be read: ")


def test_without_an_evaluation_on_the_holdout_it_is_refused(
    archive: Archive, tmp_path: Path
) -> None:
    policy = policy_in(archive, tmp_path / "model")
    evaluated(archive, measure(archive.store, "r", policy=policy, split="dev"))
    made = register_version(archive, "mine", policy, archive.folders.find(policy), "", "")
    told = reasons(decide(archive, registered_version(archive, made.name), min_gain=0.0), 2)
    assert told[0].startswith("there is no champion, and no run says which model it started from")
    assert told[1].startswith("models:/mine/1 has no evaluation on the holdout split (only on dev)")


def test_different_instruments_are_no_evidence(
    archive: Archive, learning: Learning, tmp_path: Path
) -> None:
    make_champion(archive, learning.version)
    policy = policy_in(archive, tmp_path / "model", weights="other")
    other = measure(archive.store, *["r"] * PROBLEMS, policy=policy, template="other@1:t")
    evaluated(archive, other)
    made = register_version(archive, "mine", policy, archive.folders.find(policy), "", "")
    (reason,) = reasons(decide(archive, registered_version(archive, made.name), min_gain=0.0))
    assert reason.endswith("with different instruments, in prompt_template")


@pytest.mark.parametrize("scorer", ["last_int@1", "final_line_int@1", "final_int@1"])
def test_of_several_pairs_the_strict_scorers_decides(
    archive: Archive, learning: Learning, scorer: str
) -> None:
    # more problems and more samples, on which nothing was gained
    for policy in (learning.start, learning.trained):
        many = measure(archive.store, *["ww"] * (PROBLEMS + 8), policy=policy, scorer=scorer)
        evaluated(archive, many)
    decision = decide(archive, learning.version, min_gain=0.0)
    assert decision.pairs_considered == 2
    assert decision.promoted == (scorer != "final_int@1")


def test_a_start_that_was_made_anew_does_not_begin_the_count_of_confirmations(
    archive: Archive, learning: Learning, tmp_path: Path
) -> None:
    decided = decide(archive, learning.version, 0.0)
    assert confirmation_number(archive, learning.version, decided) == 1
    archive.tracking.client.delete_run(begin_decision(archive, learning.version, decided))
    after = measure(
        archive.store, *["r"] * PROBLEMS, policy=policy_in(archive, tmp_path / "2", weights="2")
    )
    batch = measure(archive.store, "rw", policy=learning.trained, split="train", first=100)
    run = learned(archive, learning.after, after, training_table(archive.store, batch))
    assert after.policy is not None
    made = register_version(
        archive, "mine", after.policy, archive.folders.find(after.policy), run.run_id, "a card"
    )
    second = registered_version(archive, made.name)
    against = decide(archive, second, 0.0)
    assert (against.against.role, against.against.digest) == ("start", learning.trained.digest)
    assert confirmation_number(archive, second, against) == 2
    record_decision(archive, learning.version, decided)
    against = decide(archive, second, 0.0)
    assert against.against.role == "champion"
    assert confirmation_number(archive, second, against) == 1, "the gate chose this opponent"
