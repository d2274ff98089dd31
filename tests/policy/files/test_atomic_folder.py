"""A folder that appears whole or not at all."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path

import pytest

from policy.files.atomic_folder import (
    atomic_folder,
    being_written,
    held_alone,
    is_written,
    remove_unless_written,
)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def write(folder: Path, text: str) -> None:
    with atomic_folder(folder) as partial:
        assert not (folder / "file").exists() or (folder / "file").read_text() != text
        (partial / "deep").mkdir()
        (partial / "file").write_text(text)


def test_a_new_folder_appears_at_the_end_with_its_parents(tmp_path: Path) -> None:
    folder = tmp_path / "a" / "b"
    write(folder, "one")
    assert names(folder.parent) == ["b"]
    assert (names(folder), (folder / "file").read_text()) == (["deep", "file"], "one")


def test_an_existing_folder_is_replaced_whole(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    folder.mkdir()
    (folder / "old").write_text("old")
    write(folder, "new")
    assert names(tmp_path) == ["b"]
    assert names(folder) == ["deep", "file"]


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_an_error_leaves_the_former_folder_and_nothing_else(
    error: BaseException, tmp_path: Path
) -> None:
    folder = tmp_path / "b"
    write(folder, "one")

    def fail() -> None:
        with atomic_folder(folder) as partial:
            (partial / "file").write_text("half")
            raise error

    with pytest.raises(type(error)):
        fail()
    assert names(tmp_path) == ["b"]
    assert (folder / "file").read_text() == "one"


def test_what_a_killed_process_left_is_cleared_away(tmp_path: Path) -> None:
    for left in (".b.partial", ".b.former"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "rubbish").write_text("x")
    write(tmp_path / "b", "one")
    assert names(tmp_path) == ["b"]
    assert names(tmp_path / "b") == ["deep", "file"]


def test_a_folder_is_written_as_long_as_another_one_holds_its_lock(tmp_path: Path) -> None:
    folder = tmp_path / "b"
    with being_written(folder):
        assert is_written(folder)
        assert not remove_unless_written(folder)
    assert not is_written(folder)
    with held_alone(folder) as mine, held_alone(folder) as twice:
        assert (mine, twice) == (True, False)
    assert is_written(tmp_path / "none"), "nothing is known of what is not there"
    assert remove_unless_written(folder)
    assert not folder.exists()


def test_a_folder_that_was_finished_before_its_lock_was_held_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, locked = tmp_path / "b", fcntl.flock
    folder.mkdir()

    def finished(handle: int, how: int) -> None:
        (folder / "record").touch()
        locked(handle, how)

    monkeypatch.setattr(fcntl, "flock", finished)
    assert not remove_unless_written(folder, lambda one: (one / "record").exists())
    assert names(folder) == ["record"]


def test_a_folder_that_took_the_place_of_a_left_one_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, locked = tmp_path / ".b.partial", fcntl.flock
    folder.mkdir()

    def replaced(handle: int, how: int) -> None:
        shutil.rmtree(folder)
        folder.mkdir()
        (folder / "file").touch()
        locked(handle, how)

    monkeypatch.setattr(fcntl, "flock", replaced)
    assert not remove_unless_written(folder)
    assert names(folder) == ["file"]
