"""Shards on real workers of Dask and Ray: equal tables, and what a worker that is killed costs."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from engines.openai_server.probe import QUESTION
from tests.clusters import RunningCluster, bare_environment, dask_cluster, ray_cluster
from tests.faults.server import PrefectServer
from tests.model_servers.answers import texts
from tests.model_servers.server import ModelServer, serving

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1200)]
PATIENCE = 600.0
PACKAGES = {"dask": "prefect_dask", "ray": "prefect_ray"}
MEASURED = ["--limit", "10", "--samples", "3", "--shard-size", "3", "--max-new-tokens", "6"]


@pytest.fixture(scope="module")
def prefect(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrefectServer]:
    server = PrefectServer(tmp_path_factory.mktemp("prefect"))
    server.start()
    yield server
    server.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The data folder of a cluster's command, and of workers that have to be told of it."""
    return tmp_path / "shared"


def cluster(
    name: str, folder: Path, home: Path, prefect: PrefectServer
) -> AbstractContextManager[RunningCluster]:
    """Two workers with a thread each. Those of Ray are told nothing: a command hands it down."""
    pytest.importorskip(PACKAGES[name.partition(" ")[0]], reason="install threeloops[engines]")
    if name == "dask":
        told = {"THREELOOPS_HOME": str(home), "PREFECT_API_URL": prefect.url}
        return dask_cluster(folder, bare_environment(OMP_NUM_THREADS="1", **told))
    return ray_cluster(folder, bare_environment(), as_client=name == "ray client")


@pytest.fixture(params=["dask", "ray", "ray client"])
def running(
    request: pytest.FixtureRequest, tmp_path: Path, home: Path, prefect: PrefectServer
) -> Iterator[RunningCluster]:
    with cluster(request.param, tmp_path, home, prefect) as made:
        yield made


class Command:
    """`threeloops` in a process of its own with one thread."""

    def __init__(self, home: Path, prefect: PrefectServer, **named: str) -> None:
        told = {"THREELOOPS_HOME": str(home), "PREFECT_API_URL": prefect.url, **named}
        self.environment = bare_environment(OMP_NUM_THREADS="1", **told)
        self.home = home

    def start(self, *words: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "flows.cli", *words, "--json"],
            env=self.environment,
            cwd=self.home.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def told(self, *words: str) -> dict[str, Any]:
        """The answer of one that ends well."""
        return answered(self.start(*words))

    def refused(self, *words: str) -> str:
        """The one line of one that refuses."""
        process = self.start(*words)
        _, err = process.communicate(timeout=PATIENCE)
        assert process.returncode == 2, err
        return err.strip().splitlines()[-1]


def answered(process: subprocess.Popen[str]) -> dict[str, Any]:
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return dict(json.loads(out.splitlines()[-1]))


def digests(result: dict[str, Any]) -> dict[str, str]:
    return {name: Path(path).name for name, path in result["tables"].items()}


