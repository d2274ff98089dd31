"""An archive is one data folder: what one of its parts keeps, the others find."""

from __future__ import annotations

from pathlib import Path

from artifacts.store.data_dir import DataDir
from artifacts.tracking.archive import Archive
from tests.artifacts.measuring import policy_in, problems_table


def test_a_second_archive_of_the_folder_finds_what_the_first_kept(
    archive: Archive, tmp_path: Path
) -> None:
    table = archive.store.write("problems", problems_table(1), producer="test")
    policy = policy_in(archive, tmp_path / "model")
    other = Archive(archive.data_dir)
    assert other.store.read(table).num_rows == 1
    assert other.folders.find(policy) == tmp_path / "model"
    assert other.tracking.experiment_id == archive.tracking.experiment_id
    assert other.history.every() == []


def test_making_one_writes_nothing(tmp_path: Path) -> None:
    archive = Archive(DataDir(tmp_path))
    assert archive.history.tracking is archive.tracking
    assert list(tmp_path.iterdir()) == []
