"""What MLflow's database says of runs, versions and aliases, read without MLflow."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Container, Mapping
from dataclasses import dataclass
from pathlib import Path

from artifacts.doctor.snapshot import tables_of
from artifacts.registry.versions import RegisteredVersion, files_of_tag
from artifacts.registry.weights import LocalWeights
from artifacts.store.data_dir import DataDir
from artifacts.store.process import is_gone
from artifacts.tracking.connection import TAG
from artifacts.tracking.database import places_of
from artifacts.tracking.experiment import local_path
from artifacts.tracking.history import table_refs
from artifacts.unsent.owned import OWNER
from artifacts.unsent.prompts import IS_PROMPT
from schemas.references import TableKind

Place = Callable[[str], Path]  # from an address in the database
NEEDED = {"experiments", "runs", "tags", "registered_model_aliases", "model_versions",
          "model_version_tags"}  # fmt: skip
DELETED = "Deleted_Internal"  # the stage of a version that was deleted


@dataclass(frozen=True)
class RecordedRun:
    """A run as the database has it; `tags` are ours, without their prefix."""

    run_id: str
    name: str
    status: str
    deleted: bool
    folder: Path
    tags: Mapping[str, str]

    @property
    def dead(self) -> bool:
        """Whether it is said to be running and its process is gone."""
        return self.status == "RUNNING" and is_gone(self.tags.get(OWNER.removeprefix(TAG), ""))

    @property
    def goes_on(self) -> bool:
        """Whether a process may be writing it."""
        return self.status == "RUNNING" and not self.dead

    @property
    def is_decision(self) -> bool:
        """Whether it is the gate's, not a loop's."""
        return "loop" not in self.tags and "candidate" in self.tags

    def tables(self) -> dict[str, tuple[TableKind, str]]:
        """Kind and digest of each of its tables by name."""
        return table_refs(self.tags)


@dataclass(frozen=True)
class Recorded:
    """The runs by id, the versions by name, the alias of each model and what it leads to.

    `former` is the folder of runs that the database names, where the data folder was moved since.
    `every_run` has the ids of all runs, also of other experiments.
    """

    runs: Mapping[str, RecordedRun]
    versions: Mapping[str, RegisteredVersion]
    aliases: Mapping[tuple[str, str], str]
    former: str | None
    every_run: frozenset[str]


def read_recorded(connection: sqlite3.Connection, data_dir: DataDir) -> Recorded | None:
    """Everything of our experiments; None where there is none: nothing is known of its runs.

    Addresses of a former place are read as those of this one.
    """
    if not tables_of(connection) >= NEEDED:
        return None
    now = data_dir.run_artifacts.as_uri()
    places = places_of(connection, now)
    if not places:
        return None
    former = next((one for one in places.values() if one != now), None)

    def path(uri: str) -> Path:
        moved = former is not None and uri.startswith(former)
        return local_path(now + uri.removeprefix(former or "") if moved else uri)

    return Recorded(
        runs=_runs(connection, places, path),
        versions=_versions(connection, path),
        aliases={
            (str(name), str(alias)): str(version)
            for name, alias, version in connection.execute(
                "select name, alias, version from registered_model_aliases"
            )
        },
        former=former,
        every_run=frozenset(
            str(run_id) for (run_id,) in connection.execute("select run_uuid from runs")
        ),
    )


def _runs(
    connection: sqlite3.Connection, experiments: Container[int], path: Place
) -> dict[str, RecordedRun]:
    tags: dict[str, dict[str, str]] = {}
    for run_id, key, value in connection.execute(
        "select run_uuid, key, value from tags where key like ?", (f"{TAG}%",)
    ):
        tags.setdefault(str(run_id), {})[str(key).removeprefix(TAG)] = str(value)
    rows = connection.execute(
        "select run_uuid, name, status, lifecycle_stage, artifact_uri, experiment_id from runs "
        "order by start_time",
    )
    return {
        str(run_id): RecordedRun(
            run_id=str(run_id),
            name=named(str(name or "run"), str(run_id)),
            status=str(status),
            deleted=stage != "active",
            folder=path(str(uri)),
            tags=tags.get(str(run_id), {}),
        )
        for run_id, name, status, stage, uri, experiment in rows
        if int(experiment) in experiments
    }


def named(name: str, run_id: str) -> str:
    """A run's name; one that was cut off before it was named has its verb alone."""
    end = f"-{run_id[:6]}"
    return name if name.endswith(end) else name + end


def _versions(connection: sqlite3.Connection, path: Place) -> dict[str, RegisteredVersion]:
    tags: dict[tuple[str, str], dict[str, str]] = {}
    for name, version, key, value in connection.execute(
        "select name, version, key, value from model_version_tags"
    ):
        tags.setdefault((str(name), str(version)), {})[str(key)] = str(value)
    found = {}
    for name, version, source, run_id in connection.execute(
        "select name, version, source, run_id from model_versions where current_stage != ? "
        "order by name, version",
        (DELETED,),
    ):
        of_version = tags.get((str(name), str(version)), {})
        if IS_PROMPT in of_version:  # MLflow keeps prompts among the models
            continue
        made = RegisteredVersion(
            model=str(name),
            number=str(version),
            weights=LocalWeights(path(str(source))),
            digest=of_version.get(f"{TAG}digest", ""),
            run_id=str(run_id or ""),
            files=files_of_tag(of_version.get(f"{TAG}files", "")),
        )
        found[made.name] = made
    return found
