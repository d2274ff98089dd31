"""A task runner that cannot be used is refused in one line, before anything is loaded."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from artifacts.store.data_dir import DataDir
from flows.orchestration import task_runners as module
from flows.orchestration.task_runners import check_task_runner, handed_down, on_workers
from schemas.config import TaskRunner
from schemas.engine import EngineRecord
from schemas.errors import InputError
from schemas.references import PolicyRef
from tasks.runtime.runtime import Runtime, process_runtime

CLUSTERS = ("dask", "ray")


@pytest.fixture(autouse=True)
def _nothing_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both packages are there, and the environment names nothing."""
    monkeypatch.setattr(module, "find_spec", lambda name: object())
    for name in (module.PREFECT, *module.ADDRESS.values()):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def silent_port() -> Iterator[int]:
    """A port that refuses."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        yield int(one.getsockname()[1])


@pytest.mark.parametrize("name", [None, "threads"])
def test_this_process_and_its_threads_need_nothing(name: Any, data_dir: DataDir) -> None:
    check_task_runner(data_dir, name)


@pytest.mark.parametrize("name", CLUSTERS)
def test_without_its_extra(
    name: TaskRunner, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "find_spec", lambda package: None)
    said = rf'this needs the package prefect-{name}; pip install "threeloops\[{name}\]"$'
    with pytest.raises(InputError, match=f"^--task-runner {name}: {said}"):
        check_task_runner(data_dir, name)


@pytest.mark.parametrize("name", CLUSTERS)
def test_without_prefects_server(name: TaskRunner, data_dir: DataDir) -> None:
    with pytest.raises(InputError, match="every worker would start a Prefect server of its own"):
        check_task_runner(data_dir, name)


@pytest.mark.parametrize("name", CLUSTERS)
def test_without_an_address(
    name: TaskRunner, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(module.PREFECT, "http://127.0.0.1:4200/api")
    with pytest.raises(InputError, match=f"no cluster is named; set {module.ADDRESS[name]}"):
        check_task_runner(data_dir, name)


@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}"])
def test_an_address_of_ray_where_nobody_answers(
    address: str, data_dir: DataDir, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(module.PREFECT, "http://127.0.0.1:4200/api")
    monkeypatch.setenv("RAY_ADDRESS", address.format(port=silent_port))
    with pytest.raises(InputError, match=r"^RAY_ADDRESS=.*: nobody answers there \(.*refused\);"):
        check_task_runner(data_dir, "ray")


@pytest.mark.parametrize("address", ["somewhere", "127.0.0.1:no", "ray://"])
def test_what_is_no_address_of_ray(
    address: str, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(module.PREFECT, "http://127.0.0.1:4200/api")
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(InputError, match="is no address of a cluster; write HOST:6379"):
        check_task_runner(data_dir, "ray")


@pytest.mark.engines
def test_an_address_of_dask_where_nobody_answers(
    data_dir: DataDir, silent_port: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed", reason="install threeloops[dask]")
    from flows.orchestration import dask_workers

    monkeypatch.setitem(dask_workers.QUIET, "timeout", 1)
    monkeypatch.setenv(module.PREFECT, "http://127.0.0.1:4200/api")
    monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", f"tcp://127.0.0.1:{silent_port}")
    with pytest.raises(InputError, match=r"^DASK_SCHEDULER_ADDRESS=.*: no Dask scheduler answers"):
        check_task_runner(data_dir, "dask")


@pytest.mark.engines
@pytest.mark.parametrize("says", [b"", b"HTTP/1.1 400 Bad Request\r\n\r\n" + b" " * 100])
def test_what_listens_and_does_not_greet_as_dask_does_is_not_waited_for(
    says: bytes, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("distributed", reason="install threeloops[dask]")
    from flows.orchestration import dask_workers

    monkeypatch.setitem(dask_workers.QUIET, "timeout", 1)
    monkeypatch.setenv(module.PREFECT, "http://127.0.0.1:4200/api")
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer() -> None:
            caller, _ = listener.accept()
            with caller:
                caller.sendall(says)
                while caller.recv(1 << 16):
                    pass

        threading.Thread(target=answer, daemon=True).start()
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        monkeypatch.setenv("DASK_SCHEDULER_ADDRESS", address)
        with pytest.raises(InputError, match="no Dask scheduler answers there"):
            check_task_runner(data_dir, "dask")


@pytest.mark.parametrize(
    ("engine", "device"), [(None, "auto"), (EngineRecord(kind="openai_server", name="vllm"), "cpu")]
)
def test_a_worker_that_asks_a_server_takes_no_gpu(
    engine: EngineRecord | None, device: str, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = []

    def having(runtime: Runtime, name: TaskRunner, device: str) -> AbstractContextManager[None]:
        opened.append(device)
        return nullcontext()

    monkeypatch.setattr(module, "having_workers", having)
    policy = PolicyRef(name="p", digest="0" * 64, engine=engine)
    with on_workers(process_runtime(), "ray", policy, "auto"):
        pass
    assert opened == [device]


def test_a_worker_is_handed_its_environment_without_secrets(data_dir: DataDir) -> None:
    environment = {
        "THREELOOPS_HOME": ".threeloops",
        "THREELOOPS_STORE": "s3://bucket/prefix",
        "PREFECT_API_URL": "http://prefect:4200/api",
        "PREFECT_API_KEY": "pnu_this_is_secret",
        "PREFECT_CLIENT_CUSTOM_HEADERS": '{"Authorization": "Bearer this-is-secret"}',
        "MLFLOW_TRACKING_URI": "http://me:this-is-secret@mlflow:5000",
        "MLFLOW_TRACKING_PASSWORD": "this-is-secret-too",
        "MLFLOW_EXPERIMENT_NAME": "mine",
        "AWS_SECRET_ACCESS_KEY": "and-this-is-secret",
        "OMP_NUM_THREADS": "2",
        "PATH": "/bin",
    }
    assert handed_down(data_dir, environment) == {
        "THREELOOPS_HOME": str(data_dir.root),
        "THREELOOPS_STORE": "s3://bucket/prefix",
        "PREFECT_API_URL": "http://prefect:4200/api",
        "MLFLOW_EXPERIMENT_NAME": "mine",
        "OMP_NUM_THREADS": "2",
    }
