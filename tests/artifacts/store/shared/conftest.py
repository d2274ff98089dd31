"""Stores that several data folders of one test share."""

from __future__ import annotations

from pathlib import Path

import pytest
from obstore.store import MemoryStore

from artifacts.store.data_dir import DataDir
from artifacts.store.shared.bucket import BucketObjects
from artifacts.store.shared.folder import FolderObjects
from artifacts.store.shared.objects import Objects


@pytest.fixture(params=["bucket", "folder"])
def shared(request: pytest.FixtureRequest, tmp_path: Path) -> Objects:
    """An empty store, in memory and in a folder."""
    if request.param == "bucket":
        return BucketObjects("s3://tests/memory", MemoryStore())
    (tmp_path / "mounted").mkdir()
    return FolderObjects(tmp_path / "mounted")


@pytest.fixture
def machines(tmp_path: Path) -> tuple[DataDir, DataDir]:
    """Two data folders that have nothing in common but the store."""
    return DataDir(tmp_path / "one"), DataDir(tmp_path / "two")
