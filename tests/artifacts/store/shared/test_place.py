"""Which address names which store, and what is said of one that names none."""

from __future__ import annotations

import builtins
import sys
from pathlib import Path

import pytest

from artifacts.store.shared.bucket import BucketObjects
from artifacts.store.shared.faults import told
from artifacts.store.shared.folder import FolderObjects
from artifacts.store.shared.place import shared_store, store_address
from schemas.errors import InputError

SECRET = "canary-secret-000000000000"


def test_without_an_address_nothing_is_shared() -> None:
    assert store_address({}) == ""
    assert shared_store("") is None


def test_a_folder_needs_no_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "obstore", None)
    for name in ("a b", "me@host", "a#b"):
        (tmp_path / name).mkdir()
        found = shared_store((tmp_path / name).as_uri())
        assert isinstance(found, FolderObjects)
        assert found.folder == tmp_path / name
    with pytest.raises(InputError, match="there is no such folder; make it, or mount it"):
        shared_store((tmp_path / "none").as_uri())


def test_a_bucket_is_opened_without_asking_anybody(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    found = shared_store("s3://team-bucket/a/b/")
    assert isinstance(found, BucketObjects)
    assert found.address == "s3://team-bucket/a/b"


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("ftp://bucket/x", "is no address of a store"),
        ("bucket", "is no address of a store"),
        ("s3:bucket", "is no address of a store"),
        ("s3://", "is not a bucket and a prefix"),
        ("s3:///prefix", "is not a bucket and a prefix"),
        ("s3://bucket/a b", "is not a bucket and a prefix"),
        ("s3://bucket//b", "is not a bucket and a prefix"),
        (f"s3://user:{SECRET}@bucket/x", "has a login or settings in it"),
        (f"s3://bucket/x?secret={SECRET}", "has a login or settings in it"),
        (f"s3:user:{SECRET}@bucket/x", "has a login or settings in it"),
        (f"user:{SECRET}@bucket", "has a login or settings in it"),
        (f"htps://user:a/{SECRET}@bucket", "has a login or settings in it"),
        (f"s3://user:a/{SECRET}@bucket/x", "has a login or settings in it"),
        (f"file://user:a/{SECRET}@machine/x", "has a login or settings in it"),
    ],
)
def test_an_address_that_names_none_is_refused_in_one_line(address: str, said: str) -> None:
    with pytest.raises(InputError, match=said) as refused:
        shared_store(address)
    line = str(refused.value)
    assert line.startswith("THREELOOPS_STORE")
    assert "\n" not in line
    assert SECRET not in line
    assert "s3://BUCKET/PREFIX" in line


@pytest.mark.parametrize("address", ["file://", "file://store", "file://mnt/store"])
def test_a_folder_without_its_whole_path_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="has two slashes") as refused:
        shared_store(address)
    assert str(refused.value).startswith(f"THREELOOPS_STORE={address}: ")


def test_a_bucket_without_the_package_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    without = builtins.__import__

    def refuse(name: str, *more: object) -> object:
        if name.startswith("obstore"):
            raise ImportError(name)
        return without(name, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(builtins, "__import__", refuse)
    with pytest.raises(InputError, match=r'pip install "threeloops\[store\]"'):
        shared_store("s3://bucket/x")


def test_half_of_the_credentials_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    with pytest.raises(InputError, match="the credentials are missing; set AWS_ACCESS_KEY_ID"):
        shared_store("s3://bucket/x")


def test_what_the_library_says_is_one_line_without_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"https://user:{SECRET}@host")
    strange = told(ValueError(f"strange {SECRET}\nDebug source: x"), "s3://b/p")
    silent = told(ValueError(f"HTTP error: error sending request {SECRET}"), "s3://b/p")
    for line in (str(strange), str(silent)):
        assert SECRET not in line
        assert "\n" not in line
    assert "strange ***" in str(strange)
    assert "https://***@host does not answer" in str(silent)
