"""How long MLflow's client waits for a server that passes a large file on."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

TIMEOUT = "MLFLOW_HTTP_REQUEST_TIMEOUT"  # MLflow reads it at each request
BYTES_PER_SECOND = 2e6  # a slow way, and the server's own to its store behind it
MOST_SECONDS = 600.0  # for a file whose size is not known


@contextlib.contextmanager
def patient(seconds: float) -> Iterator[None]:
    """Requests in the block may take so much longer than usual."""
    before = os.environ.get(TIMEOUT)
    os.environ[TIMEOUT] = str(round(float(before or 10) + seconds))
    try:
        yield
    finally:
        os.environ.pop(TIMEOUT)
        if before is not None:
            os.environ[TIMEOUT] = before


def seconds_for(path: Path) -> float:
    """How much longer than a small one a file of this size may take."""
    return path.stat().st_size / BYTES_PER_SECOND
