"""The gate: a version becomes the champion on evidence from the holdout, and on nothing else."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import ANY

import pyarrow as pa
import pytest

from artifacts.registry.resolve import resolve_policy
from artifacts.registry.versions import champion_of, registered_version
from artifacts.tracking.connection import TAG
from flows.cli.parser import main
from flows.eval import eval_flow
from flows.learning import learning_flow
from policy.model.template import get_template
from schemas.config import EvalConfig, LearningConfig
from schemas.errors import InputError
from schemas.identity import canonical_json
from schemas.loops import EVALUATION
from schemas.measurements import Estimate, Measurement
from schemas.references import PolicyRef
from tasks.aggregate import aggregate
from tasks.load_dataset import load_dataset
from tasks.runtime.runtime import Runtime, process_runtime
from tasks.score import score
from tests.data_folder import all_runs, every_run, stored

pytestmark = pytest.mark.slow

Learn = Callable[..., dict[str, Any]]
Run = Callable[..., dict[str, Any]]
COUNT = 40
VERSION = "models:/threeloops/1"


def answered(config: EvalConfig, policy: PolicyRef, rate: float) -> Measurement:
    """A measurement in which the first `rate` of the problems is answered right."""
    store, problems = (
        stored(),
        load_dataset(config.dataset, config.split, config.limit),
    )
    table = store.read(problems)
    right = rate * table.num_rows
    expected = [int(value) for value in table["expected_answer"].to_pylist()]
    rows = {
        "problem_id": table["problem_id"],
        "sample_index": pa.array([0] * len(expected), pa.int32()),
        "text": pa.array([f"Final: {v + (i >= right)}" for i, v in enumerate(expected)]),
        "finish_reason": pa.array(["stop"] * len(expected)),
        "token_count": pa.array([3] * len(expected), pa.int32()),
        "sum_logprob": pa.array([-1.0] * len(expected)),
        "shard_seed": pa.array([config.seed] * len(expected), pa.int64()),
        "token_ids": pa.array([[1, 2, 3]] * len(expected), pa.list_(pa.int32())),
        "logprobs": pa.array([[-0.5, -0.25, -0.25]] * len(expected), pa.list_(pa.float32())),
    }
    template = get_template(config.template)
    completions = store.write(
        "completions",
        pa.table(rows),
        producer="generate",
        parents={"problems": problems.digest},
        config={
            "policy": policy.digest,
            "template": f"{template.id}:{template.digest}",
            "sampling": canonical_json(config.sampling.model_dump()),
            "seed": config.seed,
        },
    )
    return aggregate(problems, completions, score(problems, completions, config.scorer), policy)


@pytest.fixture
def rates(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The pass rates that the next measurements will find, in their order.

    With none left, a policy has the rate that it had last.
    """
    coming: list[float] = []
    known: dict[str, float] = {}

    def measured(
        runtime: Runtime, config: EvalConfig, policy: PolicyRef | None = None
    ) -> Measurement:
        policy = policy or resolve_policy(runtime.archive, config.model)
        if coming:
            known[policy.digest] = coming.pop(0)
        return answered(config, policy, known[policy.digest])

    def far(*_: object) -> Estimate:
        return Estimate(value=0.5, low=0.4, high=0.6, problems=COUNT, completions=COUNT)

    monkeypatch.setattr("flows.learning.measure", measured)
    monkeypatch.setattr("flows.eval.measure", measured)
    monkeypatch.setattr("flows.learning.divergence", far)
    return coming


@pytest.fixture
def learn(learning_config: LearningConfig, rates: list[float]) -> Learn:
    """Train two steps from the tiny model, or another; it measures these rates."""

    def call(before: float, after: float, **more: Any) -> dict[str, Any]:
        rates[:] = [before, after]
        settings = learning_config.learning.model_copy(update={"weight_decay": 0.5})
        small = {"limit": COUNT, "steps": 2, "learning": settings, "dataset": "arithmetic"}
        small |= {"problems_per_step": 2, "samples": 2, "dev_every": 0}
        return learning_flow.fn(learning_config.model_copy(update=small | more)).as_json()

    return call


