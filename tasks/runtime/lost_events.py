"""Events that wait for a Prefect server which is gone are dropped, so that nobody waits for them.

Prefect sends events from a thread, tries each for many seconds, and waits for all of them when the
process ends. It has no setting for that, so its own parts are used here, as far as they are there.
"""

from __future__ import annotations

import contextlib
import queue
import sys
from typing import Any


def drop_events() -> int:
    """Drop the events that wait to be sent by this process; returns how many there were."""
    module: Any = sys.modules.get("prefect.events.worker")
    if module is None:
        return 0  # none was ever sent
    dropped = 0
    for service in list(getattr(module.EventsWorker, "_instances", {}).values()):
        if not isinstance(service, module.EventsWorker):
            continue
        client: Any = getattr(service, "_client", None)
        if hasattr(client, "_reconnection_attempts"):
            client._reconnection_attempts = 0
        waiting: Any = getattr(service, "_queue", None)
        with contextlib.suppress(queue.Empty, AttributeError):
            while True:
                waiting.get_nowait()
                dropped += 1
    return dropped
