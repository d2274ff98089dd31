"""The connection to MLflow: its client on the data folder's own database or what the environment
names, and our experiment.
"""

from __future__ import annotations

import contextlib
import logging
import os
import warnings
from collections.abc import Iterator
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from artifacts.store.atomic_file import remove_leftovers
from artifacts.store.data_dir import DataDir
from artifacts.store.shared.objects import Objects
from artifacts.store.shared.owners import Owners
from artifacts.tracking.database import experiment_in_order, prepare_database
from artifacts.tracking.experiment import EXPERIMENT_TAGS, experiment_there, is_local, is_ours
from artifacts.tracking.named import (
    REGISTRY_AT,
    SERVER,
    TRACKING,
    Named,
    both_names_differ,
    check_address,
    is_server,
    named,
    own_or,
    sqlite_file,
)
from artifacts.tracking.owner import close_abandoned, is_abandoned
from artifacts.tracking.sqlite_runs import SqliteRuns, SqliteVersions, Wanted
from artifacts.unsent.answers import UnreachableError, asked, reason
from artifacts.unsent.journal import unsent_files
from artifacts.unsent.refusals import explained, forbids, in_one_line
from artifacts.unsent.send import TO, Outcome, send_to_mlflow
from artifacts.unsent.servers import Server, servers_of, without_password
from artifacts.unsent.waiting import runs_waiting
from schemas.errors import InputError, StoreError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

SEND_SECONDS = 30.0  # how long a command may send what earlier ones could not
# how MLflow's client asks a server: we try again ourselves, and know what must not be done twice
ASKING = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
TAG = "threeloops."
PARENT = "mlflow.parentRunId"
RESULT_FILE = "result.json"  # among a run's artifacts
CONFIG_FILE = "config.json"
NEWEST_STEP = "newest_step"  # a tag: the digest of the table of the step that was made last


logger = logging.getLogger(__name__)


