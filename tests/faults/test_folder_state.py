"""The harness sees what is lost, doubled, damaged or left over: none of it is a table of zeros."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest

from flows.eval import eval_flow
from schemas.config import EvalConfig
from tests.faults.folder_state import compare, newest_run, read_state
from tests.flows.conftest import problems_file

Harm = Callable[[Path], object]


@pytest.fixture
def used(tmp_path: Path, empty_database: Path) -> Path:
    """A data folder with one evaluation of stored completions."""
    home = tmp_path / "home"
    home.mkdir(exist_ok=True)
    shutil.copy(empty_database, home)
    rows = [{"id": n, "prompt": f"{n} + 0?", "expected_answer": n} for n in range(4)]
    dataset = problems_file(tmp_path, *rows)
    answers = tmp_path / "answers.jsonl"
    answers.write_text("\n".join(f'{{"id": "{n}", "completion": "Final: 1"}}' for n in range(4)))
    eval_flow.fn(EvalConfig(completions=str(answers), dataset=dataset, limit=None))
    return home


def _sql(home: Path, statement: str) -> None:
    with closing(sqlite3.connect(home / "mlflow.db")) as database, database:
        database.execute(statement)


def _table(home: Path) -> Path:
    return next(home.glob("tables/scores/*.parquet"))


HARMS: dict[str, tuple[str, Harm]] = {
    "a table is gone": ("lost", lambda home: _table(home).unlink()),
    "a table was cut off": ("others", lambda home: _table(home).write_bytes(b"PAR1")),
    "a run is gone": ("lost", lambda home: _sql(home, "update runs set status = 'FAILED'")),
    "a run never ended": ("others", lambda home: _sql(home, "update runs set status = 'RUNNING'")),
    "a value was logged twice": (
        "doubled",
        lambda home: _sql(
            home,
            "insert into metrics (key, value, timestamp, run_uuid, step, is_nan) select key, "
            "value, timestamp + 1, run_uuid, step, is_nan from metrics where key = 'pass_rate'",
        ),
    ),
    "a value is another one": (
        "others",
        lambda home: _sql(home, "update latest_metrics set value = 7 where key = 'pass_rate'"),
    ),
    "a file was begun": ("leftovers", lambda home: (home / "tables/.writing-me~1").touch()),
    "a folder was begun": ("leftovers", lambda home: (home / "models.partial").mkdir()),
    "a result is half there": (
        "others",
        lambda home: next(home.rglob("result.json")).write_text('{"run_id'),
    ),
    "a report is half there": (
        "others",
        lambda home: next(home.rglob("report.html")).write_text("<html>"),
    ),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_folder_that_was_harmed_differs(used: Path, harm: str) -> None:
    whole = read_state(used)
    assert whole.rows > 0
    assert newest_run(used)
    assert not compare(whole, read_state(used))
    where, do = HARMS[harm]
    do(used)
    assert getattr(compare(whole, read_state(used)), where)


def test_what_a_command_that_was_given_again_adds_is_allowed_so_often(used: Path) -> None:
    once = read_state(used)
    twice = read_state(used)
    for counted in (twice.runs, twice.steps):
        counted.update(dict(counted))
    assert compare(once, twice).doubled
    assert not compare(once, twice, more_runs=1)


def test_what_was_measured_before_must_be_there_and_more_may_be(used: Path) -> None:
    before, after = read_state(used), read_state(used)
    after.tables["completions 0123"] += 1
    assert compare(before, after).others
    assert not compare(before, after, measured_before=before)
    _table(used).unlink()
    assert compare(before, read_state(used), measured_before=before).lost
