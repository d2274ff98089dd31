"""A file is written whole or not at all, and where it must be new, by one process alone."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote

import pytest

from artifacts.store.atomic_file import clear_place, remove_leftovers, write_atomic, write_new
from artifacts.store.data_dir import DataDir
from artifacts.store.process import this_process


@pytest.mark.parametrize("write", [write_atomic, write_new])
def test_a_write_that_is_interrupted_leaves_nothing(
    write: object, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut(*_: object) -> None:
        raise KeyboardInterrupt

    assert callable(write)
    monkeypatch.setattr("os.fsync", cut)
    with pytest.raises(KeyboardInterrupt):
        write(tmp_path / "file", b"content")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("links", [True, False])
def test_a_file_that_must_be_new_leaves_the_one_that_is_there(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr("os.link", _refuse)
    assert write_new(tmp_path / "file", b"first")
    assert not write_new(tmp_path / "file", b"second")
    names = ["file"] if links else [".new.lock", "file"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert (tmp_path / "file").read_bytes() == b"first"


def _refuse(*_: object) -> None:
    raise PermissionError(errno.EPERM, "this file system has no links")


@pytest.mark.parametrize("links", [True, False])
def test_of_many_who_write_a_new_file_one_does_and_nobody_reads_a_part_of_it(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr("os.link", _refuse)
    path, sizes, done = tmp_path / "file", set[int](), threading.Event()

    def read() -> None:
        while not done.is_set():
            if path.exists():
                sizes.add(len(path.read_bytes()))

    reader = threading.Thread(target=read)
    reader.start()
    with ThreadPoolExecutor(8) as pool:
        wrote = list(pool.map(lambda one: write_new(path, bytes([one]) * 2**22), range(8)))
    done.set()
    reader.join()
    assert wrote.count(True) == 1
    assert sizes <= {2**22}
    assert set(path.read_bytes()) == {wrote.index(True)}


def test_a_new_file_is_not_written_where_the_link_fails_for_another_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no space left")

    monkeypatch.setattr("os.link", full)
    with pytest.raises(OSError, match="no space left"):
        write_new(tmp_path / "file", b"content")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_in_the_place_of_a_file_is_moved_aside_with_what_is_in_it(tmp_path: Path) -> None:
    (tmp_path / "file").mkdir()
    (tmp_path / "file" / "mine").write_text("kept")
    assert not write_new(tmp_path / "file", b"content")
    write_atomic(tmp_path / "file", b"content")
    assert (tmp_path / "file").read_bytes() == b"content"
    assert [path.read_text() for path in tmp_path.glob(".aside-file-*/mine")] == ["kept"]
    clear_place(tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_what_a_killed_process_had_begun_to_write_goes_and_the_rest_stays(
    data_dir: DataDir,
) -> None:
    folder = data_dir.tables / "scores"
    write_atomic(folder / "whole.parquet", b"whole")
    writing = "import os, sys; from pathlib import Path; from artifacts.store import atomic_file\n"
    writing += "os.fsync = lambda _: os.kill(os.getpid(), 9)\n"
    writing += "atomic_file.write_atomic(Path(sys.argv[1]), b'x')"
    killed = subprocess.run([sys.executable, "-c", writing, str(folder / "new.parquet")])
    assert killed.returncode == -signal.SIGKILL
    (left,) = set(folder.iterdir()) - {folder / "whole.parquet"}
    mine = folder / left.name.replace(
        left.name[9 : left.name.index("~")], quote(this_process(), safe="")
    )
    mine.touch()
    assert remove_leftovers(data_dir) == [left]
    assert set(folder.iterdir()) == {folder / "whole.parquet", mine}


def test_folders_of_a_killed_process_go_and_those_that_are_being_written_stay(
    data_dir: DataDir,
) -> None:
    checkpoints, models = data_dir.checkpoints / "run", data_dir.run_artifacts / "1" / "models"
    whole = checkpoints / "step-000001"
    write_atomic(whole / "checkpoint.json", b"{}")
    writing = "import os, sys; from pathlib import Path\n"
    writing += "from artifacts.store.checkpoints import CheckpointRecord, write_checkpoint\n"
    writing += "from policy.files.atomic_folder import atomic_folder\n"
    writing += "def save(folder):\n"
    writing += "    with atomic_folder(folder) as partial:\n"
    writing += "        (partial / 'weights').write_text('half')\n"
    writing += (
        "        print('written', flush=True); sys.stdin.readline(); os.kill(os.getpid(), 9)\n"
    )
    writing += "place = Path(sys.argv[1])\n"
    writing += "save(place) if len(sys.argv) == 2 else write_checkpoint(place, save, None)"
    partial = {
        models / "m-1" / "artifacts": models / "m-1" / ".artifacts.partial",
        data_dir.models / "default": data_dir.models / ".default.partial",
        checkpoints / "step-000002": checkpoints / "step-000002",
    }
    writers = []
    for place in partial:
        words = [
            sys.executable,
            "-c",
            writing,
            str(place),
            *["checkpoint"] * ("step" in place.name),
        ]
        writer = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert writer.stdout is not None
        assert writer.stdout.readline() == "written\n"
        writers.append(writer)
    assert all(folder.is_dir() for folder in partial.values())
    assert remove_leftovers(data_dir) == [], "they are being written"
    for writer in writers:
        writer.communicate("\n")
    inner = checkpoints / "step-000002" / ".learner.partial"
    assert set(remove_leftovers(data_dir)) == {*partial.values(), inner}
    assert not any(folder.exists() for folder in partial.values())
    assert whole.is_dir()


def test_a_checkpoint_that_gets_its_record_while_leftovers_are_looked_for_stays(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    step, locked = data_dir.checkpoints / "run" / "step-000001", fcntl.flock
    step.mkdir(parents=True)

    def finished(handle: int, how: int) -> None:
        (step / "checkpoint.json").write_bytes(b"{}")
        locked(handle, how)

    monkeypatch.setattr(fcntl, "flock", finished)
    assert remove_leftovers(data_dir) == []
    assert (step / "checkpoint.json").exists()


def test_a_run_whose_checkpoints_go_while_leftovers_are_looked_for_is_no_error(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    going, scanned = data_dir.checkpoints / "run", os.scandir
    going.mkdir(parents=True)

    def scandir(path: str | Path) -> object:
        if str(path) == str(going) and going.exists():
            going.rmdir()
        return scanned(path)

    monkeypatch.setattr(os, "scandir", scandir)
    assert remove_leftovers(data_dir) == []
    assert not going.exists()
