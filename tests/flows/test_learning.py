"""Loop C changes the model, says by how much, and goes on where it was cut off."""

from __future__ import annotations

import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from flows.eval import eval_flow
from flows.learning import learning_flow
from policy.model.tiny import make_tiny_model
from schemas.config import EvalConfig, LearningConfig
from schemas.errors import InputError
from schemas.results import LearningResult
from tasks.runtime.runtime import process_runtime
from tasks.train_step import train_step
from tests.data_folder import all_runs, find_run

pytestmark = [pytest.mark.slow, pytest.mark.untraced]


@pytest.fixture(scope="module")
def whole(
    learning_config: LearningConfig, empty_database: Path, tmp_path_factory: pytest.TempPathFactory
) -> LearningResult:
    """A run that nothing stopped, in a data folder of its own."""
    home = tmp_path_factory.mktemp("whole")
    shutil.copy(empty_database, home)
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("THREELOOPS_HOME", str(home))
        result = learning_flow.fn(learning_config)
        process_runtime().models.forget()
    return result


@pytest.mark.usefixtures("prefect_server")
def test_learning_registers_a_version_that_evaluation_loads(
    learning_config: LearningConfig,
) -> None:
    result = learning_flow(learning_config)
    assert (result.loop, result.changed) == ("C", "the model")
    metrics = result.metrics
    assert metrics.steps == 4
    reported = {"pass_rate_before", "pass_rate_after", "kl_nats", "wall_seconds"}
    assert reported <= set(metrics.model_dump())
    assert result.model.name == "models:/threeloops/1"
    training = pq.read_table(result.tables["training"]).to_pylist()
    assert [row["step"] for row in training] == [1, 2, 3, 4]
    assert training[0]["kl_nats"] == pytest.approx(0.0, abs=1e-5), "it starts as its reference"
    run = find_run(result.run_id)
    assert run.tags["registered"] == "models:/threeloops/1"
    assert run.metrics["step.reward_mean"] == training[-1]["reward_mean"]
    for name in ("models:/threeloops/1", "models:/threeloops@candidate"):
        config = learning_config.evaluation().model_copy(update={"model": name})
        again = eval_flow(config)
        assert again.metrics.pass_rate == metrics.pass_rate_after
        assert again.model.digest == result.model.digest


def test_the_same_learning_gives_the_same_tables_and_weights(
    learning_config: LearningConfig, whole: LearningResult
) -> None:
    again = learning_flow.fn(learning_config)
    assert _training(again) == _training(whole)
    assert again.model.digest == whole.model.digest
    assert again.instrument == whole.instrument


def test_a_longer_run_learns_from_completions_of_its_own_in_a_data_folder_that_holds_a_shorter_one(
    learning_config: LearningConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    longer = learning_config.model_copy(update={"steps": 6})  # its learning rate falls more slowly
    learning_flow.fn(learning_config)
    after_a_shorter_one = learning_flow.fn(longer)
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "other"))
    alone = learning_flow.fn(longer)
    assert _training(after_a_shorter_one) == _training(alone)


def test_a_run_that_was_cut_off_ends_as_if_it_had_not_been(
    learning_config: LearningConfig, whole: LearningResult, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps: list[int] = []

    def cut_off(*arguments: object) -> object:
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return train_step(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("flows.learning_steps.train_step", cut_off)
    with pytest.raises(KeyboardInterrupt):
        learning_flow.fn(learning_config)
    (run,) = all_runs()
    assert run.status == "KILLED"
    process_runtime().models.forget()
    resumed = learning_flow.fn(learning_config, resume=run.run_id)
    assert resumed.run_id == run.run_id
    assert len(steps) == 6, "two steps after the checkpoint at step 2"
    assert _training(resumed) == _training(whole)
    assert resumed.model.digest == whole.model.digest


def test_only_a_learning_run_that_ended_early_is_resumed_and_only_as_it_was_set(
    learning_config: LearningConfig, eval_config: EvalConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = eval_flow.fn(eval_config)
    with pytest.raises(InputError, match="is not a learning run"):
        learning_flow.fn(learning_config, resume=measured.run_id)
    result = learning_flow.fn(learning_config)
    with pytest.raises(InputError, match="the run has finished"):
        learning_flow.fn(learning_config, resume=result.run_id)
    assert {run.status for run in all_runs()} == {"FINISHED"}, "and nothing was made of them"

    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("flows.learning.save_policy", cut_off)
        with pytest.raises(KeyboardInterrupt):
            learning_flow.fn(learning_config)
    run = all_runs()[0]
    other = learning_config.model_copy(update={"samples": 4})
    with pytest.raises(InputError, match="as it was set, with samples 8"):
        learning_flow.fn(other, resume=run.name)
    process_runtime().models.forget()
    guarded = learning_config.model_copy(update={"max_kl_nats": 1e6})
    learning_flow.fn(guarded, resume=run.name)
    run = all_runs()[0]
    assert run.status == "FINISHED"
    assert run.config(LearningConfig).max_kl_nats == 1e6, "the next to resume it is guarded too"
    assert run.tags["resumed_with.max_kl_nats"] == "1000000.0"


def test_a_run_is_not_resumed_from_another_start(
    learning_config: LearningConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def cut_off(*_: object) -> None:
        raise KeyboardInterrupt

    model = make_tiny_model(tmp_path / "model")
    config = learning_config.model_copy(update={"model": str(model), "checkpoint_every": 1})
    monkeypatch.setattr("flows.learning.save_policy", cut_off)
    with pytest.raises(KeyboardInterrupt):
        learning_flow.fn(config)
    shutil.rmtree(model)
    make_tiny_model(model, seed=1)
    process_runtime().models.forget()
    with pytest.raises(InputError, match="no longer the model that the run started from"):
        learning_flow.fn(config, resume=all_runs()[0].run_id)


def test_the_learning_that_these_tests_repeat_changes_the_weights(whole: LearningResult) -> None:
    rows = pq.read_table(whole.tables["training"]).to_pylist()
    assert sum(row["groups_with_signal"] for row in rows) > 0
    assert rows[-1]["gradient_norm"] > 0


def test_a_kl_penalty_keeps_the_policy_near_its_start(learning_config: LearningConfig) -> None:
    def kl_nats(kl_weight: float) -> float:
        settings = learning_config.learning.model_copy(
            update={"kl_weight": kl_weight, "learning_rate": 3e-3}
        )
        config = learning_config.model_copy(update={"learning": settings, "steps": 8})
        return float(learning_flow.fn(config).metrics.kl_nats)

    assert kl_nats(100.0) < kl_nats(0.0) or kl_nats(0.0) == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"samples": 1}, "compares completions of one problem"),
        ({"problems_per_step": 10_000}, "needs 10000 problems"),
        ({"split": "train"}, "also trained on"),
        ({"limit": 1}, "too few for an interval"),
    ],
)
def test_a_configuration_that_cannot_learn_is_refused_at_once(
    learning_config: LearningConfig, change: dict[str, object], reason: str
) -> None:
    with pytest.raises(InputError, match=reason):
        learning_flow.fn(learning_config.model_copy(update=change))
    assert all_runs() == []


def _training(result: LearningResult) -> bytes:
    return Path(result.tables["training"]).read_bytes()
