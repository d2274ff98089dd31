"""What nobody expected is one line too: what the machine does not allow, or a defect with a log."""

from __future__ import annotations

import errno
import fcntl
import os
import sqlite3
import tempfile
from pathlib import Path
from typing import NoReturn

import pytest

from flows.cli.failures import explained
from flows.cli.parser import main


def _raised(error: Exception, cause: Exception | None = None) -> Exception:
    try:
        raise error from cause
    except Exception as caught:
        return caught


class OperationalError(Exception):
    """As the drivers of databases have it."""

    __module__ = "psycopg2"


class AdminShutdown(OperationalError):  # noqa: N818  # its name there
    """What a server says that is stopped."""


@pytest.mark.parametrize(
    ("cause", "line"),
    [
        (AdminShutdown("terminating connection"), "cannot be used (AdminShutdown: terminating"),
        (
            OperationalError('connection to server at "10.0.0.7" failed\n\tIs it running?'),
            "the database of MLFLOW_TRACKING_URI cannot be used (OperationalError: connection to ",
        ),
        (OSError(errno.ENOSPC, "No space left on device", "/x/t"), "/x/t: the disk is full; make"),
        (OSError(errno.ENOSPC, "No space left on device"), "a disk is full, that of the data"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "/x: cannot be read or written"),
        (OSError(errno.EROFS, "Read-only file system", "/x"), "/x: cannot be read or written"),
        (NotADirectoryError(errno.ENOTDIR, "Not a directory", "/x/y"), "/x/y: not a directory;"),
        (FileExistsError(errno.EEXIST, "File exists", "/x"), "/x: file exists; move away"),
        (
            OSError(errno.ENAMETOOLONG, "File name too long", "/x"),
            "/x: file name too long;",
        ),
        (OSError(errno.ENOLCK, "No locks available"), "does not lock files; mount it with locks"),
        (sqlite3.OperationalError("locking protocol"), "does not lock files; mount it with locks"),
        (sqlite3.OperationalError("database is locked"), "in use by another command; try again"),
        (sqlite3.OperationalError("database or disk is full"), "disk of the data folder is full"),
        (sqlite3.OperationalError("attempt to write a readonly database"), "you may write to it"),
        (sqlite3.OperationalError("disk I/O error"), "cannot be used (disk I/O error)"),
    ],
)
def test_what_the_machine_does_not_allow_is_told_however_deep_it_lies(
    cause: Exception, line: str, tmp_path: Path
) -> None:
    for error in (_raised(cause), _raised(RuntimeError("of a library"), _raised(cause))):
        said, code = explained(error, tmp_path / "logs")
        assert code == 2
        assert line in said
    assert not (tmp_path / "logs").exists()


def test_a_defect_is_one_line_and_a_log_with_the_traceback(tmp_path: Path) -> None:
    error = _raised(ValueError("first\nsecond"), KeyError("cause"))
    said, code = explained(error, tmp_path / "logs")
    (log,) = (tmp_path / "logs").iterdir()
    assert code == 70
    assert said == (
        f"a defect of threeloops: ValueError: first; the details are in {log}, please report it"
    )
    assert "KeyError: 'cause'" in log.read_text()
    assert "raise error from cause" in log.read_text()


@pytest.mark.parametrize("name", ["PanicException", "CancelledError"])
def test_what_is_no_exception_is_one_line_too(
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    """A panic in a library that is written in Rust comes as such an error."""
    kind = type(name, (BaseException,), {})

    def panic(*arguments: object) -> NoReturn:
        raise kind("index out of bounds")

    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path))
    monkeypatch.setattr("flows.cli.parser._done", panic)
    assert main(["runs"]) == 70
    said = capsys.readouterr().err
    assert f"threeloops: a defect of threeloops: {name}: index out of bounds; the details" in said
    assert "Traceback" not in said


