"""The tensors of a model's weight files, from their headers alone, each within its file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from schemas.errors import InputError
from schemas.files import json_object

LENGTH_BYTES = 8  # a file begins with the length of its header
MOST_HEADER_BYTES = 32 * 2**20  # of all files of a model together; real ones have less than 5
MOST_AXES = 16
MOST_NUMBERS_A_BYTE = 8  # a number has at least one bit
COPY_AGAIN = "copy the model's folder again"


@dataclass(frozen=True)
class StoredTensor:
    """One tensor of a file, by its name and shape."""

    name: str
    shape: tuple[int, ...]

    @property
    def numbers(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)


def stored_tensors(files: Sequence[Path]) -> list[StoredTensor]:
    """Every tensor of these safetensors files; InputError for a header that cannot be true."""
    found: list[StoredTensor] = []
    room = MOST_HEADER_BYTES
    for file in files:
        header, length, size = _header(file, room)
        room -= length
        header.pop("__metadata__", None)
        found += [
            _tensor(name, told, size - LENGTH_BYTES - length, file) for name, told in header.items()
        ]
    return found


def _header(file: Path, room: int) -> tuple[dict[str, Any], int, int]:
    """A file's header, its length and the size of the file, all in bytes."""
    try:
        size = file.stat().st_size
        with file.open("rb") as content:
            length = int.from_bytes(content.read(LENGTH_BYTES), "little")
            if LENGTH_BYTES + length > size:
                raise _incomplete(file)
            if length > room:
                raise InputError(
                    f"its header would have {length:,} bytes, more than a model's have together",
                    str(file),
                    COPY_AGAIN,
                )
            header = content.read(length)
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})", str(file), COPY_AGAIN) from None
    try:
        return json_object(header, str(file)), length, size
    except InputError:
        raise _incomplete(file) from None


def _tensor(name: str, told: Any, data_bytes: int, file: Path) -> StoredTensor:
    described = told if isinstance(told, dict) else {}
    shape, offsets = (_sizes(described.get(part)) for part in ("shape", "data_offsets"))
    if shape is None or offsets is None or len(shape) > MOST_AXES or len(offsets) != 2:
        raise _incomplete(file)
    tensor, (start, end) = StoredTensor(name, shape), offsets
    if not start <= end <= data_bytes or tensor.numbers > MOST_NUMBERS_A_BYTE * (end - start):
        raise _incomplete(file)
    return tensor


def _sizes(value: Any) -> tuple[int, ...] | None:
    """A list of whole numbers from 0 on, None for anything else."""
    if isinstance(value, list) and all(type(size) is int and size >= 0 for size in value):
        return tuple(value)
    return None


def _incomplete(file: Path) -> InputError:
    return InputError(
        "is not a complete safetensors file, so the model cannot be loaded", str(file), COPY_AGAIN
    )
