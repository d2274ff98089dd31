"""Threads of this process as workers: useful where a server answers, which several may ask."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import copy_context
from functools import partial
from typing import Any

from prefect.settings import get_current_settings
from prefect.task_runners import ThreadPoolTaskRunner

from tasks.runtime.pipeline_task import PipelineTask
from tasks.runtime.workers import Promise

THREADS = 4  # unless PREFECT_TASKS_RUNNER_THREAD_POOL_MAX_WORKERS says it


@contextmanager
def thread_workers() -> Iterator[ThreadWorkers]:
    """As many threads as Prefect's setting says."""
    count = get_current_settings().tasks.runner.thread_pool_max_workers or THREADS
    runner: ThreadPoolTaskRunner[Any] = ThreadPoolTaskRunner(max_workers=count)
    with runner, ThreadPoolExecutor(max_workers=count) as plain:
        yield ThreadWorkers(runner, plain, count)


class ThreadWorkers:
    """A `Cluster` of threads; they have the environment and the models of this process."""

    where = "--task-runner threads"
    apart = False

    def __init__(
        self, runner: ThreadPoolTaskRunner[Any], plain: ThreadPoolExecutor, count: int
    ) -> None:
        self._runner = runner
        self._plain = plain
        self._count = count

    def places(self) -> int:
        return self._count

    def submit(self, task: PipelineTask[..., Any], parameters: Mapping[str, Any]) -> Promise:
        return self._runner.submit(task, dict(parameters))

    def call(self, function: Callable[..., Any], parameters: Mapping[str, Any]) -> Promise:
        return self._plain.submit(copy_context().run, partial(function, **parameters))

    def cancel(self, promises: Sequence[Promise]) -> None:
        for promise in promises:
            future: Any = getattr(promise, "wrapped_future", promise)
            future.cancel()

    def fate(self, error: BaseException) -> str:
        return ""
