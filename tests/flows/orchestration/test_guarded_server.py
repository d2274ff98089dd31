"""Prefect's own server is begun early only where it is sure to be the one that is asked for."""

from __future__ import annotations

import subprocess
from typing import Any

import pytest

from artifacts.store.data_dir import DataDir
from flows.orchestration import guarded_server
from flows.orchestration.guarded_server import (
    NAMES_ANOTHER,
    GuardedServer,
    begin_server,
    begun_server,
)
from flows.orchestration.prefect_database import URL, _ready, database_url


class Process:
    """A server's process, as far as anybody looks at it."""

    def __init__(self) -> None:
        self.code: int | None = None

    def poll(self) -> int | None:
        return self.code


@pytest.fixture
def started(data_dir: DataDir, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What was started; Prefect is configured for the data folder, and its database is ready."""
    found: list[Any] = []

    def start(folder: DataDir, secret: str) -> GuardedServer:
        process: Any = Process()
        found.append(process)
        return GuardedServer(process, 4711, secret)

    monkeypatch.setattr(guarded_server, "start_guarded", start)
    monkeypatch.setattr(guarded_server, "_begun", {})
    for name in NAMES_ANOTHER:
        monkeypatch.delenv(name, raising=False)
    database = data_dir.prefect / "prefect.db"
    database.parent.mkdir(parents=True)
    database.touch()
    _ready(data_dir).touch()
    monkeypatch.setenv("PREFECT_HOME", str(data_dir.prefect))
    monkeypatch.setenv(URL, database_url(database))
    return found


def test_it_is_begun_once_and_given_once(data_dir: DataDir, started: list[Any]) -> None:
    begin_server(data_dir)
    begin_server(data_dir)
    assert len(started) == 1
    begun = begun_server(data_dir)
    assert begun is not None
    assert begun.process is started[0]
    assert len(begun.secret) > 30
    assert begun_server(data_dir) is None


def test_one_that_has_ended_is_not_given(data_dir: DataDir, started: list[Any]) -> None:
    begin_server(data_dir)
    started[0].code = 1
    assert begun_server(data_dir) is None


@pytest.mark.parametrize("name", [*NAMES_ANOTHER, "PREFECT_HOME", URL])
def test_none_is_begun_where_another_may_be_named(
    data_dir: DataDir, started: list[Any], name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "elsewhere")
    begin_server(data_dir)
    assert started == []


@pytest.mark.parametrize("there", ["profiles.toml", ""])
def test_none_is_begun_with_profiles_or_a_database_that_is_not_ready(
    data_dir: DataDir, started: list[Any], there: str
) -> None:
    if there:
        (data_dir.prefect / there).touch()
    else:
        _ready(data_dir).unlink()
    begin_server(data_dir)
    assert started == []


def test_a_server_is_written_down_and_runs_as_long_as_this_process(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(guarded_server, "PROGRAM", "import sys; sys.stdin.read()")
    server = guarded_server.start_guarded(data_dir, "secret")
    (record,) = (data_dir.prefect / "servers").iterdir()
    assert record.stem == str(server.process.pid)
    with pytest.raises(subprocess.TimeoutExpired):
        server.process.wait(0.5)
    server.process.kill()
    server.process.wait()
