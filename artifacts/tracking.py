"""Runs in MLflow: what was run, on what instrument, what came of it, and where its tables are.

It records what it is given and reads it back; it computes nothing, and no other room imports
mlflow.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts.home import Home, current_home
from schemas.config import Frozen
from schemas.errors import InputError
from schemas.loops import Loop, loop_named
from schemas.references import Instrument, TableRef

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient
    from mlflow.entities import Run

EXPERIMENT = "threeloops"
TAG = "threeloops."
RESULT_FILE = "result.json"
RESULT_FORMAT = 2  # raised when the keys of a result change
CONFIG_FILE = "config.json"
VIEW_FILE = "completions_view.json"


@lru_cache(maxsize=4)
def client_for(home: Home) -> MlflowClient:
    """The MLflow client on the home folder's own SQLite database; made on first use."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
    logging.getLogger("alembic").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # SQLAlchemy's deprecations inside MLflow
        import mlflow
        from mlflow import MlflowClient

        mlflow.set_tracking_uri(home.tracking_uri)
        mlflow.set_registry_uri(home.tracking_uri)
        return MlflowClient(home.tracking_uri, home.tracking_uri)


def experiment_id(home: Home) -> str:
    """The id of our one experiment, made on first use with its artifacts in the home folder."""
    client = client_for(home)
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is not None:
        return str(found.experiment_id)
    return str(client.create_experiment(EXPERIMENT, home.run_artifacts.as_uri()))


@dataclass
class TrackedRun:
    """One MLflow run being written."""

    run_id: str
    loop: Loop
    home: Home
    tables: dict[str, TableRef] = field(default_factory=dict)
    laps: list[float] = field(default_factory=list)
    _views: list[dict[str, str]] = field(default_factory=list)
    _started: float = field(default_factory=time.monotonic)
    _lap_started: float = field(default_factory=time.monotonic)

    def wall_seconds(self) -> float:
        """Seconds since this process opened the run."""
        return time.monotonic() - self._started

    def start_laps(self) -> None:
        """The next `lap` is measured from here."""
        self._lap_started = time.monotonic()

    def lap(self) -> float:
        """Seconds since the last lap, kept in `laps`."""
        now = time.monotonic()
        self.laps.append(now - self._lap_started)
        self._lap_started = now
        return self.laps[-1]

    @property
    def _client(self) -> MlflowClient:
        return client_for(self.home)

    def tag(self, **tags: str) -> None:
        """Set tags below our own prefix, each at most 5,000 characters."""
        for name, value in tags.items():
            self._client.set_tag(self.run_id, TAG + name, value[:5000])

    def describe(self, markdown: str) -> None:
        """Set the text that opens the run's page."""
        self._client.set_tag(self.run_id, "mlflow.note.content", markdown)

    def instrument(self, instrument: Instrument) -> None:
        """Tag the instrument: its digest and each of its parts."""
        self.tag(
            instrument=instrument.digest,
            **{f"instrument.{part}": value for part, value in instrument.model_dump().items()},
        )

    def metrics(self, values: Mapping[str, float], step: int | None = None) -> None:
        """Log metrics, at a step of learning where one is given."""
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        logged = [Metric(name, float(value), now, step or 0) for name, value in values.items()]
        self._client.log_batch(self.run_id, metrics=logged)

    def table(self, name: str, reference: TableRef) -> None:
        """Keep a stored table with the run, as `tables/NAME.parquet`, and its digest as a tag."""
        import shutil
        import tempfile

        self.tables[name] = reference
        self.tag(**{f"table.{name}": f"{reference.kind}:{reference.digest}"})
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder) / f"{name}.parquet"
            shutil.copyfile(reference.path, copy)
            self.file(copy, "tables")

    def file(self, path: Path, folder: str | None = None) -> None:
        """Keep a file with the run."""
        self._client.log_artifact(self.run_id, str(path), folder)

    def json(self, name: str, value: Mapping[str, Any]) -> None:
        """Keep a JSON object with the run."""
        self._client.log_dict(self.run_id, dict(value), name)

    def view(self, rows: pd.DataFrame, name: str = VIEW_FILE) -> None:
        """Keep rows in the form that MLflow's own table viewer shows; a retry replaces them."""
        shown = rows.astype(object).where(rows.notna(), None)
        content = {"columns": list(rows.columns), "data": shown.to_numpy().tolist()}
        self._client.log_text(self.run_id, json.dumps(content, ensure_ascii=False), name)
        self._views.append({"path": name, "type": "table"})
        self._client.set_tag(self.run_id, "mlflow.loggedArtifacts", json.dumps(self._views))

    def artifact_folder(self, name: str) -> Path:
        """A folder among the run's artifacts to write into, so that large files are not copied."""
        from urllib.parse import unquote, urlparse

        uri = self._client.get_run(self.run_id).info.artifact_uri
        return Path(unquote(urlparse(uri).path)) / name


