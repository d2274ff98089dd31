"""The members of a zip file, packed by deflate or by zstd, within limits of size.

Python's own module unpacks zstd from 3.14 on; Arrow does everywhere.
"""

from __future__ import annotations

import struct
import zipfile
import zlib
from pathlib import Path

import pyarrow as pa

from schemas.errors import InputError

ZSTD = 93  # the method's number in the zip format
MOST_MEMBER_BYTES = 512 * 2**20
MOST_BYTES = 4 * 2**30
LOCAL_HEADER = 30  # bytes before the name
BAD = (zipfile.BadZipFile, OSError, EOFError, ValueError, zlib.error, struct.error,
       NotImplementedError, RuntimeError, pa.ArrowException)  # fmt: skip


class Members:
    """A zip file's members by name. InputError names the file, and the member where one is bad."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with zipfile.ZipFile(path) as file:
                self._info = {info.filename: info for info in file.infolist()}
        except BAD as error:
            raise InputError(
                f"is not a readable zip file ({_in_short(error)})",
                str(path),
                "copy it again; one that is still written has no end yet",
            ) from None
        if sum(info.file_size for info in self._info.values()) > MOST_BYTES:
            raise InputError(f"holds more than {MOST_BYTES // 2**30} GB", str(path))

    @property
    def names(self) -> list[str]:
        """All names, in the order in which they were written."""
        return list(self._info)

    def read(self, name: str) -> bytes:
        """The bytes of a member, whole: as many as were promised, with the right checksum."""
        info = self._info[name]
        where = f"{self.path}, {name}"
        if info.file_size > MOST_MEMBER_BYTES:
            raise InputError(f"is larger than {MOST_MEMBER_BYTES // 2**20} MB", where)
        try:
            if info.compress_type == ZSTD:
                return self._unpacked(info)
            with zipfile.ZipFile(self.path) as file:
                return file.read(info)
        except BAD as error:
            raise InputError(f"is damaged ({_in_short(error)})", where, "copy it again") from None

    def _unpacked(self, info: zipfile.ZipInfo) -> bytes:
        with self.path.open("rb") as file:
            file.seek(info.header_offset)
            header = file.read(LOCAL_HEADER)
            name, extra = struct.unpack("<HH", header[26:LOCAL_HEADER])
            file.seek(info.header_offset + LOCAL_HEADER + name + extra)
            packed = file.read(info.compress_size)
        with pa.input_stream(pa.BufferReader(packed), compression="zstd") as stream:
            content = bytes(stream.read(info.file_size + 1))
        if len(content) != info.file_size or zlib.crc32(content) != info.CRC:
            raise zipfile.BadZipFile("its checksum differs")
        return content


def _in_short(error: Exception) -> str:
    return " ".join(str(error).split())[:120] or type(error).__name__
