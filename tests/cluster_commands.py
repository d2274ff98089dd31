"""Commands that hand their shards to a real cluster, and the model server that they ask slowly."""

from __future__ import annotations

import json
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from artifacts.store.data_dir import DataDir
from artifacts.tracking.connection import TAG
from engines.openai_server.probe import QUESTION
from tests.clusters import RunningCluster, bare_environment, dask_cluster, ray_cluster
from tests.faults.server import PrefectServer
from tests.model_servers.answers import texts
from tests.model_servers.server import ModelServer, serving

PATIENCE = 600.0
PACKAGES = {"dask": "prefect_dask", "ray": "prefect_ray"}
MEASURED = ["--limit", "10", "--samples", "3", "--shard-size", "3", "--max-new-tokens", "6"]
POOR = ["--template", "few_shot_plain@1", "--extra-body", "{}", "--num-concurrent", "1"]
QUICKLY = ["--num-concurrent", "9"]  # for who is not to be met half done
PROBLEMS, SHARD = 36, 4
ASKED = ["eval", "--model", "tiny", "--limit", str(PROBLEMS), "--shard-size", str(SHARD), *POOR]


def cluster(
    name: str, folder: Path, home: Path, prefect: PrefectServer
) -> AbstractContextManager[RunningCluster]:
    """Two workers with a thread each. Those of Ray are told nothing: a command hands it down."""
    pytest.importorskip(PACKAGES[name.partition(" ")[0]], reason="install threeloops[engines]")
    if name == "dask":
        return dask_cluster(folder, environment_of_workers(home, prefect))
    return ray_cluster(folder, bare_environment(), as_client=name == "ray client")


def environment_of_workers(home: Path, prefect: PrefectServer) -> dict[str, str]:
    """What workers of Dask have to be started with."""
    told = {"THREELOOPS_HOME": str(home), "PREFECT_API_URL": prefect.url}
    return bare_environment(OMP_NUM_THREADS="1", **told)


class Command:
    """`threeloops` in a process of its own with one thread."""

    def __init__(self, home: Path, prefect: PrefectServer, **named: str) -> None:
        self.environment = environment_of_workers(home, prefect) | named
        self.home = home

    def start(self, *words: str) -> subprocess.Popen[str]:
        return start_command(self.environment, self.home.parent, *words)

    def told(self, *words: str) -> dict[str, Any]:
        """The answer of one that ends well."""
        return answered(self.start(*words))

    def refused(self, *words: str) -> str:
        """The one line of one that refuses."""
        return refused(self.start(*words))


def start_command(
    environment: Mapping[str, str], folder: Path, *words: str
) -> subprocess.Popen[str]:
    """A command that goes on; its two streams are pipes."""
    return subprocess.Popen(
        [sys.executable, "-m", "flows.cli", *words, "--json"],
        env=dict(environment),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def answered(process: subprocess.Popen[str]) -> dict[str, Any]:
    """The answer of a command that ends well."""
    out, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, err
    return dict(json.loads(out.splitlines()[-1]))


def refused(process: subprocess.Popen[str]) -> str:
    """The last line of a command that refuses, the only one that is an error."""
    _, err = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2, err
    assert "Traceback" not in err
    return err.strip().splitlines()[-1]


def digests(result: dict[str, Any]) -> dict[str, str]:
    """The digests of a result's tables."""
    return {name: Path(path).name for name, path in result["tables"].items()}


def tables_in(home: Path) -> dict[str, int]:
    """How many tables of each kind a data folder has."""
    return dict(Counter(path.parent.name for path in DataDir(home).tables.glob("*/*.parquet")))


def runs_in(home: Path) -> list[tuple[str, str]]:
    """How each run in a data folder ended, and the reason where it failed; in their order."""
    if not (database := DataDir(home).tracking_database).exists():
        return []
    query = (
        "select status, coalesce(value, '') from runs left join tags"
        f" on tags.run_uuid = runs.run_uuid and key = '{TAG}error' order by start_time"
    )
    with closing(sqlite3.connect(database)) as connection:
        return connection.execute(query).fetchall()


def wait_until(ready: Callable[[], Any], process: subprocess.Popen[str] | None = None) -> None:
    """Wait for something that comes while a process goes on."""
    deadline = time.monotonic() + PATIENCE
    while not ready():
        assert process is None or process.poll() is None, process.communicate()
        assert time.monotonic() < deadline
        time.sleep(0.05)


@contextmanager
def slow_server(seconds: float) -> Iterator[ModelServer]:
    """A model server that takes a while for each answer, so that shards can be met half done.

    It gives no answer until two are waited for, since one worker may need much longer than another
    to start.
    """
    says = texts("Final: 3")

    def slowly(body: dict[str, Any]) -> list[dict[str, Any]]:
        while server.most_open < 2 and QUESTION not in body["prompt"]:
            time.sleep(0.05)
        time.sleep(seconds)
        return says(body)

    server = ModelServer(slowly, owner="", version="")
    with serving(server):
        yield server


def how_often(server: ModelServer) -> Counter[str]:
    """How often each problem was asked."""
    return Counter(body["prompt"] for body in server.asked if QUESTION not in body["prompt"])
