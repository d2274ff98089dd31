"""A file of records belongs to the process that holds its lock, wherever that process runs."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, cast

import pytest
from mlflow import MlflowClient

from artifacts.store.data_dir import DataDir
from artifacts.unsent import journal as journals
from artifacts.unsent.journal import (
    begin_journal,
    claimed,
    read_kept,
    unsent_files,
    unsent_folder,
)
from artifacts.unsent.send import send_to_mlflow
from artifacts.unsent.servers import Server

HERE = Server("http://127.0.0.1:9")
WRITES = """
import os, pathlib, platform, sys
platform.node = lambda: sys.argv[2] or os.uname().nodename
from artifacts.store.data_dir import DataDir
from artifacts.unsent.journal import begin_journal
made = begin_journal(DataDir(pathlib.Path(sys.argv[1])), "mlflow", "http://127.0.0.1:9")
made.keep({"call": "set tag", "run": "r", "key": "k", "value": "1"})
print(made.path, flush=True)
input()
made.keep({"call": "set tag", "run": "r", "key": "k", "value": "2"})
print("kept", flush=True)
input()
"""
CONTAINER = ["unshare", "--user", "--map-root-user", "--pid", "--fork"]


class Takes:
    """A client that takes every tag and says which."""

    def __init__(self, path: Path | None = None) -> None:
        self.values: list[str] = []
        self._path = path

    def set_tag(self, run: str, key: str, value: str) -> None:
        if self._path is not None:
            with claimed(self._path) as mine:
                assert not mine, "who sends it holds its lock"
        self.values.append(value)


@contextlib.contextmanager
def writing(data_dir: DataDir, words: list[str], host: str) -> Iterator[subprocess.Popen[str]]:
    """A process that has kept a record, and keeps another at each line that it reads."""
    process = subprocess.Popen(
        [*words, sys.executable, "-c", WRITES, str(data_dir.root), host],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        if not cast(IO[str], process.stdout).readline():
            assert words, "it writes"
            pytest.skip("a namespace of process ids cannot be made here")
        yield process
    finally:
        kill(process)


def kill(process: subprocess.Popen[str]) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def sent_by(client: Any, data_dir: DataDir) -> tuple[int, int]:
    outcome = send_to_mlflow(cast(MlflowClient, client), data_dir, HERE, 60.0)
    return outcome.sent.total(), outcome.left


@pytest.mark.parametrize("host", ["", "another-host"])
@pytest.mark.parametrize("words", [[], CONTAINER], ids=["here", "container"])
def test_a_file_is_sent_once_its_writer_was_killed_and_not_before(
    words: list[str], host: str, data_dir: DataDir
) -> None:
    client = Takes()
    with writing(data_dir, words, host) as process:
        assert sent_by(client, data_dir) == (0, 1), "its writer goes on"
        print(file=process.stdin, flush=True)
        assert cast(IO[str], process.stdout).readline() == "kept\n"
        (path,) = unsent_files(data_dir, "mlflow")
        kept = read_kept(path)
        assert kept.in_use
        assert len(kept.records) == 2
        kill(process)
        assert not kept.in_use
        assert sent_by(client, data_dir) == (2, 0)
    assert client.values == ["1", "2"]
    assert list(unsent_folder(data_dir).iterdir()) == []


def test_who_sends_a_file_holds_its_lock_until_it_is_gone(data_dir: DataDir) -> None:
    journal = begin_journal(data_dir, "mlflow", HERE.address)
    for value in range(3):
        journal.keep({"call": "set tag", "run": "r", "key": "k", "value": str(value)})
    journal.close()
    client = Takes(journal.path)
    assert sent_by(client, data_dir) == (3, 0)
    assert client.values == ["0", "1", "2"]


@pytest.mark.parametrize("content", [b"", b"0123456789abcdef {"])
def test_a_file_without_even_its_first_line_is_deleted(content: bytes, data_dir: DataDir) -> None:
    journal = begin_journal(data_dir, "mlflow", HERE.address)
    journal.path.write_bytes(content)
    assert sent_by(Takes(), data_dir) == (0, 0)
    assert journal.path.exists(), "whoever has just begun it goes on"
    journal.close()
    assert not read_kept(journal.path).in_use
    assert sent_by(Takes(), data_dir) == (0, 0)
    assert not journal.path.exists()


def test_a_file_that_was_deleted_before_it_was_locked_is_begun_again(
    data_dir: DataDir, monkeypatch: pytest.MonkeyPatch
) -> None:
    deleted: list[Path] = []

    def late(file: int, how: int) -> None:
        if not deleted:
            deleted.extend(unsent_files(data_dir, "mlflow"))
            deleted[0].unlink()
        fcntl.flock(file, how)

    monkeypatch.setattr(journals, "lock", late)
    journal = begin_journal(data_dir, "mlflow", HERE.address)
    assert journal.path not in deleted
    assert read_kept(journal.path).address == HERE.address


def test_a_file_that_another_command_has_sent_meanwhile_is_passed_over(data_dir: DataDir) -> None:
    journal = begin_journal(data_dir, "mlflow", HERE.address)
    journal.close()
    file = os.open(journal.path, os.O_RDWR)
    journal.path.unlink()
    try:
        with pytest.raises(FileNotFoundError):
            journals._locked(file)
    finally:
        os.close(file)


def test_a_file_that_mlflow_is_to_keep_and_that_is_missing_is_said(data_dir: DataDir) -> None:
    journal = begin_journal(data_dir, "mlflow", HERE.address)
    words = {"run": "r", "name": "a.json", "folder": None, "file": "unsent/files/none"}
    journal.keep({"call": "keep file", **words})
    journal.close()
    outcome = send_to_mlflow(cast(MlflowClient, Takes()), data_dir, HERE, 60.0)
    assert (outcome.left, outcome.sent.total()) == (1, 0)
    (reason,) = outcome.reasons
    assert "unsent/files/none, which MLflow is to keep, is missing" in reason
    assert "doctor --repair" in reason
    assert journal.path.exists()