@pytest.mark.parametrize("kind", [SystemExit, GeneratorExit])
def test_what_ends_a_program_on_purpose_is_left_alone(
    kind: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    def end(*arguments: object) -> NoReturn:
        raise kind

    monkeypatch.setattr("flows.cli.parser._done", end)
    with pytest.raises(kind):
        main(["runs"])


def test_a_file_that_is_not_there_is_a_defect_unless_it_was_checked(tmp_path: Path) -> None:
    said, code = explained(_raised(FileNotFoundError(errno.ENOENT, "No such file", "/x")), tmp_path)
    assert code == 70
    assert "No such file" in said


def test_without_a_place_for_the_log_the_line_comes_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "file"))
    said, code = explained(_raised(ValueError("\ud800")), tmp_path / "file" / "logs")
    assert (said, code) == ("a defect of threeloops: ValueError: \ud800", 70)


def test_a_verb_that_fails_ends_with_one_line_and_no_traceback(
    data_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ZeroDivisionError("by nothing")

    monkeypatch.setattr("flows.cli.verbs.past_runs.PAST_VERBS", {"runs": broken})
    assert main(["runs"]) == 70
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert "threeloops: a defect of threeloops: ZeroDivisionError: by nothing; the details" in said
    (log,) = (data_path / "logs").iterdir()
    assert str(log) in said
    assert "in broken" in log.read_text()


def test_a_disk_without_locks_is_one_line(
    data_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert main(["runs"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "does not lock files; mount it with locks, or set THREELOOPS_HOME" in line
    assert not (data_path / "logs").exists()


def _open_to_others(*paths: Path) -> list[Path]:
    return [path for path in paths if path.stat().st_mode & 0o077]


@pytest.mark.usefixtures("usual_mask")
def test_the_story_of_a_defect_is_nobody_elses(
    data_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("flows.cli.verbs.past_runs.PAST_VERBS", {"runs": _broken})
    monkeypatch.setattr("tasks.runtime.runtime.process_runtime", lambda: None)
    assert main(["runs"]) == 70
    (log,) = (data_path / "logs").iterdir()
    assert str(log) in capsys.readouterr().err
    assert _open_to_others(data_path, data_path / "logs", log) == []


@pytest.mark.usefixtures("usual_mask")
def test_a_defect_of_the_doctor_makes_no_data_folder_and_its_story_is_nobody_elses(
    data_path: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("flows.cli.verbs.doctor.visit", _broken)
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))
    (tmp_path / "temporary").mkdir()
    assert main(["doctor"]) == 70
    (log,) = (tmp_path / "temporary").iterdir()
    assert str(log) in capsys.readouterr().err
    assert "in _broken" in log.read_text()
    assert _open_to_others(log) == []
    assert not data_path.exists()


@pytest.mark.parametrize("with_logs", [True, False])
def test_a_link_that_waits_under_the_name_of_a_log_leads_nowhere(
    with_logs: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever may write to the folder can know the second and the process."""
    temporary, logs = tmp_path / "temporary", tmp_path / "logs"
    theirs = tmp_path / "theirs"
    monkeypatch.setattr(tempfile, "tempdir", str(temporary))
    monkeypatch.setattr("time.strftime", lambda form: "20260101-000000")
    for folder in (temporary, logs):
        folder.mkdir()
        (folder / f"20260101-000000-{os.getpid()}.log").symlink_to(theirs)
    said, code = explained(_raised(ValueError("mine")), logs if with_logs else None)
    assert code == 70
    assert not theirs.exists()
    (log,) = [path for path in temporary.iterdir() if not path.is_symlink()]
    assert f"the details are in {log}," in said


def _broken(*_: object, **__: object) -> None:
    raise ZeroDivisionError("by nothing")


@pytest.mark.slow
def test_nothing_that_a_command_makes_can_be_read_by_others(
    data_path: Path,
) -> None:
    former = os.umask(0o022)
    try:
        data_path.mkdir()
        assert main(["runs"]) == 0
    finally:
        assert os.umask(former) == 0o022
    made = [data_path, *data_path.rglob("*")]
    assert data_path / "mlflow.db" in made
    assert {str(path) for path in made if path.stat().st_mode & 0o077} == set()


@pytest.fixture
def data_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A data folder that no command has opened in this process."""
    monkeypatch.setenv("THREELOOPS_HOME", str(tmp_path / "fresh"))
    return tmp_path / "fresh"
