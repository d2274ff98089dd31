"""Bytes by name: whole, created once, replaced in the version that was read, listed and deleted."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from obstore.store import MemoryStore

from artifacts.store.shared.bucket import BucketObjects
from artifacts.store.shared.objects import LAYOUT, MARK, Objects, check_store, fetch_checked
from schemas.errors import InputError, StoreError


def test_what_is_put_is_read_listed_and_deleted(shared: Objects, tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(b"from a file")
    (tmp_path / "empty").write_bytes(b"")
    shared.put("a/one", b"1")
    shared.put("a/b/two", tmp_path / "file")
    shared.put("a/empty", tmp_path / "empty")
    shared.put("another", b"3")
    assert shared.list("a") == ["a/b/two", "a/empty", "a/one"]
    assert shared.list("none") == []
    found = shared.get("a/b/two")
    assert found is not None
    assert found.content == b"from a file"
    assert shared.fetch("a/b/two", tmp_path / "back")
    assert (tmp_path / "back").read_bytes() == b"from a file"
    assert not shared.fetch("a/none", tmp_path / "none")
    assert not (tmp_path / "none").exists()
    assert shared.exists("a/one")
    shared.delete("a/one")
    shared.delete("a/one")
    assert not shared.exists("a/one")
    assert shared.get("a/one") is None


def test_of_many_who_create_one_is_first(shared: Objects) -> None:
    with ThreadPoolExecutor(16) as pool:
        asked = [str(number).encode() for number in range(16)]
        first = list(pool.map(lambda content: shared.put_if_absent("keys/k", content), asked))
    assert first.count(True) == 1
    found = shared.get("keys/k")
    assert found is not None
    assert found.content == asked[first.index(True)]


def test_of_many_who_replace_what_they_read_one_does(shared: Objects) -> None:
    shared.put("one", b"before")
    found = shared.get("one")
    assert found is not None
    version = found.version
    with ThreadPoolExecutor(16) as pool:
        asked = [str(number).encode() for number in range(16)]
        done = list(pool.map(lambda content: shared.replace("one", content, version), asked))
    assert done.count(True) == 1
    assert (shared.get("one") or found).content == asked[done.index(True)]
    assert not shared.replace("nothing", b"x", version)
    assert not shared.exists("nothing")


def test_a_store_that_is_ours_is_told_from_others(shared: Objects) -> None:
    check_store(shared)
    check_store(shared)
    assert (found := shared.get(MARK)) is not None
    assert found.content == LAYOUT
    shared.put(MARK, b'{"layout":2}')
    with pytest.raises(InputError, match="another program's, or a newer version's"):
        check_store(shared)


def test_a_store_that_lets_two_be_first_is_refused(
    shared: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared, "put_if_absent", lambda name, content: True)
    with pytest.raises(InputError, match="both would be the first"):
        check_store(shared)


def test_a_store_that_replaces_what_is_in_another_version_is_refused(
    shared: Objects, monkeypatch: pytest.MonkeyPatch
) -> None:
    check_store(shared)
    replace = shared.replace

    def whatever(name: str, content: bytes, version: str) -> bool:
        found = shared.get(name)
        return found is not None and replace(name, content, found.version)

    monkeypatch.setattr(shared, "replace", whatever)
    for _ in range(2):
        with pytest.raises(InputError, match="two machines would hold one lease"):
            check_store(shared)


def test_what_has_not_the_digest_of_its_name_is_not_kept(shared: Objects, tmp_path: Path) -> None:
    name = f"files/{'0' * 64}"
    assert not fetch_checked(shared, name, tmp_path / "file")
    shared.put(name, b"damaged")
    with pytest.raises(StoreError, match="not 000000000000"):
        fetch_checked(shared, name, tmp_path / "file")
    assert not (tmp_path / "file").exists()


def test_what_this_machines_disk_refuses_is_not_said_of_the_bucket(tmp_path: Path) -> None:
    bucket = BucketObjects("s3://tests/memory", MemoryStore())
    bucket.put("one", b"1")
    with pytest.raises(OSError, match="No such file") as refused:
        bucket.fetch("one", tmp_path / "none" / "file")
    assert refused.value.filename == str(tmp_path / "none" / "file")
