"""The gate: a version becomes the champion on evidence from the holdout, and on nothing else."""

from __future__ import annotations

import math
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from unittest.mock import ANY

import pytest

from artifacts.registry.resolve import resolve_policy
from artifacts.registry.versions import registered_version
from artifacts.tracking.connection import TAG
from flows.cli.parser import main
from flows.eval import eval_flow
from flows.gate import decide_and_record
from schemas.config import EvalConfig, LearningConfig
from schemas.loops import EVALUATION
from tasks.runtime.runtime import process_runtime
from tests.data_folder import all_runs, every_run, stored
from tests.flows.promotion.conftest import COUNT, VERSION, Learn, Run, answered, champion

pytestmark = [pytest.mark.slow, pytest.mark.untraced]


def test_a_version_that_beats_its_start_on_the_holdout_becomes_the_champion(
    learn: Learn, promote: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    learned = learn(0.25, 0.75)
    result = promote(VERSION)
    assert (result["decision"], result["champion"], champion()) == ("promoted", VERSION, VERSION)
    assert (result["against"]["role"], result["reasons"]) == ("start", [])
    gain = result["evidence"]["difference"]
    assert (gain["value"], gain["problems"]) == (0.5, COUNT)
    assert gain["low"] > 0
    client = process_runtime().archive.tracking.client
    kept = client.get_run(result["run_id"])
    assert kept.info.status == "FINISHED"
    assert kept.data.tags[f"{TAG}decision"] == "promoted"
    shown = result["gain"]["difference"]
    assert kept.data.metrics["gain_low"] == shown["low"], "what was measured last is shown"
    assert result["held"] == {
        "look": 1, "level": pytest.approx(1 - 0.3 / math.pi**2), "low": ANY, "high": ANY
    }  # fmt: skip
    assert 0 < result["held"]["low"] < gain["low"]
    tags = client.get_model_version("threeloops", "1").tags
    assert tags[f"{TAG}decision_run"] == result["run_id"]
    assert tags[f"{TAG}gain"].startswith("+50.0")
    assert tags[f"{TAG}gain"].endswith("measured after it had passed")
    assert tags[f"{TAG}look"] == "1"
    *_, candidate, opponent, first = all_runs()
    assert len(all_runs()) == 5
    assert first.run_id == learned["run_id"], "a decision is no loop"
    assert result["fresh_held"]["look"] == 1
    again = [run.config(EvalConfig) for run in (opponent, candidate)]
    assert again[0].seed == again[1].seed != learned["config"]["seed"]
    assert [config.samples for config in again] == [2, 2], "twice those of the evidence"
    assert [run.loop for run in (opponent, candidate)] == [EVALUATION] * 2
    assert promote(VERSION, code=1)["reasons"][0] == "it is the champion already"
    assert champion() == VERSION
    assert main(["runs"]) == 0


def test_without_a_gain_that_is_above_chance_nothing_is_promoted(
    learn: Learn, promote: Run, capsys: pytest.CaptureFixture[str]
) -> None:
    learn(0.5, 0.525)
    result = promote(VERSION, code=1)
    (reason,) = result["reasons"]
    assert "its gain is +2.5 points" in reason
    assert "not above +0.0" in reason
    assert champion() is None
    assert main(["promote", VERSION]) == 1
    captured = capsys.readouterr()
    assert "models:/threeloops/1: refused" in captured.out
    assert "not promoted; its gain is" in captured.err


def test_the_interval_must_lie_above_the_gain_that_was_asked_for(
    learn: Learn, promote: Run
) -> None:
    learn(0.25, 0.75)
    assert "not above +45.0" in promote(VERSION, "--min-gain", "0.45", code=1)["reasons"][0]
    assert champion() is None
    promote(VERSION, "--min-gain", "0.1")
    assert champion() == VERSION


def test_a_later_version_is_held_against_the_champion(learn: Learn, promote: Run) -> None:
    learn(0.25, 0.75)
    promote(VERSION)
    learn(0.25, 0.6, seed=1)
    worse = promote("models:/threeloops/2", code=1)
    assert (worse["against"]["role"], worse["against"]["name"]) == ("champion", VERSION)
    assert worse["evidence"]["difference"]["value"] == pytest.approx(-0.15)
    assert champion() == VERSION
    learn(0.75, 1.0, model=VERSION, seed=2)
    better = promote("models:/threeloops@candidate")
    assert better["champion"] == champion() == "models:/threeloops/3"
    assert "a difference is by learning" in " ".join(better["evidence"]["reading"])


def test_of_several_decisions_at_once_each_is_about_the_champion_of_its_moment(
    learn: Learn, rates: list[float]
) -> None:
    learn(0.25, 0.75)
    learn(0.25, 0.7, seed=1)
    runtime = process_runtime()
    versions = [registered_version(runtime.archive, f"models:/threeloops/{n}") for n in (1, 2)]
    with ThreadPoolExecutor() as pool:
        told = list(pool.map(lambda v: decide_and_record(runtime, v, eval_flow.fn), versions))
    assert sorted(one.against.role for one in told) == ["champion", "start"]
    second = next(one for one in told if one.against.role == "champion")
    first = next(one for one in told if one is not second)
    assert first.promoted
    assert second.against.name == first.candidate.name


def test_the_champions_own_weights_under_another_number_are_no_gain(
    learn: Learn, promote: Run
) -> None:
    learn(0.25, 0.75)
    promote(VERSION)
    learn(0.25, 0.75)
    refused = promote("models:/threeloops/2", code=1)
    assert refused["reasons"][0] == f"it has the same weights as the champion, {VERSION}"


@pytest.mark.parametrize("name", ["scores_after", "completions_before"])
def test_nothing_is_promoted_on_a_table_that_was_changed(
    learn: Learn, promote: Run, name: str
) -> None:
    learned = learn(0.25, 0.75)
    path = Path(learned["tables"][name])
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    reasons = promote(VERSION, code=1)["reasons"]
    assert any(str(path) in reason and "the digest" in reason for reason in reasons)
    assert champion() is None


def copy_of(name: str, stage: str) -> Path:
    """The copy of a table in the run of a stage of the newest learning run."""
    (child,) = (r for r in every_run() if (r.parent, r.stage) == (all_runs()[0].run_id, stage))
    return child.folder / "tables" / f"{name}.parquet"


def test_a_copy_that_was_changed_in_the_run_of_a_stage_is_found(learn: Learn, promote: Run) -> None:
    learn(0.25, 0.75)
    copy = copy_of("scores", "after")
    copy.write_bytes(copy.read_bytes()[:-1] + b"!")
    reasons = promote(VERSION, code=1)["reasons"]
    assert any(str(copy) in reason and "the digest" in reason for reason in reasons)
    assert champion() is None


def test_scores_swapped_for_those_of_other_completions_are_found(
    learn: Learn, promote: Run
) -> None:
    learned = learn(0.25, 0.25)
    run = all_runs()[0]
    _, better = (
        answered(
            EvalConfig(model=learned["model"]["folder"], limit=COUNT),
            resolve_policy(process_runtime().archive, learned["model"]["folder"]),
            rate,
        )
        for rate in (0.25, 1.0)
    )
    process_runtime().archive.tracking.client.set_tag(
        run.run_id, f"{TAG}table.scores_after", f"scores:{better.scores.digest}"
    )
    copy_of("scores", "after").write_bytes(stored().path(better.scores).read_bytes())
    reasons = promote(VERSION, code=1)["reasons"]
    assert any("made from other completions than the run's" in reason for reason in reasons)
    assert champion() is None


def test_weights_that_were_changed_are_not_promoted(learn: Learn, promote: Run) -> None:
    learn(0.25, 0.75)
    weights = next(
        registered_version(process_runtime().archive, VERSION).folder.glob("*.safetensors")
    )
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.write_bytes(content)
    (reason,) = promote(VERSION, code=1)["reasons"]
    assert "no longer have the registered digest" in reason
    assert champion() is None


def test_an_evaluation_elsewhere_than_on_the_holdout_is_no_evidence(
    learn: Learn, promote: Run, rates: list[float], tiny: str
) -> None:
    learn(0.25, 0.75, split="dev")
    reasons = promote(VERSION, code=1)["reasons"]
    assert len(reasons) == 2
    assert all("no evaluation on the holdout split (only on dev)" in reason for reason in reasons)
    rates[:] = [0.25, 0.75]
    sampling = LearningConfig().sampling
    for model in (tiny, VERSION):
        eval_flow.fn(EvalConfig(model=model, limit=COUNT, sampling=sampling))
    result = promote(VERSION)
    assert [run["loop"] for run in result["evidence"]["runs"]] == ["A", "A"]
    assert champion() == VERSION


def test_evaluations_with_different_instruments_are_no_evidence(learn: Learn, promote: Run) -> None:
    learn(0.25, 0.75)
    promote(VERSION)
    learn(0.25, 1.0, seed=1, scorer="contains_int@1")
    (reason,) = promote("models:/threeloops/2", code=1)["reasons"]
    assert "with different instruments, in scorer" in reason
    assert champion() == VERSION


@pytest.mark.parametrize("status", ["FINISHED", "FAILED"])
def test_a_version_that_was_trained_on_the_holdout_is_not_promoted(
    learn: Learn, promote: Run, rates: list[float], tiny: str, status: str
) -> None:
    learned = learn(0.25, 0.75, train_split="holdout", split="dev", limit=None)
    process_runtime().archive.tracking.client.set_terminated(learned["run_id"], status)
    rates[:] = [0.25, 0.75]
    for model in (tiny, VERSION):
        eval_flow.fn(EvalConfig(model=model))
    (reason,) = promote(VERSION, code=1)["reasons"]
    assert "was trained on 4 of the holdout's problems" in reason
    assert champion() is None


def test_a_version_whose_learning_run_was_deleted_is_not_promoted(
    learn: Learn, promote: Run, rates: list[float], tiny: str
) -> None:
    learned = learn(0.25, 0.75)
    rates[:] = [0.25, 0.75]
    for model in (tiny, VERSION):
        eval_flow.fn(EvalConfig(model=model, limit=COUNT, seed=1))
    process_runtime().archive.tracking.client.delete_run(learned["run_id"])
    reasons = promote(VERSION, code=1)["reasons"]
    assert any("is gone, so nothing says what it was trained on" in reason for reason in reasons)
    assert champion() is None


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (["models:/nobody/1"], "promote models:/nobody/1: no such version"),
        (["nobody"], "promote nobody: is not a registry name"),
        (["models:/x/1", "--min-gain", "2"], "--min-gain 2.0: is not a rate from 0 to 1"),
        (["models:/x/1", "--min-gain", "nan"], "--min-gain nan"),
    ],
)
def test_what_cannot_be_promoted_is_exit_2(
    arguments: list[str], reason: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["promote", *arguments]) == 2
    assert reason in capsys.readouterr().err
