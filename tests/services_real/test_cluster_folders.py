"""Workers with a data folder of their own, which share a bucket with the command."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.cluster_commands import MEASURED, Command, digests, environment_of_workers, tables_in
from tests.clusters import RunningCluster, bare_environment, dask_cluster, ray_cluster
from tests.faults.server import PrefectServer

pytestmark = [pytest.mark.engines, pytest.mark.timeout(1200)]

SHARDS = 4
# Ray's workers are told the command's data folder: there another disk lies at its path
ELSEWHERE = [
    "unshare",
    "--mount",
    "sh",
    "-c",
    'mount --bind "$1" "$2" && shift 2 && exec "$@"',
    "sh",
]


def assert_same_tables(
    running: RunningCluster,
    tiny: str,
    homes: tuple[Path, Path],
    bucket: str,
    prefect: PrefectServer,
) -> None:
    """A command in the first folder, with workers in the second, makes what one alone makes."""
    home, of_workers = homes
    words = ["eval", "--model", tiny, *MEASURED]
    alone = Command(home.parent / "alone", prefect).told(*words)
    shared = {"THREELOOPS_STORE": bucket, **running.address}
    by_workers = Command(home, prefect, **shared).told(*words, "--task-runner", running.name)
    assert digests(by_workers) == digests(alone)
    assert by_workers["metrics"]["pass_rate"] == alone["metrics"]["pass_rate"]
    assert tables_in(of_workers) == {"problems": 1, "completions": SHARDS}, "what they made"
    (model,) = (of_workers / "models").glob("policy-*/model.safetensors")
    assert model.read_bytes() == (Path(tiny) / "model.safetensors").read_bytes()
    assert not list((home / "models").glob("policy-*")), "the command has the model already"


@pytest.fixture
def homes(tmp_path: Path) -> tuple[Path, Path]:
    """The data folders of the command and of its workers."""
    made = tmp_path / "home", tmp_path / "of-workers"
    for folder in made:
        folder.mkdir()
    return made


def test_workers_of_dask(
    tiny: str, tmp_path: Path, homes: tuple[Path, Path], bucket: str, prefect: PrefectServer
) -> None:
    pytest.importorskip("prefect_dask", reason="install threeloops[engines]")
    told = environment_of_workers(homes[1], prefect) | {"THREELOOPS_STORE": bucket}
    with dask_cluster(tmp_path, told) as running:
        assert_same_tables(running, tiny, homes, bucket, prefect)


def test_workers_of_ray(
    tiny: str, tmp_path: Path, homes: tuple[Path, Path], bucket: str, prefect: PrefectServer
) -> None:
    pytest.importorskip("prefect_ray", reason="install threeloops[engines]")
    home, of_workers = map(str, homes)
    before = [*ELSEWHERE, of_workers, home]
    if subprocess.run([*before, "true"], capture_output=True, check=False).returncode:
        pytest.skip("a namespace with mounts of its own cannot be made here")
    with ray_cluster(tmp_path, bare_environment(), before=before) as running:
        assert_same_tables(running, tiny, homes, bucket, prefect)
