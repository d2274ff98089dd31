"""A Prefect flow that ends well without its server, if the server goes away while it runs."""

from __future__ import annotations

import copy
import functools
import importlib
import inspect
from collections.abc import Callable
from typing import Any, Generic, ParamSpec, TypeVar

from prefect import Flow
from prefect.context import FlowRunContext

from artifacts.store.data_dir import private_files
from flows.orchestration.untold import keep_end
from tasks.runtime.guarded import guarded
from tasks.runtime.runtime import process_runtime
from tasks.runtime.side_channel import not_able

P = ParamSpec("P")
R = TypeVar("R")


class PipelineFlow(Flow[P, R]):
    """A flow whose result does not depend on what Prefect's server could be told."""

    @private_files()
    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:  # type: ignore[override]
        """Run it under Prefect.

        A server that does not answer when the function has ended, or fails to, takes nothing away:
        how it ended is kept, and told later. One that does so before it began leaves a plain call.
        """
        channel, body = process_runtime().side_channel, Body(self.fn)
        told = self.having(body)
        if channel.gone:
            return self.fn(*args, **kwargs)
        try:
            return Flow.__call__(told, *args, **kwargs)
        except BaseException as error:
            if error is body.error or not not_able(error):
                raise
            channel.lose(error)
            if not body.begun:
                return self.fn(*args, **kwargs)
            keep_end(process_runtime(), body.flow_run, body.error)
            if body.error is not None:
                raise body.error from None
            return body.result[0]

    def __getstate__(self) -> dict[str, Any]:
        """A process that is sent the flow, such as a worker for a task of it, gets no function.

        It may know the function's module by another name, or not at all.
        """
        named = NamedFunction(self.fn.__module__, self.fn.__qualname__)
        return vars(self) | {"fn": named, "__wrapped__": named}

    def having(self, body: Body[P, R]) -> PipelineFlow[P, R]:
        """The same flow with this in place of its function, wherever it holds that."""
        told = copy.copy(self)
        vars(told).update(fn=body, __wrapped__=body)
        return told


class Body(Generic[P, R]):
    """The function of one flow run, and how it ended."""

    def __init__(self, function: Callable[P, R]) -> None:
        self._function = function
        self.begun = False
        self.flow_run = ""
        self.result: list[R] = []
        self.error: BaseException | None = None
        functools.update_wrapper(self, function)
        self.__globals__ = function.__globals__  # where Prefect looks for the names of types

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function."""
        self.begun = True
        context = FlowRunContext.get()
        if context is not None and context.flow_run is not None:
            self.flow_run = str(context.flow_run.id)
        try:
            self.result.append(self._function(*args, **kwargs))
        except BaseException as error:
            self.error = error
            raise
        return self.result[0]


class NamedFunction:
    """The function of a flow where the flow was sent to; looked for when it is called.

    ImportError or AttributeError where it is not there.
    """

    def __init__(self, module: str, name: str) -> None:
        self.__module__, self.__qualname__ = module, name
        self.__name__ = name.rpartition(".")[2]

    @property
    def __signature__(self) -> inspect.Signature:
        return inspect.signature(self._found())

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """Call the function."""
        return self._found()(*args, **kwargs)

    def _found(self) -> Callable[..., Any]:
        flow = getattr(importlib.import_module(self.__module__), self.__qualname__)
        found: Callable[..., Any] = flow.fn
        return found


def pipeline_flow(
    name: str, flow_run_name: str, **settings: Any
) -> Callable[[Callable[P, R]], Flow[P, R]]:
    """Make a flow called `name`; `flow_run_name` is a template over its arguments."""

    def decorate(function: Callable[P, R]) -> Flow[P, R]:
        return PipelineFlow(guarded(function), name=name, flow_run_name=flow_run_name, **settings)

    return decorate
