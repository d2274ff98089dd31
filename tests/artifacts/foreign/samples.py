"""The samples that the real programs made, and how they are read."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa

from artifacts.datasets.files import read_problem_file
from artifacts.foreign.answers import Answer, ForeignLog
from artifacts.foreign.formats import read_log, reader_of
from artifacts.foreign.matching import Matcher

FOLDER = Path(__file__).resolve().parents[2] / "data" / "foreign"
PROBLEMS = FOLDER / "problems.jsonl"
(LM_EVAL,) = FOLDER.glob("lm-eval/samples_*.jsonl")
SAMPLES = {
    "inspect": FOLDER / "inspect.eval",
    "lm-eval": LM_EVAL,
    "trl": FOLDER / "trl.parquet",
    "openai-batch": FOLDER / "openai-batch.jsonl",
    "verifiers": FOLDER / "verifiers" / "results.jsonl",
}


def read(path: Path) -> ForeignLog:
    """A log, by the reader that recognises it."""
    reader = reader_of(path)
    assert reader is not None
    return read_log(path, reader)


def asked() -> pa.Table:
    """The problems that every sample answers."""
    return read_problem_file(str(PROBLEMS))


def expected_of(log: ForeignLog) -> list[tuple[Answer, str]]:
    """Each answer with the integer that our dataset expects of it."""
    table = asked()
    ids = Matcher(table, "problems.jsonl").problems_of(log.answers)
    columns = (table[name].to_pylist() for name in ("problem_id", "expected_answer"))
    expected = dict(zip(*columns, strict=True))
    return [(answer, expected[one]) for one, answer in zip(ids, log.answers, strict=True)]
