"""A Prefect task that is a plain function call when no flow run is going on.

Inside a flow run it is a task run like any other. Outside, as in a replay without a server, it
needs no server either; nor does it after the server has gone away.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from tasks.runtime.guarded import guarded
from tasks.runtime.runtime import process_runtime

P = ParamSpec("P")
R = TypeVar("R")


class PipelineTask(Task[P, R]):
    """A task whose call outside a flow run is a call of its function."""

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]
        if outside_prefect():
            return self.fn(*args, **kwargs)
        return super().__call__(*args, **kwargs)


def outside_prefect() -> bool:
    """Whether tasks are plain calls: no flow run is going on, or its server has gone away."""
    return FlowRunContext.get() is None or process_runtime().side_channel.gone


def pipeline_task(
    name: str, run_name: str | None = None
) -> Callable[[Callable[P, R]], PipelineTask[P, R]]:
    """Make a task called `name`; `run_name` is a template over its arguments.

    Prefect's own result cache is off: results are tables, and the table store knows them by key.
    """

    def decorate(function: Callable[P, R]) -> PipelineTask[P, R]:
        settings: dict[str, Any] = {"cache_policy": NO_CACHE, "persist_result": False}
        return PipelineTask(guarded(function), name=name, task_run_name=run_name, **settings)

    return decorate
