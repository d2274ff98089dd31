"""Asking the gate again, measuring again and learning again do not pay; what is shown is fresh."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from artifacts.promotion.confirmation import evaluations_anew
from artifacts.promotion.decisions import CONFIRMS
from artifacts.promotion.gate import decide
from artifacts.registry.versions import RegisteredVersion, registered_version
from artifacts.tracking.named import EXPERIMENT_NAME
from flows.cli.parser import main
from flows.eval import eval_flow
from flows.learning import learning_flow
from schemas.config import EvalConfig, LearningConfig
from schemas.errors import InputError
from tasks.runtime.runtime import process_runtime
from tests.data_folder import all_runs
from tests.flows.conftest import problems_file
from tests.flows.promotion.conftest import VERSION, Learn, Run, champion

pytestmark = [pytest.mark.slow, pytest.mark.untraced]


def test_all_evaluations_decide_and_none_is_chosen(
    learn: Learn, promote: Run, measure_again: Callable[..., None], rates: list[float]
) -> None:
    learn(0.5, 1.0)
    measure_again(0.5, seed=5)
    rates[:] = [0.5, 0.9]  # when they are measured again
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


def test_another_registered_name_starts_no_count_of_its_own(learn: Learn, promote: Run) -> None:
    for seed in range(3):
        learn(0.5, 0.5, seed=seed, register_as=f"lucky{seed}")
    assert promote("models:/lucky2/1", code=1)["held"]["look"] == 3


def test_another_experiment_starts_no_count_of_its_own(
    learn: Learn, promote: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for seed in range(3):
        monkeypatch.setenv(EXPERIMENT_NAME, f"lucky{seed}")
        learn(0.5, 0.5, seed=seed)
    assert promote("models:/threeloops/3", code=1)["held"]["look"] == 3


def test_a_champion_is_taken_back_from_another_experiment(
    learn: Learn, promote: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    learn(0.25, 0.5)
    promote(VERSION)
    learn(0.25, 0.9, seed=1)
    promote("models:/threeloops/2")
    monkeypatch.setenv(EXPERIMENT_NAME, "another")
    promote("models:/threeloops", "--rollback", "--reason", "wrong on dates")
    assert champion() == VERSION


def test_the_start_is_measured_again_under_a_name_that_did_not_move(
    learn: Learn, promote: Run, rates: list[float]
) -> None:
    learn(0.25, 0.5)
    learn(0.5, 0.9, model="models:/threeloops@candidate", register_as="other", seed=1)
    learn(0.25, 0.6, seed=2)  # the alias means this one from now on
    result = promote("models:/other/1")
    assert result["against"]["name"] == "models:/threeloops@candidate"
    assert result["fresh"]["difference"]["value"] == pytest.approx(0.4)
    for opponent in all_runs()[1:4:2]:
        assert opponent.config(EvalConfig).model == VERSION


def test_samples_that_add_nothing_are_named(
    learn: Learn, promote: Run, measure_again: Callable[..., None], rates: list[float]
) -> None:
    learn(0.25, 0.75)
    measure_again(0.1, seed=0)
    rates[:] = [0.25, 0.75]  # when they are measured again
    (line,) = promote(VERSION)["repeated"]
    assert "adds nothing: learn-" in line


def test_the_gain_is_measured_again_and_that_figure_is_shown(
    learn: Learn, promote: Run, rates: list[float], capsys: pytest.CaptureFixture[str]
) -> None:
    learn(0.25, 0.9)
    # the opponent's and the candidate's, when they are measured to decide, and after that
    rates[:] = [0.25, 0.6, 0.25, 0.575]
    result = promote(VERSION)
    assert result["evidence"]["difference"]["value"] == pytest.approx(0.65)
    assert result["fresh"]["difference"]["value"] == pytest.approx(0.35)
    assert main(["show", result["run_id"]]) == 0
    shown = capsys.readouterr().out
    assert "measured again on fresh samples of the same problems: +35.0" in shown
    assert "measured once more after it had passed: +32.5" in " ".join(shown.split())
    assert result["gain"]["difference"]["value"] == pytest.approx(0.325)
    assert "look 1 at evidence against this opponent" in shown
    assert main(["runs"]) == 0
    assert "+32.5 [" in capsys.readouterr().out


def test_what_is_shown_decides_nothing(learn: Learn, promote: Run, rates: list[float]) -> None:
    learn(0.25, 0.9)
    rates[:] = [0.25, 0.6, 0.25, 0.2]
    result = promote(VERSION)
    assert result["promoted"], "a figure that could refuse would be chosen again"
    assert result["gain"]["difference"]["value"] == pytest.approx(-0.05)
    seeds = [run.config(EvalConfig).seed for run in all_runs()[:4]]
    assert (seeds[0], seeds[2]) == (seeds[1], seeds[3])
    assert seeds[0] != seeds[2]


def test_a_version_that_cannot_be_measured_again_is_refused(
    learn: Learn, promote: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gone(*_: object, **__: object) -> None:
        raise InputError("no such file", "--dataset sums.jsonl")

    learn(0.25, 0.9)
    monkeypatch.setattr("flows.cli.verbs.past_runs.run_flow", gone)
    result = promote(VERSION, code=1)
    assert result["reasons"] == [
        "it could not be measured again: --dataset sums.jsonl: no such file"
    ]
    assert champion() is None


def test_evidence_that_was_chosen_is_not_confirmed(
    learn: Learn, promote: Run, rates: list[float]
) -> None:
    learn(0.5, 0.9)  # a lucky seed, which somebody may have known
    for number in (1, 2):
        rates[:] = [0.5, 0.5]
        told = promote(VERSION, code=1)
        assert told["fresh_held"]["look"] == number
        assert told["reasons"][-1].startswith("measured again on fresh samples, its gain is +0.0")
        assert champion() is None
        assert "gain" not in told
        rates[:] = [0.9]
        learn(0.5, 0.95, seed=number)  # the next version


def test_each_confirmation_is_held_to_more_than_the_one_before(
    learn: Learn, promote: Run, rates: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    learn(0.25, 0.9)
    with monkeypatch.context() as patch:
        patch.setattr("flows.cli.verbs.past_runs.run_flow", stopped)
        promote_stopped = main(["promote", VERSION])
    assert promote_stopped == 130
    client, runs = process_runtime().archive.tracking.client, process_runtime().archive.history
    (broken_off,) = [run for run in runs.mlflow_runs() if CONFIRMS in run.data.tags]
    assert broken_off.info.status == "KILLED"
    client.delete_run(broken_off.info.run_id)
    told = promote(VERSION)
    assert told["fresh_held"]["look"] == 2, "what was broken off, and deleted, counts"
    assert told["fresh_held"]["level"] > told["held"]["level"]


def test_the_seed_of_a_confirmation_cannot_be_known_before(learn: Learn, promote: Run) -> None:
    learn(0.5, 0.9)
    seeds = {
        evaluations_anew(process_runtime().archive, decided)[0].seed
        for decided in [decide(process_runtime().archive, registered(VERSION), 0.0)] * 5
    }
    assert len(seeds) == 5


def registered(name: str) -> RegisteredVersion:
    return registered_version(process_runtime().archive, name)


def test_a_version_that_learned_nothing_is_refused_however_often_it_is_measured(
    learning_config: LearningConfig, promote: Run, tmp_path: Path
) -> None:
    # nothing is replaced here: the tiny model samples, learns with no effect, and samples again
    splits = ["train"] * 4 + ["holdout"] * 32
    dataset = problems_file(
        tmp_path,
        *(
            {"id": str(n), "prompt": f"{n} + 1?", "expected_answer": n % 9 + 1, "split": split}
            for n, split in enumerate(splits)
        ),
    )
    idle = learning_config.learning.model_copy(update={"learning_rate": 1e-12})
    settings = {"learning": idle, "steps": 1, "dev_every": 0, "limit": None, "dataset": dataset}
    config = learning_config.model_copy(update=settings)
    learning_flow.fn(config)
    known, gains = {}, []
    for seed in (7, 8, 9, 10, 11, 7, 8):
        evaluation = {"model": VERSION, "seed": seed}
        found = eval_flow.fn(config.evaluation().model_copy(update=evaluation))
        known[seed] = found.tables["completions"]
        told = promote(VERSION, code=1)
        assert told["held"]["look"] == 1 + len(known)
        assert told["evidence"]["runs"][1]["samples"] == 2 * (1 + len(known))
        gains.append(told["evidence"]["difference"]["value"])
    assert max(gains) > 0, "a gate that looks at the rate alone would have promoted it"
    assert champion() is None