class Tracking:
    """MLflow on the SQLite database of one data folder, which needs no server, or on what the
    environment names: a server, or another database.

    `unsent` is what could not be sent of what the server was not told earlier.
    """

    def __init__(
        self, data_dir: DataDir, owners: Owners | None = None, shared: Objects | None = None
    ) -> None:
        self.data_dir = data_dir
        self.owners = owners  # of runs, where machines share a store
        self._shared = shared
        self.unsent = Outcome()
        self.send_seconds = SEND_SECONDS
        self._experiment: Experiment | None = None
        self._read: SqliteRuns | None = None
        self._others: frozenset[str] = frozenset()  # of the server's identities

    @property
    def names(self) -> Named:
        """What the environment names at this moment, with the data folder's database where none."""
        found = named()
        own = self.data_dir.tracking_uri
        return replace(found, tracking=own_or(self.data_dir, found.tracking) or own)

    @property
    def address(self) -> str:
        """Where MLflow is asked: a server's address, or that of a database."""
        return self.names.tracking

    @property
    def registry(self) -> str:
        """Where MLflow's registry is asked: as the runs, unless another one is named."""
        return own_or(self.data_dir, self.names.registry) or self.address

    @property
    def where_registry(self) -> str:
        """The variable that says where the registry is, with its address as it may be shown."""
        names = self.names
        if names.registry:
            return f"{REGISTRY_AT}={without_password(self.registry)}"
        return f"{names.variable}={without_password(self.address)}"

    @property
    def shares_registry(self) -> bool:
        """Whether others than this data folder may use the registry."""
        return self.registry != self.data_dir.tracking_uri

    @property
    def registry_file(self) -> Path | None:
        """The SQLite database of the registry; None where it is elsewhere than in a file."""
        found = sqlite_file(self.registry)
        return None if found is None else found.resolve()

    @property
    def remote(self) -> bool:
        """Whether the runs are elsewhere than in the data folder's own database."""
        return self.address != self.data_dir.tracking_uri

    @property
    def away(self) -> bool:
        """Whether the server has stopped to answer this process, which keeps what is written."""
        return bool(getattr(self.client, "away", False))

    @property
    def by_sql(self) -> SqliteRuns | None:
        """The runs of the data folder's own database, read without MLflow.

        None where the runs are elsewhere, and where something is to be put right first, which
        `client` does: a database that was moved, a run whose process is gone, what is unsent.
        """
        if self.remote:
            return None
        if self._read is None and ("client" in vars(self) or self._in_order):
            self._read = SqliteRuns(self.data_dir.tracking_database)
        return self._read

    @property
    def versions_by_sql(self) -> SqliteVersions | None:
        """The model versions of the data folder's own database; None where they are elsewhere."""
        if self.shares_registry or self.by_sql is None:
            return None
        return SqliteVersions(self.data_dir.tracking_database)

    @property
    def _in_order(self) -> bool:
        """Whether the runs can be read before MLflow's client is there."""
        experiment = experiment_in_order(self.data_dir, self.names.experiment)
        if not experiment or unsent_files(self.data_dir, TO):
            return False
        running = SqliteRuns(self.data_dir.tracking_database).search(
            Wanted([experiment], status="RUNNING")
        )
        if any(is_abandoned(run, self.owners) for run in running):
            return False
        remove_leftovers(self.data_dir)
        return True

    @cached_property
    def client(self) -> MlflowClient:
        """The MLflow client; importing MLflow takes seconds, so it is made on first use.

        What killed processes left is tidied then: runs are closed, half-written files deleted.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
        logging.getLogger("alembic").setLevel(logging.ERROR)
        # it prints the traceback of an error that it raises all the same
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        names, registry = self.names, self.registry
        if self.remote:
            check_address(names.tracking, names.variable)
        if registry != names.tracking:
            check_address(registry, REGISTRY_AT)
        if is_server(names.tracking) or is_server(registry):
            os.environ.update(ASKING)
        if both_names_differ():
            logger.warning("%s is an older name of %s, and wins over it", SERVER, TRACKING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SQLAlchemy's deprecations inside MLflow
            return self._connected(names, registry)

    def _connected(self, names: Named, registry: str) -> MlflowClient:
        import mlflow
        from mlflow import MlflowClient

        with _same_environment():
            mlflow.set_tracking_uri(names.tracking)
            mlflow.set_registry_uri(registry)
        if self.remote:
            with in_one_line(names.where, "MLflow cannot be used"):
                # on a server it keeps nothing: where nobody answers, nothing has begun yet
                client = MlflowClient(names.tracking, registry)
            self._experiment = self._of_remote(client, names)
        else:
            prepare_database(self.data_dir, names.experiment, EXPERIMENT_TAGS)
            client = MlflowClient(names.tracking, registry)
            self._experiment = client.get_experiment_by_name(names.experiment)
        if registry != names.tracking:
            self._refuse_bad_registry(client, registry)
        self._others = servers_of(client, self.data_dir, TO, self.server)
        # before runs are closed: what ended a run may be among it
        self.unsent = send_to_mlflow(
            client, self.data_dir, self.server, self.send_seconds, self._shared
        )
        self._say_what_was_sent()
        self._close_abandoned(client)
        remove_leftovers(self.data_dir)
        if is_server(names.tracking) or is_server(registry):
            from artifacts.unsent.client import KeepingClient

            assert self._experiment is not None  # it was found or made
            # one of two servers that is away is waited for, and done without, as the only one is
            return KeepingClient(
                self.server, self.data_dir, str(self._experiment.artifact_location)
            )
        return client

    @property
    def server(self) -> Server:
        """Who is asked; known by its experiment once it was asked, whatever its address."""
        found = self._experiment
        known = f"{found.experiment_id} {found.creation_time}" if found else ""
        return Server(self.address, known, self.registry, self._others)

    def holds(self, uri: str) -> bool:
        """Whether files with this address in MLflow are files of the data folder.

        Where no server is named, every local folder is as good.
        """
        return is_local(uri) if not self.remote else is_ours(self.data_dir, uri)

    def _close_abandoned(self, client: MlflowClient) -> None:
        """End the runs of dead processes but those of which something is still to be sent."""
        if self._experiment is None:
            return
        try:
            but = runs_waiting(self.data_dir)
        except StoreError:  # which runs a damaged file is about is not known
            return
        experiment = str(self._experiment.experiment_id)
        try:
            asked(lambda again: close_abandoned(client, experiment, but, self.owners))
        except UnreachableError as error:
            raise self._nobody_answers(error, self.names.where) from None
        except Exception as error:  # MLflow has one class for everything
            if not forbids(error):
                raise
            # who may only read sees them as they are; somebody who may write closes them
            logger.warning(
                "runs of processes that have ended cannot be closed: %s", explained(error)[0]
            )

    def _nobody_answers(self, error: UnreachableError, where: str) -> UnreachableError:
        return UnreachableError(
            f"no MLflow server answers there ({reason(error)})",
            where,
            "start it, or unset the variable to use the data folder's own database",
        )

    def _of_remote(self, client: MlflowClient, names: Named) -> Experiment:
        """Our experiment elsewhere; UnreachableError where nobody answers within seconds."""
        try:
            return experiment_there(client, self.data_dir, names)
        except UnreachableError as error:
            raise self._nobody_answers(error, names.where) from None

    def _refuse_bad_registry(self, client: MlflowClient, registry: str) -> None:
        """InputError where a registry of its own cannot be used."""
        where = self.where_registry
        try:
            with in_one_line(where, "MLflow's registry cannot be used"):
                asked(lambda again: client.search_registered_models(max_results=1), patience=0)
        except UnreachableError as error:
            raise self._nobody_answers(error, where) from None

    def _say_what_was_sent(self) -> None:
        if sent := self.unsent.sent.total():
            logger.warning("sent to MLflow what was kept: %s", records(sent))
        for what, count in sorted(self.unsent.gone.items()):
            logger.warning("not needed by MLflow any more: %s %s", records(count), what)
        if self.unsent.missing:
            logger.warning("%s", self.what_is_unsent())

    def what_is_unsent(self) -> str:
        """One line on what MLflow has not been told."""
        lacks, why = records(self.unsent.missing), "; ".join(self.unsent.reasons)
        return f"MLflow has not been told everything: {lacks} not sent ({why})"

    def refuse_silence(self) -> None:
        """InputError where a server is asked, and does not answer or refuses.

        That may be the registry's alone, which is asked when what was learned is registered.
        """
        if self.remote or self.shares_registry:
            self.client  # noqa: B018  # it asks when it is made

    def refuse_unsent(self, what: str) -> None:
        """InputError where MLflow was not told everything that this data folder has for it."""
        away = self.away  # what is kept is sent before anything is looked at
        unsent = send_to_mlflow(None, self.data_dir, self.server, 0.0)
        if unsent.missing or away:
            self.unsent = unsent
            raise InputError(self.what_is_unsent(), what, "run `threeloops sync` first")

    @cached_property
    def experiment_id(self) -> str:
        """The id of our experiment.

        Raises InputError where it was deleted on MLflow's page.
        """
        if self.by_sql is not None and (
            known := experiment_in_order(self.data_dir, self.names.experiment)
        ):
            return known
        self.client  # noqa: B018  # it looks when it is made; a server may be gone by now
        found = self._experiment
        assert found is not None  # the database was prepared with it
        if found.lifecycle_stage != "active":
            raise InputError(
                "the experiment was deleted on MLflow's page, with every run in it",
                f"experiment {found.name} in {self._place()}",
                f"restore it: mlflow experiments restore --experiment-id {found.experiment_id}",
            )
        return str(found.experiment_id)

    def _place(self) -> str:
        if self.remote:
            return without_password(self.address)
        return str(self.data_dir.tracking_database)


def records(count: int) -> str:
    """A number of records in words."""
    return "1 record" if count == 1 else f"{count} records"


@contextlib.contextmanager
def _same_environment() -> Iterator[None]:
    """MLflow writes what it is told into the environment; other data folders must not find it."""
    kept = {name: os.environ.get(name) for name in (TRACKING, REGISTRY_AT)}
    try:
        yield
    finally:
        for name, value in kept.items():
            os.environ.pop(name, None)
            if value is not None:
                os.environ[name] = value
