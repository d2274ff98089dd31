"""Runs read from MLflow's SQLite database by SQL: importing MLflow takes seconds, this takes none.

Only the data folder's own database is read so, at the revision of the MLflow that is installed, and
only where nothing in it has to be put right first. Everything is written through MLflow's client.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from artifacts.tracking.database import opened

V = TypeVar("V")
FEW = 10  # runs whose values are read one by one, before those of all are
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

    With `tags`, those that have one of them; with `name`, those with this id, start of an id or
    name, or with this value of the tag `also`.
    """

    experiments: Sequence[str] | None
    deleted: bool = False
    tags: tuple[str, ...] = ()
    name: str = ""
    also: str = ""
    status: str = ""


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

    def __init__(self, read: Callable[[], Mapping[str, V]]) -> None:
        self._read = read

    def __getitem__(self, name: str) -> V:
        return self._read()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._read())

    def __len__(self) -> int:
        return len(self._read())


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
            SqliteRun(
                Info(*row),
                Data(
                    Later(partial(tags.of, one)),
                    Later(partial(params.of, one)),
                    Later(partial(metrics.of, one)),
                ),
            )
            for one, row in zip(ids, rows, strict=True)
        ]


class Values(Generic[V]):
    """One kind of values of several runs: of the first few read one by one, then of all at once."""

    def __init__(
        self, database: Path, question: str, run_ids: Sequence[str], value: Callable[[Any], V]
    ) -> None:
        self._database, self._question, self._run_ids = database, question, run_ids
        self._value = value  # from what the database has
        self._known: dict[str, dict[str, V]] = {}

    def of(self, run_id: str) -> Mapping[str, V]:
        """Those of a run by their names."""
        if run_id not in self._known:
            several = len(self._known) >= FEW
            missing = [one for one in self._run_ids if one not in self._known]
            self._read(missing if several else [run_id])
        return self._known[run_id]

    def _read(self, run_ids: Sequence[str]) -> None:
        self._known |= {one: {} for one in run_ids}
        with opened(self._database) as connection:
            for first in range(0, len(run_ids), AT_ONCE):
                asked = run_ids[first : first + AT_ONCE]
                among = f"run_uuid in ({','.join('?' * len(asked))})"
                for owner, key, value in connection.execute(f"{self._question} {among}", asked):
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
        conditions.append(tagged.format(f"in ({','.join('?' * len(wanted.tags))})"))
        given += wanted.tags
    if wanted.name:
        either = "run_uuid = ? or name = ? or substr(run_uuid, 1, ?) = ? or "
        either += tagged.format("= ? and value = ?")
        conditions.append(f"({either})")
        given += [wanted.name, wanted.name, len(wanted.name), wanted.name, wanted.also, wanted.name]
    return conditions, given
