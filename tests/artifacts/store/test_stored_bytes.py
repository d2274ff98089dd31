"""A file against a digest: read once, found elsewhere, and never judged while it changes."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from artifacts.store import stored_bytes
from artifacts.store.stored_bytes import StoredBytes

ONE, TWO = sha256(b"one").hexdigest(), sha256(b"two").hexdigest()


def test_a_file_matches_differs_or_is_missing(tmp_path: Path) -> None:
    path = tmp_path / "file"
    read: list[int] = []
    path.write_bytes(b"one")
    stored = StoredBytes(read.append)
    assert stored.verdict(path, ONE) == "matches"
    assert stored.verdict(path, TWO) == "differs"
    assert read == [3], "it was read once"
    path.write_bytes(b"two")
    assert stored.verdict(path, TWO, again=True) == "matches"
    assert stored.verdict(tmp_path / "none", ONE) == "missing"
    assert stored.verdict(path / "below", ONE) == "missing"
    assert stored.verdict(tmp_path, ONE) == "unreadable"


def test_another_file_with_the_same_bytes_is_found_as_long_as_it_has_them(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    stored = StoredBytes()
    for path in (first, second):
        path.write_bytes(b"one")
        stored.digest(path)
    assert stored.another(ONE, first) == second
    second.write_bytes(b"two")
    assert stored.another(ONE, first) is None
    assert stored.another(TWO, first) == second


def test_a_file_that_is_being_written_is_not_judged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(stored_bytes, "PAUSE", 0)
    path = tmp_path / "file"
    path.write_bytes(b"one")

    def goes_on(count: int) -> None:
        with path.open("ab") as file:
            file.write(b"more")

    assert StoredBytes(goes_on).verdict(path, ONE) == "changing"


def test_what_is_no_file_is_not_read_and_a_name_that_no_file_has_is_missing(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    assert StoredBytes().verdict(tmp_path / "pipe", ONE) == "unreadable", "reading it would wait"
    assert StoredBytes().verdict(tmp_path / "a\0b", ONE) == "missing"
    assert StoredBytes().digests({"pipe": tmp_path / "pipe", "none": tmp_path / "a\0b"}) == {}
