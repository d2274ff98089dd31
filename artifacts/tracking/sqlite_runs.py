"""Runs read from MLflow's SQLite database by SQL: importing MLflow takes seconds, this takes none.

Only the data folder's own database is read so, at the revision of the MLflow that is installed, and
only where nothing in it has to be put right first. Everything is written through MLflow's client.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from artifacts.tracking.database import opened

V = TypeVar("V")
FEW = 50  # runs that are read whole, before a name is read in all of them
DELETED_VERSION = "Deleted_Internal"  # the stage of a version that was deleted
AT_ONCE = 500  # ids in one question
TAGS = (
    "select run_uuid, key, value from tags "
    "where (key glob 'threeloops.*' or key = 'mlflow.parentRunId') and"
)
PARAMETERS = "select run_uuid, key, value from params where"
METRICS = (
    "select run_uuid, key, case when is_nan then null else value end from latest_metrics where"
)


class FoundInfo(Protocol):
    """What MLflow calls a run's info."""

    @property
    def run_id(self) -> str: ...
    @property
    def run_name(self) -> str | None: ...
    @property
    def status(self) -> str: ...
    @property
    def start_time(self) -> int: ...
    @property
    def artifact_uri(self) -> str: ...


class FoundData(Protocol):
    """What MLflow calls a run's data."""

    @property
    def tags(self) -> Mapping[str, str]: ...
    @property
    def params(self) -> Mapping[str, str]: ...
    @property
    def metrics(self) -> Mapping[str, float]: ...


class FoundRun(Protocol):
    """A run, whoever read it."""

    @property
    def info(self) -> FoundInfo: ...
    @property
    def data(self) -> FoundData: ...


@dataclass(frozen=True)
class Wanted:
    """Which runs are looked for: in these experiments, None for every one that is there.

    With `tags`, those that have one of them, with one of `values` where there are any; with `name`,
    those with this id, start of an id or name, or with this value of the tag `also`.
    """

    experiments: Sequence[str] | None
    deleted: bool = False
    tags: tuple[str, ...] = ()
    name: str = ""
    also: str = ""
    status: str = ""
    values: tuple[str, ...] = ()


@dataclass(frozen=True)
class Info:
    """A row of the table of runs."""

    run_id: str
    run_name: str | None
    status: str
    start_time: int
    artifact_uri: str


class Later(Mapping[str, V]):
    """Values of a run that are read when they are looked at."""

    def __init__(self, values: Values[V], run_id: str) -> None:
        self._values, self._run_id = values, run_id

    def __getitem__(self, name: str) -> V:
        return self._values.one(self._run_id, name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._values.of(self._run_id))

    def __len__(self) -> int:
        return len(self._values.of(self._run_id))

    def names_below(self, prefix: str) -> list[str]:
        """The names with a prefix that this run may have, in order: some run has each."""
        return self._values.names_below(prefix)


@dataclass(frozen=True)
class Data:
    """The values of a run. Of its tags those that threeloops reads."""

    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]


@dataclass(frozen=True)
class SqliteRun:
    """A run in the database."""

    info: Info
    data: Data


class SqliteRuns:
    """The runs of one database."""

    def __init__(self, database: Path) -> None:
        self._database = database

    def search(self, wanted: Wanted) -> list[SqliteRun]:
        """The runs that are wanted, newest first."""
        conditions, given = _conditions(wanted)
        with opened(self._database) as connection:
            rows = connection.execute(
                "select run_uuid, name, status, start_time, artifact_uri from runs "
                f"where {' and '.join(conditions)} order by start_time desc, run_uuid",
                given,
            ).fetchall()
        ids = [str(row[0]) for row in rows]
        tags = Values(self._database, TAGS, ids, str)
        params = Values(self._database, PARAMETERS, ids, str)
        metrics = Values(self._database, METRICS, ids, _number)
        return [
            SqliteRun(Info(*row), Data(Later(tags, one), Later(params, one), Later(metrics, one)))
            for one, row in zip(ids, rows, strict=True)
        ]


