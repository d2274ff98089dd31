"""A model version can be loaded as MLflow, transformers and we do, from weights written once."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
import torch

from artifacts.registry.versions import registered_version
from artifacts.store.checkpoints import newest_checkpoint
from artifacts.store.data_dir import current_data_dir
from flows.learning import learning_flow
from policy.model.load import load_policy, quiet_transformers
from schemas.config import LearningConfig
from tasks.runtime.runtime import process_runtime
from tests.data_folder import all_runs

pytestmark = [pytest.mark.slow, pytest.mark.untraced]

VERSION = "models:/threeloops/1"


def weights_below(folder: Path) -> list[Path]:
    """Every file large enough to hold weights, each once however often it is linked."""
    files = {file.stat().st_ino: file for file in folder.rglob("*") if file.is_file()}
    return [file for file in files.values() if file.suffix == ".safetensors"]


def same(one: torch.nn.Module, two: torch.nn.Module) -> bool:
    """Whether two models hold the same weights under the same names."""
    first, second = one.state_dict(), two.state_dict()
    return first.keys() == second.keys() and all(
        torch.equal(value, second[name]) for name, value in first.items()
    )


def test_a_version_is_loaded_by_mlflow_by_transformers_and_by_us(
    learning_config: LearningConfig, tmp_path: Path
) -> None:
    import mlflow
    from transformers import AutoModelForCausalLM, AutoTokenizer

    result = learning_flow.fn(learning_config)
    ours = load_policy(Path(str(result.model.folder)), name="ours")
    logging.getLogger("mlflow").setLevel(logging.ERROR)
    with quiet_transformers():
        pipeline = mlflow.transformers.load_model(VERSION)
        copy = Path(mlflow.artifacts.download_artifacts(VERSION, dst_path=str(tmp_path)))
        downloaded = AutoModelForCausalLM.from_pretrained(copy)
        tokenizer = AutoTokenizer.from_pretrained(copy)
    assert same(pipeline.model, ours.model)
    assert same(downloaded, ours.model)
    text = "Final: 42"
    for made in (pipeline.tokenizer, tokenizer):
        assert made(text)["input_ids"] == ours.tokenizer(text)["input_ids"]
    assert registered_version(process_runtime().archive, VERSION).intact(), (
        "loading it has changed nothing"
    )


def test_a_learning_run_leaves_its_weights_once(learning_config: LearningConfig) -> None:
    result = learning_flow.fn(learning_config)
    (weights,) = weights_below(current_data_dir().root)
    assert weights.parent == Path(str(result.model.folder))
    assert not list(current_data_dir().root.rglob("*.pkl"))
    assert not list(current_data_dir().checkpoints.glob("*"))


def test_as_many_checkpoints_are_kept_as_asked_for(learning_config: LearningConfig) -> None:
    config = learning_config.model_copy(update={"checkpoint_every": 1, "keep_checkpoints": 2})
    result = learning_flow.fn(config)
    folder = newest_checkpoint(current_data_dir(), result.run_id).folder.parent
    assert sorted(path.name for path in folder.iterdir()) == ["step-000002", "step-000003"]


def test_a_version_has_a_card_its_run_and_an_alias(learning_config: LearningConfig) -> None:
    result = learning_flow.fn(learning_config)
    client = process_runtime().archive.tracking.client
    version = client.get_model_version("threeloops", "1")
    assert version.run_id == result.run_id
    assert client.get_model_version_by_alias("threeloops", "candidate").version == version.version
    run = all_runs()[0]
    card = str(version.description)
    for said in ("pass@1", "95 % intervals", "base", "licence", "KL to the start", run.name):
        assert said in card
    assert result.instrument.digest[:12] in card
    assert (Path(str(result.model.folder)) / "README.md").read_text().endswith(card + "\n")
    outputs = client.get_run(run.run_id).outputs
    assert outputs is not None
    (output,) = outputs.model_outputs
    logged = client.get_logged_model(output.model_id)
    assert (logged.status, logged.tags["threeloops.digest"]) == ("READY", result.model.digest)
    rates = {metric.key: metric.value for metric in logged.metrics or ()}
    assert rates["pass_rate"] == result.metrics.pass_rate_after
