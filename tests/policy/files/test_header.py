"""The headers of weight files are read within limits, and believed only as far as files reach."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from policy.files import header
from policy.files.header import stored_tensors
from schemas.errors import InputError


def file_of(folder: Path, told: Any, *, length: int | None = None, data: int = 64) -> Path:
    """A weight file with this header and some bytes after it."""
    content = told if isinstance(told, bytes) else json.dumps(told).encode()
    path = folder / "model.safetensors"
    size = len(content) if length is None else length
    path.write_bytes(size.to_bytes(8, "little") + content + bytes(data))
    return path


def tensor(**changes: Any) -> dict[str, Any]:
    return {"a": {"dtype": "F32", "shape": [2, 4], "data_offsets": [0, 32]} | changes}


def test_names_and_shapes_are_those_of_the_weights(tiny_folder: Callable[[str], Path]) -> None:
    file = tiny_folder("llama") / "model.safetensors"
    assert {one.name: one.shape for one in stored_tensors([file])} == {
        name: tuple(weight.shape) for name, weight in load_file(file).items()
    }


def test_a_number_and_an_empty_weight_are_weights(tmp_path: Path) -> None:
    save_file({"a": torch.tensor(1.0), "b": torch.zeros(0, 3)}, tmp_path / "w")
    assert sorted((one.name, one.numbers) for one in stored_tensors([tmp_path / "w"])) == [
        ("a", 1),
        ("b", 0),
    ]


@pytest.mark.parametrize(
    "told",
    [
        b"",
        b"{",
        b"[]",
        b"\xff\xff",
        b"[" * 100_000,
        b'{"a":' * 1000 + b"1" + b"}" * 1000,
        {"a": 5},
        {"a": {}},
        tensor(shape=[10**12]),
        tensor(shape=[-2, -4]),
        tensor(shape=[2.0, 4.0]),
        tensor(shape=[True, 4]),
        tensor(shape="24"),
        tensor(shape=[1] * 100),
        tensor(data_offsets=[0, 10**9]),
        tensor(data_offsets=[32, 0]),
        tensor(data_offsets=[0]),
    ],
)
def test_a_header_that_cannot_be_true_is_refused(tmp_path: Path, told: Any) -> None:
    path = file_of(tmp_path, told)
    with pytest.raises(InputError, match="is not a complete safetensors file") as caught:
        stored_tensors([path])
    assert caught.value.where == str(path)


@pytest.mark.parametrize("length", [10**6, 2**63, 2**64 - 1])
def test_a_header_longer_than_its_file_is_refused(tmp_path: Path, length: int) -> None:
    with pytest.raises(InputError, match="is not a complete safetensors file"):
        stored_tensors([file_of(tmp_path, tensor(), length=length)])


def test_a_header_longer_than_any_is_refused_unread(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "model.safetensors"
    with path.open("wb") as file:
        file.write((2**40).to_bytes(8, "little"))
        file.truncate(2**41)  # a file with a hole, which takes no room on the disk
    with pytest.raises(InputError, match="its header would have 1,099,511,627,776 bytes"):
        stored_tensors([path])
    small = file_of(tmp_path, tensor())
    monkeypatch.setattr(header, "MOST_HEADER_BYTES", 100)
    stored_tensors([small])
    with pytest.raises(InputError, match="than a model's have together"):
        stored_tensors([small, small])


def test_a_folder_in_place_of_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        stored_tensors([tmp_path])
