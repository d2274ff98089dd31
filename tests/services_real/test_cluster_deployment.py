"""A deployment whose shards go to Dask or Ray, run by Prefect's own worker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import httpx
import pytest

from flows.services.deployments import POOL, apply_deployments
from tests.cluster_commands import Command, cluster, digests, environment_of_workers
from tests.faults.server import PrefectServer

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1200)]
PATIENCE = 600.0
MEASURED = {"limit": 10, "samples": 3, "shard_size": 3, "sampling": {"max_new_tokens": 6}}
WORDS = ["--limit", "10", "--samples", "3", "--shard-size", "3", "--max-new-tokens", "6"]
SHARDS = 4


def prefects_own(environment: dict[str, str], *words: str) -> str:
    """What a command of Prefect says that ends well."""
    done = subprocess.run(
        [sys.executable, "-m", "prefect", *words],
        env=environment,
        cwd=environment["THREELOOPS_HOME"],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def asked(prefect: PrefectServer, what: str, **filters: Any) -> list[dict[str, Any]]:
    answer = httpx.post(f"{prefect.url}/{what}/filter", json=filters, trust_env=False, timeout=30)
    found: list[dict[str, Any]] = answer.raise_for_status().json()
    return found


@pytest.mark.parametrize("name", ["dask", "ray"])
def test_prefects_own_worker_runs_a_flow_whose_shards_go_to_a_cluster(
    name: str, tiny: str, tmp_path: Path, prefect: PrefectServer
) -> None:
    """It loads the flow by its file, so workers of the cluster cannot import it by that name."""
    (home := tmp_path / "shared").mkdir()
    here = Command(tmp_path / "own", prefect).told("eval", "--model", tiny, *WORDS)
    with cluster(name, tmp_path, home, prefect) as running:
        told = environment_of_workers(home, prefect) | running.address
        told["PATH"] = f"{Path(sys.executable).parent}:{told['PATH']}"
        apply_deployments(told, tmp_path / "deployments.log")
        config = {"config": {"model": tiny, "task_runner": name, **MEASURED}}
        words = ["deployment", "run", "eval/nightly", "--params", json.dumps(config)]
        prefects_own(told, *words)
        said = prefects_own(told, "worker", "start", "--pool", POOL, "--run-once")
        runs = [run for run in asked(prefect, "flow_runs") if run["parameters"] == config]
    assert [run["state_type"] for run in runs] == ["COMPLETED"], said
    ids = {"flow_runs": {"id": {"any_": [run["id"] for run in runs]}}}
    shards = [run for run in asked(prefect, "task_runs", **ids) if "shard" in run["name"]]
    assert [run["state_type"] for run in shards] == ["COMPLETED"] * SHARDS
    (table,) = (home / "tables" / "completions").glob("*.parquet")
    assert table.name == digests(here)["completions"]
