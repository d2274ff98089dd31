"""Shards on real workers of Dask and Ray: equal tables, and what a worker that is killed costs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import pytest

from tests.cluster_commands import (
    ASKED,
    MEASURED,
    PACKAGES,
    PROBLEMS,
    QUICKLY,
    SHARD,
    Command,
    answered,
    cluster,
    digests,
    how_often,
    runs_in,
    slow_server,
    tables_in,
    wait_until,
)
from tests.clusters import RunningCluster, bare_environment, dask_cluster, ray_cluster
from tests.faults.server import PrefectServer

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1200)]
# how many shards a cluster has room for, and how many GPUs one of them may use
TAKEN = """
import sys
from flows.orchestration.ray_workers import ray_workers

def gpus():
    import ray
    return len(ray.get_gpu_ids())

with ray_workers(sys.argv[1], "RAY_ADDRESS", {}, sys.argv[2]) as workers:
    print(workers.places(), workers.call(gpus, {}).result())
"""


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


@pytest.fixture(params=["dask", "ray", "ray client"])
def running(
    request: pytest.FixtureRequest, tmp_path: Path, home: Path, prefect: PrefectServer
) -> Iterator[RunningCluster]:
    with cluster(request.param, tmp_path, home, prefect) as made:
        yield made


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
    assert tables_in(home)["completions"] == 1


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_a_selection_has_the_tables_of_one_on_threads(
    name: str, tiny: str, home: Path, tmp_path: Path, prefect: PrefectServer
) -> None:
    words = ["select", "--model", tiny, *MEASURED, "--task-runner"]
    threads = Command(tmp_path / "own", prefect).told(*words, "threads")
    with cluster(name, tmp_path, home, prefect) as running:
        by_workers = Command(home, prefect, **running.address).told(*words, name)
    assert digests(by_workers) == digests(threads)
    assert {"completions", "scores", "selections"} <= set(digests(threads))
    assert by_workers["selected"] == threads["selected"]


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_a_worker_that_is_killed_costs_its_shard_and_nothing_else(
    name: str, tmp_path: Path, home: Path, prefect: PrefectServer
) -> None:
    """Each answer takes a while, so both workers are in the middle of a shard when one dies."""
    pytest.importorskip("openai", reason="install threeloops[server]")
    with slow_server(1.5) as server, cluster(name, tmp_path, home, prefect) as running:
        command = Command(home, prefect, **running.address)
        process = command.start(*ASKED, "--base-url", server.url, "--task-runner", name)
        wait_until(lambda: server.open == 2, process)
        victim = running.busy()[0]
        wait_until(lambda: server.open == 2, process)  # so it has an answer to wait for
        os.kill(victim, signal.SIGKILL)
        result = answered(process)
        assert result["metrics"]["completions"] == PROBLEMS
        often = how_often(server)
        assert len(often) == PROBLEMS
        assert max(often.values()) == 2, "no shard was begun more than twice"
        twice = sum(count > 1 for count in often.values())
        assert 1 <= twice <= SHARD, "what the worker had asked of its shard, and nothing else"
        words = [*ASKED, *QUICKLY, "--base-url", server.url]
        again = Command(tmp_path / "own", prefect).told(*words)
    assert digests(again) == digests(result)


def assert_failed(home: Path, line: str) -> None:
    """The newest run has the line as its reason, and nothing of it was computed."""
    status, reason = runs_in(home)[-1]
    assert (status, reason) == ("FAILED", line.replace("threeloops", "InputError", 1))
    finished = sum(status == "FINISHED" for status, _ in runs_in(home))
    assert tables_in(home) == {"problems": 1} | (
        {"completions": finished, "scores": finished} if finished else {}
    )


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
    assert_failed(home, line)
    assert tables_in(tmp_path / "other") == {}


def assert_nothing(home: Path) -> None:
    """It was refused before a run began."""
    assert runs_in(home) == []
    assert tables_in(home) == {}


def test_a_scheduler_without_workers(tiny: str, tmp_path: Path, prefect: PrefectServer) -> None:
    pytest.importorskip("prefect_dask", reason="install threeloops[engines]")
    with dask_cluster(tmp_path, bare_environment(), workers=0) as running:
        command = Command(tmp_path / "home", prefect, **running.address)
        line = command.refused("eval", "--model", tiny, *MEASURED, "--task-runner", "dask")
    assert "no worker has come to this scheduler; start some: dask worker tcp://127" in line
    assert_nothing(tmp_path / "home")


def test_a_scheduler_without_threeloops(tiny: str, tmp_path: Path, prefect: PrefectServer) -> None:
    pytest.importorskip("prefect_dask", reason="install threeloops[engines]")
    with dask_cluster(tmp_path, bare_environment(), workers=0, knows_us=False) as running:
        command = Command(tmp_path / "home", prefect, **running.address)
        line = command.refused("eval", "--model", tiny, *MEASURED, "--task-runner", "dask")
    assert line.startswith("threeloops: DASK_SCHEDULER_ADDRESS=tcp://127.0.0.1:")
    assert "the scheduler unpacks what is sent, and cannot import what it needs (No module" in line
    assert_nothing(tmp_path / "home")


def test_a_cluster_of_ray_that_wants_a_token(
    tiny: str, tmp_path: Path, home: Path, prefect: PrefectServer
) -> None:
    pytest.importorskip("prefect_ray", reason="install threeloops[engines]")
    words = ["eval", "--model", tiny, *MEASURED, "--task-runner", "ray"]
    tokens = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "this-is-a-token-of-a-cluster"}
    with ray_cluster(tmp_path, bare_environment(**tokens), workers=1) as running:
        shown = dict(running.address)
        assert Command(home, prefect, **shown).told(*words)["samples"] == 3
        shown["RAY_AUTH_MODE"] = "disabled"
        line = Command(home, prefect, **shown).refused(*words, "--seed", "1")
    assert line.startswith("threeloops: RAY_ADDRESS=127.0.0.1:")
    assert "this Ray cluster was not shown the token that it wants; set RAY_AUTH_MODE=token" in line
    assert_failed(home, line)


def test_a_shard_asks_ray_for_a_gpu_where_it_may_use_one(
    tiny: str, tmp_path: Path, home: Path, prefect: PrefectServer
) -> None:
    """Ray believes in a GPU that is not there, so what is computed is computed on a CPU."""
    pytest.importorskip("prefect_ray", reason="install threeloops[engines]")
    words = ["eval", "--model", tiny, *MEASURED, "--device", "auto"]
    here = Command(tmp_path / "own", prefect).told(*words)
    with ray_cluster(tmp_path, bare_environment(), workers=2, gpus=1) as running:
        command = Command(home, prefect, **running.address)
        told = command.told(*words, "--task-runner", "ray")
        taken = {
            device: subprocess.run(
                [sys.executable, "-c", TAKEN, running.address["RAY_ADDRESS"], device],
                env=command.environment,
                capture_output=True,
                text=True,
                timeout=300,
                check=True,
            ).stdout.split()
            for device in ("auto", "cuda", "cpu")
        }
    assert digests(told) == digests(here)
    assert taken == {"auto": ["1", "1"], "cuda": ["1", "1"], "cpu": ["2", "0"]}


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
    if name == "dask":
        assert_nothing(tmp_path / "home")
    else:  # Ray takes long to connect, and is asked in the run
        assert_failed(tmp_path / "home", line)
