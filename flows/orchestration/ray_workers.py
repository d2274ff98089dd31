"""The workers of a Ray cluster, through Prefect's task runner for Ray."""

from __future__ import annotations

import logging
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from schemas.errors import InputError, first_line
from tasks.runtime.pipeline_task import PipelineTask
from tasks.runtime.workers import Promise

if TYPE_CHECKING:
    from prefect_ray.task_runners import RayTaskRunner

# Ray ends a process that has not reached its head for 60 seconds; until then most calls wait
HEAD_SECONDS = 20.0  # leaves the time to record what is to be recorded, and to say so
LOOK_SECONDS = 1.0
ONCE = "RAY_gcs_server_port_wait_time_s"  # how often whoever connects asks a head, too
# Ray would connect anew by itself, and hide that its head was lost; read when it is imported
BY_ITSELF = "RAY_ENABLE_AUTO_CONNECT"


class HeadLostError(Exception):
    """Nobody listens at the head's address any more."""


@contextmanager
def ray_workers(
    address: str, where: str, environment: Mapping[str, str], device: str
) -> Iterator[RayWorkers]:
    """Those of a cluster, each with this environment.

    A shard takes as many of its CPUs as OMP_NUM_THREADS says, 1 without it, and a GPU where the
    device is `cuda`, or `auto` and the cluster has one: Ray hides GPUs that nobody asked for.
    """
    _ray()  # before Prefect's, which loads it so late that its errors would be there twice
    from prefect_ray.task_runners import RayTaskRunner
    from ray.exceptions import RayError

    settings = {
        "runtime_env": {"env_vars": dict(environment)},
        "log_to_driver": False,
        "logging_level": logging.CRITICAL,
    }
    runner: RayTaskRunner[Any] = RayTaskRunner(address=address, init_kwargs=settings)
    try:
        with _asking_once(), _answering_sigterm():
            runner.__enter__()
    except (OSError, ValueError, RuntimeError, RayError) as error:
        if _is_for_want_of_a_token(error):
            raise InputError(
                "this Ray cluster was not shown the token that it wants",
                where,
                "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN where ~/.ray/auth_token has another",
            ) from None
        raise InputError(
            f"no Ray cluster answers there ({first_line(error)})",
            where,
            "start it with `ray start --head`, or correct the address",
        ) from None
    try:
        threads = environment.get("OMP_NUM_THREADS", "")
        cpus = int(threads) if threads.isdecimal() and int(threads) else 1
        client = address.startswith("ray://")
        head = ClientsHead() if client else Head(_ray().get_runtime_context().gcs_address)
        gpus = int(device == "cuda" or (device == "auto" and _has_gpus()))
        yield RayWorkers(runner, where, cpus, gpus, head)
    finally:
        _leave(runner)


def _leave(runner: RayTaskRunner[Any]) -> None:
    """End the connection, if it is there: Ray's client ends by itself what it cannot reach."""
    try:
        runner.__exit__(None, None, None)
    except Exception:
        if _ray().is_initialized():
            raise


def _is_for_want_of_a_token(error: BaseException | None) -> bool:
    """Whether Ray says so in one of the errors that led to this."""
    while error is not None:
        if type(error).__name__ == "AuthenticationError" or "InvalidAuthToken" in str(error):
            return True
        error = error.__cause__ or error.__context__
    return False


class Head:
    """Whether a cluster's head is there, asked without Ray, which would wait for it."""

    def __init__(self, address: str) -> None:
        self._address = address
        self._seen = time.monotonic()

    def answers(self) -> bool:
        """Whether somebody listens; HeadLostError once nobody has for `HEAD_SECONDS`."""
        host, _, port = self._address.rpartition(":")
        try:
            with socket.create_connection((host.strip("[]"), int(port)), timeout=HEAD_SECONDS):
                self._seen = time.monotonic()
                return True
        except OSError as error:
            if time.monotonic() - self._seen > HEAD_SECONDS:
                raise HeadLostError(str(error)) from None
            return False

    def wait(self) -> None:
        """Come back once it answers; raises as `answers` does."""
        while not self.answers():
            time.sleep(LOOK_SECONDS)

    def lost(self) -> bool:
        """Whether nothing can be asked of it any more, whatever error says so."""
        return False


class ClientsHead(Head):
    """The head behind Ray's client, which ends by itself what it cannot reach."""

    def __init__(self) -> None:
        super().__init__("")

    def answers(self) -> bool:
        return True

    def lost(self) -> bool:
        return not _ray().is_initialized()


