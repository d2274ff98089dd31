"""Readers of files of rows: datasets, completions and golden rows."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pyarrow as pa

from artifacts.compare.rescoring import golden_check
from artifacts.datasets.files import read_problem_file
from artifacts.datasets.problems import Datasets
from artifacts.runs.imported import answered_split, import_answers
from artifacts.runs.replay import stored_completions
from artifacts.store.instrument import instrument_of
from schemas.errors import InputError
from schemas.problems import CANONICAL_INTEGER, PROBLEMS, expected_answers
from schemas.references import TableRef
from schemas.scores import SCORES
from scorers.registry import get_scorer
from scorers.statistics.summary import summarize
from tests.fuzz.room import Room

SCORERS = ("final_int@1", "contains_int@1", "last_int@1")


def dataset_jsonl(content: bytes, room: Room) -> None:
    """A dataset of JSON lines."""
    _dataset(room.file("d.jsonl", content), room)


def dataset_csv(content: bytes, room: Room) -> None:
    """A dataset as CSV."""
    _dataset(room.file("d.csv", content), room)


def dataset_parquet(content: bytes, room: Room) -> None:
    """A dataset as Parquet."""
    _dataset(room.file("d.parquet", content), room)


def _dataset(path: Path, room: Room) -> None:
    """What is accepted is a valid problems table, writes back as JSON lines and reads the same."""
    with _named_in_refusals(path):
        table = read_problem_file(str(path))
    assert table.schema.names == PROBLEMS.arrow.names
    ids = table["problem_id"].to_pylist()
    assert len(set(ids)) == len(ids) > 0
    assert all(re.fullmatch(CANONICAL_INTEGER, one) for one in table["expected_answer"].to_pylist())
    assert None not in table["prompt"].to_pylist() + table["split"].to_pylist()
    again = room.file("again.jsonl", "\n".join(_lines(table)).encode())
    assert read_problem_file(str(again)).equals(table)


def _lines(table: pa.Table) -> list[str]:
    """Each row as a person would write it, with an escape for what ends a line."""
    rows = ({"id": row.pop("problem_id"), **row} for row in table.to_pylist())
    # rows of a file without splits say "all", which is what no split is read as
    return [json.dumps(row) for row in rows]


def completions_jsonl(content: bytes, room: Room) -> None:
    """Completions as JSON lines: what is accepted is scored by every scorer."""
    path = room.file("c.jsonl", content)
    answered_split(Datasets(), str(room.dataset), path)
    _, reference = import_answers(path, room.store, room.problems)
    table = room.store.read(reference)
    problems = set(room.store.read(room.problems)["problem_id"].to_pylist())
    assert set(table["problem_id"].to_pylist()) == problems
    assert table.num_rows % len(problems) == 0
    expected = pa.array(["2"] * table.num_rows)
    for name in SCORERS:
        verdicts = get_scorer(name).score(table["text"], table["finish_reason"], expected)
        assert verdicts.num_rows == table.num_rows


def completions_parquet(content: bytes, room: Room) -> None:
    """A table named by --completions: what is accepted is scored and summarised like any other."""
    content = _about(room.problems.digest, content)
    path = room.file("c.parquet", content)
    kept = room.store.path(
        TableRef(kind="completions", digest=hashlib.sha256(content).hexdigest(), rows=0)
    )
    kept.parent.mkdir(exist_ok=True)
    kept.write_bytes(content)  # a table of ours is in the store
    problems, completions = stored_completions(room.archive, str(path))
    asked, answered = room.store.read(problems), room.store.read(completions)
    expected = expected_answers(asked, answered["problem_id"])
    for name in SCORERS:
        verdicts = get_scorer(name).score(answered["text"], answered["finish_reason"], expected)
        keys = {key: answered[key] for key in ("problem_id", "sample_index")}
        scores = pa.table(keys | {one: verdicts[one] for one in verdicts.column_names})
        summary = summarize(asked, SCORES.validate(scores))
        assert sum(summary.outcomes.values()) == answered.num_rows
        assert 0 <= summary.pass_rate.low <= summary.pass_rate.value <= summary.pass_rate.high <= 1
    instrument_of(asked, answered, "final_int@1:0")


def _about(problems: str, content: bytes) -> bytes:
    """A table that was made without knowing the problems, with their digest in its provenance.

    Arrow keeps a second copy of it, which counts, inside its own schema.
    """

    def named(schema: re.Match[bytes]) -> bytes:
        with suppress(ValueError):
            inside = base64.b64decode(schema[1], validate=True)
            return base64.b64encode(inside.replace(b"0" * 64, problems.encode()))
        return schema[1]

    content = re.sub(rb"([A-Za-z0-9+/]{400,}={0,2})", named, content)
    return content.replace(b"0" * 64, problems.encode())


def golden(content: bytes, room: Room) -> None:
    """Golden rows: what is accepted is counted whole."""
    path = room.file("g.jsonl", content)
    with _named_in_refusals(path):
        result = golden_check(room.datasets, str(path), str(room.dataset), "final_int@1")
    misses = result.false_positives + result.false_negatives
    assert result.passed == (not misses)
    assert len(misses) <= result.rows
    assert json.loads(json.dumps(result.as_json(), allow_nan=False))["rows"] == result.rows


@contextmanager
def _named_in_refusals(path: Path) -> Iterator[None]:
    """AssertionError for a refusal that does not say which file it is about."""
    try:
        yield
    except InputError as refusal:
        if str(path) not in str(refusal):
            raise AssertionError(f"does not name the file: {refusal}") from refusal
        raise
