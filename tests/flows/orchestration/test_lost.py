"""Flow runs of killed processes are closed on the Prefect server that has them, and no others."""

from __future__ import annotations

import platform
from uuid import uuid4

import pytest
from prefect import flow
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import StateType
from prefect.states import Running

from artifacts.tracking.archive import Archive
from artifacts.tracking.owner import close_abandoned
from artifacts.unsent.owned import OWNER
from flows.orchestration.lost import close_lost

GONE = f"{platform.node()} 999999999 5.0"


@flow
def asleep() -> None:
    """A flow of which only runs that never began are used here."""


@pytest.mark.usefixtures("prefect_server")
def test_only_flow_runs_that_a_dead_process_left_open_are_closed(archive: Archive) -> None:
    tracking = archive.tracking
    with get_client(sync_client=True) as client:
        lost, other = (client.create_flow_run(asleep, state=Running()).id for _ in range(2))
        for flow_run in (str(lost), str(uuid4())):  # the second one is on another server
            tags = {OWNER: GONE, "threeloops.flow_run": flow_run}
            tracking.client.create_run(tracking.experiment_id, tags=tags, run_name="eval")
        tags = {"threeloops.flow_run": str(other)}
        tracking.client.create_run(tracking.experiment_id, tags=tags, run_name="eval")
        assert close_lost(client, tracking) == 0, "nobody has said that a process is gone"
        close_abandoned(tracking.client, tracking.experiment_id)
        assert close_lost(client, tracking) == 1
        found = client.read_flow_run(lost).state
        assert found is not None
        assert (found.type, found.message) == (
            StateType.CRASHED, "its process was ended from outside",
        )  # fmt: skip
        assert client.read_flow_run(other).state_type == StateType.RUNNING
        assert close_lost(client, tracking) == 0
