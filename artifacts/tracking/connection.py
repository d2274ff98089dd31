"""The connection to MLflow: its client on the data folder's own database or a server's, and our
experiment.
"""

from __future__ import annotations

import logging
import os
import warnings
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from artifacts.store.atomic_file import remove_leftovers
from artifacts.store.data_dir import DataDir
from artifacts.tracking.database import prepare_database
from artifacts.tracking.owner import close_abandoned
from artifacts.unsent.answers import UnreachableError, asked, reason
from artifacts.unsent.send import Outcome, send_to_mlflow
from artifacts.unsent.servers import Server, without_password
from artifacts.unsent.waiting import runs_waiting
from schemas.errors import InputError, StoreError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Experiment

# names an MLflow server, whose database is used; the files of runs stay in the data folder
SERVER = "THREELOOPS_TRACKING_URI"
SEND_SECONDS = 30.0  # how long a command may send what earlier ones could not
# how MLflow's client asks a server: we try again ourselves, and know what must not be done twice
ASKING = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}
EXPERIMENT = "threeloops"
TAG = "threeloops."
NOTE = "mlflow.note.content"
PARENT = "mlflow.parentRunId"
RESULT_FILE = "result.json"  # among a run's artifacts
CONFIG_FILE = "config.json"
NEWEST_STEP = "newest_step"  # a tag: the digest of the table of the step that was made last
ABOUT = """One strict scorer, three loops: **A** evaluation changes nothing, **B** selection changes
which output is used, **C** learning changes the model. Each run opens with what was measured, on
which instrument, and why answers failed. Rates may be compared where the tag
`threeloops.instrument` is equal."""

# the kind decides which pages MLflow shows first: runs and their metrics
EXPERIMENT_TAGS = {NOTE: ABOUT, "mlflow.experimentKind": "custom_model_development"}


logger = logging.getLogger(__name__)


class Tracking:
    """MLflow on the SQLite database of one data folder, which needs no server, or on a server.

    `unsent` is what could not be sent of what the server was not told earlier.
    """

    def __init__(self, data_dir: DataDir) -> None:
        self.data_dir = data_dir
        self.unsent = Outcome()
        self.send_seconds = SEND_SECONDS
        self._experiment: Experiment | None = None

    @property
    def address(self) -> str:
        """Where MLflow is asked: a server's address, or that of the data folder's database."""
        return os.environ.get(SERVER) or self.data_dir.tracking_uri

    @property
    def remote(self) -> bool:
        """Whether a server is asked."""
        return self.address != self.data_dir.tracking_uri

    @property
    def away(self) -> bool:
        """Whether the server has stopped to answer this process, which keeps what is written."""
        return bool(getattr(self.client, "away", False))

    @cached_property
    def client(self) -> MlflowClient:
        """The MLflow client; importing MLflow takes seconds, so it is made on first use.

        What killed processes left is tidied then: runs are closed, half-written files deleted.
        """
        os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
        os.environ.setdefault("MLFLOW_LOGGING_LEVEL", "ERROR")
        logging.getLogger("alembic").setLevel(logging.ERROR)
        # it prints the traceback of an error that it raises all the same
        logging.getLogger("mlflow.store.db.utils").setLevel(logging.CRITICAL)
        uri = self.address
        if self.remote:
            os.environ.update(ASKING)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # SQLAlchemy's deprecations inside MLflow
            import mlflow
            from mlflow import MlflowClient

            mlflow.set_tracking_uri(uri)
            mlflow.set_registry_uri(uri)
            if self.remote:
                self._experiment = self._of_server(uri)
            else:
                prepare_database(self.data_dir, EXPERIMENT, EXPERIMENT_TAGS)
            # on a server it keeps nothing: where nobody answers, nothing has begun yet
            client = MlflowClient(uri, uri)
            if self._experiment is None:
                self._experiment = client.get_experiment_by_name(EXPERIMENT)
            # before runs are closed: what ended a run may be among it
            self.unsent = send_to_mlflow(client, self.data_dir, self.server, self.send_seconds)
            self._say_what_was_sent()
            self._close_abandoned(client)
            remove_leftovers(self.data_dir)
            if self.remote:
                from artifacts.unsent.client import KeepingClient

                return KeepingClient(self.server, self.data_dir)
        return client

    @property
    def server(self) -> Server:
        """Who is asked; known by its experiment once it was asked, whatever its address."""
        found = self._experiment
        known = f"{found.experiment_id} {found.creation_time}" if found else ""
        return Server(self.address, known)

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
            asked(lambda again: close_abandoned(client, experiment, but))
        except UnreachableError as error:
            raise self._nobody_answers(error) from None

    def _nobody_answers(self, error: UnreachableError) -> UnreachableError:
        return UnreachableError(
            f"no MLflow server answers there ({reason(error)})",
            f"{SERVER}={without_password(self.address)}",
            "start it, or unset the variable to use the data folder's own database",
        )

    def _of_server(self, uri: str) -> Experiment:
        """Our experiment on a server; UnreachableError where it does not answer within seconds."""
        if not uri.startswith(("http://", "https://")):
            raise InputError(
                "is no address of a server",
                f"{SERVER}={without_password(uri)}",
                "write http://HOST:PORT",
            )
        location = self.data_dir.run_artifacts.as_uri()
        try:
            found = asked(lambda again: _experiment(uri, location), patience=0)
        except UnreachableError as error:
            raise self._nobody_answers(error) from None
        if found.artifact_location != location:
            raise InputError(
                f"its experiment {EXPERIMENT} belongs to another data folder",
                f"{SERVER}={without_password(uri)}",
                "use that folder, or another server",
            )
        return found

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
        """UnreachableError where a server is asked and does not answer."""
        if self.remote:
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
        """The id of our one experiment, whose artifacts are in the data folder.

        Raises InputError where it was deleted on MLflow's page.
        """
        self.client  # noqa: B018  # it looks when it is made; a server may be gone by now
        found = self._experiment
        assert found is not None  # the database was prepared with it
        if found.lifecycle_stage != "active":
            raise InputError(
                "the experiment was deleted on MLflow's page, with every run in it",
                f"experiment {EXPERIMENT} in {self.data_dir.tracking_database}",
                f"restore it: mlflow experiments restore --experiment-id {found.experiment_id}",
            )
        return str(found.experiment_id)


def _experiment(uri: str, location: str) -> Experiment:
    """Our experiment on a server; it is made where it is not there."""
    from mlflow import MlflowClient
    from mlflow.exceptions import MlflowException

    client = MlflowClient(uri, uri)
    found = client.get_experiment_by_name(EXPERIMENT)
    if found is None:
        try:
            client.create_experiment(EXPERIMENT, location, dict(EXPERIMENT_TAGS))
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":  # another command was faster
                raise
        found = client.get_experiment_by_name(EXPERIMENT)
    assert found is not None  # it was made
    return found


def records(count: int) -> str:
    """A number of records in words."""
    return "1 record" if count == 1 else f"{count} records"


def local_path(uri: str) -> Path:
    """The path of a `file:` URI."""
    return Path(unquote(urlparse(uri).path))
