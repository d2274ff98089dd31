"""A task is its function outside a flow run, and a task run of Prefect's inside one."""

from __future__ import annotations

from typing import Any

import pytest
from prefect import Task
from prefect.cache_policies import NO_CACHE
from prefect.context import FlowRunContext

from tasks.runtime.pipeline_task import pipeline_task


@pipeline_task("double", "double {number}")
def double(number: int, *, times: int = 1) -> int:
    """Twice a number, so many times."""
    return number << times


def test_outside_a_flow_run_it_is_a_plain_call() -> None:
    assert double(3) == 6
    assert double(3, times=2) == 12


def test_inside_a_flow_run_prefect_runs_it(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[Any] = []

    def recorded(task: Task[Any, Any], *arguments: Any, **named: Any) -> str:
        calls.append((task.name, arguments, named))
        return "of Prefect"

    monkeypatch.setattr(Task, "__call__", recorded)
    monkeypatch.setattr(FlowRunContext, "get", lambda: object())
    result: object = double(3, times=2)
    assert result == "of Prefect"
    assert calls == [("double", (3,), {"times": 2})]


def test_prefect_keeps_no_result_and_names_the_run_by_its_arguments() -> None:
    assert (double.name, double.task_run_name) == ("double", "double {number}")
    assert double.cache_policy == NO_CACHE
    assert double.persist_result is False
    assert double.fn.__doc__ == "Twice a number, so many times."