@pytest.fixture
def promote(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Run:
    """Ask the gate for a decision, with --json; what it measures again needs no server."""
    monkeypatch.setattr("flows.cli.verbs_of_past_runs.configure_prefect", lambda data_dir: None)
    monkeypatch.setattr(
        "flows.cli.verbs_of_past_runs.run_flow", lambda runtime, flow, config, _: flow.fn(config)
    )

    def call(*arguments: str, code: int = 0) -> dict[str, Any]:
        capsys.readouterr()
        assert main(["promote", *arguments, "--json"]) == code
        return dict(json.loads(capsys.readouterr().out))

    return call


def champion() -> str | None:
    found = champion_of(process_runtime().archive, "threeloops")
    return found.name if found else None


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
    fresh = result["fresh"]["difference"]
    assert kept.data.metrics["gain_low"] == fresh["low"], "what was measured again is shown"
    assert result["held"] == {
        "look": 1, "level": pytest.approx(1 - 0.3 / math.pi**2), "low": ANY, "high": ANY
    }  # fmt: skip
    assert 0 < result["held"]["low"] < gain["low"]
    tags = client.get_model_version("threeloops", "1").tags
    assert tags[f"{TAG}decision_run"] == result["run_id"]
    assert tags[f"{TAG}gain"].startswith("+50.0")
    assert tags[f"{TAG}gain"].endswith("measured again on fresh samples")
    assert tags[f"{TAG}look"] == "1"
    candidate, opponent, first = all_runs()
    assert first.run_id == learned["run_id"], "a decision is no loop"
    assert [run.config(EvalConfig).seed for run in (opponent, candidate)] == [1, 1]
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


def test_a_version_that_was_trained_on_the_holdout_is_not_promoted(
    learn: Learn, promote: Run, rates: list[float], tiny: str
) -> None:
    learn(0.25, 0.75, train_split="holdout", split="dev", limit=None)
    rates[:] = [0.25, 0.75]
    for model in (tiny, VERSION):
        eval_flow.fn(EvalConfig(model=model))
    (reason,) = promote(VERSION, code=1)["reasons"]
    assert "was trained on 4 of the holdout's problems" in reason
    assert champion() is None


@pytest.fixture
def measure_again(rates: list[float], learning_config: LearningConfig) -> Callable[..., None]:
    """Evaluate the version with this seed; it finds this rate."""

    def call(rate: float, seed: int, model: str = VERSION) -> None:
        rates[:] = [rate]
        changes = {"model": model, "limit": COUNT, "dataset": "arithmetic", "seed": seed}
        eval_flow.fn(learning_config.evaluation().model_copy(update=changes))

    return call


def test_all_evaluations_decide_and_none_is_chosen(
    learn: Learn, promote: Run, measure_again: Callable[..., None]
) -> None:
    learn(0.5, 1.0)
    measure_again(0.5, seed=5)
    result = promote(VERSION)
    assert result["pairs_considered"] == 1
    assert result["evidence"]["difference"]["value"] == pytest.approx(0.25)
    assert [run["samples"] for run in result["evidence"]["runs"]] == [1, 2]
    assert " + learn-" in result["evidence"]["runs"][1]["name"]
    assert result["held"]["look"] == 2


def test_the_same_completions_again_change_nothing(
    learn: Learn, promote: Run, measure_again: Callable[..., None]
) -> None:
    learn(0.5, 0.4)
    measure_again(0.7, seed=7)
    first = promote(VERSION, code=1)
    measure_again(0.3, seed=8)
    before = promote(VERSION, code=1)
    measure_again(0.7, seed=7)  # the lucky one, made the newest
    after = promote(VERSION, code=1)
    assert [told["held"]["look"] for told in (first, before, after)] == [2, 3, 3]
    assert after["evidence"]["difference"] == before["evidence"]["difference"]
    assert champion() is None


def test_looks_are_counted_over_versions_and_start_again_with_a_new_champion(
    learn: Learn, promote: Run
) -> None:
    for seed in range(3):
        learn(0.5, 0.5 + 0.02 * seed, seed=seed)
        told = promote(f"models:/threeloops/{seed + 1}", code=1)
        assert told["held"]["look"] == seed + 1
    learn(0.5, 1.0, seed=3)
    assert promote("models:/threeloops/4")["held"]["look"] == 4
    learn(0.5, 0.9, seed=4)
    assert promote("models:/threeloops/5", code=1)["held"]["look"] == 1
    # an old version could be asked about because of what is known of it
    assert promote("models:/threeloops/2", code=1)["held"]["look"] > 4


def test_the_gain_is_measured_again_and_that_figure_is_shown(
    learn: Learn, promote: Run, rates: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    learn(0.25, 0.9)
    rates[:] = [0.25, 0.6]  # the opponent's and the candidate's, when they are measured again
    result = promote(VERSION)
    assert result["evidence"]["difference"]["value"] == pytest.approx(0.65)
    assert result["fresh"]["difference"]["value"] == pytest.approx(0.35)
    assert main(["show", result["run_id"]]) == 0
    shown = capsys.readouterr().out
    assert "measured again on fresh samples: +35.0 points" in shown
    assert "look 1 at evidence against this opponent" in shown
    assert main(["runs"]) == 0
    assert "+35.0 [" in capsys.readouterr().out


def test_a_gain_that_cannot_be_measured_again_says_so_and_the_promotion_stands(
    learn: Learn, promote: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object) -> None:
        raise InputError("no such file", "--dataset sums.jsonl")

    learn(0.25, 0.9)
    monkeypatch.setattr("flows.cli.verbs_of_past_runs.run_flow", gone)
    result = promote(VERSION)
    assert result["not_fresh"] == "--dataset sums.jsonl: no such file"
    assert "fresh" not in result
    assert champion() == VERSION


def test_a_version_that_learned_nothing_is_refused_however_often_it_is_measured(
    learning_config: LearningConfig, promote: Run
) -> None:
    # nothing is replaced here: the tiny model samples, learns with no effect, and samples again
    idle = learning_config.learning.model_copy(update={"learning_rate": 1e-12})
    settings = {"learning": idle, "steps": 1, "dev_every": 0, "limit": None}
    config = learning_config.model_copy(update=settings)
    learning_flow.fn(config)
    known = {}
    for seed in (7, 8, 9, 10, 7, 8):
        evaluation = {"model": VERSION, "seed": seed}
        found = eval_flow.fn(config.evaluation().model_copy(update=evaluation))
        known[seed] = found.tables["completions"]
        told = promote(VERSION, code=1)
        assert told["held"]["look"] == 1 + len(known)
        assert told["evidence"]["runs"][1]["samples"] == 2 * (1 + len(known))
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
