"""The default model, from its package to a registered version that answers better."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest

from artifacts.store.data_dir import DataDir, current_data_dir
from flows.cli.parser import main

pytestmark = [pytest.mark.slow, pytest.mark.untraced]


@pytest.fixture(scope="module")
def shared_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One data folder for the module, with the default model converted once for all tests."""
    root = tmp_path_factory.mktemp("real") / "home"
    root.mkdir()
    made = Path(".threeloops/models").absolute()
    if made.exists():  # `make test` has converted it already; a link saves a minute
        (root / "models").symlink_to(made)
    return root


@pytest.fixture(autouse=True)
def _use_it(
    shared_folder: Path, monkeypatch: pytest.MonkeyPatch, _no_real_data_folder: None
) -> DataDir:
    monkeypatch.setenv("THREELOOPS_HOME", str(shared_folder))
    return current_data_dir()


def result_of(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, dict[str, float]]:
    assert main([*arguments, "--json"]) == 0
    return dict(json.loads(capsys.readouterr().out.splitlines()[-1]))


@pytest.mark.usefixtures("prefect_server")
def test_the_default_model_starts_where_learning_has_something_to_do(
    capsys: pytest.CaptureFixture[str],
) -> None:
    metrics = result_of(capsys, "eval", "--samples", "4")["metrics"]
    assert metrics["problems"] >= 200
    assert 0.15 <= metrics["pass_rate"] <= 0.35
    assert metrics["valid_format_rate"] > 0.8


@pytest.mark.usefixtures("prefect_server")
def test_a_few_steps_of_learning_raise_pass_at_1_on_problems_not_trained_on(
    capsys: pytest.CaptureFixture[str],
) -> None:
    started = time.monotonic()
    learned = result_of(capsys, "learn", "--steps", "10", "--limit", "90")
    assert time.monotonic() - started < 600
    metrics = learned["metrics"]
    assert metrics["pass_rate_after"] > 1.2 * metrics["pass_rate_before"]
    assert metrics["kl_nats"] > 0
    again = result_of(
        capsys, "eval", "--model", str(learned["model"]["name"]), "--limit", "90", "--samples", "4"
    )
    assert again["metrics"]["pass_rate"] == metrics["pass_rate_after"]
