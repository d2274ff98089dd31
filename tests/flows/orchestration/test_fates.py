"""Which errors are of the cluster and which of the task, for Dask and for Ray."""

from __future__ import annotations

import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import pytest

from schemas.errors import InputError

pytestmark = pytest.mark.engines

NOBODY: Any = None  # no cluster is asked


class Told:
    """Stands for a reference to what a Ray worker makes."""

    def __init__(self) -> None:
        self.callbacks: list[Callable[[Any], None]] = []

    def _on_completed(self, callback: Callable[[Any], None]) -> None:
        self.callbacks.append(callback)


def test_dask_tells_a_lost_scheduler_from_an_error_of_the_task() -> None:
    client = pytest.importorskip("distributed.client", reason="install threeloops[dask]")
    from distributed.comm.core import CommClosedError

    from flows.orchestration.dask_workers import DaskWorkers

    workers = DaskWorkers(NOBODY, NOBODY, "DASK_SCHEDULER_ADDRESS=tcp://h:1")
    lost = client.FutureCancelledError("generate-shard-1", "scheduler-connection-lost")
    for error in (lost, CommClosedError("gone"), client.ClosedClientError("closed")):
        said = f"the scheduler does not answer any more ({type(error).__name__})"
        assert workers.fate(error) == said
    assert workers.fate(OSError(errno.ENOSPC, "No space left on device")) == ""
    assert workers.fate(RuntimeError("of the task")) == ""


def test_dask_says_that_workers_died_one_after_another() -> None:
    distributed = pytest.importorskip("distributed", reason="install threeloops[dask]")
    from flows.orchestration.dask_workers import DaskWorkers

    workers = DaskWorkers(NOBODY, NOBODY, "")
    killed = distributed.KilledWorker("generate-shard-1", None, 3)
    assert workers.fate(killed).startswith("workers died one after another")


def raising(error: Exception) -> Callable[[], Any]:
    """What is taken from a promise that has failed."""

    def take() -> Any:
        raise error

    return take


@pytest.mark.parametrize("times", [1, 2])
def test_rays_errors_are_those_of_the_task_without_its_traceback(times: int) -> None:
    exceptions = pytest.importorskip("ray.exceptions", reason="install threeloops[ray]")
    from flows.orchestration.ray_workers import RayPromise

    wrapped: Exception = InputError("what", "the worker on m", "do")
    for _ in range(times):
        told_of = exceptions.RayTaskError("f", "Traceback ...", wrapped, "ray::f", 1, "127.0.0.1")
        wrapped = told_of.as_instanceof_cause()
    told = Told()
    promise = RayPromise(told, raising(wrapped))
    heard: list[Any] = []
    promise.add_done_callback(heard.append)
    told.callbacks[0]("whatever came")
    assert heard == [promise]
    with pytest.raises(InputError, match="^the worker on m: what; do$") as raised:
        promise.result()
    assert type(raised.value) is InputError


def test_an_error_of_a_task_that_cannot_be_sent_is_no_lost_worker() -> None:
    exceptions = pytest.importorskip("ray.exceptions", reason="install threeloops[ray]")
    from flows.orchestration.ray_workers import Head, RayPromise, RayWorkers

    class UnsendableError(Exception):
        def __reduce__(self) -> Any:
            raise TypeError("never")

    workers = RayWorkers(None, "RAY_ADDRESS=h:1", 1, 0, Head(""))
    wrapped = exceptions.RayTaskError("f", "its text", UnsendableError(), "ray::f", 1, "127.0.0.1")
    for error in (wrapped, exceptions.UnserializableException("its text")):
        with pytest.raises(RuntimeError, match="its text") as raised:
            RayPromise(Told(), raising(error)).result()
        assert workers.fate(raised.value) == ""
    with pytest.raises(exceptions.WorkerCrashedError) as died:
        RayPromise(Told(), raising(exceptions.WorkerCrashedError())).result()
    assert workers.fate(died.value) != ""


