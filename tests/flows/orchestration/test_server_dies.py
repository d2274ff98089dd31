"""Prefect's server dies while flows run: they end well, and it is told later how, once."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
from prefect.settings import (
    PREFECT_API_REQUEST_TIMEOUT,
    PREFECT_API_URL,
    PREFECT_CLIENT_MAX_RETRIES,
    temporary_settings,
)

from artifacts.store.data_dir import DataDir, current_data_dir
from artifacts.unsent.journal import unsent_files
from artifacts.unsent.send import Outcome
from flows.orchestration.pipeline_flow import pipeline_flow
from flows.orchestration.prefect_database import database_url
from flows.orchestration.untold import TO, tell_prefect
from tasks.runtime.pipeline_task import pipeline_task
from tasks.runtime.progress import Message
from tasks.runtime.runtime import process_runtime
from tests.data_folder import all_runs
from tests.mlflow_server import free_port

pytestmark = [pytest.mark.server, pytest.mark.slow]
FACTORY = "prefect.server.api.server:create_app"
MANY = ["--limit", "8", "--samples", "400", "--shard-size", "4"]  # seconds


class PrefectServer:
    """Prefect's server on a database of its own, which can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.port = folder, free_port()
        self.api = f"http://127.0.0.1:{self.port}/api"
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: v for name, v in os.environ.items() if not name.startswith("PREFECT_")}
        return kept | {
            "PREFECT_HOME": str(self.folder),
            "PREFECT_API_DATABASE_CONNECTION_URL": database_url(self.folder / "prefect.db"),
            "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
            "DO_NOT_TRACK": "1",
        }

    def start(self) -> None:
        """Start it, and wait until it answers."""
        words = ["uvicorn", "--factory", FACTORY, "--port", str(self.port), "--log-level", "error"]
        with (self.folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", *words],
                env=self.environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        until = time.monotonic() + 300
        while time.monotonic() < until:
            assert self._process.poll() is None, (self.folder / "server.log").read_text()
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"{self.api}/health", timeout=5, trust_env=False).is_success:
                    return
            time.sleep(0.2)
        raise AssertionError("Prefect's server does not start")

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None

    def states(self) -> dict[str, str]:
        """The type of the state of every flow run, by the flow run's name."""
        runs = httpx.post(f"{self.api}/flow_runs/filter", json={}, trust_env=False).json()
        return {str(run["name"]): str(run["state_type"]) for run in runs}


@pytest.fixture(scope="module")
def one_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    server = PrefectServer(tmp_path_factory.mktemp("prefect"))
    try:
        server.start()
        yield server
    finally:
        server.kill()


@pytest.fixture
def prefect(one_server: PrefectServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[PrefectServer]:
    """The server for the flows of this process and its commands; it runs at the start."""
    if one_server._process is None:
        one_server.start()
    monkeypatch.setenv("PREFECT_API_URL", one_server.api)
    haste = {PREFECT_CLIENT_MAX_RETRIES: 1, PREFECT_API_REQUEST_TIMEOUT: 3}
    with temporary_settings({PREFECT_API_URL: one_server.api, **haste}):
        yield one_server


def command(*words: str) -> list[str]:
    return [sys.executable, "-m", "flows.cli", *words]


def tables_in(data_dir: DataDir) -> list[Path]:
    return list(data_dir.root.rglob("*.parquet"))


def kept(data_dir: DataDir) -> int:
    return len(unsent_files(data_dir, TO))


@pipeline_task("double")
def double(number: int) -> int:
    """Twice a number."""
    return 2 * number


@pipeline_flow(name="inner", flow_run_name="inner {number}")
def inner(number: int) -> int:
    """A flow inside another one."""
    return double(number)


def test_a_flow_goes_on_without_its_server_and_how_it_ended_is_told_later(
    prefect: PrefectServer, data_dir: DataDir
) -> None:
    @pipeline_flow(name="outer", flow_run_name="outer {number}")
    def outer(number: int) -> int:
        with_server = inner(double(number))
        prefect.kill()
        return with_server + inner(double(number))

    @pipeline_flow(name="failing", flow_run_name="failing")
    def failing() -> None:
        prefect.kill()
        raise ValueError("the reason")

    said: list[str] = []
    runtime = process_runtime()
    with runtime.progress.listening(
        lambda event: said.append(event.text) if isinstance(event, Message) else None
    ):
        assert outer(1) == 8
        assert inner(3) == 6, "nobody is asked any more"
        runtime.side_channel.gone = False
        prefect.start()
        with pytest.raises(ValueError, match="the reason"):
            failing()
    warned, told, *more = said
    assert "does not answer any more (ConnectError); the work goes on without it" in warned
    assert "`threeloops sync` tells it" in told
    assert len(more) == 2
    assert kept(data_dir) == 2
    prefect.start()
    runtime.side_channel.gone = False
    assert prefect.states() == {"outer 1": "RUNNING", "inner 2": "COMPLETED", "failing": "RUNNING"}
    outcome = tell_prefect(data_dir, Outcome(), reachable=True)
    assert outcome.sent == {"end flow run": 2}
    assert prefect.states() == {"outer 1": "COMPLETED", "inner 2": "COMPLETED", "failing": "FAILED"}
    assert kept(data_dir) == 0


def test_a_command_whose_server_is_killed_ends_well_and_sync_tells_the_server(
    prefect: PrefectServer, tiny: str
) -> None:
    data_dir = current_data_dir()
    process = subprocess.Popen(
        command("eval", "--model", tiny, "--json", *MANY),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    said = [next(line for line in process.stderr if "starting the flow" in line)]
    # the server has RUNNING before the flow knows it; a table says that the flow goes on
    until = time.monotonic() + 300
    while process.poll() is None and time.monotonic() < until and not tables_in(data_dir):
        time.sleep(0.2)
    assert "RUNNING" in prefect.states().values()
    prefect.kill()
    out, err = process.communicate(timeout=500)
    said += err.splitlines()
    assert process.returncode == 0, said
    assert "Traceback" not in err
    result = json.loads(out.splitlines()[-1])
    (run,) = all_runs()
    assert (run.run_id, run.status) == (result["run_id"], "FINISHED")
    assert sum("kept in" in line for line in said) == 1

    def sync() -> tuple[int, dict[str, Any]]:
        done = subprocess.run(command("sync", "--json"), capture_output=True, text=True)
        return done.returncode, json.loads(done.stdout)

    code, answer = sync()
    assert (code, answer["left"], answer["sent"]) == (1, 1, {}), "nobody answers"
    prefect.start()
    code, answer = sync()
    assert (code, answer["left"], answer["sent"]) == (0, 0, {"end flow run": 1})
    assert kept(data_dir) == 0
    assert "RUNNING" not in prefect.states().values()


def test_a_frozen_server_does_not_hold_a_flow_for_long(
    prefect: PrefectServer, data_dir: DataDir
) -> None:
    assert prefect._process is not None
    frozen = psutil.Process(prefect._process.pid)

    @pipeline_flow(name="frozen", flow_run_name="frozen")
    def flow() -> int:
        frozen.suspend()
        return double(2)

    began = time.monotonic()
    try:
        assert flow() == 4
    finally:
        frozen.resume()
    assert time.monotonic() - began < 60
    assert kept(data_dir) == 1
    process_runtime().side_channel.gone = False
