"""One look at a data folder, and the repair of what it finds."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest

from artifacts.doctor.databases import recorded_in
from artifacts.doctor.examination import Examination, Found
from artifacts.doctor.set_aside import SetAside
from artifacts.store.data_dir import DataDir
from artifacts.store.stored_bytes import StoredBytes

Look = Callable[[], Examination]
Repaired = Callable[[Iterable[Found]], list[str | None]]


@pytest.fixture
def look(data_dir: DataDir) -> Look:
    """A function that begins a look at the data folder as it is then."""
    return lambda: Examination(
        data_dir, StoredBytes(), recorded_in(data_dir), lambda: recorded_in(data_dir)
    )


@pytest.fixture
def repaired(data_dir: DataDir) -> Repaired:
    """A function that does the repair of each finding; what each says."""

    def call(found: Iterable[Found]) -> list[str | None]:
        aside = SetAside(data_dir)
        return [one.repair.do(aside) if one.repair else "none" for one in found]

    return call
