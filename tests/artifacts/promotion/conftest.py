"""A version that learning made better, with the measurements that show it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from artifacts.promotion import decisions
from artifacts.registry.versions import (
    RegisteredVersion,
    register_version,
    registered_version,
)
from artifacts.tracking.archive import Archive
from artifacts.tracking.history import RunRecord
from schemas.measurements import Measurement
from schemas.references import PolicyRef
from schemas.results import Decision
from tests.artifacts.measuring import learned, measure, policy_in, training_table

PROBLEMS = 12
TRAINED_ON = 100  # the first of the problems of training


@dataclass(frozen=True)
class Learning:
    """A run of loop C from no right answer to all right ones, and the version that it made."""

    run: RunRecord
    version: RegisteredVersion
    start: PolicyRef
    trained: PolicyRef
    before: Measurement
    after: Measurement


@pytest.fixture
def learning(archive: Archive, tmp_path: Path) -> Learning:
    start = policy_in(archive, tmp_path / "start")
    trained = policy_in(archive, tmp_path / "trained", weights="trained")
    before = measure(archive.store, *["w"] * PROBLEMS, policy=start)
    after = measure(archive.store, *["r"] * PROBLEMS, policy=trained)
    batch = measure(archive.store, "rw", policy=start, split="train", first=TRAINED_ON)
    run = learned(archive, before, after, training_table(archive.store, batch))
    made = register_version(
        archive, "mine", trained, archive.folders.find(trained), run.run_id, "a card"
    )
    version = registered_version(archive, made.name)
    return Learning(run, version, start, trained, before, after)


def record_decision(archive: Archive, version: RegisteredVersion, decided: Decision) -> Decision:
    """Begin a decision and keep it."""
    run_id = decisions.begin_decision(archive, version, decided)
    return decisions.record_decision(archive, version, decided, run_id)


def tags_of(archive: Archive) -> dict[str, str]:
    """What the version says of itself."""
    tags = archive.tracking.client.get_model_version("mine", "1").tags
    return {name.removeprefix("threeloops."): value for name, value in tags.items()}