class RayPromise:
    """What will come of a task or a call, or the error that it raised, without what Ray adds."""

    def __init__(self, reference: Any, take: Callable[[], Any]) -> None:
        self.reference = reference
        self._take = take

    def add_done_callback(self, fn: Callable[[Any], None], /) -> None:
        self.reference._on_completed(lambda _: fn(self))

    def result(self) -> Any:
        from ray.exceptions import RayError

        try:
            return self._take()
        except RayError as error:
            raise _unwrapped(error) from None


class RayWorkers:
    """A `Cluster` of Ray workers.

    Ray gives a task of a worker that died to another, three times (`max_retries`).
    """

    apart = True

    def __init__(
        self, runner: RayTaskRunner[Any], where: str, cpus: int, gpus: int, head: Head
    ) -> None:
        self.where = where
        self._runner = runner
        self._head = head
        self._takes = {"num_cpus": cpus} | ({"num_gpus": gpus} if gpus else {})

    def places(self) -> int:
        """How many shards the nodes have the CPUs and GPUs for; none is divided between nodes.

        0 where the head does not answer; HeadLostError where it has not for a while.
        """
        if not self._head.answers():
            return 0
        try:
            nodes = _ray().nodes()
        except Exception:  # Ray raises errors of many kinds where its head is gone
            return 0
        return sum(self._places_on(node["Resources"]) for node in nodes if node["Alive"])

    def _places_on(self, node: Mapping[str, float]) -> int:
        return min(
            int(node.get(name, 0) // self._takes[option])
            for option, name in (("num_cpus", "CPU"), ("num_gpus", "GPU"))
            if option in self._takes
        )

    def submit(self, task: PipelineTask[..., Any], parameters: Mapping[str, Any]) -> Promise:
        from prefect_ray.context import remote_options

        self._head.wait()
        with remote_options(**self._takes):
            future = self._runner.submit(task, dict(parameters))
        return RayPromise(future.wrapped_future, future.result)

    def call(self, function: Callable[..., Any], parameters: Mapping[str, Any]) -> Promise:
        self._head.wait()
        ray = _ray()
        reference = ray.remote(**self._takes)(function).remote(**parameters)
        return RayPromise(reference, lambda: ray.get(reference))

    def cancel(self, promises: Sequence[Promise]) -> None:
        for promise in promises:
            if isinstance(promise, RayPromise):
                with suppress(Exception):  # it may have ended, and Ray may be gone
                    _ray().cancel(promise.reference)

    def fate(self, error: BaseException) -> str:
        """Words for a head that is gone, and workers or nodes that died again and again."""
        from ray.exceptions import RayError

        if isinstance(error, HeadLostError):
            return f"the head does not answer any more ({error})"
        if self._head.lost():
            return f"the connection to the head is lost ({first_line(error)})"
        if isinstance(error, RayError):
            return f"the workers that had a shard are gone ({first_line(error)})"
        return ""


def _unwrapped(error: Exception) -> Exception:
    """The error that a task raised, however often Ray wrapped it; its own for a lost worker.

    In place of one that cannot be sent, Ray has a text, which is that of an error of the task too.
    """
    from ray.exceptions import RayError, RayTaskError, UnserializableException

    while isinstance(error, RayTaskError):  # its text is a traceback of the worker
        error = error.cause
    if type(error) in (RayError, UnserializableException):
        return RuntimeError(str(error))
    return error


def _has_gpus() -> bool:
    return any(node["Alive"] and node["Resources"].get("GPU", 0) for node in _ray().nodes())


def _ray() -> Any:
    os.environ.setdefault(BY_ITSELF, "0")
    import ray

    return ray


@contextmanager
def _asking_once() -> Iterator[None]:
    """Ray asks a head that does not answer for 40 seconds, and by itself does that 20 times."""
    if ONCE in os.environ:
        yield
        return
    os.environ[ONCE] = "1"
    try:
        yield
    finally:
        os.environ.pop(ONCE, None)


@contextmanager
def _answering_sigterm() -> Iterator[None]:
    """Ray, when it connects, makes SIGTERM end the process; who answered it before goes on to."""
    if threading.current_thread() is not threading.main_thread():
        yield  # Ray leaves it alone there
        return
    before = signal.getsignal(signal.SIGTERM)
    try:
        yield
    finally:
        if before is not None:  # of a handler that Python did not set
            signal.signal(signal.SIGTERM, before)
