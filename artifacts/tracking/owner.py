"""Runs whose process was killed are closed by the next one, so that they do not seem to go on."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from artifacts.store.process import is_gone

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

OWNER = "threeloops.owner"  # the tag with the process that writes a run
logger = logging.getLogger(__name__)


def close_abandoned(client: MlflowClient, experiment_id: str) -> list[str]:
    """End the runs whose process is gone, and warn of each; returns their names.

    A process that was killed could not say that its runs have ended.
    """
    running = client.search_runs([experiment_id], "attributes.status = 'RUNNING'")
    gone = [run for run in running if is_gone(run.data.tags.get(OWNER, ""))]
    for run in gone:
        name, reason = _name(run), "its process was ended from outside, and could not say so"
        client.set_tag(run.info.run_id, "threeloops.error", reason)
        client.update_run(run.info.run_id, status="KILLED", name=name)
        client.set_terminated(run.info.run_id, "KILLED")
        logger.warning("%s was cut off: %s; it is listed as killed from now on", name, reason)
    return [_name(run) for run in gone]


def _name(run: Run) -> str:
    """A run's name; one that was cut off before it was named has its verb alone."""
    name, end = run.info.run_name or "run", f"-{run.info.run_id[:6]}"
    return name if name.endswith(end) else name + end
