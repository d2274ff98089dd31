"""What dies while shards are on workers costs what was under way, and the same command goes on."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from tests.cluster_commands import (
    ASKED,
    PROBLEMS,
    QUICKLY,
    SHARD,
    Command,
    answered,
    cluster,
    digests,
    environment_of_workers,
    how_often,
    refused,
    slow_server,
    wait_until,
)
from tests.clusters import dask_worker
from tests.faults.server import PrefectServer
from tests.model_servers.server import ModelServer

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1800)]
QUIET_SECONDS = 5.0  # much longer than an answer takes


@pytest.fixture
def prefect(tmp_path: Path) -> Iterator[PrefectServer]:
    """A server of one test's own, which may kill it."""
    server = PrefectServer(tmp_path / "prefect")
    server.start()
    yield server
    server.close()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    return tmp_path / "shared"


@pytest.fixture
def server() -> Iterator[ModelServer]:
    pytest.importorskip("openai", reason="install threeloops[server]")
    with slow_server(1.5) as made:
        yield made


def settled(server: ModelServer) -> int:
    """How many problems were asked, once nothing more is."""
    count, since = len(server.asked), time.monotonic()
    while time.monotonic() - since < QUIET_SECONDS:
        if len(server.asked) != count:
            count, since = len(server.asked), time.monotonic()
        time.sleep(0.1)
    return len(how_often(server))


def alone(folder: Path, prefect: PrefectServer, server: ModelServer) -> dict[str, str]:
    """The tables that one process makes."""
    words = [*ASKED, *QUICKLY, "--base-url", server.url]
    return digests(Command(folder / "own", prefect).told(*words))


@pytest.mark.parametrize(
    ("name", "number", "code"),
    [
        ("dask", signal.SIGINT, 130),
        ("ray", signal.SIGINT, 130),
        ("ray", signal.SIGTERM, 143),
        ("ray client", signal.SIGINT, 130),
    ],
)
def test_a_command_that_is_stopped_leaves_nothing_that_begins(
    name: str,
    number: int,
    code: int,
    tmp_path: Path,
    home: Path,
    prefect: PrefectServer,
    server: ModelServer,
) -> None:
    with cluster(name, tmp_path, home, prefect) as running:
        command = Command(home, prefect, **running.address)
        words = [*ASKED, "--base-url", server.url, "--task-runner", running.name]
        process = command.start(*words)
        wait_until(lambda: server.open == 2, process)
        process.send_signal(number)
        _, err = process.communicate(timeout=60)
        assert process.returncode == code, err
        assert "Traceback" not in err
        begun = settled(server)
        assert begun <= 4 * SHARD < PROBLEMS, "two that were under way, and those before them"
        if name == "dask":
            assert begun % SHARD == 0, "what was under way is finished"
        result = command.told(*words)
        assert result["metrics"]["completions"] == PROBLEMS
        often = how_often(server)
        twice = sum(count > 1 for count in often.values())
        assert len(often) == PROBLEMS
        assert twice <= (0 if name == "dask" else 2 * SHARD), "what was finished is not done again"
    assert alone(tmp_path, prefect, server) == digests(result)


@pytest.mark.parametrize("name", ["dask", "ray", "ray client"])
def test_a_cluster_that_dies_ends_the_command_in_one_line(
    name: str, tmp_path: Path, home: Path, prefect: PrefectServer, server: ModelServer
) -> None:
    with cluster(name, tmp_path, home, prefect) as running:
        command = Command(home, prefect, **running.address)
        words = [*ASKED, "--base-url", server.url, "--task-runner", running.name]
        process = command.start(*words)
        wait_until(lambda: len(how_often(server)) > 3 * SHARD, process)
        running.started[0].kill()
        line = refused(process)
    variable = {"dask": "DASK_SCHEDULER_ADDRESS"}.get(name, "RAY_ADDRESS")
    assert line.startswith(f"threeloops: {variable}=")
    assert line.endswith("are finished are kept, and the same command goes on with the others")
    assert settled(server) < PROBLEMS
    (other := tmp_path / "other").mkdir()
    with cluster(name, other, home, prefect) as again:
        result = Command(home, prefect, **again.address).told(*words)
    often = how_often(server)
    assert len(often) == PROBLEMS
    assert sum(count > 1 for count in often.values()) <= 2 * SHARD
    assert alone(tmp_path, prefect, server) == digests(result)


def test_workers_that_all_died_are_waited_for(
    tmp_path: Path, home: Path, prefect: PrefectServer, server: ModelServer
) -> None:
    with cluster("dask", tmp_path, home, prefect) as running:
        command = Command(home, prefect, **running.address)
        process = command.start(*ASKED, "--base-url", server.url, "--task-runner", "dask")
        wait_until(lambda: server.open == 2, process)
        victims = running.busy()
        assert len(victims) == 2
        for worker in running.started[1:]:
            worker.kill()  # the one that would start it again
        for victim in victims:
            with suppress(ProcessLookupError):  # a worker may end with the one that started it
                os.kill(victim, signal.SIGKILL)
        settled(server)
        assert process.poll() is None
        address = running.address["DASK_SCHEDULER_ADDRESS"]
        with dask_worker(address, tmp_path, environment_of_workers(home, prefect)):
            result = answered(process)
    often = how_often(server)
    assert len(often) == PROBLEMS
    assert sum(count > 1 for count in often.values()) <= 2 * SHARD
    assert alone(tmp_path, prefect, server) == digests(result)


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_shards_go_on_without_a_prefect_server_that_died(
    name: str, tmp_path: Path, home: Path, prefect: PrefectServer, server: ModelServer
) -> None:
    with cluster(name, tmp_path, home, prefect) as running:
        command = Command(home, prefect, **running.address)
        process = command.start(*ASKED, "--base-url", server.url, "--task-runner", name)
        wait_until(lambda: server.open == 2, process)
        prefect.kill()
        result = answered(process)
    assert result["metrics"]["completions"] == PROBLEMS
    assert set(how_often(server).values()) == {1}
    prefect.start()
    assert alone(tmp_path, prefect, server) == digests(result)
