"""Runs whose process was killed are closed by the next one, so that they do not seem to go on."""

from __future__ import annotations

import logging
from collections.abc import Container
from typing import TYPE_CHECKING

from artifacts.store.process import is_gone, this_process
from artifacts.store.shared.owners import Owners
from artifacts.tracking.sqlite_runs import FoundRun
from artifacts.unsent.calls import IDENTITY
from artifacts.unsent.owned import OWNER

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

LEASE = "threeloops.owner_lease"  # the tag with the lease that its owner keeps in a shared store
ERROR = "threeloops.error"  # the tag with why a run ended without a result
CUT_OFF = "its process was ended from outside, and could not say so"
logger = logging.getLogger(__name__)


def owner_tags(owners: Owners | None) -> dict[str, str]:
    """The tags that say which process writes a run; with a shared store it keeps a lease too."""
    tags = {OWNER: this_process()}
    return tags if owners is None else tags | {LEASE: owners.live()}


def close_abandoned(
    client: MlflowClient,
    experiment_id: str,
    but: Container[str] = (),
    owners: Owners | None = None,
) -> list[str]:
    """End the runs whose process is gone, and warn of each; returns their names.

    A process that was killed could not say that its runs have ended. `but` are the ids of runs
    of which something is still to be sent: how they ended may be among it. Of other machines only
    `owners` knows which processes are gone.
    """
    running = client.search_runs([experiment_id], "attributes.status = 'RUNNING'")
    gone = [
        run
        for run in running
        if is_abandoned(run, owners)
        and not (run.info.run_id in but or run.data.tags.get(IDENTITY) in but)
    ]
    for run in gone:
        name, reason = _name(run), CUT_OFF
        client.set_tag(run.info.run_id, ERROR, reason)
        client.update_run(run.info.run_id, status="KILLED", name=name)
        client.set_terminated(run.info.run_id, "KILLED")
        logger.warning("%s was cut off: %s; it is listed as killed from now on", name, reason)
    return [_name(run) for run in gone]


def is_abandoned(run: FoundRun, owners: Owners | None) -> bool:
    """Whether the process that writes a run is known to be gone."""
    owner, lease = (run.data.tags.get(tag, "") for tag in (OWNER, LEASE))
    return is_gone(owner) or (owners is not None and owners.is_gone(owner, lease))


def flow_runs_cut_off(client: MlflowClient, experiment_id: str) -> list[str]:
    """The ids of the Prefect flow runs of the newest runs that `close_abandoned` has ended.

    None where MLflow's server is away: what a process knows by itself is not how a run ended.
    """
    found = client.search_runs(
        [experiment_id],
        f"attributes.status = 'KILLED' and tags.`{ERROR}` = '{CUT_OFF}'",
        max_results=50,
    )
    if getattr(client, "away", False):
        return []
    ids = [run.data.tags.get("threeloops.flow_run", "") for run in found if _was_cut_off(run)]
    return [one for one in dict.fromkeys(ids) if one]


def _was_cut_off(run: Run) -> bool:
    return run.info.status == "KILLED" and run.data.tags.get(ERROR) == CUT_OFF


def _name(run: Run) -> str:
    """A run's name; one that was cut off before it was named has its verb alone."""
    name, end = run.info.run_name or "run", f"-{run.info.run_id[:6]}"
    return name if name.endswith(end) else name + end
