"""What a worker is sent of a flow whose task it runs."""

from __future__ import annotations

import threading

import cloudpickle  # type: ignore[import-untyped]

from flows.orchestration.pipeline_flow import Body, PipelineFlow, pipeline_flow, runs_elsewhere


def test_a_worker_is_sent_a_flow_without_its_function() -> None:
    lock = threading.Lock()  # which cannot be sent

    def holding() -> bool:
        return lock.locked()

    body = Body(holding)
    assert body() is False
    assert cloudpickle.loads(cloudpickle.dumps(body)) is runs_elsewhere
    flow = pipeline_flow(name="holding", flow_run_name="holding")(holding)
    assert isinstance(flow, PipelineFlow)
    told = flow.having(body)
    sent = cloudpickle.loads(cloudpickle.dumps(told))
    assert (sent.name, sent.fn) == ("holding", runs_elsewhere)
