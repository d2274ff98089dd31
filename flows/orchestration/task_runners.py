"""Which task runner shards are handed to: found before anything is loaded, open while it is used.

Prefect's own task runners do the work. Dask and Ray are imported where they are asked for alone.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from importlib.util import find_spec
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from artifacts.store.data_dir import DataDir
from artifacts.text.secrets import names_secret, without_secrets
from artifacts.unsent.servers import without_password
from flows.orchestration.up_file import running
from schemas.config import TaskRunner
from schemas.errors import InputError
from schemas.references import PolicyRef
from tasks.runtime.runtime import Runtime

if TYPE_CHECKING:
    from tasks.runtime.workers import Cluster

ADDRESS: Mapping[str, str] = {"dask": "DASK_SCHEDULER_ADDRESS", "ray": "RAY_ADDRESS"}
PACKAGES: Mapping[str, str] = {"dask": "prefect_dask", "ray": "prefect_ray"}
EXAMPLES: Mapping[str, str] = {"dask": "tcp://HOST:8786", "ray": "HOST:6379 or ray://HOST:10001"}
PREFECT = "PREFECT_API_URL"
CONNECT_SECONDS = 10.0
# what a process on another machine makes its runtime from, where that is no secret
HANDED_DOWN = (
    "THREELOOPS_STORE", "THREELOOPS_TRACKING_URI", PREFECT, "OMP_NUM_THREADS", "HF_HUB_OFFLINE",
)  # fmt: skip


def check_task_runner(data_dir: DataDir, name: TaskRunner | None) -> None:
    """InputError where shards cannot be handed to a task runner; takes a second or two."""
    if name is None or name == "threads":
        return
    option = option_of(name)
    if find_spec(PACKAGES[name]) is None:
        raise InputError(
            f"this needs the package {PACKAGES[name].replace('_', '-')}",
            option,
            f'pip install "threeloops[{name}]"',
        )
    if not os.environ.get(PREFECT) and running(data_dir) is None:
        raise InputError(
            f"without {PREFECT} every worker would start a Prefect server of its own",
            option,
            f"set {PREFECT} to a server that the workers reach",
        )
    address = address_of(name)
    if name == "dask":
        from flows.orchestration.dask_workers import refuse_no_workers

        refuse_no_workers(address, where_is(name))
    elif address != "auto":
        _refuse_silence(address, name)


@contextmanager
def on_workers(
    runtime: Runtime, name: TaskRunner | None, policy: PolicyRef, device: str
) -> Iterator[None]:
    """Hand shards of a policy to a task runner's workers in the block; without one, to nobody.

    Where machines share a store, the policy is kept there first, so that each worker finds it.
    A worker that asks a model server computes nothing, so it takes no GPU.
    """
    archive = runtime.archive
    if policy.engine is not None:
        device = "cpu"
    if name in ADDRESS and archive.shared is not None and policy.engine is None:
        archive.folders.share(archive.folders.find(policy))
    with having_workers(runtime, name, device):
        yield


@contextmanager
def having_workers(runtime: Runtime, name: TaskRunner | None, device: str) -> Iterator[None]:
    """Let a runtime have a task runner's workers in the block; InputError where there are none."""
    if name is None:
        yield
        return
    from tasks.runtime.workers import Workers  # imports Prefect, whose settings must stand by then

    with _opened(name, runtime.data_dir, device) as cluster:
        runtime.workers = Workers(cluster, runtime.progress.log_message)
        try:
            yield
        finally:
            runtime.workers = None


def _opened(name: TaskRunner, data_dir: DataDir, device: str) -> AbstractContextManager[Cluster]:
    if name == "dask":
        from flows.orchestration.dask_workers import dask_workers

        return dask_workers(address_of(name), where_is(name))
    if name == "ray":
        from flows.orchestration.ray_workers import ray_workers

        return ray_workers(address_of(name), where_is(name), handed_down(data_dir), device)
    from flows.orchestration.thread_workers import thread_workers

    return thread_workers()


def option_of(name: TaskRunner) -> str:
    """The option as it is given."""
    return f"--task-runner {name}"


def address_of(name: TaskRunner) -> str:
    """The cluster's address; InputError where the engine's variable names none."""
    if address := os.environ.get(ADDRESS[name], "").strip():
        return address
    raise InputError(
        "no cluster is named", option_of(name), f"set {ADDRESS[name]}, such as {EXAMPLES[name]}"
    )


def where_is(name: TaskRunner) -> str:
    """The variable with its address, as it may be shown."""
    return f"{ADDRESS[name]}={without_password(address_of(name))}"


def handed_down(data_dir: DataDir, environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """The environment that a worker's runtime is made from, without secrets.

    Clusters show it to whoever can open their pages, so keys and passwords have to be in the
    environment of the workers already. So has an address that holds a login.
    """
    found = {
        name: value
        for name, value in environment.items()
        if (name in HANDED_DOWN or name.startswith("MLFLOW_"))
        and not names_secret(name)
        and without_secrets(value, environment) == value
    }
    return found | {"THREELOOPS_HOME": str(data_dir.root)}


def _refuse_silence(address: str, name: TaskRunner) -> None:
    """InputError where nobody listens at an address; what listens may still be something else."""
    where = where_is(name)
    parts = urlsplit(address if "://" in address else f"//{address}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    if not host or not port:
        raise InputError("is no address of a cluster", where, f"write {EXAMPLES[name]}")
    try:
        with socket.create_connection((host, port), timeout=CONNECT_SECONDS):
            return
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(
            f"nobody answers there ({reason})", where, "start the cluster, or correct the address"
        ) from None
