"""Prefect's settings for a run started by hand: its own folder, a patient start, few words."""

from __future__ import annotations

import os

from artifacts.store.data_dir import DataDir
from flows.orchestration.prefect_database import URL, database_url
from flows.orchestration.up_file import running

# a command does not ask a server that died for a minute, or one that is frozen for five; what it
# says of that is one line, without a log record for each event that was lost
HASTE = {
    "PREFECT_CLIENT_MAX_RETRIES": "2",
    "PREFECT_API_REQUEST_TIMEOUT": "20",
    "PREFECT_LOGGING_INTERNAL_LEVEL": "CRITICAL",
}


def configure_prefect(data_dir: DataDir, *, patient: bool = False) -> None:
    """Set what is not set: Prefect's folder below ours, no telemetry, a long start, quiet logs.

    It has to be called before prefect is imported.

    With `threeloops up` running on this data folder, its server is used; with PREFECT_API_URL set,
    that one. The secret of `up` is for its own address alone. With `patient`, which is for servers
    and workers, Prefect's client waits as long as it does by itself.
    """
    served = running(data_dir)
    if served and os.environ.get("PREFECT_API_URL", served.prefect) == served.prefect:
        os.environ.update(served.environment())
    defaults = {
        "PREFECT_HOME": str(data_dir.prefect),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "DO_NOT_TRACK": "1",
    }
    if "PREFECT_HOME" not in os.environ:  # a folder that the user named has a database of its own
        defaults[URL] = database_url(data_dir.prefect / "prefect.db")
    defaults |= {} if patient else HASTE
    for name, value in defaults.items():
        os.environ.setdefault(name, value)
