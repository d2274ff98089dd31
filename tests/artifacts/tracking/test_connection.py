"""MLflow lies in the data folder: its database, one experiment, and the files of its runs."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from artifacts.store.data_dir import DataDir
from artifacts.tracking.archive import Archive
from artifacts.tracking.connection import Tracking
from artifacts.tracking.experiment import ABOUT, NOTE, local_path
from artifacts.tracking.named import EXPERIMENT


def test_the_client_is_made_once_and_needs_no_server(archive: Archive) -> None:
    tracking = archive.tracking
    assert tracking.client is tracking.client
    assert tracking.client.tracking_uri == archive.data_dir.tracking_uri


def test_the_experiment_is_made_once_and_found_again(archive: Archive) -> None:
    made = archive.tracking.experiment_id
    assert Tracking(archive.data_dir).experiment_id == made
    experiment = archive.tracking.client.get_experiment(made)
    assert experiment.name == EXPERIMENT
    assert experiment.tags[NOTE] == ABOUT
    assert local_path(experiment.artifact_location) == archive.data_dir.run_artifacts


def test_the_path_of_an_address_is_a_path_again() -> None:
    home = DataDir(Path("/tmp/my files/100 % é#?"))
    assert local_path(home.run_artifacts.as_uri()) == home.run_artifacts


def test_an_error_of_the_database_is_raised_and_not_printed(
    archive: Archive, capfd: pytest.CaptureFixture[str]
) -> None:
    client, experiment = archive.tracking.client, archive.tracking.experiment_id
    run = client.create_run(experiment).info.run_id
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    size = archive.data_dir.tracking_database.stat().st_size
    capfd.readouterr()
    try:
        # no file may grow any more, as on a full disk
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
        with pytest.raises(MlflowException):
            write_much(archive, run)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert capfd.readouterr().err == ""


def write_much(archive: Archive, run: str) -> None:
    for number in range(1000):
        archive.tracking.client.set_tag(run, f"name{number}", "x" * 5000)
