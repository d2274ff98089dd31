"""A folder that appears whole or not at all."""

from __future__ import annotations

from pathlib import Path

import pytest

from policy.model.atomic_folder import atomic_folder, remove_partial


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


def test_what_a_killed_process_left_is_removed_and_the_former_folder_is_put_back(
    tmp_path: Path,
) -> None:
    folder = tmp_path / "model"
    for name in (".model.partial", ".model.former"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    remove_partial(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    assert (folder / "file").read_text() == ".model.former"
    (tmp_path / ".model.former").mkdir()
    remove_partial(folder)
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
