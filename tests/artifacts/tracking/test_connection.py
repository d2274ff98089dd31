"""MLflow lies in the data folder: its database, one experiment, and the files of its runs."""

from __future__ import annotations

from pathlib import Path

from artifacts.store.data_dir import DataDir
from artifacts.tracking.archive import Archive
from artifacts.tracking.connection import ABOUT, EXPERIMENT, NOTE, Tracking, local_path


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
