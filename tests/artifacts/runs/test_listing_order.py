"""Which runs are listed, in which order, and which failures several of them share."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from artifacts.runs.listing import (
    failures_by_code,
    in_families,
    listed,
    run_interval,
    run_model,
    run_rate,
    run_rows,
    run_source,
)
from artifacts.store.tables import Store
from artifacts.tracking.files import LocalFiles
from artifacts.tracking.history import RunRecord
from schemas.loops import EVALUATION, LEARNING, SELECTION, Loop
from schemas.measurements import Measurement
from tests.artifacts.measuring import measure


def run(name: str, started_ms: int = 0, loop: Loop = EVALUATION, **given: Any) -> RunRecord:
    """A run; what is given are its `metrics`, `parameters` and `tags`, and its `parent`."""
    found = {"metrics": {}, "parameters": {}, "tags": {}} | given
    return RunRecord(
        name, name, loop, "FINISHED", started_ms, find_files=lambda: LocalFiles(Path()), **found
    )


OLD = run("old", 1, tags={"model": "default", "model_digest": "abc", "instrument": "i1"})
NEW = run("new", 9, metrics={"pass_rate": 0.25}, tags={"model": "mine", "instrument": "i2"})
LEARNED = run(
    "learned",
    5,
    LEARNING,
    metrics={"pass_rate_before": 0.9, "pass_rate_after": 0.5},
    tags={"model_before": "default", "registered": "models:/mine/1", "model_digest_after": "xyz"},
)
ALL = [OLD, NEW, LEARNED]


@pytest.mark.parametrize(
    ("given", "names"),
    [
        ({}, ["new", "learned", "old"]),
        ({"loop": "C"}, ["learned"]),
        ({"model": "default"}, ["learned", "old"]),
        ({"model": "mine"}, ["new", "learned"]),
        ({"model": "xy"}, ["learned"]),
        ({"model": "yz"}, []),
        ({"instrument": "i"}, ["new", "old"]),
        ({"sort": "pass_rate"}, ["learned", "new", "old"]),
        ({"sort": "loop"}, ["new", "old", "learned"]),
        ({"sort": "model"}, ["old", "new", "learned"]),
        ({"sort": "instrument"}, ["learned", "old", "new"]),
    ],
)
def test_runs_are_narrowed_and_sorted(given: dict[str, str], names: list[str]) -> None:
    assert [found.name for found in listed(ALL, **given)] == names


def test_children_come_below_their_parent_the_oldest_first() -> None:
    runs = [
        run("late", 8, parent="demo"),
        run("demo", 5),
        run("alone", 4, parent="gone"),
        run("early", 6, parent="demo"),
        run("deep", 7, parent="early"),
    ]
    assert [(depth, found.name) for depth, found in in_families(runs)] == [
        (0, "demo"), (1, "early"), (2, "deep"), (1, "late"), (0, "alone"),
    ]  # fmt: skip


def test_the_rate_of_a_learning_run_is_that_after_it() -> None:
    assert [run_rate(found) for found in ALL] == [None, 0.25, 0.5]
    ends = {"pass_rate_low": 0.0, "pass_rate_high": 0.5, "pass_rate_low_after": 0.25}
    assert run_interval(run("eval", metrics=ends)) == (0.0, 0.5)
    assert run_interval(run("learn", metrics=ends | {"pass_rate_high_after": 1.0})) == (0.25, 1.0)
    assert run_interval(OLD) is None


def test_a_run_is_known_by_what_it_made_or_else_by_what_it_measured() -> None:
    replay = run("replay", parameters={"completions": "answers.jsonl"})
    unfinished = run("unfinished", parameters={"completions": "null", "model": "asked/for"})
    assert [run_model(found) for found in (OLD, LEARNED, replay, unfinished)] == [
        "default", "models:/mine/1", "stored completions", "asked/for",
    ]  # fmt: skip
    assert [run_source(found) for found in (OLD, replay, unfinished)] == [
        None, "answers.jsonl", None,
    ]  # fmt: skip


def of(measured: Measurement, name: str, loop: Loop = EVALUATION, stage: str = "") -> RunRecord:
    tags = {
        "table.problems": f"problems:{measured.problems.digest}",
        f"table.completions{stage}": f"completions:{measured.completions.digest}",
        f"table.scores{stage}": f"scores:{measured.scores.digest}",
    }
    return run(name, loop=loop, tags=tags)


def test_failures_of_several_runs_are_counted_together(store: Store) -> None:
    first = of(measure(store, "rw", "bb"), "first", SELECTION)
    second = of(measure(store, "ww", "rr"), "second", LEARNING, "_after")
    unscored = run("unscored")
    wrong, bad = failures_by_code(store, [first, second, unscored])
    assert (wrong.outcome, wrong.completions, wrong.runs) == (
        "wrong_answer", 3, ("second", "first"),
    )  # fmt: skip
    assert (bad.outcome, bad.completions, bad.runs) == ("bad_format", 2, ("first",))
    assert (wrong.example.problem, wrong.example.completion) == ("p0", "Final: 2")
    assert failures_by_code(store, [unscored]) == ()


def test_a_run_and_its_replay_are_one_piece_of_evidence(store: Store) -> None:
    measured = measure(store, "rw", "bb")
    source = dataclasses.replace(of(measured, "source"), started_ms=1)
    replay = dataclasses.replace(of(measured, "replay", SELECTION), started_ms=2)
    bad, wrong = failures_by_code(store, [replay, source])
    assert (wrong.completions, wrong.runs) == (1, ("source",))
    assert (bad.completions, bad.runs) == (2, ("source",))
    assert failures_by_code(store, [replay])[0].runs == ("replay",)


def test_the_rows_of_a_learning_run_are_those_after_it(store: Store) -> None:
    after = run_rows(store, of(measure(store, "rw"), "learned", LEARNING, "_after"))
    assert after is not None
    assert after["outcome"].to_pylist() == ["correct", "wrong_answer"]
    assert run_rows(store, of(measure(store, "rw"), "learned", LEARNING)) is None
