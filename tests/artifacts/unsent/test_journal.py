"""Records that wait to be sent are there whole or not at all, and nobody else reads them."""

from __future__ import annotations

import os
import resource
import signal
import stat
from pathlib import Path

import pytest

from artifacts.store.data_dir import DataDir
from artifacts.store.process import this_process
from artifacts.unsent.journal import (
    SENT,
    Journal,
    begin_journal,
    delete_kept,
    read_kept,
    read_sent,
    unsent_files,
)
from artifacts.unsent.send import send_to_mlflow
from artifacts.unsent.servers import Server, same_address, without_password
from schemas.errors import StoreError

ADDRESS = "http://127.0.0.1:9"


@pytest.fixture
def journal(data_dir: DataDir) -> Journal:
    """A file for MLflow with three records."""
    made = begin_journal(data_dir, "mlflow", ADDRESS)
    for number in range(3):
        made.keep({"call": "set tag", "value": f"é\n{number}"})
    return made


def test_records_are_read_as_they_were_kept(journal: Journal, data_dir: DataDir) -> None:
    kept = read_kept(journal.path)
    assert (kept.to, kept.address, kept.owner) == ("mlflow", ADDRESS, this_process())
    assert [record["value"] for record in kept.records] == ["é\n0", "é\n1", "é\n2"]
    assert unsent_files(data_dir, "mlflow") == [journal.path]
    assert unsent_files(data_dir, "prefect") == []
    assert stat.S_IMODE(journal.path.stat().st_mode) == 0o600
    assert stat.S_IMODE(journal.path.parent.stat().st_mode) == 0o700


def test_a_record_that_was_cut_off_at_any_byte_was_never_kept(journal: Journal) -> None:
    content = journal.path.read_bytes()
    whole = [i + 1 for i, byte in enumerate(content) if byte == ord("\n")]
    for end in range(len(content)):
        journal.path.write_bytes(content[:end])
        lines = sum(line <= end for line in whole)
        assert len(read_kept(journal.path).records) == max(lines - 1, 0)


def test_a_damaged_record_is_named_and_nothing_of_it_is_believed(journal: Journal) -> None:
    content = journal.path.read_bytes()
    for place in range(0, content.rindex(b"\n"), 7):
        damaged = bytearray(content)
        damaged[place] ^= 1
        journal.path.write_bytes(damaged)
        with pytest.raises(StoreError, match="is damaged"):
            read_kept(journal.path)


def test_a_full_disk_leaves_the_records_before_and_takes_later_ones(journal: Journal) -> None:
    size = journal.path.stat().st_size
    child = os.fork()
    if child == 0:  # a limit of a process's own stands for the end of the disk
        code = 1
        try:
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            resource.setrlimit(resource.RLIMIT_FSIZE, (size + 20, resource.RLIM_INFINITY))
            try:
                journal.keep({"call": "set tag", "value": "x" * 500})
            except OSError:
                resource.setrlimit(
                    resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
                )
                journal.keep({"call": "set tag", "value": "later"})
                code = 0
        finally:
            os._exit(code)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert [record["value"] for record in read_kept(journal.path).records][2:] == ["é\n2", "later"]


def test_how_far_a_file_was_sent_is_remembered(journal: Journal) -> None:
    assert read_sent(journal.path) == (0, {})
    progress = Journal(journal.path.with_suffix(SENT))
    progress.keep({"sent": 1, "names": {"a": "b"}})
    progress.keep({"sent": 2, "names": {}})
    assert read_sent(journal.path) == (2, {"a": "b"})
    delete_kept(journal.path)
    assert list(journal.path.parent.iterdir()) == []


def test_what_cannot_be_sent_is_counted_with_the_reason(
    journal: Journal, data_dir: DataDir, tmp_path: Path
) -> None:
    journal.close()
    elsewhere = send_to_mlflow(None, data_dir, Server("http://127.0.0.1:8"), 0.0)
    assert (elsewhere.left, elsewhere.sent.total()) == (3, 0)
    assert f"is for MLflow at {ADDRESS}" in elsewhere.reasons[0]
    assert elsewhere.missing == 0, "the server in use lacks nothing"
    away = send_to_mlflow(None, data_dir, Server(ADDRESS), 0.0)
    assert away.missing == 3
    assert (away.left, away.reasons) == (3, [f"{journal.path} waits for {ADDRESS}"])
    journal.path.write_bytes(journal.path.read_bytes()[5:])
    damaged = send_to_mlflow(None, data_dir, Server(ADDRESS), 0.0)
    assert damaged.left == 1
    assert "line 1 is damaged" in damaged.reasons[0]
    assert journal.path.exists(), "it is left as it is"


@pytest.mark.parametrize(
    "address",
    ["HTTP://localhost:9", "http://127.0.0.1:9/", "http://[::1]:9", "http://me:secret@LOCALHOST:9"],
)
def test_a_server_is_the_same_however_its_address_is_written(
    address: str, journal: Journal, data_dir: DataDir
) -> None:
    journal.close()
    assert send_to_mlflow(None, data_dir, Server(address), 0.0).missing == 3


def test_addresses_that_differ_in_more_are_two_servers() -> None:
    assert same_address("http://a.example", "http://A.example:80/")
    assert same_address("https://a.example:443", "https://a.example")
    for other in ("https://a.example", "http://a.example:81", "http://a.example/b", "http://[::2"):
        assert not same_address("http://a.example", other)


def test_a_server_is_known_by_what_it_holds_and_not_by_its_address(data_dir: DataDir) -> None:
    journal = begin_journal(data_dir, "mlflow", ADDRESS, "1 1700000000000")
    journal.keep({"call": "set tag", "value": "v"})
    journal.close()
    moved = Server("http://mlflow.example", "1 1700000000000")
    assert send_to_mlflow(None, data_dir, moved, 0.0).missing == 1
    made_anew = Server(ADDRESS, "1 1800000000000")
    outcome = send_to_mlflow(None, data_dir, made_anew, 0.0)
    assert (outcome.left, outcome.missing) == (1, 0)
    assert send_to_mlflow(None, data_dir, Server(ADDRESS), 0.0).missing == 1, "not known"


def test_an_address_is_kept_without_its_password() -> None:
    address = "postgresql+asyncpg://me:secret@db.example:5432/prefect?password=secret"
    assert without_password(address) == "postgresql+asyncpg://db.example:5432/prefect"
    assert without_password(ADDRESS) == ADDRESS
    for file in ("sqlite+aiosqlite:////home/me/prefect.db", "sqlite:////home/a@b/c.db", "/a:b/c@d"):
        assert without_password(file) == file


@pytest.mark.parametrize(
    ("address", "shown"),
    [
        ("htp://me:secret@host", "htp://host"),
        ("me:secret@host:5000/x", "host:5000/x"),
        ("http:me:secret@host", "host"),
        ("http:/me:secret@host", "http:/host"),
        ("http:///me:secret@host", "http:///host"),
        ("//me:secret@host", "//host"),
        ("/me:secret@host", "/host"),
        ("http://me:with/secret@host/x", "http://host/x"),
        ("http://me:with?secret@host/x?y", "http://host/x"),
        ("http://me@example.com:with?secret@host/x", "http://host/x"),
        ("postgresql://me:secret@db:5432/runs?application_name=a@b", "postgresql://db:5432/runs"),
        ("http://host/x?mail=a@b", "http://host/x"),
        ("sqlite://me:secret@host/x.db", "sqlite://host/x.db"),
    ],
)
def test_nor_with_the_password_of_one_that_is_mistyped(address: str, shown: str) -> None:
    assert without_password(address) == shown
