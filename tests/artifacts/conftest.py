"""The store of one test."""

from __future__ import annotations

import pytest

from artifacts.store.data_dir import DataDir
from artifacts.store.tables import Store


@pytest.fixture
def store(data_dir: DataDir) -> Store:
    """The tables of the test's data folder."""
    return Store(data_dir)
