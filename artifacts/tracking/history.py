"""Runs as MLflow recorded them: listed, found by name, and read again."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from artifacts.store.data_dir import current_data_dir
from artifacts.tracking.connection import TAG, client_for, experiment_id
from artifacts.tracking.formats import upgraded
from artifacts.tracking.run import CONFIG_FILE, PARENT, RESULT_FILE, RESULT_FORMAT
from schemas.errors import InputError
from schemas.loops import LOOPS, Loop, loop_named

if TYPE_CHECKING:
    from mlflow.entities import Run


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
    parent: str = ""

    @property
    def stage(self) -> str:
        """`before` or `after` where it is a part of a learning run, else empty."""
        return self.tags.get("stage", "")

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
        result = upgraded(dict(json.loads(path.read_text())))
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
        parent=run.data.tags.get(PARENT, ""),
    )


def all_runs() -> list[RunRecord]:
    """Every run of a loop in the data folder, newest first.

    A learning run's own measurements before and after are not among them: they are part of it, and
    it keeps their tables.
    """
    return [run for run in every_run() if run.loop in LOOPS and not run.stage]


def every_run() -> list[RunRecord]:
    """Every run of a loop, before and after included, and every demo; newest first."""
    return [_record(run) for run in mlflow_runs() if f"{TAG}loop" in run.data.tags]


def mlflow_runs() -> list[Run]:
    """Every MLflow run in the data folder, newest first: the loops' and the gate's."""
    data_dir = current_data_dir()
    pages: list[Run] = []
    token = None
    while True:
        page = client_for(data_dir).search_runs(
            [experiment_id(data_dir)],
            order_by=["start_time DESC"],
            page_token=token,
            max_results=1000,
        )
        pages += list(page)
        token = page.token
        if not token:
            return pages


def find_run(name: str) -> RunRecord:
    """The run with this id, start of an id (4 characters or more) or name; InputError if not one.

    A name that several runs have means the newest of them.
    """
    runs = every_run()
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
