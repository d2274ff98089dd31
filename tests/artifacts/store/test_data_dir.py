"""The data folder is made where it is named, or refused in one line."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from artifacts.store.data_dir import DataDir, current_data_dir, private_files, sqlite_uri
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


@pytest.mark.parametrize("mode", [0o777, 0o755, 0o750])
def test_nobody_else_may_enter_it(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "new"))
    assert current_data_dir().root.stat().st_mode & 0o777 == 0o700
    before = tmp_path / "before"
    before.mkdir()
    before.chmod(mode & ~0o020)
    monkeypatch.setenv("THREELOOPS_HOME", str(before))
    assert current_data_dir().root.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("mode", [0o770, 0o775, 0o777])
def test_a_folder_that_a_group_may_write_stays_shared_with_that_group_alone(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shared").mkdir()
    (tmp_path / "shared").chmod(mode)
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "shared"))
    assert current_data_dir().root.stat().st_mode & 0o777 == 0o770


def test_a_folder_that_somebody_else_has_put_there_for_everybody_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "planted").mkdir()
    (tmp_path / "planted").chmod(0o777)
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "planted"))
    monkeypatch.setattr("os.getuid", lambda: (tmp_path / "planted").stat().st_uid + 1)
    monkeypatch.setattr("artifacts.store.data_dir.ROOT", -1)
    with pytest.raises(InputError, match="belongs to another user, and everybody may write to it"):
        current_data_dir()


def test_a_working_directory_that_was_deleted_is_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("THREELOOPS_HOME")
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(InputError, match="the working directory was deleted"):
        current_data_dir()


def test_files_stay_private_until_the_last_thread_that_asked_has_ended() -> None:
    """The mask is the process's: one thread's end must not open another's files."""
    former = os.umask(0o022)
    first, second = private_files(), private_files()
    try:
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)
        assert _mask() == 0o077
        second.__exit__(None, None, None)
        assert _mask() == 0o022
    finally:
        os.umask(former)


def _mask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


@pytest.mark.parametrize("name", ["a?b", "100 %", "a#b", "%41", "a&b é"])
def test_the_address_of_a_database_means_that_file_whatever_its_name(
    name: str, tmp_path: Path
) -> None:
    database = tmp_path / name / "mlflow.db"
    database.parent.mkdir()
    engine = create_engine(sqlite_uri(database))
    with engine.begin() as connection:
        connection.execute(text("create table here (one integer)"))
    engine.dispose()
    assert database.stat().st_size > 0
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_everything_that_is_kept_has_its_place_below_the_root() -> None:
    home = DataDir(Path("/home"))
    places = (home.tables, home.models, home.checkpoints, home.prefect, home.run_artifacts)
    assert [place.name for place in places] == [
        "tables", "models", "checkpoints", "prefect", "mlartifacts",
    ]  # fmt: skip
    assert {place.parent for place in places} == {home.root}
    assert home.tracking_uri == "sqlite:////home/mlflow.db?timeout=60"
