"""The workers of a Dask scheduler, through Prefect's task runner for Dask."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import CancelledError, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from schemas.errors import InputError
from tasks.runtime.pipeline_task import PipelineTask
from tasks.runtime.workers import Promise

if TYPE_CHECKING:
    from prefect_dask.task_runners import DaskTaskRunner

# seconds to connect: a scheduler on a busy machine takes some to greet
QUIET = {"timeout": 15, "set_as_default": False}
LOGS = ("distributed", "distributed.client")  # Dask gives both a level of their own


def refuse_no_workers(address: str, where: str) -> None:
    """InputError where no scheduler answers or can unpack a task, and where one has no workers."""
    with _connected(address, where) as client:
        try:
            client.run_on_scheduler(_unpacked)
        except ImportError as error:
            raise InputError(
                f"the scheduler unpacks what is sent, and cannot import what it needs ({error})",
                where,
                "install threeloops where the scheduler runs, in the version that is here",
            ) from None
        if not client.nthreads():
            raise InputError(
                "no worker has come to this scheduler", where, f"start some: dask worker {address}"
            )


@contextmanager
def dask_workers(address: str, where: str) -> Iterator[DaskWorkers]:
    """Those that a scheduler has, also if they come and go."""
    from prefect_dask.task_runners import DaskTaskRunner

    with _quiet(), DaskTaskRunner(address=address, client_kwargs=dict(QUIET)) as runner:
        try:
            client = runner.client  # connects
        except (OSError, ValueError) as error:
            raise _nobody(where, error) from None
        yield DaskWorkers(runner, client, where)


class DaskWorkers:
    """A `Cluster` of Dask workers.

    Dask gives a task of a worker that died to another, three times (`allowed-failures`).
    """

    apart = True

    def __init__(self, runner: DaskTaskRunner, client: Any, where: str) -> None:
        self.where = where
        self._runner = runner
        self._client = client

    def places(self) -> int:
        """The threads of all workers; 0 also where the scheduler does not answer."""
        try:
            return sum(self._client.nthreads().values())
        except _gone():
            return 0

    def submit(self, task: PipelineTask[..., Any], parameters: Mapping[str, Any]) -> Promise:
        promise: Promise = self._runner.submit(task, dict(parameters))
        return promise

    def call(self, function: Callable[..., Any], parameters: Mapping[str, Any]) -> Promise:
        promise: Promise = self._client.submit(function, **parameters, pure=False)
        return promise

    def cancel(self, promises: Sequence[Promise]) -> None:
        futures = [getattr(promise, "wrapped_future", promise) for promise in promises]
        with suppress(*_gone()):
            self._client.cancel(futures)

    def fate(self, error: BaseException) -> str:
        """Words for workers that died again and again, and for a scheduler that is gone."""
        from distributed import KilledWorker

        if isinstance(error, KilledWorker):
            return (
                "workers died one after another while they had the same shard, for want of memory "
                "perhaps"
            )
        # an error of a worker's own system, such as a full disk, has a number
        if isinstance(error, OSError) and error.errno is not None:
            return ""
        if isinstance(error, _of_a_lost_scheduler()):
            return f"the scheduler does not answer any more ({type(error).__name__})"
        return ""


def _unpacked() -> None:
    """Whoever unpacks this function imports this module, as a task's module is."""


def _of_a_lost_scheduler() -> tuple[type[Exception], ...]:
    """What Dask raises where there is no scheduler any more."""
    from distributed.client import ClosedClientError

    return (OSError, CancelledError, ClosedClientError)


def _gone() -> tuple[type[Exception], ...]:
    """The same, and what asyncio raises where a loop is closed."""
    return (*_of_a_lost_scheduler(), RuntimeError)


@contextmanager
def _connected(address: str, where: str) -> Iterator[Any]:
    from distributed import Client

    connect: Callable[..., Any] = Client
    with _quiet():
        _refuse_another_server(address, where)
        try:
            client = connect(address, **QUIET)
        except (OSError, ValueError) as error:
            raise _nobody(where, error) from None
        with client:
            yield client


def _refuse_another_server(address: str, where: str) -> None:
    """InputError where something listens that doesn't greet as Dask does.

    Dask's client waits for ever for the greeting, and takes what else comes for its length.
    """
    from distributed.client import _maybe_call_security_loader
    from distributed.comm import connect
    from distributed.security import Security

    async def greet() -> None:
        security = _maybe_call_security_loader(address) or Security()  # as Dask's client does
        options = security.get_connection_args("client")
        async with asyncio.timeout(QUIET["timeout"]):
            comm = await connect(address, timeout=QUIET["timeout"], **options)
        await comm.close()

    with ThreadPoolExecutor(1) as apart:  # this thread may have a loop that runs
        try:
            apart.submit(asyncio.run, greet()).result()
        except Exception as error:  # whatever came in place of a greeting was taken for one
            raise _nobody(where, error) from None


@contextmanager
def _quiet() -> Iterator[None]:
    """What Dask logs about connections is said in one line of ours, or is no matter.

    Dask has to be imported before, which sets the levels of its logs.
    """
    logs = [logging.getLogger(name) for name in LOGS]
    before = [log.level for log in logs]
    for log in logs:
        log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        for log, level in zip(logs, before, strict=True):
            log.setLevel(level)


def _nobody(where: str, error: Exception) -> InputError:
    return InputError(
        f"no Dask scheduler answers there ({type(error).__name__})",
        where,
        "start it with `dask scheduler`, or correct the address",
    )
