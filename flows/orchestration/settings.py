"""Prefect's settings for a run started by hand: its own folder, a patient start, few words."""

from __future__ import annotations

import json
import os
from pathlib import Path

from artifacts.store.data_dir import DataDir

UP_FILE = "up.json"


def configure_prefect(data_dir: DataDir) -> None:
    """Set what is not set: Prefect's folder below ours, no telemetry, a long start, quiet logs.

    It has to be called before prefect is imported.

    With `threeloops up` running on this data folder, its server is used; with PREFECT_API_URL set,
    that one.
    """
    served = served_url(data_dir)
    defaults = {
        "PREFECT_HOME": str(data_dir.prefect),
        "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "180",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_SERVER_LOGGING_LEVEL": "CRITICAL",
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        "DO_NOT_TRACK": "1",
    } | ({"PREFECT_API_URL": served} if served else {})
    for name, value in defaults.items():
        os.environ.setdefault(name, value)


def served_url(data_dir: DataDir) -> str | None:
    """The API address of a running `threeloops up` on this data folder, else None."""
    record = data_dir.root / UP_FILE
    if not record.exists():
        return None
    import httpx  # most commands find no record and need no client

    url = str(json.loads(record.read_text())["prefect"])
    try:
        httpx.get(f"{url}/health", timeout=2).raise_for_status()
    except httpx.HTTPError:
        return None
    return url


def served_page(data_dir: DataDir) -> str | None:
    """The address of MLflow's page beside the Prefect server in use, else None."""
    record = data_dir.root / UP_FILE
    if not record.exists():
        return None
    served = json.loads(record.read_text())
    return str(served["mlflow"]) if served["prefect"] == os.environ.get("PREFECT_API_URL") else None


def write_up_file(data_dir: DataDir, prefect: str, mlflow: str) -> Path:
    """Say where the servers of this data folder answer."""
    path = data_dir.root / UP_FILE
    path.write_text(json.dumps({"prefect": prefect, "mlflow": mlflow}))
    return path
