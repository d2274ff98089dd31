"""What a process is sent of a flow: a worker that runs a task of it, or one that runs it."""

from __future__ import annotations

import importlib.util
import inspect
import shutil
import sys
import threading
from pathlib import Path

import cloudpickle  # type: ignore[import-untyped]
import pytest

from flows.eval import eval_flow
from flows.orchestration.pipeline_flow import Body, NamedFunction, PipelineFlow, pipeline_flow


@pytest.mark.parametrize("runs", [False, True])
def test_a_worker_is_sent_a_flow_without_its_function(runs: bool) -> None:
    lock = threading.Lock()  # which cannot be sent

    def holding() -> bool:
        return lock.locked()

    flow = pipeline_flow(name="holding", flow_run_name="holding")(holding)
    assert isinstance(flow, PipelineFlow)
    sent = cloudpickle.loads(cloudpickle.dumps(flow.having(Body(flow.fn)) if runs else flow))
    assert (sent.name, sent.fn.__name__) == ("holding", "holding")
    assert isinstance(sent.fn, NamedFunction)


def test_a_worker_need_not_know_the_file_that_a_flow_was_loaded_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prefect's own worker loads a flow by its file, as a module of another name."""
    name = "eval_by_its_file"
    path = shutil.copy(Path(inspect.getfile(inspect.unwrap(eval_flow.fn))), tmp_path)
    spec = importlib.util.spec_from_file_location(name, path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    content = cloudpickle.dumps(module.eval_flow)
    monkeypatch.delitem(sys.modules, name)
    sent = cloudpickle.loads(content)
    assert sent.name == "eval"
    with pytest.raises(ModuleNotFoundError):
        sent.fn()


def test_a_process_that_is_sent_a_flow_can_run_it() -> None:
    sent = cloudpickle.loads(cloudpickle.dumps(eval_flow))
    assert inspect.signature(sent.fn) == inspect.signature(eval_flow.fn)
    with pytest.raises(TypeError, match="config"):
        sent.fn()
