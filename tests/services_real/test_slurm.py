"""Learning under `srun`, and shards on workers that are jobs, on a real Slurm of one node."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import psutil
import pytest

from schemas.identity import file_digest
from tests.cluster_commands import MEASURED, Command, digests, environment_of_workers
from tests.faults.server import PrefectServer
from tests.ranks import alone, run_ranks
from tests.slurm import Slurm, slurm, why_not

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1500)]

DEPLOY = Path(__file__).parents[2] / "deploy" / "slurm"
PATIENCE = 900.0
# each rank has one problem a step, and one process makes a pass of each; with so many samples some
# are right, so there is something to learn
LEARNING = [
    "--steps", "2", "--problems-per-step", "2", "--samples", "64", "--max-tokens-per-pass", "1",
    "--limit", "4", "--evaluation-samples", "2", "--dev-every", "0", "--max-new-tokens", "6",
    "--learning-rate", "1e-3", "--device", "cpu", "--json",
]  # fmt: skip


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    if reason := why_not():
        pytest.skip(reason)
    with slurm(tmp_path_factory.mktemp("slurm")) as running:
        yield running


@pytest.fixture
def sums(tmp_path: Path) -> str:
    """A dataset with the splits that learning needs."""
    splits = ["train"] * 8 + ["dev"] * 4 + ["holdout"] * 4
    rows = [
        {"id": str(n), "prompt": f"{n} + 1?", "expected_answer": n + 1, "split": split}
        for n, split in enumerate(splits)
    ]
    path = tmp_path / "sums.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def run(
    words: list[str], cluster: Slurm, folder: Path, environment: Mapping[str, str]
) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words,
        env={**environment, **cluster.environment},
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def result_in(text: str) -> dict[str, Any]:
    """The result that is the last line of what a command printed."""
    found: dict[str, Any] = json.loads(text.strip().splitlines()[-1])
    return found


def weights(result: Mapping[str, Any]) -> str:
    return file_digest(Path(result["model"]["folder"]) / "model.safetensors")


def test_two_tasks_of_srun_learn_what_one_process_learns(
    cluster: Slurm, tiny: str, sums: str, tmp_path: Path
) -> None:
    learning = [*LEARNING, "--model", tiny, "--dataset", sums]
    batch = ["sbatch", "--wait", "--ntasks", "2", "--output", "job.out", "--error", "job.err"]
    told = alone() | {"THREELOOPS_HOME": str(tmp_path / "two")}
    done = run([*batch, str(DEPLOY / "learn.sh"), *learning], cluster, tmp_path, told)
    said = (tmp_path / "job.err").read_text()
    assert done.returncode == 0, done.stderr + said
    two = result_in((tmp_path / "job.out").read_text())
    home = {"THREELOOPS_HOME": str(tmp_path / "one")}
    (one,) = run_ranks(["-m", "threeloops", "learn", *learning], [{}], tmp_path / "out", **home)
    assert one.code == 0, one.err
    assert two["metrics"]["kl_nats"] != 0, "it has learned something"
    assert weights(two) == weights(result_in(one.out))
    assert len((tmp_path / "job.out").read_text().splitlines()) == 1, "rank 0 alone prints"
    assert "Traceback" not in said
    assert cluster.jobs() == []


def test_srun_by_itself_is_told_how_the_tasks_meet(
    cluster: Slurm, tiny: str, sums: str, tmp_path: Path
) -> None:
    words = ["srun", "--ntasks", "2", "threeloops", "learn", *LEARNING, "--model", tiny]
    told = alone() | {"THREELOOPS_HOME": str(tmp_path / "home")}
    done = run([*words, "--dataset", sums], cluster, tmp_path, told)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if line.startswith("threeloops: ")]
    assert "SLURM_STEP_NUM_TASKS=2 without MASTER_ADDR" in line
    assert "export MASTER_ADDR=$(scontrol show hostnames" in line


def test_workers_that_are_jobs_make_the_tables_of_one_process(
    cluster: Slurm, tiny: str, tmp_path: Path, prefect: PrefectServer
) -> None:
    pytest.importorskip("dask_jobqueue", reason="install threeloops[engines]")
    words = ["eval", "--model", tiny, *MEASURED]
    home = tmp_path / "shared"
    seen: set[str] = set()
    reachable: set[int] = set()
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.3):
            seen.update(cluster.jobs())
            reachable.update(open_ports("with_workers.py"))

    watching = threading.Thread(target=watch)
    watching.start()
    try:
        by_jobs = run(
            [sys.executable, str(DEPLOY / "with_workers.py"), "--jobs", "2", "--memory", "1GB",
             "--wait", "600", "--", "threeloops", *words, "--task-runner", "dask", "--json"],
            cluster,
            tmp_path,
            environment_of_workers(home, prefect),
        )  # fmt: skip
    finally:
        done.set()
        watching.join()
    assert by_jobs.returncode == 0, by_jobs.stderr
    here = Command(tmp_path / "own", prefect).told(*words)
    assert digests(result_in(by_jobs.stdout)) == digests(here)
    assert len(seen) == 2, "each worker is a job"
    assert len(reachable) == 1, "its scheduler's own port, and no page beside it"
    until_no_jobs(cluster)


def open_ports(script: str) -> set[int]:
    """Ports that a script which this process started has open for other machines."""
    found: set[int] = set()
    for child in psutil.Process().children():
        with contextlib.suppress(psutil.Error):
            if script in " ".join(child.cmdline()):
                found |= {
                    one.laddr.port
                    for one in child.net_connections("tcp")
                    if one.status == psutil.CONN_LISTEN and not one.laddr.ip.startswith("127.")
                }
    return found


def until_no_jobs(cluster: Slurm) -> None:
    """Jobs end with the command; Slurm takes some seconds to say so."""
    for _ in range(300):
        if not cluster.jobs():
            return
        threading.Event().wait(0.2)
    raise AssertionError(f"left behind: {cluster.jobs()}")


def test_without_a_prefect_server_no_job_is_started(cluster: Slurm, tmp_path: Path) -> None:
    pytest.importorskip("dask_jobqueue", reason="install threeloops[engines]")
    script = [sys.executable, str(DEPLOY / "with_workers.py"), "--jobs", "1"]
    told = {name: value for name, value in os.environ.items() if name != "PREFECT_API_URL"}
    done = run([*script, "--", "threeloops", "eval"], cluster, tmp_path, told)
    assert done.returncode == 2
    assert done.stderr.strip().endswith("set PREFECT_API_URL to a server that the workers reach")
    assert cluster.jobs() == []
