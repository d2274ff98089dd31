"""Runs in MLflow: what was run, on what instrument, what came of it, and where its tables are.

It records what it is given and reads it back; it computes nothing, and no other room imports
mlflow.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts.store.data_dir import DataDir, current_data_dir
from artifacts.text.describe import describe_failure, describe_start
from artifacts.tracking.connection import NOTE, TAG, client_for, experiment_id
from schemas.config import Frozen
from schemas.loops import Loop
from schemas.references import Instrument, TableRef

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

RESULT_FILE = "result.json"
RESULT_FORMAT = 3  # raised when the keys of a result change
CONFIG_FILE = "config.json"
VIEW_FILE = "completions_view.json"
PARENT = "mlflow.parentRunId"
_inside: ContextVar[str | None] = ContextVar("the run that others are opened in", default=None)


@dataclass
class TrackedRun:
    """One MLflow run being written."""

    run_id: str
    name: str
    loop: Loop
    data_dir: DataDir
    tables: dict[str, TableRef] = field(default_factory=dict)
    laps: list[float] = field(default_factory=list)
    links: list[str] = field(default_factory=list)  # lines of markdown that end its description
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
        return client_for(self.data_dir)

    def tag(self, **tags: str) -> None:
        """Set tags below our own prefix, each at most 5,000 characters."""
        for name, value in tags.items():
            self._client.set_tag(self.run_id, TAG + name, value[:5000])

    def describe(self, markdown: str) -> None:
        """Set the text that opens the run's page; its links follow."""
        text = "\n\n".join([markdown, *self.links])
        self._client.set_tag(self.run_id, NOTE, text)

    def link(self, line: str) -> None:
        """Add a line of markdown to the end of the run's description, for now and later."""
        self.links.append(line)
        text = self._client.get_run(self.run_id).data.tags.get(NOTE, "")
        self._client.set_tag(self.run_id, NOTE, f"{text}\n\n{line}")

    def instrument(self, instrument: Instrument) -> None:
        """Tag the instrument: its digest and each of its parts."""
        self.tag(
            instrument=instrument.digest,
            **{f"instrument.{part}": value for part, value in instrument.model_dump().items()},
        )

    def metrics(
        self,
        values: Mapping[str, float],
        step: int | None = None,
        of: Mapping[str, str | None] | None = None,
    ) -> None:
        """Log metrics, at a step of learning where one is given.

        `of` ties them to what was measured: `model_id`, `dataset_name` and `dataset_digest`.
        """
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        logged = [
            Metric(name, float(value), now, step or 0, **(of or {}))
            for name, value in values.items()
        ]
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
        if (listed := {"path": name, "type": "table"}) not in self._views:
            self._views.append(listed)
        self._client.set_tag(self.run_id, "mlflow.loggedArtifacts", json.dumps(self._views))

    def artifact_folder(self, name: str) -> Path:
        """A folder among the run's artifacts to write into, so that large files are not copied."""
        from urllib.parse import unquote, urlparse

        uri = self._client.get_run(self.run_id).info.artifact_uri
        return Path(unquote(urlparse(uri).path)) / name


@contextlib.contextmanager
def tracked_run(
    loop: Loop, config: Frozen, resume: str | None = None, *, stage: str = ""
) -> Iterator[TrackedRun]:
    """Open an MLflow run for one loop; it ends FINISHED, FAILED with the reason, or KILLED.

    Opened while another is open, it is a child of that one. `resume` goes on with a run that ended
    early, under the same id; so does a child with a `stage` (`before`, `after`) that its parent
    has already.
    """
    data_dir = current_data_dir()
    client = client_for(data_dir)
    parent = _inside.get()
    resume = resume or (_child(data_dir, parent, stage) if parent and stage else None)
    if resume:
        run = _reopened(data_dir, loop, resume, config)
    else:
        run = _opened(data_dir, loop, parent, stage, config)
    run.describe(describe_start(loop, config))
    token = _inside.set(run.run_id)
    try:
        yield run
    except BaseException as error:
        reason = f"{type(error).__name__}: {error}"
        run.tag(error=reason)
        run.describe(describe_failure(loop, config, reason))
        status = "KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED"
        client.set_terminated(run.run_id, status)
        raise
    finally:
        _inside.reset(token)
    client.set_terminated(run.run_id, "FINISHED")


def _opened(
    data_dir: DataDir, loop: Loop, parent: str | None, stage: str, config: Frozen
) -> TrackedRun:
    from mlflow.entities import Param

    client = client_for(data_dir)
    tags = {
        f"{TAG}loop": loop.letter,
        f"{TAG}loop_name": loop.name,
        f"{TAG}changed": loop.changed,
        "mlflow.source.name": f"threeloops {loop.verb}",
    }
    tags |= {PARENT: parent} if parent else {}
    tags |= {f"{TAG}stage": stage} if stage else {}
    run_id = client.create_run(experiment_id(data_dir), tags=tags).info.run_id
    name = f"{loop.verb}-{run_id[:6]}"
    client.update_run(run_id, name=name)
    run = TrackedRun(run_id, name, loop, data_dir)
    settings = flat(config.model_dump(mode="json"))
    client.log_batch(run_id, params=[Param(name, value) for name, value in settings.items()])
    run.json(CONFIG_FILE, config.model_dump(mode="json"))
    return run


def _reopened(data_dir: DataDir, loop: Loop, run_id: str, config: Frozen) -> TrackedRun:
    client = client_for(data_dir)
    client.update_run(run_id, status="RUNNING")
    found = client.get_run(run_id)
    if f"{TAG}error" in found.data.tags:
        client.delete_tag(run_id, f"{TAG}error")
    run = TrackedRun(run_id, found.info.run_name, loop, data_dir)
    run.json(CONFIG_FILE, config.model_dump(mode="json"))
    for name, value in flat(config.model_dump(mode="json")).items():
        if found.data.params.get(name) != value:  # a parameter in MLflow is written once
            run.tag(**{f"resumed_with.{name}": value})
    return run


def _child(data_dir: DataDir, parent: str, stage: str) -> str | None:
    found = client_for(data_dir).search_runs(
        [experiment_id(data_dir)], f"tags.`{PARENT}` = '{parent}' and tags.`{TAG}stage` = '{stage}'"
    )
    return str(found[0].info.run_id) if found else None


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as `outer.inner` names with text values, as MLflow's page shows them."""
    out: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{prefix}{name}.")
        else:
            out[prefix + name] = value if isinstance(value, str) else json.dumps(value)
    return out
