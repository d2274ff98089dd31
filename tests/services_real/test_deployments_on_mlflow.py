"""`threeloops up` whose flow runs are recorded by a real MLflow server, on Postgres and in S3."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from mlflow import MlflowClient

from artifacts.tracking.named import EXPERIMENT_NAME, TRACKING
from policy.model.tiny import make_tiny_model
from tests.faults.servers import running_up

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1800)]
PATIENCE = 600.0
NAME = "deployed"  # the version's, of this test alone


@pytest.fixture
def home(mlflow_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder, in an environment that names the server and an experiment of the test."""
    monkeypatch.delenv("THREELOOPS_STORE", raising=False)
    monkeypatch.setenv(TRACKING, mlflow_server)
    monkeypatch.setenv(EXPERIMENT_NAME, tmp_path.name)
    return tmp_path / "home"


def test_runs_of_deployments_are_recorded_there_with_versions_and_the_gates_decision(
    home: Path, mlflow_server: str, tmp_path: Path
) -> None:
    tiny = make_tiny_model(tmp_path / "tiny")
    config = {"model": str(tiny), "limit": 4, "sampling": {"max_new_tokens": 4}}
    small = {"steps": 1, "problems_per_step": 2, "samples": 2, "dev_every": 0}
    runs = Runs(MlflowClient(mlflow_server), tmp_path.name)
    with running_up(home):
        ask(home, "eval/nightly", {"config": config | {"samples": 1}})
        nightly = runs.one(str(tiny))
        assert nightly.data.metrics["completions"] == 4
        learning = config | {"register_as": NAME, **small}
        ask(home, "learning/weekly", {"config": learning, "promote": True})
        triggered = runs.one(f"models:/{NAME}/1")
        decision = wait_for(lambda: runs.found("tags.`threeloops.kind` = 'gate'"))[0]
    said = (home.parent / "up.log").read_text()
    assert f"runs are recorded in MLflow at {mlflow_server}" in said
    assert f"registered models:/{NAME}/1" in said
    (version,) = runs.client.search_model_versions(f"name = '{NAME}'")
    assert version.run_id is not None
    assert runs.client.get_run(version.run_id).info.experiment_id == runs.experiment
    assert decision.info.status == triggered.info.status == "FINISHED"


class Runs:
    """What the server has of an experiment."""

    def __init__(self, client: MlflowClient, experiment: str) -> None:
        self.client, self.name = client, experiment

    @property
    def experiment(self) -> str:
        found = self.client.get_experiment_by_name(self.name)
        assert found is not None
        return str(found.experiment_id)

    def found(self, rule: str) -> list[Any]:
        """The runs that a rule of MLflow's finds and that have ended well."""
        made = self.client.search_runs([self.experiment], rule)
        assert not [run.info.run_id for run in made if run.info.status == "FAILED"]
        return [run for run in made if run.info.status == "FINISHED"]

    def one(self, model: str) -> Any:
        """The evaluation of a model, once it has ended."""
        rule = f"tags.`threeloops.loop` = 'A' AND tags.`threeloops.model` = '{model}'"
        (run,) = wait_for(lambda: self.found(rule))
        return run


def ask(home: Path, deployment: str, parameters: dict[str, Any]) -> None:
    """Ask for a run of a deployment, by Prefect's own command."""
    told = {"PREFECT_PROFILES_PATH": str(home / "up.toml")}
    kept = {name: one for name, one in os.environ.items() if not name.startswith("PREFECT_")}
    words = ["deployment", "run", deployment, "--params", json.dumps(parameters)]
    done = subprocess.run(
        [str(Path(sys.executable).with_name("prefect")), *words],
        env=kept | told, check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def wait_for(found: Callable[[], list[Any]]) -> list[Any]:
    """Ask until there is something."""
    deadline = time.monotonic() + PATIENCE
    while not (result := found()):
        assert time.monotonic() < deadline
        time.sleep(0.5)
    return result
