"""The way to MLflow: its client on the data folder's own database, and our one experiment there.

It needs no server, and knows nothing of runs.
"""

from __future__ import annotations

import logging
import os
import warnings
from functools import lru_cache
from typing import TYPE_CHECKING

from artifacts.store.data_dir import DataDir

if TYPE_CHECKING:
    from mlflow import MlflowClient

EXPERIMENT = "threeloops"
TAG = "threeloops."
NOTE = "mlflow.note.content"
ABOUT = """One strict scorer, three loops: **A** evaluation changes nothing, **B** selection changes
which output is used, **C** learning changes the model. Each run opens with what was measured, on
which instrument, and why answers failed. Rates may be compared where the tag
`threeloops.instrument` is equal."""


@lru_cache(maxsize=4)
def client_for(data_dir: DataDir) -> MlflowClient:
    """The MLflow client on the data folder's own SQLite database; made on first use."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    logging.getLogger("alembic").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SQLAlchemy's deprecations inside MLflow
        import mlflow
        from mlflow import MlflowClient

        mlflow.set_tracking_uri(data_dir.tracking_uri)
        mlflow.set_registry_uri(data_dir.tracking_uri)
        return MlflowClient(data_dir.tracking_uri, data_dir.tracking_uri)


def experiment_id(data_dir: DataDir) -> str:
    """The id of our one experiment, made on first use with its artifacts in the data folder."""
    client = client_for(data_dir)
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    # the kind decides which pages MLflow shows first: runs and their metrics
    tags = {NOTE: ABOUT, "mlflow.experimentKind": "custom_model_development"}
    return str(client.create_experiment(EXPERIMENT, data_dir.run_artifacts.as_uri(), tags))
