"""A data folder with everything in it, made once and copied for each test."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artifacts.store.data_dir import DataDir, current_data_dir, private_files
from flows.cli.parser import main
from flows.eval import eval_flow
from flows.learning import learning_flow
from schemas.config import EvalConfig, LearningConfig, LearningSettings, SamplingSettings

Ask = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture(scope="module")
def kept(
    tmp_path_factory: pytest.TempPathFactory, tiny: str, small_sums: str, empty_database: Path
) -> Path:
    """A learning run with its version and checkpoints, an evaluation, and a refusal of the gate."""
    root = tmp_path_factory.mktemp("kept") / "home"
    sampling = SamplingSettings(max_new_tokens=6)
    with pytest.MonkeyPatch.context() as patch, private_files():
        patch.setenv("THREELOOPS_HOME", str(root))
        current_data_dir()
        shutil.copy(empty_database, root)
        (root / "mlflow.db").chmod(0o600)
        learning_flow.fn(
            LearningConfig(
                model=tiny,
                dataset=small_sums,
                limit=4,
                steps=3,
                problems_per_step=4,
                samples=8,
                evaluation_samples=2,
                checkpoint_every=1,
                keep_checkpoints=2,
                dev_every=0,
                sampling=sampling,
                learning=LearningSettings(learning_rate=1e-3, kl_weight=0.1),
            )
        )
        eval_flow.fn(EvalConfig(model=tiny, limit=6, samples=2, sampling=sampling))
        assert main(["promote", "models:/threeloops/1"]) == 1
    return root


@pytest.fixture
def home(kept: Path, data_dir: DataDir) -> DataDir:
    """A copy of it, as the data folder of this test; the database names its own place."""
    shutil.rmtree(data_dir.root)
    shutil.copytree(kept, data_dir.root)
    data_dir.root.chmod(0o700)
    assert main(["runs"]) == 0
    return data_dir


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Ask:
    """Run a verb with --json; its exit code and its object."""

    def call(*words: str) -> tuple[int, dict[str, Any]]:
        capsys.readouterr()
        code = main([*words, "--json"])
        lines = capsys.readouterr().out.splitlines()
        return code, json.loads(lines[-1]) if lines else {}

    return call
