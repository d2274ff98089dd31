"""Runs whose process was killed are closed by the next one, so that they do not seem to go on."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from artifacts.store.checkpoints import remove_half_made
from artifacts.store.data_dir import DataDir
from artifacts.store.process import is_gone
from policy.model.atomic_folder import remove_partial

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

OWNER = "threeloops.owner"  # the tag with the process that writes a run
logger = logging.getLogger(__name__)


def close_abandoned(client: MlflowClient, experiment_id: str, data_dir: DataDir) -> list[str]:
    """End the runs whose process is gone, and warn of each; returns their names.

    A process that was killed could not say that its runs have ended. Folders that it had begun to
    write for them are deleted first; those that are whole stay, to go on from.
    """
    running = client.search_runs([experiment_id], "attributes.status = 'RUNNING'")
    gone = [run for run in running if is_gone(run.data.tags.get(OWNER, ""))]
    for run in gone:
        remove_begun(client, data_dir, run)
        name, reason = _name(run), "its process was ended from outside, and could not say so"
        client.set_tag(run.info.run_id, "threeloops.error", reason)
        client.update_run(run.info.run_id, status="KILLED", name=name)
        client.set_terminated(run.info.run_id, "KILLED")
        logger.warning("%s was cut off: %s; it is listed as killed from now on", name, reason)
    return [_name(run) for run in gone]


def remove_begun(client: MlflowClient, data_dir: DataDir, run: Run) -> None:
    """Delete the half-written checkpoints and weights of a run that nobody writes any more."""
    remove_half_made(data_dir, run.info.run_id)
    made = client.search_logged_models(
        [run.info.experiment_id], f"source_run_id = '{run.info.run_id}'"
    )
    for model in made:
        folder = Path(unquote(urlparse(model.artifact_location).path))
        remove_partial(folder)


def _name(run: Run) -> str:
    """A run's name; one that was cut off before it was named has its verb alone."""
    name, end = run.info.run_name or "run", f"-{run.info.run_id[:6]}"
    return name if name.endswith(end) else name + end
