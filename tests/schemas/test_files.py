"""What a name means, and JSON that is read within limits."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from schemas import files
from schemas.errors import InputError
from schemas.files import ending, is_file, json_object, read_json_object, source_of


def test_a_file_is_known_by_its_ending_in_either_case_or_by_being_there(tmp_path: Path) -> None:
    (tmp_path / "answers").touch()
    assert ending("a/B.JSONL") == ".jsonl"
    for name, kind in (
        ("none.jsonl", "answers"),
        ("NONE.JsonL", "answers"),
        ("none.PARQUET", "table"),
        (str(tmp_path / "answers"), "answers"),
        (str(tmp_path), "run"),
        ("eval-1a2b3c", "run"),
        ("x" * 5000, "run"),
    ):
        assert source_of(name) == kind


@pytest.mark.parametrize("name", ["none", "x" * 5000, "a\0b", "none/" * 3000, "\ud800"])
def test_a_name_that_no_file_has_is_no_file(name: str, tmp_path: Path) -> None:
    assert not is_file(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"{", "cannot be read as JSON"),
        (b"\xff", "cannot be read as JSON"),
        (b"", "cannot be read as JSON"),
        (b"[1]", "is not a JSON object"),
        (b'{"a":' * 65 + b"1" + b"}" * 65, "nested more than 64 deep"),
        (b'{"a":' + b"[" * 500 + b"]" * 500 + b"}", "nested more than 64 deep"),
        (b'{"a":' * 100_000 + b"1" + b"}" * 100_000, "cannot be read as JSON .RecursionError"),
        (b'{"a": ' + b"9" * 5000 + b"}", "cannot be read as JSON"),
    ],
)
def test_what_is_no_object_or_nested_too_deep_is_refused(content: bytes, reason: str) -> None:
    with pytest.raises(InputError, match=f"here: .*{reason}"):
        json_object(content, "here")


def test_an_object_is_read_as_deep_as_configurations_are(tmp_path: Path) -> None:
    (tmp_path / "a.json").write_bytes(b'{"a":' * 64 + b"1" + b"}" * 64)
    assert list(read_json_object(tmp_path / "a.json")) == ["a"]


def test_a_file_that_is_too_large_or_no_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with (tmp_path / "large.json").open("wb") as file:
        file.truncate(files.MOST_JSON_BYTES + 1)
    with pytest.raises(InputError, match=r"large\.json: is larger than 32 MB"):
        read_json_object(tmp_path / "large.json")
    with pytest.raises(InputError, match="cannot be read"):
        read_json_object(tmp_path)
    with pytest.raises(FileNotFoundError):
        read_json_object(tmp_path / "none.json")


def test_a_pipe_is_refused_instead_of_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.json")
    with pytest.raises(InputError, match="is no plain file"):
        read_json_object(tmp_path / "pipe.json")
