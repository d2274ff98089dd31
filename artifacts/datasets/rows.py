"""The rows of a JSONL, CSV or Parquet file as they stand there; InputError says where it is wrong.

Whether they are problems, completions or golden rows is checked by who asked for them.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.parquet as pq
from pydantic import JsonValue

from artifacts.store.parquet_size import check_decoded_size
from schemas.config import Columns
from schemas.errors import InputError
from schemas.files import ending

MOST_LINE_BYTES = 64 * 2**20
MOST_BYTES = 4 * 2**30  # of a file, unpacked
PACKED = {".gz": "gzip", ".zst": "zstd"}
# what Arrow raises for a damaged file, and for a value that Python has no object for
UNREADABLE = (pa.ArrowException, OSError, ValueError, OverflowError, KeyError)
Row = dict[str, JsonValue]


class IntegerText(str):
    """A JSON integer kept as its digits, so that no size limit of the machine applies."""


def read_text(path: Path) -> str:
    """A UTF-8 file's text (a byte order mark is dropped); InputError names the first bad line."""
    return "".join(_utf8(line, path, number) for number, line in _lines(path))


def jsonl_objects(path: Path) -> Iterator[tuple[int, Row]]:
    """Line number and object of each line that is not blank; integers arrive as their digits.

    Lines are read one after another, so that who needs the first alone waits for no more.
    """
    for number, raw in _lines(path):
        if not (line := _utf8(raw, path, number)).strip():
            continue
        try:
            value = json.loads(line, parse_int=IntegerText, object_pairs_hook=_object)
        except InputError as error:
            raise InputError(error.what, f"{path}, row {number}", error.remedy) from None
        except (ValueError, RecursionError) as error:
            reason = getattr(error, "msg", str(error))
            raise InputError(f"is not JSON ({reason})", f"{path}, row {number}") from None
        if not isinstance(value, dict):
            raise InputError(
                "is not a JSON object", f"{path}, row {number}", "write one {...} a line"
            )
        yield number, value


def _object(pairs: Sequence[tuple[str, JsonValue]]) -> Row:
    """A JSON object; InputError for a key that it has twice, whose last value alone would count."""
    found = dict(pairs)
    if len(found) < len(pairs):
        _refuse_twice([name for name, _ in pairs], "key")
    return found


def _refuse_twice(names: Iterable[str], what: str, where: str = "") -> None:
    if twice := [name for name, times in Counter(names).items() if times > 1]:
        raise InputError(f"the {what} {twice[0][:80]!r} is there twice", where, "leave one of them")


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines of a file with their numbers; InputError where it cannot be read."""
    try:
        with _unpacked(path) as file:
            number, size = 0, 0
            while line := file.readline(MOST_LINE_BYTES + 1):
                number, size = number + 1, size + len(line)
                if size > MOST_BYTES:
                    raise InputError(
                        f"holds more than {MOST_BYTES // 2**30} GB", str(path), "split it"
                    )
                if len(line) > MOST_LINE_BYTES:
                    raise InputError(
                        f"is longer than {MOST_LINE_BYTES // 2**20} MB",
                        f"{path}, row {number}",
                        "write one problem or answer a line",
                    )
                yield number, line
    except (OSError, EOFError, pa.ArrowException) as error:
        reason = getattr(error, "strerror", None) or _in_short(error)
        raise InputError(f"cannot be read ({reason})", str(path)) from None


def _unpacked(path: Path) -> BinaryIO:
    """The bytes of a file, unpacked where its ending says that it is packed."""
    packing = PACKED.get(ending(path))
    if packing is None:
        return path.open("rb")
    stream = pa.input_stream(pa.OSFile(str(path)), compression=packing)
    return cast(BinaryIO, io.BufferedReader(stream, 2**20))


def _utf8(line: bytes, path: Path, number: int) -> str:
    """The text of a line; a byte order mark before the first is dropped."""
    try:
        return line.decode("utf-8-sig" if number == 1 else "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"byte 0x{line[error.start]:02x} is not UTF-8",
            f"{path}, row {number}",
            "save the file as UTF-8",
        ) from None


def csv_rows(path: Path, columns: Columns) -> Iterator[tuple[int, Row]]:
    """Line number and fields of each row; an empty field is null."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""), strict=True)
    try:
        yield from _csv_objects(reader, path, columns)
    except csv.Error as error:
        line = reader.reader.line_num  # the line of the fault; `reader` counts whole rows alone
        raise InputError(f"is not CSV ({error})", f"{path}, row {line}") from None


def _csv_objects(
    reader: csv.DictReader[str], path: Path, columns: Columns
) -> Iterator[tuple[int, Row]]:
    _refuse_twice(filter(None, reader.fieldnames or ()), "column", f"{path}, row 1")
    _refuse_missing(reader.fieldnames or (), columns, f"{path}, row 1")
    for row in reader:
        if None in row:
            raise InputError(
                "has more fields than row 1",
                f"{path}, row {reader.line_num}",
                "quote fields that hold a comma",
            )
        # an empty field is how CSV says null
        yield reader.line_num, {key: value or None for key, value in row.items()}


def parquet_rows(path: Path, columns: Columns) -> Iterator[tuple[int, Row]]:
    """Number and fields of each row, the first is 1; integers arrive as their digits."""
    table = _parquet_table(path, columns)
    if (
        columns.id_column == "id"
        and "problem_id" in table.column_names
        and "id" not in table.column_names
    ):
        table = table.rename_columns({"problem_id": "id"})
    _refuse_missing(table.column_names, columns, str(path))
    known = [name for name in _names(columns) if name in table.column_names]
    try:
        rows = table.select(known).to_pylist()
    except UNREADABLE as error:
        raise InputError(
            f"holds a value that cannot be read ({_in_short(error)})",
            str(path),
            f"write {', '.join(known)} as text",
        ) from None
    for number, row in enumerate(rows, start=1):
        value = row[columns.answer_column]
        if isinstance(value, int) and not isinstance(value, bool):
            row[columns.answer_column] = IntegerText(value)
        yield number, row


def _parquet_table(path: Path, columns: Columns) -> pa.Table:
    try:
        check_decoded_size(path, ("problem_id", *_names(columns)))
        table = pq.read_table(path)
        names = table.column_names
    except UNREADABLE as error:
        raise InputError(
            f"is not a readable Parquet file ({_in_short(error)})", str(path)
        ) from None
    _refuse_twice(names, "column", str(path))
    return table


def _names(columns: Columns) -> tuple[str, ...]:
    """Every column that a problem may be made from, each once."""
    named = (
        columns.id_column, columns.prompt_column, columns.answer_column,
        columns.family_column, columns.split_column,
    )  # fmt: skip
    return tuple(dict.fromkeys(named))


def _refuse_missing(there: Sequence[str], columns: Columns, where: str) -> None:
    needed = (columns.prompt_column, columns.answer_column)
    if missing := [name for name in needed if name not in there]:
        raise InputError(
            f"has no column {', '.join(missing)}",
            where,
            f"it has {', '.join(there) or 'none'}; --prompt-column and --answer-column name others",
        )


def _in_short(error: Exception) -> str:
    return " ".join(str(error).split())[:200] or type(error).__name__
