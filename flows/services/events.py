"""What happens on a Prefect server, one line an event: flow runs by state, registered versions.

It asks the server's API again and again; all it changes there are runs that were lost.
"""

from __future__ import annotations

import contextlib
import json
import urllib.request
from collections.abc import Callable
from datetime import datetime
from typing import Any

from flows.orchestration.events import VERSION_REGISTERED

WATCHED_RUNS = 50
SAID_STATES = ("RUNNING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED", "PAUSED")


class EventLines:
    """Calls `tell` with a line for each flow run that changed its state since the last call.

    The first call says nothing: what had happened before is no news.
    """

    def __init__(self, api: str, tell: Callable[[str], None]) -> None:
        self.api = api
        self.tell = tell
        self._states: dict[str, str] | None = None
        self._since = datetime.now().astimezone().isoformat()
        self._said: set[str] = set()

    def __call__(self) -> None:
        """Ask once. A server that does not answer has no news."""
        with contextlib.suppress(OSError, ValueError):
            self._flow_runs()
            self._versions()

    def _flow_runs(self) -> None:
        asked = {"sort": "EXPECTED_START_TIME_DESC", "limit": WATCHED_RUNS}
        runs = [run for run in post(self.api, "flow_runs/filter", asked) if run["state_type"]]
        before, self._states = self._states, {run["id"]: run["state_type"] for run in runs}
        if before is None:
            return
        for run in reversed(runs):
            state = run["state_type"]
            if state in SAID_STATES and before.get(run["id"]) != state:
                message = (run["state"] or {}).get("message") or ""
                why = f": {message.splitlines()[0][:120]}" if message and _went_wrong(state) else ""
                self.tell(f"{_now()}  flow run {run['name']}: {run['state_name'].lower()}{why}")

    def _versions(self) -> None:
        wanted = {"event": {"name": [VERSION_REGISTERED]}, "occurred": {"since": self._since}}
        found = post(self.api, "events/filter", {"filter": wanted})
        for event in reversed(found["events"]):
            if event["id"] not in self._said:
                self._said.add(event["id"])
                self.tell(f"{_now()}  registered {event['payload']['model']}")


def close_lost_runs(api: str, pool: str) -> int:
    """Mark a pool's flow runs that ended with their worker as crashed; returns how many.

    Prefect counts them as running until somebody says otherwise, and what runs holds a place in its
    queue. To be called before a worker starts.
    """
    states = {"type": {"any_": ["RUNNING", "PENDING", "CANCELLING"]}}
    asked = {"flow_runs": {"state": states}, "work_pools": {"name": {"any_": [pool]}}}
    lost = post(api, "flow_runs/filter", asked)
    crashed = {"type": "CRASHED", "message": "its worker ended before it did"}
    for run in lost:
        post(api, f"flow_runs/{run['id']}/set_state", {"state": crashed, "force": True})
    return len(lost)


def post(api: str, path: str, body: dict[str, Any]) -> Any:
    """The answer of a Prefect server to one request; OSError when it gives none."""
    request = urllib.request.Request(
        f"{api}/{path}",
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)


def _went_wrong(state: str) -> bool:
    return state in ("FAILED", "CRASHED")


def _now() -> str:
    return datetime.now().strftime("%H:%M:%S")
