"""What happens on a Prefect server, one line an event: flow runs by state, registered versions."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import httpx
from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.filters import (
    FlowRunFilter,
    FlowRunFilterState,
    FlowRunFilterStateType,
    WorkPoolFilter,
    WorkPoolFilterName,
)
from prefect.client.schemas.objects import State, StateType
from prefect.client.schemas.sorting import FlowRunSort
from prefect.events.filters import EventFilter, EventNameFilter, EventOccurredFilter
from prefect.exceptions import PrefectException
from prefect.settings import PREFECT_CLIENT_MAX_RETRIES, temporary_settings
from prefect.states import Crashed

from flows.orchestration.events import VERSION_REGISTERED
from flows.orchestration.up_file import Served

WATCHED_RUNS = 50
EVENTS_AT_ONCE = 50  # the client asks for more, which the server refuses
REPORTED_STATES = ("RUNNING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED", "PAUSED")
WENT_WRONG = ("FAILED", "CRASHED")


class EventLines:
    """Calls `tell` with a line for each flow run that changed its state since the last call.

    The first call reports nothing: what happened before is not new.
    """

    def __init__(self, served: Served, tell: Callable[[str], None]) -> None:
        self.client = _client(served, timeout=5)
        self.tell = tell
        self._states: dict[str, str] | None = None
        self._since = datetime.now(UTC)
        self._told: set[str] = set()

    def __call__(self) -> None:
        """Ask once. A server that does not answer has no news, and is asked again next time."""
        with (
            contextlib.suppress(httpx.HTTPError, PrefectException, ValueError),
            temporary_settings({PREFECT_CLIENT_MAX_RETRIES: 0}),
        ):
            self._flow_runs()
            self._versions()

    def _flow_runs(self) -> None:
        runs = self.client.read_flow_runs(
            sort=FlowRunSort.EXPECTED_START_TIME_DESC, limit=WATCHED_RUNS
        )
        now = {str(run.id): run.state_type.value for run in runs if run.state_type}
        before, self._states = self._states, now
        if before is None:
            return
        for run in reversed(runs):
            state = now.get(str(run.id))
            if state in REPORTED_STATES and before.get(str(run.id)) != state:
                message = (run.state.message if run.state else "") or ""
                lines = message.splitlines()
                why = f": {lines[0][:120]}" if lines and state in WENT_WRONG else ""
                name = (run.state_name or state).lower()
                self.tell(f"{_now()}  flow run {run.name}: {name}{why}")

    def _versions(self) -> None:
        wanted = EventFilter(
            event=EventNameFilter(name=[VERSION_REGISTERED]),
            occurred=EventOccurredFilter.model_validate({"since": self._since}),
        )
        for event in reversed(self.client.read_events(wanted, EVENTS_AT_ONCE).events):
            if str(event.id) not in self._told:
                self._told.add(str(event.id))
                self.tell(f"{_now()}  registered {event.payload['model']}")


def close_lost_runs(served: Served, pool: str) -> int:
    """Mark a pool's flow runs that ended with their worker as crashed; returns how many.

    Prefect counts them as running until somebody says otherwise, and what runs holds a place in its
    queue. To be called before a worker starts.
    """
    states = [StateType.RUNNING, StateType.PENDING, StateType.CANCELLING]
    with _client(served) as client:
        lost = client.read_flow_runs(
            flow_run_filter=FlowRunFilter(
                state=FlowRunFilterState(type=FlowRunFilterStateType(any_=states))
            ),
            work_pool_filter=WorkPoolFilter(name=WorkPoolFilterName(any_=[pool])),
        )
        for run in lost:
            crashed: State[None] = Crashed(message="its worker ended before it did")
            client.set_flow_run_state(run.id, crashed, force=True)
    return len(lost)


def _client(served: Served, **settings: Any) -> SyncPrefectClient:
    return SyncPrefectClient(served.prefect, httpx_settings={"headers": served.headers, **settings})


def _now() -> str:
    return datetime.now().strftime("%H:%M:%S")
