"""Workers of a cluster and the server of `up`: those without its secret are refused in one line."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.orchestration.up_file import PREFECT_FILE, Served
from tests.cluster_commands import MEASURED, answered, refused, start_command
from tests.clusters import RunningCluster, bare_environment, dask_cluster, ray_cluster
from tests.mlflow_server import free_port

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1800)]
SHARDS = 4  # of what MEASURED asks
PATIENCE = 60.0


@pytest.fixture
def up(running: dict[str, str]) -> Served:
    return Served.model_validate(running)


def command(
    cluster: RunningCluster, environment: Mapping[str, str], folder: Path, tiny: str, seed: int
) -> Any:
    """A command of the data folder on which `up` runs; it finds the server by itself."""
    home = {"THREELOOPS_HOME": environment["THREELOOPS_HOME"]}
    told = bare_environment(OMP_NUM_THREADS="1", **home, **cluster.address)
    words = ["eval", "--model", tiny, *MEASURED, "--seed", str(seed)]
    return start_command(told, folder, *words, "--task-runner", cluster.name)


@pytest.mark.parametrize("listens", [False, True])
def test_an_address_without_a_scheduler_is_refused_before_a_model_is_loaded(
    listens: bool, up: Served, environment: dict[str, str], tmp_path: Path
) -> None:
    pytest.importorskip("prefect_dask", reason="install threeloops[engines]")
    other = up.root.rpartition(":")[2]  # where no scheduler but `up` answers
    address = f"tcp://127.0.0.1:{other if listens else free_port()}"
    home = {"THREELOOPS_HOME": environment["THREELOOPS_HOME"]}
    told = bare_environment(OMP_NUM_THREADS="1", DASK_SCHEDULER_ADDRESS=address, **home)
    words = ["eval", "--model", str(tmp_path / "none"), *MEASURED, "--task-runner", "dask"]
    line = refused(start_command(told, tmp_path, *words))
    said = f"threeloops: DASK_SCHEDULER_ADDRESS={address}: no Dask scheduler answers there ("
    assert line.startswith(said)


def shards_on_the_page(up: Served) -> int:
    """How many shards Prefect's page shows as completed; none may have failed."""
    address, asked = f"{up.root}/api/task_runs/filter", {"task_runs": {"name": {"like_": "shard"}}}
    answer = httpx.post(address, json=asked, headers=up.headers, trust_env=False, timeout=30)
    states = [found["state_type"] for found in answer.raise_for_status().json()]
    assert set(states) <= {"PENDING", "RUNNING", "COMPLETED"}, states
    return states.count("COMPLETED")


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_workers_without_its_secret_are_refused(
    name: str, up: Served, environment: dict[str, str], tmp_path: Path, tiny: str
) -> None:
    pytest.importorskip(f"prefect_{name}", reason="install threeloops[engines]")
    told = {"THREELOOPS_HOME": environment["THREELOOPS_HOME"], "PREFECT_API_URL": up.prefect}
    making = dask_cluster if name == "dask" else ray_cluster
    with making(tmp_path, bare_environment(OMP_NUM_THREADS="1", **told), workers=1) as cluster:
        line = refused(command(cluster, environment, tmp_path, tiny, seed=1))
    assert line.startswith("threeloops: the worker on ")
    assert f"the Prefect server at {up.prefect} does not let it in; start workers with" in line


@pytest.mark.parametrize(("name", "seed"), [("dask", 2), ("dask by file", 3), ("ray", 4)])
def test_workers_with_its_secret_show_their_shards_on_its_page(
    name: str, seed: int, up: Served, environment: dict[str, str], tmp_path: Path, tiny: str
) -> None:
    engine = name.partition(" ")[0]
    pytest.importorskip(f"prefect_{engine}", reason="install threeloops[engines]")
    home = environment["THREELOOPS_HOME"]
    by_file = {"PREFECT_PROFILES_PATH": str(Path(home) / PREFECT_FILE)}
    told = by_file if name == "dask by file" else up.environment()
    making = dask_cluster if engine == "dask" else ray_cluster
    given = bare_environment(OMP_NUM_THREADS="1", THREELOOPS_HOME=home, **told)
    before = shards_on_the_page(up)
    with making(tmp_path, given) as cluster:
        answered(command(cluster, environment, tmp_path, tiny, seed=seed))
        deadline = time.monotonic() + PATIENCE
        while (shown := shards_on_the_page(up) - before) < SHARDS:
            assert time.monotonic() < deadline, shown
            time.sleep(0.5)
    assert shards_on_the_page(up) - before == SHARDS
