"""What every test shares: a home folder of its own, and no way to touch the real one."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.home import Home, current_home


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Home:
    """An empty home folder for one test."""
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "home"))
    return current_home()


@pytest.fixture(autouse=True)
def _no_real_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "home"))
