"""Two measurements are compared problem by problem, or refused with the parts that differ."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest

from artifacts.compare.comparison import compare_measurements, differing_parts, paired
from artifacts.runs.measured import StoredMeasurement, read_measurement
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from schemas.errors import RefusedError
from schemas.references import PolicyRef
from schemas.results import RatedComparison
from tests.artifacts.measuring import evaluated, measure, policy_in

pytestmark = pytest.mark.slow


@pytest.fixture
def policy(archive: Archive, tmp_path: Path) -> PolicyRef:
    return policy_in(archive, tmp_path / "model")


def stored(
    archive: Archive, *answers: str, policy: PolicyRef | None = None, first: int = 0, **config: str
) -> StoredMeasurement:
    measured = measure(archive.store, *answers, policy=policy, first=first, **config)
    return read_measurement(archive.store, evaluated(archive, measured))


def test_the_same_instrument_gives_both_rates_and_their_difference(archive: Archive) -> None:
    before = stored(archive, "rw", "ww", "rr", "bb")
    after = stored(archive, "rr", "rw", "wr", "bb")
    result = compare_measurements(before, after, [])
    assert isinstance(result, RatedComparison)
    assert (result.comparable, result.same_instrument, result.differs) == (True, True, {})
    assert [rate.value for rate in result.pass_rates] == [3 / 8, 4 / 8]
    difference = result.difference
    assert difference.value == pytest.approx(1 / 8)
    assert (difference.problems, difference.better, difference.worse) == (4, 2, 1)
    assert difference.low < 1 / 8 < difference.high
    assert result.left_out == (0, 0)
    # of the even problems the first rose and the third fell by a half
    assert set(result.families) == {"even"}
    assert (result.families["even"].value, result.families["even"].problems) == (0.0, 2)
    assert result.test == "student_paired"
    assert 0.3 < result.p_value < 1, "four problems show nothing"


def test_problems_that_flipped_come_with_both_answers(archive: Archive) -> None:
    before, after = stored(archive, "w", "r", "w"), stored(archive, "r", "b", "r")
    result = compare_measurements(before, after, [], rows=1)
    assert isinstance(result, RatedComparison)
    (better,), (worse,) = result.flipped.better, result.flipped.worse
    assert (better.problem_id, better.before, better.after) == ("p0", (0, 1), (1, 1))
    assert (better.answer_before.text, better.answer_after.text) == ("Final: 2", "Final: 1")
    assert (worse.problem_id, worse.answer_after.text) == ("p1", "<b>2")


def test_another_instrument_is_refused_unless_its_parts_are_allowed(archive: Archive) -> None:
    before = stored(archive, "rw")
    after = stored(archive, "rr", template="other@1:t", sampling="{}")
    refused = compare_measurements(before, after, [], allow=("sampling",))
    assert not isinstance(refused, RatedComparison)
    assert (refused.comparable, refused.refused_parts) == (False, ("prompt_template",))
    assert refused.allowed == ("sampling",)
    assert refused.differs["prompt_template"] == ("plain@1:t", "other@1:t")
    assert refused.reading == ()
    allowed = compare_measurements(before, after, [], allow=("sampling", "prompt_template"))
    assert isinstance(allowed, RatedComparison)
    assert not allowed.same_instrument
    assert differing_parts(before.instrument, after.instrument) == allowed.differs


def test_only_problems_of_both_are_compared(archive: Archive) -> None:
    before, after = stored(archive, "r", "w", "w"), stored(archive, "w", "r", first=2)
    result = compare_measurements(before, after, [], allow=("dataset",))
    assert isinstance(result, RatedComparison)
    assert (result.difference.problems, result.left_out) == (1, (2, 1))
    assert [rate.value for rate in result.pass_rates] == [0.0, 0.0]
    other = stored(archive, "r", first=7)
    with pytest.raises(RefusedError, match="have no problem in common"):
        compare_measurements(before, other, [], allow=("dataset",))
    with pytest.raises(RefusedError, match="have no problem in common"):
        paired(before, other)


def test_each_side_says_what_was_measured(archive: Archive, policy: PolicyRef) -> None:
    ours, theirs = stored(archive, "rw", policy=policy), stored(archive, "rr")
    first, second = compare_measurements(ours, theirs, []).runs
    assert (first.model, first.model_digest) == (policy.name, policy.digest)
    assert (second.model, second.model_digest) == ("completions made elsewhere", None)
    assert (first.problems, first.samples, first.loop) == (1, 2, "A")
    assert (first.kl_nats, first.steps, first.rule, first.stage) == (None, None, None, None)
    assert first.tables == ours.digests


def test_the_model_of_a_replay_is_named_by_the_run_that_sampled_it(
    archive: Archive, policy: PolicyRef
) -> None:
    ours = stored(archive, "rw", policy=policy)
    tags = {tag: value for tag, value in ours.run.tags.items() if not tag.startswith("model")}
    replay = dataclasses.replace(ours, run=dataclasses.replace(ours.run, tags=tags))

    def named(*runs: RunRecord) -> str:
        return compare_measurements(ours, replay, runs).runs[1].model

    assert named() == policy.digest[:12]
    assert named(replay.run, ours.run) == policy.name
    learned = {"model_digest_after": policy.digest, "model_after": "learn-1:after"}
    assert named(dataclasses.replace(ours.run, tags=learned)) == "learn-1:after"
    learned["registered"] = "models:/mine/1"
    assert named(dataclasses.replace(ours.run, tags=learned)) == "models:/mine/1"
