"""Nearly right Parquet files: other types, nulls, encodings, metadata, and damaged bytes."""

from __future__ import annotations

import datetime
import decimal
import io
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from artifacts.store.parquet_table import PROVENANCE_KEY, SCHEMAS
from schemas.identity import canonical_json
from schemas.provenance import Provenance
from tests.fuzz.inputs.text import damaged, one_in

Column = Callable[[int], pa.Array]


def _not_utf8(rows: int) -> pa.Array:
    offsets = pa.py_buffer(b"".join((2 * i).to_bytes(4, "little") for i in range(rows + 1)))
    return pa.StringArray.from_buffers(rows, offsets, pa.py_buffer(b"\xff\xfe" * max(rows, 1)))


def _of(values: list[Any], kind: pa.DataType) -> Column:
    return lambda rows: pa.array([values[i % len(values)] for i in range(rows)], kind)


ODD_COLUMNS: Mapping[str, Column] = {
    "null": lambda rows: pa.nulls(rows),
    "nulls": lambda rows: pa.nulls(rows, pa.string()),
    "some null": _of(["a", None], pa.string()),
    "empty": _of([""], pa.string()),
    "same": _of(["a"], pa.string()),
    "spaces": _of([" "], pa.string()),
    "control": _of(["\0", "\x1b[31m", "\u202e\n"], pa.string()),
    "large": _of(["a", "2"], pa.large_string()),
    "view": _of(["a", "2"], pa.string_view()),
    "dictionary": lambda rows: _of(["a", "b"], pa.string())(rows).dictionary_encode(),
    "numbers in a dictionary": lambda rows: _of([1, 2], pa.int64())(rows).dictionary_encode(),
    "not UTF-8": _not_utf8,
    "bytes": _of([b"\xff", b"2"], pa.binary()),
    "fixed bytes": _of([b"\xff2"], pa.binary(2)),
    "int8": _of([1, -128], pa.int8()),
    "int64": _of([2**63 - 1, -(2**63)], pa.int64()),
    "uint64": _of([2**64 - 1, 0], pa.uint64()),
    "some int": _of([3, None], pa.int32()),
    "float": _of([1.0, float("nan"), float("inf")], pa.float64()),
    "half": _of([1.0, 0.5], pa.float16()),
    "decimal": _of([decimal.Decimal("1.5"), decimal.Decimal("2.0")], pa.decimal128(38, 1)),
    "decimal256": _of([decimal.Decimal("2")], pa.decimal256(76, 0)),
    "bool": _of([True, False], pa.bool_()),
    "timestamp": _of([2**62, -(2**62)], pa.timestamp("us")),
    "nanoseconds": _of([1, 2**62 + 1], pa.timestamp("ns", "UTC")),
    "no zone": _of([1], pa.timestamp("ms", "Nowhere/Else")),
    "date32": _of([2**31 - 1, -(2**31)], pa.date32()),
    "date64": _of([2**62 // 86_400_000 * 86_400_000], pa.date64()),
    "time": _of([datetime.time(1, 2, 3)], pa.time64("ns")),
    "duration": _of([2**62], pa.duration("s")),
    "list": _of([["a"], [], None], pa.list_(pa.string())),
    "ints": _of([[1], [2, None]], pa.list_(pa.int32())),
    "struct": _of([{"a": 1}, None], pa.struct([("a", pa.int64())])),
    "map": _of([[("a", 1)]], pa.map_(pa.string(), pa.int64())),
    "nested": _of([[[[["a"]]]]], pa.list_(pa.list_(pa.list_(pa.list_(pa.string()))))),
}
RIGHT: Mapping[pa.DataType, list[Any]] = {
    pa.string(): ["a", "b", "c", "d"],
    pa.int32(): [0, 1, 2, 3],
    pa.int64(): [0, 1, 2, 3],
    pa.float64(): [-0.0, -1.5, -2.0],
    pa.list_(pa.int32()): [[1], [2, 3]],
    pa.list_(pa.float32()): [[-0.5], [-1.0]],
    pa.bool_(): [True, False],
}
# values that a column may have alone
RIGHT_IN: Mapping[str, list[Any]] = {
    "finish_reason": ["stop", "length"], "expected_answer": ["2", "-3"], "id": ["a", "b", "c", "d"],
    "outcome": ["wrong_answer"], "reward": [0.0], "rule": ["random"], "split": ["holdout"],
}  # fmt: skip
# values that a completion may have, or that only later checks can refuse
ANSWERED: Mapping[str, list[Any]] = {
    "text": [
        "Final: 2",
        "Final: 4",
        "Final: 2 ",
        "",
        "\0",
        "\x1b[31m",
        "\u202e\n",
        "2" * 5000,
        "Ω",
    ],
    "finish_reason": ["stop", "stop", "length"],
    "token_count": [3, 0, None, 2**31 - 1],
    "sum_logprob": [-1.5, -0.0, None, float("-inf")],
    "shard_seed": [0, None, 2**63 - 1],
    "token_ids": [[1, 2], [], None, [None], [-1, 2**31 - 1]],
    "logprobs": [[-0.5, -1.0], [], None, [float("nan")], [0.5, float("inf")]],
}
DATASET = dict.fromkeys(("id", "prompt", "expected_answer", "split", "family"), pa.string())
PROVENANCE = Provenance(
    kind="completions",
    producer="fuzz",
    parents={"problems": "0" * 64},
    config={"template": "a@1:0", "sampling": "{}", "policy": "external"},
)
METADATA = (
    *(canonical_json(PROVENANCE.model_dump()).encode(),) * 15,
    b"", b"{}", b"[]", b"\xff", b"null", b"[" * 5000, b'{"parents": 5}', b'{"kind": "\\ud800"}',
    b'{"parents": {"problems": "../../../../etc/passwd"}}',
    b'{"parents": {"problems": "a\\u0000b"}}', b'{"parents": {"problems": ""}}',
    b'{"parents": {"problems": "' + b"x" * 5000 + b'"}}',
    b'{"versions": {"a": 1}, "config": 7}', b'{"extra": 1}',
)  # fmt: skip


def right(name: str, kind: pa.DataType, rows: int) -> pa.Array:
    """A column as it should be."""
    values = RIGHT_IN.get(name) or RIGHT.get(kind) or [None]
    return _of(values, kind)(rows)


@st.composite
def files(draw: DrawFn, kinds: tuple[Mapping[str, pa.DataType], ...]) -> bytes:
    """A file with the columns of one kind, of which a few are odd, missing, doubled or moved."""
    columns, rows = draw(st.sampled_from(kinds)), draw(st.sampled_from((1, 2, 2, 4, 0)))
    made = [(name, right(name, kind, rows)) for name, kind in columns.items()]
    for _ in range(draw(st.sampled_from((0, 0, 1, 1, 1, 2)))):
        at = draw(st.integers(0, len(made) - 1))
        name = made[at][0]
        match draw(
            st.sampled_from(("odd", "odd", "odd", "odd", "gone", "twice", "moved", "named"))
        ):
            case "odd":
                made[at] = (name, ODD_COLUMNS[draw(st.sampled_from(tuple(ODD_COLUMNS)))](rows))
            case "gone" if len(made) > 1:
                del made[at]
            case "twice":
                made.append(made[at])
            case "moved":
                made.append(made.pop(0))
            case _:
                made[at] = (
                    draw(st.sampled_from(("", "a\0", "\u202e", "id", "text", "ID", "a.b"))),
                    made[at][1],
                )
    table = pa.table([column for _, column in made], names=[name for name, _ in made])
    if draw(st.sampled_from((True, True, True, False))):
        table = table.replace_schema_metadata({PROVENANCE_KEY: draw(st.sampled_from(METADATA))})
    return draw(_bytes_of(table))


@st.composite
def _bytes_of(draw: DrawFn, table: pa.Table) -> bytes:
    sink = io.BytesIO()
    how: dict[str, Any] = {
        "compression": draw(st.sampled_from(("zstd", "none", "snappy", "gzip"))),
        "use_dictionary": draw(st.booleans()),
        "store_schema": draw(st.booleans()),
        "data_page_version": draw(st.sampled_from(("1.0", "2.0"))),
        "row_group_size": draw(st.sampled_from((None, 1))),
        "version": draw(st.sampled_from(("1.0", "2.6"))),
    }
    try:
        pq.write_table(table, sink, **how)
    except (pa.ArrowException, OSError):  # a type that Parquet or this version of it has not
        return b"PAR1" + b"\0" * 8 + b"PAR1"
    content = sink.getvalue()
    return draw(damaged(content)) if draw(one_in(5)) else content


def _arrow(kind: str) -> Mapping[str, pa.DataType]:
    return {name: column.type for name, column in SCHEMAS[kind].columns.items()}


def dataset_parquet() -> SearchStrategy[bytes]:
    return files((DATASET, _arrow("problems")))


def completions_parquet() -> SearchStrategy[bytes]:
    return answers() | files((_arrow("completions"),))


@st.composite
def answers(draw: DrawFn) -> bytes:
    """Answers to the problems of the room, most of them whole: what is odd is in the values."""
    samples = draw(st.sampled_from((1, 2, 3)))
    keys = [(problem, index) for problem in "ab" for index in range(samples)]
    match draw(st.sampled_from(("", "", "", "", "unknown", "fewer", "twice", "gap", "order"))):
        case "unknown":
            keys[-1] = (draw(st.sampled_from(("c", "", "\0"))), 0)
        case "fewer":
            del keys[draw(st.integers(0, len(keys) - 1))]
        case "twice":
            keys.append(keys[0])
        case "gap":
            keys[-1] = (keys[-1][0], draw(st.sampled_from((2**31 - 1, -1))))
        case "order":
            keys.reverse()
    columns = {
        name: pa.array([draw(st.sampled_from(ANSWERED[name])) for _ in keys], kind)
        for name, kind in _arrow("completions").items()
        if name in ANSWERED
    }
    problems, indexes = ([key[at] for key in keys] for at in (0, 1))
    columns["text"] = columns["text"].cast(
        draw(st.sampled_from((pa.string(), pa.string(), pa.large_string(), pa.string_view())))
    )
    table = pa.table(
        {"problem_id": problems, "sample_index": pa.array(indexes, pa.int32())} | columns
    )
    made = draw(st.sampled_from(METADATA) if draw(one_in(8)) else st.sampled_from(METADATA[:1]))
    return draw(_bytes_of(table.replace_schema_metadata({PROVENANCE_KEY: made})))


def table() -> SearchStrategy[bytes]:
    return files(tuple(_arrow(kind) for kind in SCHEMAS))
