"""What lies in the data folder of the test that is running."""

from __future__ import annotations

from artifacts.store.tables import Store
from artifacts.tracking.history import RunRecord
from tasks.runtime.runtime import process_runtime


def stored() -> Store:
    """Its table store."""
    return process_runtime().store


def find_run(name: str) -> RunRecord:
    """The run with this id or name."""
    return process_runtime().archive.history.find(name)


def all_runs() -> list[RunRecord]:
    """Every run of a loop, newest first."""
    return process_runtime().archive.history.loops()


def every_run() -> list[RunRecord]:
    """Every run of a loop and every demo, before and after included."""
    return process_runtime().archive.history.every()
