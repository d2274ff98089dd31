"""The deployments of prefect.yaml: applied to a server, and what the worker may run of them."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from flows.services.processes import ServerStoppedError

POOL = "threeloops"
LEARNERS = "learners"  # the queue of every deployment that learns
# where the packages lie, in a clone or among installed packages; entrypoints are relative to it
PROJECT = Path(__file__).resolve().parents[2]
DEPLOYMENTS = PROJECT / "flows" / "prefect.yaml"
# what Prefect writes into a deployment when the file names no pull steps
PULL_STEPS = [{"prefect.deployments.steps.set_working_directory": {"directory": str(PROJECT)}}]


def entrypoints() -> frozenset[str]:
    """The flows that the file names."""
    described = yaml.safe_load(DEPLOYMENTS.read_text())
    return frozenset(str(one["entrypoint"]) for one in described["deployments"])


def objection(entrypoint: str | None, pull_steps: object, job_variables: Mapping[str, Any]) -> str:
    """Why the worker does not run a deployment; empty if it does.

    Name, schedule, parameters and tags may be others than in the file: a copy that was made on
    Prefect's page is fine. What decides which code runs, and how, may not.
    """
    if pull_steps != PULL_STEPS:
        return "its pull steps are not those of prefect.yaml"
    if entrypoint not in entrypoints():
        return f"its entrypoint {entrypoint!r} is none of prefect.yaml"
    given = sorted(name for name, value in job_variables.items() if value not in (None, {}, ""))
    return f"it sets job variables ({', '.join(given)})" if given else ""


def apply_deployments(environment: Mapping[str, str], log: Path) -> None:
    """Make the work pool and apply every deployment of prefect.yaml."""
    commands = (
        ("prefect", "work-pool", "create", "--type", "process", "--overwrite", POOL),
        ("prefect", "--no-prompt", "deploy", "--all", "--prefect-file", str(DEPLOYMENTS)),
        # made by the line above; two learners must not share the machine
        ("prefect", "work-queue", "set-concurrency-limit", LEARNERS, "1", "--pool", POOL),
    )
    with log.open("wb") as output:
        for words in commands:
            done = subprocess.run(
                words, env=environment, cwd=PROJECT, stdin=subprocess.DEVNULL,
                stdout=output, stderr=subprocess.STDOUT, check=False,
            )  # fmt: skip
            if done.returncode:
                raise ServerStoppedError(f"`{' '.join(words)}` failed; see {log}")
