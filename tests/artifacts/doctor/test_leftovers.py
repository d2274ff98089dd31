"""What killed processes left is set aside; what a live one makes just now is not."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import pytest
from filelock import FileLock

from artifacts.doctor.examination import Examination, Found
from artifacts.doctor.leftovers import check_folder, check_leftovers
from artifacts.store.data_dir import DataDir
from policy.files.atomic_folder import being_written

Look = Callable[[], Examination]
Repaired = Callable[[Iterable[Found]], list[str | None]]


def _found(look: Look) -> list[Found]:
    return [one for one in check_leftovers(look()) if one.finding.name != "open-to-others"]


def _names(look: Look) -> list[str]:
    return [one.finding.name for one in _found(look)]


def test_a_new_folder_is_left_over_when_nobody_holds_its_lock(
    look: Look, repaired: Repaired, data_dir: DataDir
) -> None:
    partial = data_dir.models / ".thing.partial"
    with being_written(partial):
        assert _names(look) == []
    found = _found(look)
    assert [one.finding.name for one in found] == ["half-made-folder"]
    with being_written(partial):
        assert repaired(found) == ["not repaired: another process uses it"]
    assert repaired(found) == ["set aside"]
    assert not partial.exists()
    assert repaired(found) == [None], "it has gone"


@pytest.mark.parametrize("new", [".thing.partial", "thing"])
def test_a_former_folder_stays_while_the_new_one_is_written(
    new: str, look: Look, repaired: Repaired, data_dir: DataDir
) -> None:
    former, whole = data_dir.models / ".thing.former", data_dir.models / "thing"
    former.mkdir(parents=True)
    with being_written(data_dir.models / new):
        assert _names(look) == []
    (data_dir.models / new).rmdir()
    found = _found(look)
    assert [one.finding.name for one in found] == ["former-folder"]
    with being_written(data_dir.models / new):
        assert repaired(found) == [None]
    assert former.exists()
    (data_dir.models / new).rmdir()
    assert repaired(found) == ["renamed to models/thing"]
    assert whole.exists()


def test_a_new_database_stays_when_a_command_has_begun_to_make_it(
    look: Look, repaired: Repaired, data_dir: DataDir
) -> None:
    new = data_dir.root / "mlflow.db.new"
    new.write_bytes(b"half")
    found = _found(look)
    assert [one.finding.name for one in found] == ["half-written-file"]
    data_dir.locks.mkdir()
    with FileLock(data_dir.locks / "tracking-database.lock"):
        assert repaired(found) == ["not repaired: another process uses it"]
        assert _names(look) == []
    assert repaired(found) == ["set aside"]


def test_what_stands_in_the_way_is_looked_at_again(
    look: Look, repaired: Repaired, data_dir: DataDir
) -> None:
    for path in (data_dir.tables, data_dir.models):
        path.write_text("a file")
    data_dir.tracking_database.mkdir()
    found = list(check_folder(look()))
    assert [one.finding.name for one in found] == ["stands-in-the-way"] * 3
    data_dir.tables.unlink()
    data_dir.tables.mkdir()
    data_dir.tracking_database.rmdir()
    data_dir.tracking_database.touch()
    assert repaired(found) == [None, "set aside", None]
    assert data_dir.tables.is_dir()
    assert not data_dir.models.exists()


def test_rights_are_taken_away_also_where_some_files_have_gone(
    look: Look, repaired: Repaired, data_dir: DataDir
) -> None:
    first, second = data_dir.root / "a", data_dir.root / "b"
    for path in (first, second):
        path.touch()
        path.chmod(0o644)
    found = [one for one in check_leftovers(look()) if one.finding.name == "open-to-others"]
    first.unlink()
    (said,) = repaired(found)
    assert said is not None
    assert said.startswith("rights taken away from others on ")
    assert second.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize(
    ("name", "asked"),
    [
        (".writing-host%201%202.0~abc", "is_gone"),
        (".thing.former", "is_written"),
        ("mlflow.db.new", "holders_of"),
    ],
)
def test_what_its_writer_finishes_while_it_is_looked_for_is_not_left_over(
    name: str, asked: str, look: Look, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = data_dir.root / name
    if asked == "is_written":
        path.mkdir()
        (data_dir.root / "thing").mkdir()
    else:
        path.touch()

    def finished(_: object) -> object:
        if path.exists():
            path.rename(data_dir.root / "whole")
        return {"is_gone": True, "is_written": False, "holders_of": []}[asked]

    monkeypatch.setattr(f"artifacts.doctor.leftovers.{asked}", finished)
    assert _names(look) == []
