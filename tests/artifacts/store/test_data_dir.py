"""The data folder is made where it is named, or refused in one line."""

from __future__ import annotations

from pathlib import Path

import pytest

from artifacts.store.data_dir import DataDir, current_data_dir
from schemas.errors import InputError


def test_it_is_the_folder_that_the_environment_names(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "a" / "b"))
    assert current_data_dir() == DataDir(tmp_path / "a" / "b")
    assert (tmp_path / "a" / "b").is_dir()


def test_without_a_name_it_lies_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("THREELOOPS_HOME")
    monkeypatch.chdir(tmp_path)
    assert current_data_dir().root == tmp_path / ".threeloops"


def test_a_tilde_is_the_home_of_the_user(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("THREELOOPS_HOME", "~/kept")
    assert current_data_dir().root == tmp_path / "kept"


def test_a_folder_that_cannot_be_made_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(InputError, match="cannot be made .*; set THREELOOPS_HOME"):
        current_data_dir()


def test_a_folder_that_cannot_be_written_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("os.access", lambda path, mode: False)
    with pytest.raises(InputError, match="cannot be written; set THREELOOPS_HOME"):
        current_data_dir()


def test_everything_that_is_kept_has_its_place_below_the_root() -> None:
    home = DataDir(Path("/home"))
    places = (home.tables, home.models, home.checkpoints, home.prefect, home.run_artifacts)
    assert [place.name for place in places] == [
        "tables", "models", "checkpoints", "prefect", "mlartifacts",
    ]  # fmt: skip
    assert {place.parent for place in places} == {home.root}
    assert home.tracking_uri == "sqlite:////home/mlflow.db"
