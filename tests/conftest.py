"""What every test shares: a data folder of its own, and no way to touch the real one."""

from __future__ import annotations

import base64
import gzip
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from artifacts.store.data_dir import DataDir, current_data_dir


@pytest.fixture
def data_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> DataDir:
    """An empty data folder for one test."""
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "home"))
    return current_data_dir()


@pytest.fixture
def rows_in() -> Callable[[str], dict[str, Any]]:
    """What a report carries for its tables: a function from the page's text to its columns."""

    def unpacked(page: str) -> dict[str, Any]:
        (packed,) = re.findall(r'id="rows">([^<]*)<', page)
        return dict(json.loads(gzip.decompress(base64.b64decode(packed))))

    return unpacked


@pytest.fixture(autouse=True)
def _no_real_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "home"))
