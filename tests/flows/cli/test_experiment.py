"""The option --experiment, and the environment that `up` hands to the runs that it starts."""

from __future__ import annotations

import os
from argparse import Namespace

import pytest

from artifacts.store.data_dir import DataDir
from artifacts.tracking.named import EXPERIMENT_NAME, REGISTRY_AT, TRACKING, named
from flows.cli.experiment import VERBS, in_experiment
from flows.cli.parser import build_parser, main
from flows.cli.verbs.up import server_environment
from flows.orchestration.up_file import Served
from tasks.runtime.runtime import process_runtime

SERVED = Served(
    prefect="http://127.0.0.1:1/api", prefect_page="http://127.0.0.1:2",
    mlflow="http://127.0.0.1:3", secret="secret",
)  # fmt: skip


def test_a_command_uses_the_named_experiment_and_the_next_one_does_not(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(EXPERIMENT_NAME, "of the environment")
    before = process_runtime()
    options = Namespace(verb="runs", experiment="of the option")
    with in_experiment(options):
        assert named().experiment == "of the option"
        assert process_runtime() is not before, "a client has one experiment"
        assert options == Namespace(verb="runs"), "it is no setting of a loop"
    assert named().experiment == "of the environment"


def test_runs_are_listed_by_experiment(
    data_dir: DataDir, capsys: pytest.CaptureFixture[str]
) -> None:
    with in_experiment(Namespace(experiment="mine")):
        tracking = process_runtime().archive.tracking
        tracking.client.create_run(tracking.experiment_id, tags={"threeloops.loop": "A"})
    assert main(["runs"]) == 0
    assert "No runs" in capsys.readouterr().out
    assert main(["runs", "--experiment", "mine"]) == 0
    assert "No runs" not in capsys.readouterr().out
    assert EXPERIMENT_NAME not in os.environ


def test_an_empty_name_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["runs", "--experiment", " "]) == 2
    assert "--experiment: is no name" in capsys.readouterr().err


def test_every_verb_that_uses_runs_has_the_option() -> None:
    without = {"doctor", "gc", "score"}  # they read no experiment
    assert set(VERBS) == set(build_parser().verbs) - without


def test_up_hands_on_which_mlflow_its_runs_use(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = {TRACKING: "http://mlflow:5000", REGISTRY_AT: "http://registry:5000"}
    told |= {EXPERIMENT_NAME: "nightly", "MLFLOW_TRACKING_PASSWORD": "canary"}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("flows.cli.verbs.up.configure_prefect", lambda *_, **__: None)
    environment = server_environment(data_dir, SERVED)
    assert {name: environment[name] for name in told} == told
