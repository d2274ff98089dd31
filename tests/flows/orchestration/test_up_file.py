"""How commands find a running `up`: a file for this user alone, and a server that knows it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from artifacts.store.data_dir import DataDir
from flows.orchestration.up_file import (
    LINKS,
    PROOF,
    Served,
    in_use,
    new_links,
    prefect_file,
    proof,
    read_up_file,
    remove_up_file,
    running,
    write_up_file,
)


class Answers(BaseHTTPRequestHandler):
    """Answers as `up` does to its programs."""

    server: Up

    def do_GET(self) -> None:
        self.server.heard.append(str(self.headers))
        ours = self.headers["Authorization"] == f"Bearer {self.server.secret}"
        if self.path.startswith(PROOF):
            self._say(200, proof(self.server.secret, self.path.removeprefix(PROOF)))
        elif self.path == "/api/health" and ours:
            self._say(200 if self.server.well else 503, "true")
        elif self.path == LINKS and ours:
            self._say(200, '{"Prefect": "http://a/1"}')
        else:
            self._say(401, "no")

    do_POST = do_GET  # noqa: N815

    def _say(self, status: int, text: str) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *_: object) -> None:
        """Without a line for each request."""


class Up(HTTPServer):
    """A server that knows a secret."""

    secret, well = "s3cret", True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answers)
        self.heard: list[str] = []

    @property
    def served(self) -> Served:
        root = f"http://127.0.0.1:{self.server_port}"
        page, mlflow = "http://n.localhost:4200", "http://n.localhost:5000"
        return Served(prefect=f"{root}/api", prefect_page=page, mlflow=mlflow, secret="s3cret")


@pytest.fixture
def up() -> Iterator[Up]:
    """A running `up`."""
    with Up() as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def test_a_running_up_is_found(data_dir: DataDir, up: Up) -> None:
    assert running(data_dir) is None
    write_up_file(data_dir, up.served)
    assert running(data_dir) == up.served
    assert new_links(up.served) == {"Prefect": "http://a/1"}
    up.well = False
    assert running(data_dir) is None
    remove_up_file(data_dir)
    assert read_up_file(data_dir) is None
    assert not prefect_file(data_dir).exists()


def test_the_files_are_for_this_user_alone(data_dir: DataDir, up: Up) -> None:
    before = os.umask(0)
    try:
        write_up_file(data_dir, up.served)
    finally:
        os.umask(before)
    for path in (data_dir.root / "up.json", prefect_file(data_dir)):
        assert path.stat().st_mode & 0o777 == 0o600
        assert "s3cret" in path.read_text()


@pytest.mark.parametrize(
    "text",
    ["", "{", "null", "[]", "{}", '{"prefect": 1}', '{"prefect": "a", "mlflow": "b"}', "\udcff",
     '{"prefect": "nonsense", "prefect_page": "", "mlflow": "", "secret": ""}'],
)  # fmt: skip
def test_a_damaged_or_older_file_is_as_none(data_dir: DataDir, text: str) -> None:
    (data_dir.root / "up.json").write_text(text, errors="surrogateescape")
    assert running(data_dir) is None
    assert in_use(data_dir) is None


def test_a_file_without_its_server_is_as_none(data_dir: DataDir, up: Up) -> None:
    gone = up.served.model_copy(update={"prefect": "http://127.0.0.1:9/api"})
    write_up_file(data_dir, gone)
    assert running(data_dir) is None
    assert new_links(gone) == {}


def test_who_does_not_know_the_secret_is_never_sent_it(data_dir: DataDir, up: Up) -> None:
    write_up_file(data_dir, up.served)
    up.secret = "another"
    assert running(data_dir) is None
    assert up.heard
    assert not any("s3cret" in headers for headers in up.heard)


def test_an_up_is_in_use_when_prefects_address_is_its_own(
    data_dir: DataDir, up: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PREFECT_API_URL", raising=False)
    write_up_file(data_dir, up.served)
    assert in_use(data_dir) is None
    monkeypatch.setenv("PREFECT_API_URL", up.served.prefect)
    assert in_use(data_dir) == up.served


def test_prefects_own_commands_read_the_settings(
    data_dir: DataDir, up: Up, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect.settings import Settings

    for name in up.served.environment():
        monkeypatch.delenv(name, raising=False)
    write_up_file(data_dir, up.served)
    monkeypatch.setenv("PREFECT_PROFILES_PATH", str(prefect_file(data_dir)))
    settings: Any = Settings()
    assert settings.api.url == up.served.prefect
    assert settings.ui_url == up.served.prefect_page
    assert settings.client.custom_headers == {"Authorization": "Bearer s3cret"}
    assert json.loads(up.served.environment()["PREFECT_CLIENT_CUSTOM_HEADERS"])