@pytest.mark.parametrize(
    ("cpus", "gpus", "places"), [(1, 0, 12), (2, 0, 5), (4, 0, 2), (8, 0, 0), (1, 1, 3)]
)
def test_ray_works_at_as_many_shards_as_each_node_has_room_for(
    cpus: int, gpus: int, places: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("ray.exceptions", reason="install threeloops[ray]")
    from flows.orchestration import ray_workers as module

    class Cluster:
        """Two nodes, a third without a CPU, and one that has left."""

        def nodes(self) -> list[dict[str, Any]]:
            there: list[dict[str, float]] = [{"CPU": 7.0, "GPU": 2.0}, {"CPU": 5.0, "GPU": 1.0}]
            return [
                *({"Alive": True, "Resources": one} for one in [*there, {"memory": 1e9}]),
                {"Alive": False, "Resources": {}},
            ]

    monkeypatch.setattr(module, "_ray", Cluster)
    workers = module.RayWorkers(None, "RAY_ADDRESS=h:1", cpus, gpus, module.ClientsHead())
    assert workers.places() == places


@pytest.mark.parametrize("connected", [True, False])
def test_whatever_rays_client_raises_without_its_head_says_that_it_is_lost(
    connected: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    ray = pytest.importorskip("ray", reason="install threeloops[ray]")
    from flows.orchestration.ray_workers import ClientsHead, RayWorkers

    monkeypatch.setattr(ray, "is_initialized", lambda: connected)
    workers = RayWorkers(None, "RAY_ADDRESS=h:1", 1, 0, ClientsHead())
    said = workers.fate(ValueError("The client has already connected"))
    lost = "the connection to the head is lost (The client has already connected)"
    assert said == ("" if connected else lost)


def test_ray_tells_workers_that_died_from_an_error_of_the_task() -> None:
    exceptions = pytest.importorskip("ray.exceptions", reason="install threeloops[ray]")
    from flows.orchestration.ray_workers import Head, RayWorkers

    workers = RayWorkers(None, "RAY_ADDRESS=h:1", 1, 0, Head(""))
    died = exceptions.WorkerCrashedError()
    assert workers.fate(died).startswith("the workers that had a shard are gone (")
    assert "\n" not in workers.fate(died)
    assert workers.fate(ValueError("of the task")) == ""


def test_a_head_that_is_gone_is_found_without_ray_which_would_end_this_process(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pytest.importorskip("ray.exceptions", reason="install threeloops[ray]")
    from flows.orchestration import ray_workers as module

    monkeypatch.setattr(module, "LOOK_SECONDS", 0.01)
    with socket.create_server(("127.0.0.1", 0)) as there:
        head = module.Head(f"127.0.0.1:{there.getsockname()[1]}")
        workers = module.RayWorkers(None, "RAY_ADDRESS=h:1", 1, 0, head)
        assert head.answers()
    assert not head.answers(), "it may come back"
    assert workers.places() == 0
    monkeypatch.setattr(module, "HEAD_SECONDS", 0.1)
    for hand_over in (
        lambda: workers.call(print, {}),
        lambda: workers.submit(None, {}),  # type: ignore[arg-type]
        workers.places,
    ):
        with pytest.raises(module.HeadLostError) as lost:
            hand_over()
    assert workers.fate(lost.value).startswith("the head does not answer any more (")


@pytest.mark.parametrize("given", [None, "7"])
def test_ray_asks_a_head_once_unless_somebody_says_how_often(
    given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("prefect_ray.task_runners", reason="install threeloops[ray]")
    from prefect_ray.task_runners import RayTaskRunner

    from flows.orchestration.ray_workers import ONCE, ray_workers

    monkeypatch.delenv(ONCE, raising=False)
    if given is not None:
        monkeypatch.setenv(ONCE, given)
    seen = []

    def connect(self: RayTaskRunner[Any]) -> Any:
        seen.append(os.environ[ONCE])
        raise ConnectionError("nobody is there\nat all")

    monkeypatch.setattr(RayTaskRunner, "__enter__", connect)
    with (
        pytest.raises(InputError, match=r"^RAY_ADDRESS=h:1: no Ray cluster answers there \(nobody"),
        ray_workers("h:1", "RAY_ADDRESS=h:1", {}, "cpu"),
    ):
        pass
    assert seen == [given or "1"]
    assert os.environ.get(ONCE) == given


def test_whoever_answers_sigterm_goes_on_to_once_ray_is_connected() -> None:
    pytest.importorskip("prefect_ray", reason="install threeloops[ray]")
    from flows.orchestration.ray_workers import _answering_sigterm

    def ours(number: int, frame: FrameType | None) -> None: ...

    before = signal.signal(signal.SIGTERM, ours)
    try:
        with _answering_sigterm():
            signal.signal(signal.SIGTERM, signal.SIG_DFL)  # as Ray does
        assert signal.getsignal(signal.SIGTERM) is ours
    finally:
        signal.signal(signal.SIGTERM, before)


def test_rays_errors_are_those_that_ray_itself_knows() -> None:
    """Prefect loads Ray lazily; then Ray raised no error of a worker, but gave it as the answer."""
    pytest.importorskip("prefect_ray", reason="install threeloops[ray]")
    code = """
from flows.orchestration import ray_workers as module
class Stop(Exception): pass
def stop(): raise Stop
module._asking_once = stop
try:
    with module.ray_workers("h:1", "RAY_ADDRESS=h:1", {}, "cpu"): pass
except Stop:
    import ray.exceptions, ray._private.worker
    assert ray._private.worker.RayError is ray.exceptions.RayError
    print("the same")
"""
    command = [sys.executable, "-c", code]
    told = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300)
    assert told.stdout == "the same\n"
