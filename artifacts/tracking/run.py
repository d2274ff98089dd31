"""A run in MLflow while it is written: settings, instrument, metrics, tables and files."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel

from artifacts.store.process import this_process
from artifacts.text.describe import describe_failure, describe_start
from artifacts.text.secrets import without_secrets
from artifacts.text.visible import printable
from artifacts.tracking.archive import Archive
from artifacts.tracking.connection import CONFIG_FILE, PARENT, TAG, Tracking
from artifacts.tracking.experiment import NOTE
from artifacts.tracking.files import RunFiles, files_of
from artifacts.tracking.owner import owner_tags
from artifacts.tracking.prompts import keep_template
from artifacts.unsent.owned import OWNER
from artifacts.unsent.waiting import runs_waiting
from policy.model.template import get_template
from schemas.config import RunConfig
from schemas.errors import InputError
from schemas.instrument import Instrument
from schemas.loops import Loop
from schemas.own_template import OwnTemplate
from schemas.references import RunRef, TableRef

if TYPE_CHECKING:
    import pandas as pd
    from mlflow import MlflowClient

VIEW_FILE = "completions_view.json"


@dataclass
class TrackedRun:
    """One MLflow run being written."""

    run_id: str
    name: str
    loop: Loop
    archive: Archive
    tables: dict[str, TableRef] = field(default_factory=dict)
    links: list[str] = field(default_factory=list)  # lines of markdown that end its description
    # steps and values of each metric before it was cut off; it may log some of them again
    logged: Mapping[str, list[tuple[int, float]]] = field(default_factory=dict)
    _views: list[dict[str, str]] = field(default_factory=list)

    @property
    def reference(self) -> RunRef:
        """What tasks are given."""
        return RunRef(run_id=self.run_id, name=self.name)

    @property
    def _client(self) -> MlflowClient:
        return self.archive.tracking.client

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

        `of` ties them to what was measured: `model_id`, `dataset_name` and `dataset_digest`. A run
        that goes on does not log a second time what it logged before it was cut off: MLflow would
        show the step twice.
        """
        from mlflow.entities import Metric

        now = time.time_ns() // 1_000_000
        logged = [
            Metric(name, float(value), now, step or 0, **(of or {}))
            for name, value in values.items()
            if not self._has_logged(name, step or 0, float(value))
        ]
        if logged:
            self._client.log_batch(self.run_id, metrics=logged)

    def _has_logged(self, name: str, step: int, value: float) -> bool:
        """Whether a value was there when the run went on. Seconds never repeat: the first stay."""
        any_value = name.endswith("seconds")
        return any(
            at == step and (any_value or found == value) for at, found in self.logged.get(name, ())
        )

    def table(self, name: str, reference: TableRef, *, copy: bool = True) -> None:
        """Name a stored table as the run's, by a tag with its digest.

        With `copy` the run's artifacts get the file too, as `tables/NAME.parquet`. A table that a
        run inside this one has a copy of needs no second one.
        """
        self.tables[name] = reference
        self.tag(**{f"table.{name}": f"{reference.kind}:{reference.digest}"})
        if copy:
            self.files.keep(f"tables/{name}.parquet", self.archive.store.path(reference))

    def file(self, path: Path, folder: str = "") -> None:
        """Keep a file with the run, in place of one of its name."""
        self.files.write(str(Path(folder) / path.name), path.read_bytes())

    def record(self, name: str, value: BaseModel) -> None:
        """Keep a model with the run, as the JSON file `name`."""
        self.files.write(name, json.dumps(value.model_dump(mode="json"), indent=2).encode())

    def text(self, name: str, text: str) -> None:
        """Keep a text with the run, as the file `name`."""
        self.files.write(name, text.encode())

    def view(self, rows: pd.DataFrame, name: str = VIEW_FILE) -> None:
        """Keep rows in the form that MLflow's own table viewer shows; a retry replaces them."""
        shown = rows.astype(object).where(rows.notna(), None)
        content = {"columns": list(rows.columns), "data": shown.to_numpy().tolist()}
        self.files.write(name, json.dumps(content, ensure_ascii=False).encode())
        if (listed := {"path": name, "type": "table"}) not in self._views:
            self._views.append(listed)
        self._client.set_tag(self.run_id, "mlflow.loggedArtifacts", json.dumps(self._views))

    @property
    def files(self) -> RunFiles:
        """Its files, which MLflow keeps."""
        return files_of(self.archive.tracking, self._client.get_run(self.run_id))

    def artifact_folder(self, name: str) -> Path:
        """Where a file or folder among its files is on this machine."""
        return self.files.path(name)


@dataclass(frozen=True)
class Place:
    """Where among the others a run belongs.

    `parent` is the id of the run that it is a part of. `stage` (`before`, `after`) says which part;
    a child of this stage that ended early is opened again. `resume` is the id of a run that ended
    early and goes on.
    """

    parent: str = ""
    stage: str = ""
    resume: str = ""


@contextlib.contextmanager
def tracked_run(
    archive: Archive, loop: Loop, config: RunConfig, place: Place
) -> Iterator[TrackedRun]:
    """Open an MLflow run for one loop; it ends FINISHED, FAILED with the reason, or KILLED.

    Raises InputError for a run that is to go on and has finished: what it says stays as it is. So
    it does while MLflow has not been told all of what it did: that would come after what it does.
    """
    client = archive.tracking.client
    former = place.resume
    if place.parent and place.stage:
        former = former or _child(archive.tracking, place.parent, place.stage)
    if former:
        run = _reopened(TrackedRun(former, "", loop, archive), config)
    else:
        run = TrackedRun("", "", loop, archive)
        with _ended_early(run, config):  # its store of files may be one to read alone
            _open(run, place, config)
    run.describe(describe_start(loop, config))
    with _ended_early(run, config):
        yield run
    client.set_terminated(run.run_id, "FINISHED")


