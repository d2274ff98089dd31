"""The connection to MLflow: its client on the data folder's own database, and our experiment."""

from __future__ import annotations

import logging
import os
import warnings
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from artifacts.store.atomic_file import remove_leftovers
from artifacts.store.data_dir import DataDir
from artifacts.tracking.database import prepare_database
from artifacts.tracking.owner import close_abandoned
from schemas.errors import InputError

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "threeloops"
TAG = "threeloops."
NOTE = "mlflow.note.content"
PARENT = "mlflow.parentRunId"
RESULT_FILE = "result.json"  # among a run's artifacts
CONFIG_FILE = "config.json"
ABOUT = """One strict scorer, three loops: **A** evaluation changes nothing, **B** selection changes
which output is used, **C** learning changes the model. Each run opens with what was measured, on
which instrument, and why answers failed. Rates may be compared where the tag
`threeloops.instrument` is equal."""

# the kind decides which pages MLflow shows first: runs and their metrics
EXPERIMENT_TAGS = {NOTE: ABOUT, "mlflow.experimentKind": "custom_model_development"}


class Tracking:
    """MLflow on the SQLite database of one data folder, which needs no server."""

    def __init__(self, data_dir: DataDir) -> None:
        self.data_dir = data_dir

    @cached_property
    def client(self) -> MlflowClient:
        """The MLflow client; importing MLflow takes seconds, so it is made on first use.

        What killed processes left is tidied then: runs are closed, half-written files deleted.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        logging.getLogger("alembic").setLevel(logging.ERROR)
        # it prints the traceback of an error that it raises all the same
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        uri = self.data_dir.tracking_uri
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SQLAlchemy's deprecations inside MLflow
            import mlflow
            from mlflow import MlflowClient

            prepare_database(self.data_dir, EXPERIMENT, EXPERIMENT_TAGS)
            mlflow.set_tracking_uri(uri)
            mlflow.set_registry_uri(uri)
            client = MlflowClient(uri, uri)
        if experiment := client.get_experiment_by_name(EXPERIMENT):
            close_abandoned(client, str(experiment.experiment_id), self.data_dir)
        remove_leftovers(self.data_dir)
        return client

    @cached_property
    def experiment_id(self) -> str:
        """The id of our one experiment, whose artifacts are in the data folder.

        Raises InputError where it was deleted on MLflow's page.
        """
        found = self.client.get_experiment_by_name(EXPERIMENT)
        assert found is not None  # the database was prepared with it
        if found.lifecycle_stage != "active":
            raise InputError(
                "the experiment was deleted on MLflow's page, with every run in it",
                f"experiment {EXPERIMENT} in {self.data_dir.tracking_database}",
                f"restore it: mlflow experiments restore --experiment-id {found.experiment_id}",
            )
        return str(found.experiment_id)


def local_path(uri: str) -> Path:
    """The path of a `file:` URI."""
    return Path(unquote(urlparse(uri).path))