def test_the_same_tables_as_in_this_process(
    running: RunningCluster, tiny: str, home: Path, tmp_path: Path, prefect: PrefectServer
) -> None:
    words = ["eval", "--model", tiny, *MEASURED]
    here = Command(tmp_path / "own", prefect).told(*words)
    by_workers = Command(home, prefect, **running.address).told(
        *words, "--task-runner", running.name
    )
    assert digests(by_workers) == digests(here)
    assert by_workers["metrics"]["pass_rate"] == here["metrics"]["pass_rate"]
    assert len(list((home / "tables" / "completions").glob("*.parquet"))) == 1


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_a_worker_that_is_killed_costs_its_shard_and_nothing_else(
    name: str, tmp_path: Path, home: Path, prefect: PrefectServer
) -> None:
    """Each answer takes a while, so both workers are in the middle of a shard when one dies."""
    pytest.importorskip("openai", reason="install threeloops[server]")
    says = texts("Final: 3")

    def slowly(body: dict[str, Any]) -> list[dict[str, Any]]:
        time.sleep(0.8)
        return says(body)

    poor = ["--template", "few_shot_plain@1", "--extra-body", "{}", "--num-concurrent", "1"]
    asked = ["eval", "--model", "tiny", "--limit", "36", "--shard-size", "4", *poor]
    with (
        serving(ModelServer(slowly, owner="", version="")) as server,
        cluster(name, tmp_path, home, prefect) as running,
    ):
        command = Command(home, prefect, **running.address)
        process = command.start(*asked, "--base-url", server.url, "--task-runner", name)
        wait_until(lambda: server.open == 2, process)
        victim = running.busy()[0]
        wait_until(lambda: server.open == 2, process)  # so it has an answer to wait for
        os.kill(victim, signal.SIGKILL)
        result = answered(process)
        assert result["metrics"]["completions"] == 36
        often = Counter(body["prompt"] for body in server.asked if QUESTION not in body["prompt"])
        assert len(often) == 36
        assert max(often.values()) == 2, "no shard was begun more than twice"
        twice = sum(count > 1 for count in often.values())
        assert 1 <= twice <= 4, "what the worker had asked of its shard, and nothing else"
        again = Command(tmp_path / "own", prefect).told(*asked, "--base-url", server.url)
    assert digests(again) == digests(result)


def wait_until(ready: Any, process: subprocess.Popen[str]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@pytest.mark.parametrize(
    ("named", "said"),
    [
        ({}, "was started without PREFECT_API_URL, and would start a Prefect server of its own"),
        ({"PREFECT_API_URL": "url"}, "lacks what this command has"),
    ],
)
def test_dask_workers_that_were_started_otherwise(
    named: dict[str, str], said: str, tiny: str, tmp_path: Path, home: Path, prefect: PrefectServer
) -> None:
    pytest.importorskip("prefect_dask", reason="install threeloops[engines]")
    other = dict.fromkeys(named, prefect.url)
    other["THREELOOPS_HOME"] = str(tmp_path / "other")
    with dask_cluster(tmp_path, bare_environment(**other), workers=1) as running:
        command = Command(home, prefect, **running.address)
        line = command.refused("eval", "--model", tiny, *MEASURED, "--task-runner", "dask")
    assert said in line
    assert line.startswith("threeloops: the worker on ")


def test_a_scheduler_without_workers(tiny: str, tmp_path: Path, prefect: PrefectServer) -> None:
    pytest.importorskip("prefect_dask", reason="install threeloops[engines]")
    with dask_cluster(tmp_path, bare_environment(), workers=0) as running:
        command = Command(tmp_path / "home", prefect, **running.address)
        line = command.refused("eval", "--model", tiny, *MEASURED, "--task-runner", "dask")
    assert "no worker has come to this scheduler; start some: dask worker tcp://127" in line


class Other(BaseHTTPRequestHandler):
    """Something else that listens."""

    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize(
    ("name", "variable", "prefix"),
    [
        ("dask", "DASK_SCHEDULER_ADDRESS", "tcp://"),
        ("ray", "RAY_ADDRESS", ""),
        ("ray", "RAY_ADDRESS", "ray://"),
    ],
)
def test_an_address_where_something_else_answers(
    name: str, variable: str, prefix: str, tiny: str, tmp_path: Path, prefect: PrefectServer
) -> None:
    pytest.importorskip(PACKAGES[name], reason="install threeloops[engines]")
    server = HTTPServer(("127.0.0.1", 0), Other)
    Thread(target=server.serve_forever, daemon=True).start()
    address = {variable: f"{prefix}127.0.0.1:{server.server_port}"}
    command = Command(tmp_path / "home", prefect, **address)
    try:
        line = command.refused("eval", "--model", tiny, *MEASURED, "--task-runner", name)
    finally:
        server.shutdown()
        server.server_close()
    assert line.startswith(f"threeloops: {variable}=")
    assert "answers there" in line
