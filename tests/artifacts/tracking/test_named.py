"""MLflow by the environment: which addresses count, and what is wrong with one, in one line."""

from __future__ import annotations

import http.server
import os
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from artifacts.store.data_dir import DataDir
from artifacts.tracking import named
from artifacts.tracking.archive import Archive
from artifacts.tracking.connection import ASKING, Tracking
from artifacts.tracking.experiment import local_path
from artifacts.tracking.named import EXPERIMENT_NAME, REGISTRY_AT, SERVER, TRACKING, own_or
from artifacts.tracking.run import Place, tracked_run
from schemas.config import EvalConfig
from schemas.errors import InputError
from schemas.loops import EVALUATION
from tests.canaries import told

PASSWORD = "canary-of-a-password"


@pytest.fixture(autouse=True)
def _as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ASKING:
        monkeypatch.setenv(name, os.environ.get(name, "0"))  # as before afterwards


@pytest.fixture
def answering() -> Iterator[Callable[[int], str]]:
    """A server that answers every request with one status; its address."""
    running: list[http.server.ThreadingHTTPServer] = []

    def start(status: int) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(status)
                self.send_header("Content-Length", "9")
                self.end_headers()
                self.wfile.write(b"<html>\n\n\n")

            def log_message(self, *words: object) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        running.append(server)
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        return f"http://me:{PASSWORD}@127.0.0.1:{server.server_address[1]}"

    yield start
    for server in running:
        server.shutdown()
        server.server_close()


def refused(data_dir: DataDir) -> str:
    """The line of what cannot be used."""
    with pytest.raises(InputError) as caught:
        Tracking(data_dir).client  # noqa: B018  # it asks when it is made
    line = str(caught.value)
    assert "\n" not in line
    assert PASSWORD not in line
    return line


@pytest.mark.parametrize(
    "address", ["ftp://host/x", "databricks", "http://", "http://host:port", "./mlruns", "http:/a"]
)
def test_what_is_no_address_is_refused_before_anything_is_asked(
    address: str, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(TRACKING, address)
    assert f"{TRACKING}={address}".rstrip("/") in refused(data_dir)
    monkeypatch.delenv(TRACKING)
    monkeypatch.setenv(REGISTRY_AT, address)
    assert REGISTRY_AT in refused(data_dir)


@pytest.mark.parametrize("variable", [TRACKING, SERVER, REGISTRY_AT])
@pytest.mark.parametrize(
    "address",
    [
        "htp://me:{}@host", "me:{}@host:5000", "http:me:{}@host", "http:/me:{}@host",
        "//me:{}@host", "http:///me:{}@host", "http://me:a/{}@host", "http://me:a?{}@host",
        "postgresql:me:{}@host/runs",
    ],
)  # fmt: skip
def test_the_password_of_an_address_that_is_mistyped_is_told_to_nobody(
    address: str, variable: str, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variable, address.format(PASSWORD))
    assert "is no address of an MLflow server or database" in refused(data_dir)
    assert told(data_dir.root, [PASSWORD]) == []


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, r"wants a login.*MLFLOW_TRACKING_USERNAME"),
        (403, r"does not allow it \(403\).*--experiment"),
        (404, r"it answers 404"),
    ],
)
def test_what_a_server_refuses_is_one_line(
    status: int,
    words: str,
    answering: Callable[[int], str],
    data_dir: DataDir,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    import re

    monkeypatch.setenv(TRACKING, answering(status))
    assert re.search(words, refused(data_dir))


def test_a_driver_that_is_missing_is_named_with_what_to_install(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "psycopg2", None)
    monkeypatch.setenv(TRACKING, f"postgresql://me:{PASSWORD}@127.0.0.1:9/runs")
    line = refused(data_dir)
    assert "the package psycopg2 is missing" in line
    assert "threeloops[mlflow-server]" in line
    assert f"{TRACKING}=postgresql+psycopg2://127.0.0.1:9/runs" in line


def test_a_database_that_is_named_has_the_runs_and_the_data_folder_their_files(
    data_dir: DataDir, empty_database: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    database = tmp_path / "named.db"
    database.write_bytes(empty_database.read_bytes())
    monkeypatch.setenv(TRACKING, f"sqlite:///{database}")
    monkeypatch.setenv(EXPERIMENT_NAME, "mine")
    archive = Archive(data_dir)
    with tracked_run(archive, EVALUATION, EvalConfig(), Place()) as run:
        pass
    assert not data_dir.tracking_database.exists()
    found = archive.history.find(run.run_id)
    assert found.folder.is_relative_to(data_dir.run_artifacts)
    assert found.config(EvalConfig) == EvalConfig()
    experiment = archive.tracking.client.get_experiment_by_name("mine")
    assert experiment is not None
    assert local_path(experiment.artifact_location) == data_dir.run_artifacts


def test_the_data_folders_own_database_is_it_however_it_is_written(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    data_dir = archive.data_dir
    for address in (f"sqlite:///{data_dir.tracking_database}", data_dir.tracking_uri):
        assert own_or(data_dir, address) == data_dir.tracking_uri
        monkeypatch.setenv(TRACKING, address)
        assert not archive.tracking.remote
    assert own_or(data_dir, "sqlite:////elsewhere.db") == "sqlite:////elsewhere.db"
    assert own_or(data_dir, "") == ""


@pytest.mark.parametrize("scheme", ["postgres", "postgresql"])
def test_a_postgres_is_asked_through_the_driver_that_is_there(
    scheme: str, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    address = f"{scheme}://host/runs"
    monkeypatch.setattr(named, "find_spec", lambda name: None)
    assert own_or(data_dir, address) == "postgresql+psycopg2://host/runs"
    monkeypatch.setattr(named, "find_spec", lambda name: object())
    assert own_or(data_dir, address) == "postgresql://host/runs"
    chosen = "postgresql+pg8000://host/runs"
    assert own_or(data_dir, chosen) == chosen


def test_the_older_name_wins_and_that_is_said(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv(TRACKING, "http://127.0.0.1:9")
    monkeypatch.setenv(SERVER, "ftp://older")
    assert f"{SERVER}=ftp://older" in refused(data_dir)
    monkeypatch.setenv(SERVER, "http://127.0.0.1:9/")
    assert "no MLflow server answers there" in refused(data_dir)
    assert [one.getMessage() for one in caplog.records] == [
        f"{SERVER} is an older name of {TRACKING}, and wins over it"
    ]


def test_the_environment_is_as_before_so_that_another_data_folder_uses_its_own_database(
    archive: Archive,
) -> None:
    archive.tracking.client  # noqa: B018  # MLflow writes where it is into the environment
    assert TRACKING not in os.environ
    assert REGISTRY_AT not in os.environ
