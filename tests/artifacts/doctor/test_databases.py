"""A damaged database is set aside whole, after another look, and never under somebody's hands."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterable
from contextlib import closing
from pathlib import Path

import pytest
from filelock import FileLock

from artifacts.doctor.databases import check_prefect_database, check_tracking_database
from artifacts.doctor.examination import Examination, Found
from artifacts.doctor.set_aside import SIDECARS, SetAside
from artifacts.store.data_dir import DataDir
from artifacts.tracking.archive import Archive

Look = Callable[[], Examination]
Repaired = Callable[[Iterable[Found]], list[str | None]]
DAMAGED = b"no database at all" * 400
OPEN = (
    "import sqlite3, sys; held = open(sys.argv[1], 'rb')\n"
    "print('open', flush=True); sys.stdin.readline()"
)


@pytest.fixture(params=["mlflow.db", "prefect/prefect.db"])
def database(request: pytest.FixtureRequest, data_dir: DataDir) -> Path:
    """A damaged database, with what SQLite keeps beside it."""
    path = data_dir.root / str(request.param)
    path.parent.mkdir(exist_ok=True)
    for suffix in ("", *SIDECARS):
        path.with_name(path.name + suffix).write_bytes(DAMAGED)
    return path


@pytest.fixture
def found(database: Path, look: Look) -> list[Found]:
    check = check_tracking_database if database.name == "mlflow.db" else check_prefect_database
    return list(check(look()))


def _files(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_file()}


def _all_of(database: Path) -> set[str]:
    return {database.name, *(database.name + suffix for suffix in SIDECARS)}


def test_a_damaged_database_is_moved_with_what_lies_beside_it(
    database: Path, found: list[Found], repaired: Repaired, data_dir: DataDir
) -> None:
    assert repaired(found) == ["set aside"]
    assert not database.exists()
    assert not _files(database.parent) & _all_of(database)
    (kept,) = (data_dir.root / "set-aside").iterdir()
    place = kept / database.relative_to(data_dir.root)
    assert _files(place.parent) == _all_of(database)


def test_one_that_is_whole_by_now_stays(
    database: Path, found: list[Found], repaired: Repaired
) -> None:
    database.unlink()
    for suffix in SIDECARS:
        database.with_name(database.name + suffix).unlink()
    with closing(sqlite3.connect(database)) as made, made:
        made.execute("create table alembic_version (version_num text)")
        made.execute("insert into alembic_version values ('unknown')")
        made.execute("create table runs (number integer)")
        made.execute("insert into runs values (1)")
    assert repaired(found) == [None]
    assert database.exists()


def test_one_that_another_process_has_open_stays(
    database: Path, found: list[Found], repaired: Repaired
) -> None:
    words = [sys.executable, "-c", OPEN, str(database)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as user:
        assert user.stdout is not None
        assert user.stdout.readline() == b"open\n"
        assert repaired(found) == [f"not repaired: it is open in process {user.pid}"]
        assert _files(database.parent) >= _all_of(database)
        user.communicate(b"\n")
    assert repaired(found) == ["set aside"]


def test_one_that_another_command_prepares_stays(
    database: Path, found: list[Found], repaired: Repaired, data_dir: DataDir
) -> None:
    lock = "tracking" if database.name == "mlflow.db" else "prefect"
    data_dir.locks.mkdir()
    with FileLock(data_dir.locks / f"{lock}-database.lock"):
        assert repaired(found) == ["not repaired: another process uses it"]
        assert database.exists()


@pytest.mark.parametrize("links", [True, False])
def test_a_kill_while_a_database_moves_leaves_all_of_it_in_one_place(
    links: bool, database: Path, data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whole in its own place until it is renamed, whole in the other from then on."""
    if not links:
        monkeypatch.setattr("os.link", _refuse)
    renamed, seen = Path.rename, []

    def rename(path: Path, place: Path) -> None:
        assert _files(path.parent) >= _all_of(path)
        renamed(path, place)
        seen.append(_files(Path(place).parent))
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "rename", rename)
    with pytest.raises(KeyboardInterrupt):
        SetAside(data_dir).move_database(database)
    assert seen == [_all_of(database)]


def _refuse(*_: object) -> None:
    raise PermissionError("this file system has no links")


def test_an_unknown_error_of_sqlite_has_no_repair(
    archive: Archive, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(connection: sqlite3.Connection) -> None:
        raise sqlite3.OperationalError("disk I/O error")

    monkeypatch.setattr("artifacts.doctor.databases.refuse_damage", fails)
    one, *_ = check_tracking_database(look())
    assert (one.finding.name, one.repair) == ("unreadable-file", None)
    assert one.finding.what == "cannot be read (disk I/O error)"
