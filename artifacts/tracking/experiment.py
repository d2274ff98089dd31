"""Our experiment on a server or in a database that the user names, and where its files are."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from artifacts.store.data_dir import DataDir
from artifacts.tracking.named import SERVER, Named, is_server
from artifacts.unsent.answers import asked
from artifacts.unsent.refusals import in_one_line
from schemas.errors import InputError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

NOTE = "mlflow.note.content"
PROBE = "threeloops-probe"  # a folder that is asked for, and never made
ABOUT = """One strict scorer, three loops: **A** evaluation changes nothing, **B** selection changes
which output is used, **C** learning changes the model. Each run opens with what was measured, on
which instrument, and why answers failed. Rates may be compared where the tag
`threeloops.instrument` is equal."""
# the kind decides which pages MLflow shows first: runs and their metrics
EXPERIMENT_TAGS = {NOTE: ABOUT, "mlflow.experimentKind": "custom_model_development"}


def local_path(uri: str) -> Path:
    """The path of a `file:` URI."""
    return Path(unquote(urlparse(uri).path))


def is_local(uri: str) -> bool:
    """Whether an address of files is that of a folder on some machine."""
    return urlparse(uri).scheme in ("", "file")


def is_ours(data_dir: DataDir, uri: str) -> bool:
    """Whether an address of files lies in the data folder."""
    return is_local(uri) and local_path(uri).is_relative_to(data_dir.run_artifacts)


def experiment_there(client: MlflowClient, data_dir: DataDir, names: Named) -> Experiment:
    """Our experiment; it is made where it is not there.

    A server decides where its files go. In a database nobody does, and it is the data folder, as it
    is for a server by the older name. Raises InputError where its files cannot be reached from
    here, and UnreachableError where nobody answers.
    """
    here = data_dir.run_artifacts.as_uri()
    location = None if is_server(names.tracking) and names.variable != SERVER else here
    with in_one_line(names.where, "MLflow cannot be used"):
        found = asked(lambda again: _found_or_made(client, names.experiment, location), patience=0)
    _check_location(data_dir, str(found.artifact_location), names)
    return found


def _found_or_made(client: MlflowClient, name: str, location: str | None) -> Experiment:
    from mlflow.exceptions import MlflowException

    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            client.create_experiment(name, location, dict(EXPERIMENT_TAGS))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another command was faster
                raise
        found = client.get_experiment_by_name(name)
    assert found is not None  # it was made
    return found


def _check_location(data_dir: DataDir, location: str, names: Named) -> None:
    """InputError where the files of an experiment cannot be read and written from here."""
    if is_ours(data_dir, location):
        return
    where = f"experiment {names.experiment}, {names.where}"
    if is_local(location):
        _check_folder(local_path(location), where)
        return
    if urlparse(location).scheme == "mlflow-artifacts" and not is_server(names.tracking):
        raise InputError(
            "its files are kept by an MLflow server, and this is its database",
            where,
            "name the server, as http://HOST:PORT",
        )
    from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

    with in_one_line(where, "its files cannot be reached"):
        asked(
            lambda again: get_artifact_repository(
                location, tracking_uri=names.tracking
            ).list_artifacts(PROBE),
            patience=0,
        )


def _check_folder(folder: Path, where: str) -> None:
    """A server that does not pass files on leaves them in a folder, which clients must share."""
    place = next((one for one in (folder, folder.parent) if one.is_dir()), None)
    if (folder.parent / "tables").is_dir():
        raise InputError(
            "its experiment belongs to another data folder",
            f"{where}, {folder.parent}",
            "use that folder, or another experiment (--experiment NAME)",
        )
    if place is None or not os.access(place, os.W_OK | os.X_OK):
        raise InputError(
            f"its files are in {folder}, a folder that cannot be written from here",
            where,
            "start the server with --serve-artifacts, or name an experiment elsewhere "
            "(--experiment NAME)",
        )
