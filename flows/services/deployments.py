"""The deployments of prefect.yaml, applied to a server."""

from __future__ import annotations

import subprocess
from collections.abc import Mapping
from pathlib import Path

from flows.services.processes import ServerStoppedError

POOL = "threeloops"
LEARNERS = "learners"  # the queue of every deployment that learns
# where the packages lie, in a clone or among installed packages; entrypoints are relative to it
PROJECT = Path(__file__).resolve().parents[2]
DEPLOYMENTS = PROJECT / "flows" / "prefect.yaml"


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
