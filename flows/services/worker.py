"""The worker of `threeloops up`: runs flows that prefect.yaml names, and nothing else.

Prefect's own worker runs what a deployment in the database says, which may be any command. Here the
database only chooses among our flows and gives their parameters.
"""

from __future__ import annotations

import asyncio
import contextlib

import anyio
from anyio.abc import TaskStatus
from prefect.client.schemas.objects import FlowRun
from prefect.flows import Flow, load_flow_from_entrypoint
from prefect.runner._flow_run_executor import FlowRunExecutionResult, FlowRunExecutorContext
from prefect.runner._process_manager import ProcessHandle
from prefect.runner._starter_engine import EngineCommandStarter
from prefect.workers.process import ProcessJobConfiguration, ProcessWorker, ProcessWorkerResult

from flows.services.deployments import POOL, PROJECT, objection
from schemas.errors import RefusedError


class OwnFlowsWorker(ProcessWorker):
    """Refuses a flow run whose code, command or environment is not ours, and says why.

    The deployment is read once. What runs afterwards is the file of ours that was checked, whatever
    becomes of the deployment in the meantime.
    """

    @classmethod
    def __dispatch_key__(cls) -> str:
        """Prefect's own worker stays the one that it knows as `process`."""
        return "process of threeloops"

    async def run(
        self,
        flow_run: FlowRun,
        configuration: ProcessJobConfiguration,
        task_status: TaskStatus[int] | None = None,
    ) -> ProcessWorkerResult:
        """Called by Prefect for each flow run. `configuration`, from the database, is not used."""
        entrypoint = await self._entrypoint(flow_run)
        status: TaskStatus[int] = task_status or anyio.TASK_STATUS_IGNORED
        done: list[FlowRunExecutionResult | None] = []

        async def resolve(_: FlowRun) -> Flow[..., object]:
            return load_flow_from_entrypoint(entrypoint)

        async with FlowRunExecutorContext() as context:
            channel = context.control_channel
            starter = EngineCommandStarter(
                entrypoint=entrypoint, cwd=PROJECT, control_channel=channel
            )
            executor = context.create_executor(flow_run, starter, resolve, propose_submitting=False)

            async def execute(*, task_status: TaskStatus[ProcessHandle]) -> None:
                done.append(await executor.submit(task_status=task_status))

            async with anyio.create_task_group() as group:
                handle = await group.start(execute)
                status.started(handle.pid)
        result = done[0] if done else None
        if result is None or result.status_code is None:
            raise RuntimeError("the process of the flow run did not start")
        return ProcessWorkerResult(
            status_code=result.status_code, identifier=str(result.handle.pid)
        )

    async def _entrypoint(self, flow_run: FlowRun) -> str:
        if flow_run.deployment_id is None:
            raise RefusedError("`threeloops up` runs deployments of prefect.yaml alone")
        deployment = await self.client.read_deployment(flow_run.deployment_id)
        variables = {**(deployment.job_variables or {}), **(flow_run.job_variables or {})}
        entrypoint = deployment.entrypoint
        if why := objection(entrypoint, deployment.pull_steps, variables):
            raise RefusedError(
                f"the deployment {deployment.name} is not run: {why}; `threeloops up` runs its own "
                "flows alone, with any parameters and schedule"
            )
        return str(entrypoint)


def main() -> None:
    """Work until a signal ends it."""
    worker = OwnFlowsWorker(work_pool_name=POOL, create_pool_if_not_found=False)
    with contextlib.suppress(KeyboardInterrupt, asyncio.CancelledError):
        asyncio.run(worker.start())


if __name__ == "__main__":
    main()
