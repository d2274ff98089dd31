"""Shards on real workers of Dask and Ray: equal tables, and what a worker that is killed costs."""

from __future__ import annotations

import os
import signal
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
    slow_server,
    wait_until,
)
from tests.clusters import RunningCluster, bare_environment, dask_cluster, ray_cluster
from tests.faults.server import PrefectServer

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1200)]


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
    assert len(list((home / "tables" / "completions").glob("*.parquet"))) == 1


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


def test_a_scheduler_without_threeloops(tiny: str, tmp_path: Path, prefect: PrefectServer) -> None:
    pytest.importorskip("prefect_dask", reason="install threeloops[engines]")
    with dask_cluster(tmp_path, bare_environment(), workers=0, knows_us=False) as running:
        command = Command(tmp_path / "home", prefect, **running.address)
        line = command.refused("eval", "--model", tiny, *MEASURED, "--task-runner", "dask")
    assert line.startswith("threeloops: DASK_SCHEDULER_ADDRESS=tcp://127.0.0.1:")
    assert "the scheduler unpacks what is sent, and cannot import what it needs (No module" in line


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
