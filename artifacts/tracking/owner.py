"""Which process writes a run, so that a run whose process was killed does not seem to go on."""

from __future__ import annotations

import logging
import os
import platform
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

OWNER = "threeloops.owner"
logger = logging.getLogger(__name__)


def this_process() -> str:
    """This process as a tag: machine, process id, and when it began, in seconds after the boot."""
    return f"{platform.node()} {os.getpid()} {_began(os.getpid()):.1f}"


def is_gone(owner: str) -> bool:
    """Whether a process, as `this_process` named it, has ended.

    Of a process of another machine nothing is known here, so it is taken to be there.
    """
    try:
        machine, number, began = owner.rsplit(" ", 2)
        if machine != platform.node():
            return False
        process = psutil.Process(int(number))
        other = abs(_began(process.pid) - float(began)) > 1  # its number was given to another one
        return other or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True
    except (ValueError, psutil.AccessDenied):
        return False


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


def _began(number: int) -> float:
    # both are read off the wall clock, so a step of the clock moves both
    return float(psutil.Process(number).create_time() - psutil.boot_time())
