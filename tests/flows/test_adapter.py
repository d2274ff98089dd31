"""Loop C with an adapter: the version that comes of it is a plain model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from safetensors import safe_open

from artifacts.store.checkpoints import newest_checkpoint
from artifacts.store.data_dir import current_data_dir
from flows.eval import eval_flow
from flows.learning import learning_flow
from policy.model.load import load_policy
from schemas.config import LearningConfig, LearningSettings
from tasks.runtime.runtime import process_runtime
from tasks.train_step import train_step
from tests.data_folder import all_runs

pytestmark = [pytest.mark.slow, pytest.mark.untraced]


@pytest.fixture
def config(learning_config: LearningConfig) -> LearningConfig:
    """Loop C in four small steps of an adapter."""
    settings = LearningSettings(adapter="lora", lora_rank=4, learning_rate=1e-2, kl_weight=0.1)
    return learning_config.model_copy(update={"learning": settings})


def test_learning_an_adapter_registers_a_plain_model(config: LearningConfig) -> None:
    result = learning_flow.fn(config)
    folder = Path(str(result.model.folder))
    with safe_open(folder / "model.safetensors", "pt") as weights:
        assert not [name for name in weights.keys() if "lora" in name]  # noqa: SIM118
    again = eval_flow.fn(config.evaluation().model_copy(update={"model": "models:/threeloops/1"}))
    assert again.metrics.pass_rate == result.metrics.pass_rate_after
    assert again.model.digest == result.model.digest
    start = eval_flow.fn(config.evaluation())
    assert start.model.digest != result.model.digest
    assert start.metrics.pass_rate == result.metrics.pass_rate_before


def test_an_adapter_that_was_cut_off_ends_as_if_it_had_not_been(
    config: LearningConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    whole = learning_flow.fn(config)
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "other"))
    steps: list[int] = []

    def cut_off(*arguments: object) -> object:
        steps.append(1)
        if len(steps) == 4:
            raise KeyboardInterrupt
        return train_step(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("flows.learning_steps.train_step", cut_off)
    with pytest.raises(KeyboardInterrupt):
        learning_flow.fn(config)
    (run,) = all_runs()
    folder = newest_checkpoint(current_data_dir(), run.run_id).folder
    saved = folder / "learner" / "weights.safetensors"
    with safe_open(saved, "pt") as weights:
        assert all("lora" in name for name in weights.keys())  # noqa: SIM118
    process_runtime().models.forget()
    resumed = learning_flow.fn(config, resume=run.run_id)
    training = [Path(result.tables["training"]).read_bytes() for result in (resumed, whole)]
    assert training[0] == training[1]
    assert resumed.model.digest == whole.model.digest


def test_no_second_copy_of_the_model_is_held(
    config: LearningConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded: list[str] = []

    def counted(folder: Path, *, name: str, **others: Any) -> object:
        loaded.append(name)
        return load_policy(folder, name=name, **others)

    counts: list[int] = []

    def watched(*arguments: object) -> object:
        done = train_step(*arguments)  # type: ignore[arg-type]
        counts.append(len(loaded))
        return done

    monkeypatch.setattr("tasks.runtime.model_cache.load_policy", counted)
    monkeypatch.setattr("flows.learning_steps.train_step", watched)
    learning_flow.fn(config)
    assert counts == [1, 1, 1, 1]
