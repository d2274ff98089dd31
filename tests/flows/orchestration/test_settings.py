"""Prefect's settings for a run started by hand, and the servers that it finds."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from artifacts.store.data_dir import DataDir
from flows.orchestration.settings import configure_prefect, served_url, write_up_file


class Health(BaseHTTPRequestHandler):
    """Answers as Prefect's server does when it is asked whether it is well."""

    def do_GET(self) -> None:
        self.send_response(200 if self.path == "/api/health" else 404)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Without a line for each request."""


@pytest.fixture
def prefect() -> Iterator[str]:
    """The API address of a server that is well."""
    with HTTPServer(("127.0.0.1", 0), Health) as server:
        thread = Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/api"
        server.shutdown()
        thread.join()


@pytest.fixture(autouse=True)
def _own_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """Settings are written into a copy of the environment that has none of Prefect's."""
    kept = {name: v for name, v in os.environ.items() if not name.startswith("PREFECT_")}
    monkeypatch.setattr(os, "environ", kept)


def test_prefect_lives_below_the_data_folder_and_says_little(data_dir: DataDir) -> None:
    configure_prefect(data_dir)
    assert os.environ["PREFECT_HOME"] == str(data_dir.prefect)
    assert os.environ["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"
    assert os.environ["DO_NOT_TRACK"] == "1"
    assert os.environ["PREFECT_LOGGING_LEVEL"] == "CRITICAL"
    assert "PREFECT_API_URL" not in os.environ, "there is no server to use"


def test_what_is_set_stays_as_it_is(data_dir: DataDir, prefect: str) -> None:
    write_up_file(data_dir, prefect, "http://127.0.0.1:5000")
    os.environ["PREFECT_API_URL"] = "https://prefect.example/api"
    os.environ["PREFECT_LOGGING_LEVEL"] = "DEBUG"
    configure_prefect(data_dir)
    assert os.environ["PREFECT_API_URL"] == "https://prefect.example/api"
    assert os.environ["PREFECT_LOGGING_LEVEL"] == "DEBUG"


def test_a_running_server_of_this_data_folder_is_used(data_dir: DataDir, prefect: str) -> None:
    path = write_up_file(data_dir, prefect, "http://127.0.0.1:5000")
    assert json.loads(path.read_text()) == {"prefect": prefect, "mlflow": "http://127.0.0.1:5000"}
    assert served_url(data_dir) == prefect
    configure_prefect(data_dir)
    assert os.environ["PREFECT_API_URL"] == prefect


def test_a_server_that_does_not_answer_or_is_not_well_is_not_used(
    data_dir: DataDir, prefect: str
) -> None:
    assert served_url(data_dir) is None, "nobody said that there is one"
    write_up_file(data_dir, f"{prefect}/other", "http://127.0.0.1:5000")
    assert served_url(data_dir) is None
    write_up_file(data_dir, "http://127.0.0.1:9/api", "http://127.0.0.1:5000")
    configure_prefect(data_dir)
    assert "PREFECT_API_URL" not in os.environ