class SqliteVersions:
    """The model versions of one database."""

    def __init__(self, database: Path) -> None:
        self._database = database

    def tagged(self, key: str) -> list[tuple[str, str, str]]:
        """Model, number and the tag's value of every version that has it and was not deleted."""
        with opened(self._database) as connection:
            rows = connection.execute(
                "select name, version, value from model_version_tags join model_versions "
                "using (workspace, name, version) where key = ? and current_stage != ?",
                (key, DELETED_VERSION),
            )
            return [(str(name), str(number), str(value)) for name, number, value in rows]


class Values(Generic[V]):
    """One kind of values of several runs, in as few questions as what is looked at allows.

    The more runs are read whole, the more of those that follow are read with the next one. Once a
    few are, a name that is looked up in another one is read in all runs at once.
    """

    def __init__(
        self, database: Path, question: str, run_ids: Sequence[str], value: Callable[[Any], V]
    ) -> None:
        self._database, self._question, self._run_ids = database, question, run_ids
        self._value = value  # from what the database has
        self._places = {one: place for place, one in enumerate(run_ids)}
        self._known: dict[str, dict[str, V]] = {}
        self._named: dict[str, dict[str, V]] = {}  # by name, and then by run
        self._below: dict[str, list[str]] = {}  # names by their prefix

    def of(self, run_id: str) -> Mapping[str, V]:
        """Those of a run by their names."""
        if run_id not in self._known:
            at = self._places[run_id]
            following = self._run_ids[at : at + min(AT_ONCE, len(self._known) + 1)]
            self._read([one for one in following if one not in self._known])
        return self._known[run_id]

    def one(self, run_id: str, name: str) -> V:
        """The value of a run that has this name; KeyError where it has none."""
        if run_id in self._known:
            return self._known[run_id][name]
        if name not in self._named:
            if len(self._known) < FEW:
                return self.of(run_id)[name]
            self._named[name] = self._of_all(name)
        return self._named[name][run_id]

    def names_below(self, prefix: str) -> list[str]:
        """The names with a prefix that any run of the database has, in order."""
        if prefix not in self._below:
            below = f"select distinct key from ({self._question} key >= ? and key < ?) order by key"
            with opened(self._database) as connection:
                rows = connection.execute(below, (prefix, prefix + chr(sys.maxunicode)))
                self._below[prefix] = [str(name) for (name,) in rows]
        return self._below[prefix]

    def _of_all(self, name: str) -> dict[str, V]:
        with opened(self._database) as connection:
            rows = connection.execute(f"{self._question} key = ?", (name,))
            return {owner: self._value(value) for owner, _, value in rows}

    def _read(self, run_ids: Sequence[str]) -> None:
        self._known |= {one: {} for one in run_ids}
        with opened(self._database) as connection:
            among = f"run_uuid in ({','.join('?' * len(run_ids))})"
            for owner, key, value in connection.execute(f"{self._question} {among}", run_ids):
                self._known[owner][key] = self._value(value)


def _number(value: float | None) -> float:
    return math.nan if value is None else value


def _conditions(wanted: Wanted) -> tuple[list[str], list[object]]:
    """The conditions of a question, and what stands for its question marks."""
    conditions: list[str] = ["1"]
    given: list[object] = []
    if wanted.experiments is not None:
        conditions.append(f"experiment_id in ({','.join('?' * len(wanted.experiments))})")
        given += wanted.experiments
    elif not wanted.deleted:
        active = "select experiment_id from experiments where lifecycle_stage = 'active'"
        conditions.append(f"experiment_id in ({active})")
    if not wanted.deleted:
        conditions.append("lifecycle_stage = 'active'")
    tagged = "exists (select 1 from tags where tags.run_uuid = runs.run_uuid and key {})"
    if wanted.status:
        conditions.append("status = ?")
        given.append(wanted.status)
    if wanted.tags:
        among = f"in ({','.join('?' * len(wanted.tags))})"
        if wanted.values:
            among += f" and value in ({','.join('?' * len(wanted.values))})"
        conditions.append(tagged.format(among))
        given += [*wanted.tags, *wanted.values]
    if wanted.name:
        either = "run_uuid = ? or name = ? or substr(run_uuid, 1, ?) = ? or "
        either += tagged.format("= ? and value = ?")
        conditions.append(f"({either})")
        given += [wanted.name, wanted.name, len(wanted.name), wanted.name, wanted.also, wanted.name]
    return conditions, given
