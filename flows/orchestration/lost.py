"""Prefect is told of flow runs whose process was killed, which it would list as running forever."""

from __future__ import annotations

import contextlib
from uuid import UUID

from prefect.client.orchestration import SyncPrefectClient, get_client
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterId,
    FlowRunFilterState,
    FlowRunFilterStateType,
)
from prefect.client.schemas.objects import State, StateType
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Crashed

from artifacts.tracking.connection import Tracking
from artifacts.tracking.owner import flow_runs_cut_off
from tasks.runtime.runtime import Runtime

OPEN = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]


def tell_of_lost_runs(runtime: Runtime) -> None:
    """Close the flow runs of dead processes on the server that this command uses."""

    def tell() -> None:
        with get_client(sync_client=True) as client:
            close_lost(client, runtime.archive.tracking)

    runtime.side_channel.publish_best_effort("which flow runs were cut off", tell)


def close_lost(client: SyncPrefectClient, tracking: Tracking) -> int:
    """Mark the flow runs that MLflow knows to be cut off as crashed; returns how many.

    A flow run of another server is not found on this one, and stays as it is.
    """
    ids = [UUID(one) for one in flow_runs_cut_off(tracking.client, tracking.experiment_id)]
    if not ids:
        return 0
    lost = client.read_flow_runs(
        flow_run_filter=FlowRunFilter(
            id=FlowRunFilterId(any_=ids),
            state=FlowRunFilterState(type=FlowRunFilterStateType(any_=OPEN)),
        )
    )
    for run in lost:
        crashed: State[None] = Crashed(message="its process was ended from outside")
        client.set_flow_run_state(run.id, crashed, force=True)
    return len(lost)


def close_lost_quietly(client: SyncPrefectClient, tracking: Tracking) -> None:
    """`close_lost` for one who looks again in a moment: a server that does not answer is left."""
    with (
        contextlib.suppress(Exception),  # nothing of this may end `threeloops up`
        temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
    ):
        close_lost(client, tracking)