@contextlib.contextmanager
def tracked_run(loop: Loop, config: Frozen, resume: str | None = None) -> Iterator[TrackedRun]:
    """Open an MLflow run for one loop; it ends FINISHED, FAILED with the reason, or KILLED.

    `resume` goes on with a run that ended early, under the same id.
    """
    home = current_home()
    client = client_for(home)
    if resume is None:
        tags = {
            f"{TAG}loop": loop.letter,
            f"{TAG}loop_name": loop.name,
            f"{TAG}changed": loop.changed,
        }
        info = client.create_run(experiment_id(home), tags=tags).info
        client.update_run(info.run_id, name=f"{loop.verb}-{info.run_id[:6]}")
        run = TrackedRun(info.run_id, loop, home)
        for parameter, value in flat(config.model_dump(mode="json")).items():
            client.log_param(run.run_id, parameter, value)
        run.json(CONFIG_FILE, config.model_dump(mode="json"))
    else:
        client.update_run(resume, status="RUNNING")
        run = TrackedRun(resume, loop, home)
    try:
        yield run
    except BaseException as error:
        run.tag(error=f"{type(error).__name__}: {error}")
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        client.set_terminated(run.run_id, status)
        raise
    client.set_terminated(run.run_id, "FINISHED")


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as `outer.inner` names with text values, as MLflow's page shows them."""
    out: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{prefix}{name}.")
        else:
            out[prefix + name] = value if isinstance(value, str) else json.dumps(value)
    return out


@dataclass(frozen=True)
class RunRecord:
    """A run as it was recorded."""

    run_id: str
    name: str
    loop: Loop
    status: str
    started_ms: int
    metrics: Mapping[str, float]
    parameters: Mapping[str, str]
    tags: Mapping[str, str]
    folder: Path

    def table_refs(self) -> dict[str, tuple[str, str]]:
        """Kind and digest of each of its tables by name."""
        found = {}
        for tag, value in self.tags.items():
            if tag.startswith("table."):
                kind, _, digest = value.partition(":")
                found[tag.removeprefix("table.")] = (kind, digest)
        return found

    def config(self) -> dict[str, Any]:
        """The whole configuration that it ran with."""
        return dict(json.loads((self.folder / CONFIG_FILE).read_text()))

    def result(self) -> dict[str, Any] | None:
        """The result that its command printed, or None for a run that did not finish."""
        path = self.folder / RESULT_FILE
        if not path.exists():
            return None
        result = dict(json.loads(path.read_text()))
        if result.get("format") != RESULT_FORMAT:
            raise InputError(
                "its result was recorded by another version of threeloops",
                f"run {self.name}",
                "run it again, or replay its completions with --completions",
            )
        return result


def _record(run: Run) -> RunRecord:
    from urllib.parse import unquote, urlparse

    tags = {k.removeprefix(TAG): v for k, v in run.data.tags.items() if k.startswith(TAG)}
    return RunRecord(
        run_id=run.info.run_id,
        name=run.info.run_name or "",
        loop=loop_named(tags["loop"]),
        status=run.info.status,
        started_ms=run.info.start_time,
        metrics=run.data.metrics,
        parameters=run.data.params,
        tags=tags,
        folder=Path(unquote(urlparse(run.info.artifact_uri).path)),
    )


def all_runs() -> list[RunRecord]:
    """Every run of a loop in the home folder, newest first."""
    return [_record(run) for run in mlflow_runs() if f"{TAG}loop" in run.data.tags]


def mlflow_runs() -> list[Run]:
    """Every MLflow run in the home folder, newest first: the loops' and the gate's."""
    home = current_home()
    pages: list[Run] = []
    token = None
    while True:
        page = client_for(home).search_runs(
            [experiment_id(home)], order_by=["start_time DESC"], page_token=token, max_results=1000
        )
        pages += list(page)
        token = page.token
        if not token:
            return pages


def find_run(name: str) -> RunRecord:
    """The run with this id, start of an id (4 characters or more) or name; InputError if not one.

    A name that several runs have means the newest of them.
    """
    runs = all_runs()
    exact = [run for run in runs if name in (run.run_id, run.name)]
    if exact:
        return exact[0]
    partial = [run for run in runs if len(name) >= 4 and run.run_id.startswith(name)]
    if len(partial) == 1:
        return partial[0]
    raise InputError(
        f"{len(partial)} runs begin with it" if partial else "no such run",
        f"run {name}",
        "`threeloops runs` lists them",
    )
