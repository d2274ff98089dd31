"""What the runs and versions of a data folder refer to: every digest that their records name.

Nothing is guessed from the kind of a record: any text of 64 hexadecimal digits counts as a
reference. So a record that a later version adds protects what it names too.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from artifacts.store.data_dir import DataDir
from artifacts.tracking.archive import Archive
from artifacts.tracking.database import opened
from artifacts.tracking.history import EXPERIMENTS
from artifacts.tracking.owner import is_abandoned
from artifacts.tracking.sqlite_runs import SqliteRuns, Wanted
from artifacts.unsent.journal import unsent_folder
from schemas.errors import InputError

DIGEST = re.compile("[0-9a-f]{64}")
RUN_ID = re.compile("[0-9a-f]{32}")
# among a run's files; a decision names the tables of other runs
RECORDS = ("result.json", "decision.json")
# every text of the database that may name a table, of what is not deleted
QUESTIONS = (
    "select value from tags where run_uuid in ({runs})",
    "select value from params where run_uuid in ({runs}) and length(value) >= 64",
    "select value from model_version_tags",
    "select value from registered_model_tags",
    "select tag_value from logged_model_tags",
    "select param_value from logged_model_params where length(param_value) >= 64",
)
ACTIVE = (
    "select run_uuid from runs join experiments using (experiment_id) "
    "where runs.lifecycle_stage = 'active' and experiments.lifecycle_stage = 'active'"
)


@dataclass
class References:
    """What is referred to, and by whom.

    - `digests`: of tables and of anything else that has one.
    - `kept`: ids of the runs that were not deleted, and of those that are not sent yet.
    - `known`: ids of all runs, deleted ones too.
    - `underway`: names of the runs whose process goes on, and when the first of them began.
    """

    digests: set[str] = field(default_factory=set)
    kept: set[str] = field(default_factory=set)
    known: set[str] = field(default_factory=set)
    underway: list[str] = field(default_factory=list)
    underway_since_ms: int | None = None

    def read(self, texts: Iterable[str]) -> None:
        """Take the digests in these texts for references."""
        for text in texts:
            self.digests.update(DIGEST.findall(text))

    def goes_on(self, name: str, started_ms: int) -> None:
        """A run is under way: it may refer to whatever was made or used since it began."""
        self.underway.append(name)
        since = self.underway_since_ms
        self.underway_since_ms = started_ms if since is None else min(since, started_ms)


def references_of(archive: Archive) -> References:
    """What the runs, versions, checkpoints and unsent records of a data folder refer to.

    Raises InputError where that cannot be known: an MLflow that is not named has runs of this
    folder, or its own database is not there.
    """
    data_dir, found = archive.data_dir, References()
    if archive.tracking.by_sql is None:
        archive.tracking.client  # noqa: B018  # it puts right what is to be put right first
    if archive.tracking.remote:
        _of_server(archive, found)
    if data_dir.tracking_database.exists():
        _of_database(archive, found)
    elif not archive.tracking.remote and any(data_dir.tables.glob("*/*.parquet")):
        raise InputError(
            "MLflow's database is missing, so nothing says what the tables belong to",
            str(data_dir.tracking_database),
            "put back a copy of it",
        )
    _of_unsent(data_dir, found)
    _refuse_unknown(data_dir, found)
    found.read(_text(path) for path in _records(data_dir, found.kept))
    found.read(_text(path) for path in data_dir.checkpoints.glob("*/step-*/checkpoint.json"))
    return found


def _of_database(archive: Archive, found: References) -> None:
    """The data folder's own database, also where a server is named for now."""
    database = archive.data_dir.tracking_database
    with opened(database) as connection:
        found.known.update(one for (one,) in connection.execute("select run_uuid from runs"))
        found.kept.update(one for (one,) in connection.execute(ACTIVE))
        for question in QUESTIONS:
            rows = connection.execute(question.format(runs=ACTIVE))
            found.read(str(value) for (value,) in rows)
    for run in SqliteRuns(database).search(Wanted(None, status="RUNNING")):
        if not is_abandoned(run, archive.owners):
            found.goes_on(run.info.run_name or run.info.run_id, run.info.start_time)


def _of_server(archive: Archive, found: References) -> None:
    """The MLflow that is named: every run that is there, in whichever experiment."""
    from mlflow.entities import ViewType

    client = archive.tracking.client
    there = client.search_experiments(view_type=ViewType.ALL, max_results=EXPERIMENTS)
    active = {str(one.experiment_id) for one in there if one.lifecycle_stage == "active"}
    for one in there:
        token = None
        while True:
            page = client.search_runs(
                [str(one.experiment_id)],
                run_view_type=ViewType.ALL,
                page_token=token,
                max_results=1000,
            )
            for run in page:
                found.known.add(run.info.run_id)
                deleted = run.info.lifecycle_stage != "active"
                if deleted or str(one.experiment_id) not in active:
                    continue
                found.kept.add(run.info.run_id)
                found.read([*run.data.tags.values(), *run.data.params.values()])
                if run.info.status == "RUNNING" and not is_abandoned(run, archive.owners):
                    found.goes_on(run.info.run_name or run.info.run_id, run.info.start_time)
            if not (token := page.token):
                break
    if archive.tracking.away:
        raise InputError(
            "MLflow has stopped to answer, so what its runs refer to is not known",
            archive.tracking.names.where,
            "try again when it answers",
        )
    found.read(value for one in _versions(archive) for value in one)


def _versions(archive: Archive) -> Iterator[list[str]]:
    token = None
    while True:
        page = archive.tracking.client.search_model_versions(page_token=token)
        yield from (list(version.tags.values()) for version in page)
        if not (token := page.token):
            return


def _of_unsent(data_dir: DataDir, found: References) -> None:
    """What a server is still to be told names tables, and runs that it does not know yet."""
    for path in unsent_folder(data_dir).glob("*.*"):
        if path.is_file():
            text = _text(path)
            found.read([text])
            ids = set(RUN_ID.findall(text))
            found.kept |= ids
            found.known |= ids


def _refuse_unknown(data_dir: DataDir, found: References) -> None:
    """InputError where there are files of runs that no MLflow that is asked has ever had."""
    for folder in (data_dir.run_artifacts, data_dir.mlflow_cache / "runs"):
        unknown = sorted(
            path for path in folder.glob("*")
            if RUN_ID.fullmatch(path.name) and path.name not in found.known
        )  # fmt: skip
        if unknown:
            count = "1 run" if len(unknown) == 1 else f"{len(unknown)} runs"
            raise InputError(
                f"has files of {count} that no MLflow which is named here has, as "
                f"{unknown[0].name[:12]}, so what they refer to is not known",
                str(folder),
                "name the MLflow that has them (MLFLOW_TRACKING_URI), or move these files away",
            )


def _records(data_dir: DataDir, kept: set[str]) -> Iterator[Path]:
    """The records of runs that were not deleted: a decision names the tables of other runs."""
    for run_id in kept:
        places = (
            data_dir.run_artifacts / run_id / "artifacts",
            data_dir.mlflow_cache / "runs" / run_id,
        )
        yield from (
            path for place in places for name in RECORDS if (path := place / name).is_file()
        )


def _text(path: Path) -> str:
    """What a file says; InputError where it cannot be read, as it may name anything."""
    try:
        return path.read_text("utf-8", "replace")
    except FileNotFoundError:  # it was sent, or its run has ended
        return ""
    except OSError as error:
        raise InputError(
            f"cannot be read ({error.strerror}), so what it refers to is not known", str(path)
        ) from None
