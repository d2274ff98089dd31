"""Files of runs that a database does not list: named where it can be said for sure."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from artifacts.doctor.databases import recorded_in
from artifacts.doctor.examination import Examination
from artifacts.doctor.recorded import Recorded
from artifacts.doctor.runs import check_unlisted
from artifacts.doctor.snapshot import InUseError
from artifacts.store.data_dir import DataDir
from artifacts.store.stored_bytes import StoredBytes
from artifacts.tracking.archive import Archive

IDS = [f"{number:032x}" for number in range(5)]


def found(data_dir: DataDir, read_again: Callable[[], Recorded | None]) -> list[str]:
    recorded = recorded_in(data_dir)
    at = Examination(data_dir, StoredBytes(), recorded, read_again)
    return [one.finding.what for one in check_unlisted(at)]


@pytest.fixture
def folders(archive: Archive) -> DataDir:
    """A database that lists one run, its folder, and those of five that it does not."""
    made = archive.tracking.client.create_run(archive.tracking.experiment_id).info.run_id
    for name in (made, *IDS, "models"):
        (archive.data_dir.run_artifacts / name).mkdir(parents=True, exist_ok=True)
    return archive.data_dir


def test_each_is_counted_and_the_first_are_named(folders: DataDir) -> None:
    (what,) = found(folders, lambda: recorded_in(folders))
    assert what.startswith("files of 5 runs that it does not list: 000000000000, ")
    assert what.endswith(" and 2 more")


def test_of_a_database_that_is_in_use_by_then_nothing_is_said(folders: DataDir) -> None:
    def busy() -> Recorded | None:
        raise InUseError("another command writes to it")

    assert found(folders, busy) == []
