"""The server of one command: one line where there is none, and none that outlives its command."""

from __future__ import annotations

import os
import platform
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from artifacts.store.data_dir import DataDir
from artifacts.store.process import process, this_process
from flows.orchestration.guarded_server import end_orphans
from flows.orchestration.own_server import NoServerError, start_own_server
from flows.orchestration.prefect_database import URL, database_url
from schemas.errors import InputError

GONE = f"{platform.node()} 999999999 5.0"


@pytest.fixture
def server() -> Iterator[subprocess.Popen[bytes]]:
    """A process that waits."""
    waiting = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    yield waiting
    waiting.kill()
    waiting.wait()


def _recorded(data_dir: DataDir, owner: str, server: str) -> None:
    folder = data_dir.prefect / "servers"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{len(list(folder.iterdir()))}.txt").write_text(f"{owner}\n{server}\n")


def test_the_server_of_a_command_that_was_killed_is_ended_by_the_next_one(
    data_dir: DataDir, server: subprocess.Popen[bytes]
) -> None:
    _recorded(data_dir, GONE, process(server.pid))
    _recorded(data_dir, GONE, GONE)
    assert end_orphans(data_dir) == [server.pid]
    assert server.wait(30) < 0
    assert not list((data_dir.prefect / "servers").iterdir())


def test_the_server_of_a_command_that_runs_stays(
    data_dir: DataDir, server: subprocess.Popen[bytes]
) -> None:
    _recorded(data_dir, this_process(), process(server.pid))
    machine, number, began = process(server.pid).split()
    _recorded(data_dir, GONE, f"{machine} {number} {float(began) + 60}")  # another process now
    (data_dir.prefect / "servers" / "damaged.txt").write_text("what")
    assert end_orphans(data_dir) == []
    assert server.poll() is None


def test_a_server_that_does_not_start_is_one_line(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refused(**_: bool) -> None:
        raise RuntimeError("Timed out.\nstdout: much")

    monkeypatch.setattr("prefect.settings.PREFECT_API_URL.value", lambda: None)
    monkeypatch.setattr("prefect.client.orchestration.get_client", refused)
    monkeypatch.setattr("flows.orchestration.own_server.prepare_prefect_database", lambda *_: None)
    monkeypatch.setattr("flows.orchestration.own_server._guard_own_server", lambda _: None)
    with pytest.raises(NoServerError, match=r"did not start: Timed out\. It listens") as caught:
        start_own_server(data_dir, print)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("url", ["http://127.0.0.1:9/api", "http://[/api"])
def test_a_server_that_the_user_named_and_that_nobody_answers_at_is_refused(
    url: str, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prefect.settings.PREFECT_API_URL.value", lambda: url)
    with pytest.raises(InputError, match="no Prefect server answers there .*; start it, or unset"):
        start_own_server(data_dir, print)


def test_a_server_that_takes_the_call_and_never_answers_is_refused(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.orchestration.own_server.PATIENCE", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/api"
        monkeypatch.setattr("prefect.settings.PREFECT_API_URL.value", lambda: url)
        with pytest.raises(InputError, match=r"no Prefect server answers there \(ReadTimeout\)"):
            start_own_server(data_dir, print)


@pytest.mark.server
@pytest.mark.slow
@pytest.mark.parametrize("named", ["PREFECT_HOME", "PREFECT_API_DATABASE_CONNECTION_URL"])
def test_a_command_on_a_new_folder_uses_the_database_that_the_user_named(
    named: str, tiny: str, tmp_path: Path
) -> None:
    database = tmp_path / "named" / "prefect.db"
    database.parent.mkdir()
    values = {"PREFECT_HOME": str(database.parent), URL: database_url(database)}
    kept = {name: v for name, v in os.environ.items() if not name.startswith("PREFECT_")}
    words = ["eval", "--model", tiny, "--limit", "1", "--samples", "1", "--json"]
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *words],
        env=kept | {"THREELOOPS_HOME": str(tmp_path / "new"), named: values[named]},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert database.exists()
    assert not (tmp_path / "new" / "prefect" / "prefect.db").exists()