@contextlib.contextmanager
def _ended_early(run: TrackedRun, config: RunConfig) -> Iterator[None]:
    """End a run with the reason where the block raises, if it was opened and is still ours."""
    try:
        yield
    except BaseException as error:
        try:
            if run.run_id and _is_ours(run):
                _end_early(run, config, error)
        except Exception as failed:  # the record must not hide why the run ended
            error.add_note(f"the run's record could not be finished: {failed}")
        raise


def _is_ours(run: TrackedRun) -> bool:
    """Whether no other process goes on with the run: one that took this one for dead may."""
    found = run.archive.tracking.client.get_run(run.run_id)
    return bool(found.data.tags.get(OWNER, this_process()) == this_process())


def _end_early(run: TrackedRun, config: RunConfig, error: BaseException) -> None:
    """Record why a run ended without a result; a database holds no half of a surrogate pair."""
    reason = printable(without_secrets(f"{type(error).__name__}: {error}"), keep="\n")
    run.tag(error=reason)
    run.describe(describe_failure(run.loop, config, reason))
    status = "FAILED" if isinstance(error, Exception) else "KILLED"  # signals are none
    run.archive.tracking.client.set_terminated(run.run_id, status)


def _open(run: TrackedRun, place: Place, config: RunConfig) -> None:
    client, loop = run.archive.tracking.client, run.loop
    tags = {
        f"{TAG}loop": loop.letter,
        f"{TAG}loop_name": loop.name,
        f"{TAG}changed": loop.changed,
        "mlflow.source.name": f"threeloops {loop.verb}",
        **owner_tags(run.archive.owners),
    }
    tags |= {PARENT: place.parent} if place.parent else {}
    tags |= {f"{TAG}stage": place.stage} if place.stage else {}
    experiment = run.archive.tracking.experiment_id
    run.run_id = client.create_run(experiment, tags=tags, run_name=loop.verb).info.run_id
    _name(run)
    _log_parameters(run, settings_in_words(config))
    run.record(CONFIG_FILE, config)
    keep_template(run, config)


def _reopened(run: TrackedRun, config: RunConfig) -> TrackedRun:
    client = run.archive.tracking.client
    found = client.get_run(run.run_id)
    if found.info.status == "FINISHED":
        raise InputError("the run has finished", f"run {found.info.run_name}")
    if run.run_id in runs_waiting(run.archive.data_dir, of_others=True):
        raise InputError(
            "MLflow has not been told all that it did before",
            f"run {found.info.run_name}",
            "run `threeloops sync` first",
        )
    # now: a server that goes away later cannot be asked
    run.logged = {
        name: [(one.step, one.value) for one in client.get_metric_history(run.run_id, name)]
        for name in found.data.metrics
    }
    for tag, value in owner_tags(run.archive.owners).items():
        client.set_tag(run.run_id, tag, value)
    client.update_run(run.run_id, status="RUNNING")
    run.name = found.info.run_name
    if run.name == run.loop.verb:
        _name(run)
    if f"{TAG}error" in found.data.tags:
        client.delete_tag(run.run_id, f"{TAG}error")
    run.record(CONFIG_FILE, config)
    keep_template(run, config)
    settings, before = settings_in_words(config), found.data.params
    # whoever opened it may have been killed before it had its parameters
    if missing := {name: value for name, value in settings.items() if name not in before}:
        _log_parameters(run, missing)
    for name, value in settings.items():
        if before.get(name, value) != value:  # a parameter in MLflow is written once
            run.tag(**{f"resumed_with.{name}": value})
    return run


def _name(run: TrackedRun) -> None:
    run.name = f"{run.loop.verb}-{run.run_id[:6]}"
    run.archive.tracking.client.update_run(run.run_id, name=run.name)


def _log_parameters(run: TrackedRun, settings: Mapping[str, str]) -> None:
    from mlflow.entities import Param

    parameters = [Param(name, value) for name, value in settings.items()]
    run.archive.tracking.client.log_batch(run.run_id, params=parameters)


def _child(tracking: Tracking, parent: str, stage: str) -> str:
    found = tracking.client.search_runs(
        [tracking.experiment_id],
        f"tags.`{PARENT}` = '{parent}' and tags.`{TAG}stage` = '{stage}'",
    )
    here = {PARENT: parent, f"{TAG}stage": stage}.items()
    early = [
        run for run in found if run.info.status != "FINISHED" and here <= run.data.tags.items()
    ]
    return str(early[0].info.run_id) if early else ""


def settings_in_words(config: RunConfig) -> dict[str, str]:
    """A configuration as `flat` shows it; a template of a file by name, version and digest."""
    settings = config.model_dump(mode="json")
    if isinstance(config.template, OwnTemplate):
        settings["template"] = get_template(config.template).identity
    return flat(settings)


def flat(config: Mapping[str, Any], prefix: str = "") -> dict[str, str]:
    """Nested settings as `outer.inner` names with text values, as MLflow's page shows them."""
    out: dict[str, str] = {}
    for name, value in config.items():
        if isinstance(value, Mapping):
            out |= flat(value, f"{prefix}{name}.")
        else:
            out[prefix + name] = value if isinstance(value, str) else json.dumps(value)
    return out
