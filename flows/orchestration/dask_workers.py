"""The workers of a Dask scheduler, through Prefect's task runner for Dask."""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, Any

from schemas.errors import InputError
from tasks.runtime.pipeline_task import PipelineTask
from tasks.runtime.workers import Promise

if TYPE_CHECKING:
    from prefect_dask import DaskTaskRunner

CONNECT_SECONDS = 15  # a scheduler on a busy machine takes some to greet
QUIET = {"timeout": CONNECT_SECONDS, "set_as_default": False}


def refuse_no_workers(address: str, where: str) -> None:
    """InputError where no scheduler answers, and where one has no workers."""
    with _connected(address, where) as client:
        if not client.nthreads():
            raise InputError(
                "no worker has come to this scheduler", where, f"start some: dask worker {address}"
            )


@contextmanager
def dask_workers(address: str, where: str) -> Iterator[DaskWorkers]:
    """Those that a scheduler has, also if they come and go."""
    from prefect_dask import DaskTaskRunner

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
        except (OSError, RuntimeError, CancelledError):
            return 0

    def submit(self, task: PipelineTask[..., Any], parameters: Mapping[str, Any]) -> Promise:
        promise: Promise = self._runner.submit(task, dict(parameters))
        return promise

    def call(self, function: Callable[..., Any], parameters: Mapping[str, Any]) -> Promise:
        promise: Promise = self._client.submit(function, **parameters, pure=False)
        return promise

    def cancel(self, promises: Sequence[Promise]) -> None:
        futures = [getattr(promise, "wrapped_future", promise) for promise in promises]
        with suppress(OSError, RuntimeError, CancelledError):  # there may be no scheduler left
            self._client.cancel(futures)

    def fate(self, error: BaseException) -> str:
        """Words for workers that died again and again, and for a scheduler that is gone."""
        from distributed import KilledWorker

        if isinstance(error, KilledWorker):
            return (
                "workers died one after another while they had the same shard, for want of memory "
                "perhaps"
            )
        if isinstance(error, CancelledError | OSError):
            return f"the scheduler does not answer any more ({type(error).__name__})"
        return ""


@contextmanager
def _connected(address: str, where: str) -> Iterator[Any]:
    import distributed

    with _quiet():
        try:
            client = distributed.Client(address, **QUIET)
        except (OSError, ValueError) as error:
            raise _nobody(where, error) from None
        with client:
            yield client


@contextmanager
def _quiet() -> Iterator[None]:
    """What Dask logs about connections is said in one line of ours, or is no matter."""
    log = logging.getLogger("distributed")
    before = log.level
    log.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        log.setLevel(before)


def _nobody(where: str, error: Exception) -> InputError:
    return InputError(
        f"no Dask scheduler answers there ({type(error).__name__})",
        where,
        "start it with `dask scheduler`, or correct the address",
    )
