"""What a run was given, as MLflow's own inputs: its problems as a dataset, its policy as a model.

With both, a metric belongs to the model and the dataset that it was measured on.
"""

from __future__ import annotations

import re
import time
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from artifacts.store.instrument import dataset_digest
from artifacts.tracking.connection import TAG
from artifacts.tracking.history import History
from artifacts.tracking.logged_models import use_model
from artifacts.tracking.run import TrackedRun
from schemas.config import EvalConfig
from schemas.files import ending, source_of
from schemas.references import PolicyRef, TableRef

if TYPE_CHECKING:
    from mlflow.entities import Dataset, DatasetInput

TRIES, PAUSE = 5, 0.05  # how often, and after how many seconds, an input is recorded again
# what SQLite, Postgres and MySQL say of a dataset that is there by now
ADDED_MEANWHILE = re.compile(
    r"UNIQUE constraint failed: datasets\.|unique constraint \"dataset|Duplicate entry .*dataset"
)
CONTEXT = "mlflow.data.context"
DIGEST_LENGTH = 36  # MLflow keeps no more characters of one
SUFFIXES = (".jsonl", ".csv", ".parquet")
MeasuredOn = dict[str, str | None]


def use_dataset(run: TrackedRun, problems: TableRef, name: str) -> tuple[str, str]:
    """Say that a run read these problems; returns the name and digest that MLflow knows them by.

    The digest is the start of the instrument's, the context is the split, and the source is the
    stored table. Said twice, it is recorded once.
    """
    from mlflow.entities import DatasetInput, InputTag

    table = run.archive.store.read(problems)
    whole = dataset_digest(table)
    split = "+".join(sorted(table["split"].unique().to_pylist()))
    shown = Path(name).stem if ending(name) in SUFFIXES else name
    dataset = _dataset(table, str(run.archive.store.path(problems)), shown, whole)
    tags = [InputTag(CONTEXT, split), InputTag(f"{TAG}digest", whole)]
    _log(run, DatasetInput(dataset, tags))
    return dataset.name, dataset.digest


def _log(run: TrackedRun, given: DatasetInput) -> None:
    """Record an input; where another run has just added the same dataset, again.

    MLflow looks whether it has a dataset and then adds it, and one of two that do so at the same
    moment fails, with nothing recorded.
    """
    from mlflow.exceptions import MlflowException

    for tries_left in reversed(range(TRIES)):
        try:
            run.archive.tracking.client.log_inputs(run.run_id, datasets=[given])
            return
        except MlflowException as error:
            if not tries_left or not ADDED_MEANWHILE.search(str(error)):
                raise
        time.sleep(PAUSE)


def dataset_name(config: EvalConfig, history: History) -> str:
    """What the problems of a measurement are called: those of a replayed run, as that run did."""
    source = config.completions
    if source is None or (kind := source_of(source)) == "answers":
        return config.dataset
    if kind == "table":
        return "stored problems"
    return history.find(source).parameters.get("dataset", config.dataset)


def measured_on(
    run: TrackedRun, problems: TableRef, name: str, policy: PolicyRef | None
) -> MeasuredOn:
    """Record both inputs of a measurement; returns what ties a metric to them."""
    dataset_name, digest = use_dataset(run, problems, name)
    model_id = use_model(run, policy) if policy else None
    return {"model_id": model_id, "dataset_name": dataset_name, "dataset_digest": digest}


def _dataset(problems: pa.Table, source: str, name: str, digest: str) -> Dataset:
    from mlflow.data.pandas_dataset import from_pandas
    from mlflow.entities import Dataset

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # advice on integer columns with missing values
        described = from_pandas(
            problems.to_pandas(), source=source, name=name, digest=digest[:DIGEST_LENGTH]
        )
    return Dataset(**described.to_dict())
