"""A policy leads back through the runs that made it, and each to the prompts that it saw."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from artifacts.runs.lineage import (
    base_of,
    made_by,
    numerics_of_steps,
    policies_on_the_way,
    trained_prompts,
)
from artifacts.store.tables import Store
from artifacts.tracking.files import LocalFiles
from artifacts.tracking.history import RunRecord
from schemas.errors import StoreError
from schemas.loops import EVALUATION, LEARNING, Loop
from schemas.references import PolicyRef, TableRef
from tests.artifacts.measuring import collected, measure, step_tables, training_table


def run(
    name: str, before: str, after: str, *, status: str = "FINISHED", loop: Loop = LEARNING
) -> RunRecord:
    tags = {"model_digest_before": before, "model_digest_after": after}
    return RunRecord(name, name, loop, status, 0, {}, {}, tags, lambda: LocalFiles(Path()))


def names(digest: str, *runs: RunRecord) -> list[str]:
    return [made.name for made in made_by(digest, runs)]


def test_the_last_run_comes_first_back_to_the_start() -> None:
    assert names("c", run("one", "a", "b"), run("two", "b", "c")) == ["two", "one"]
    assert names("a", run("one", "a", "b")) == []
    assert names("", run("one", "", "")) == []


def test_of_several_runs_that_made_a_policy_the_newest_counts() -> None:
    assert names("c", run("newer", "b", "c"), run("older", "a", "c")) == ["newer"]


def test_only_learning_made_a_policy_however_it_ended() -> None:
    assert names("b", run("failed", "a", "b", status="FAILED")) == ["failed"]
    assert names("b", run("measured", "a", "b", loop=EVALUATION)) == []


def test_a_circle_ends() -> None:
    assert names("b", run("there", "a", "b"), run("back", "b", "a")) == ["there", "back"]
    assert names("a", run("nothing changed", "a", "a")) == ["nothing changed"]


def test_a_policy_leads_back_to_its_first_base() -> None:
    runs = [run("two", "b", "c"), run("one", "a", "b"), run("other", "x", "y")]
    assert [base_of(digest, runs) for digest in "abcyz"] == ["a", "a", "a", "x", "z"]
    assert base_of("b", [run("of nothing known", "", "b")]) == "b"


def test_the_way_of_a_policy_has_its_start_and_every_step(store: Store) -> None:
    start = PolicyRef(name="m", digest="d" * 64)
    training = training_table(store, measure(store, "rw"), measure(store, "rr"))
    way = policies_on_the_way(store, start, training)
    assert [(policy.name, policy.step, policy.digest) for policy in way] == [
        ("m", 0, "d" * 64),
        ("m", 1, f"{1:064x}"),
        ("m", 2, f"{2:064x}"),
    ]


def test_the_prompts_of_every_step_were_trained_on(store: Store) -> None:
    first, second = measure(store, "rw", "wr"), measure(store, "rw", first=5)
    training = training_table(store, first, second, first)
    tags = {"table.training": f"training:{training.digest}"}
    made = replace(run("one", "a", "b"), tags=tags)
    assert trained_prompts(store, made) == {"0 + 1?", "1 + 1?", "5 + 1?"}
    store.path(second.completions).unlink()
    with pytest.raises(StoreError, match="no such completions table"):
        trained_prompts(store, made)


def test_the_prompts_of_steps_are_those_of_the_problems_that_were_drawn(store: Store) -> None:
    measured = measure(store, "rw", "wr")
    few = store.read(measured.completions).slice(0, 2), store.read(measured.scores).slice(0, 2)
    completions = store.write("completions", few[0], producer="test")
    scores = store.write("scores", few[1], producer="test")
    drawn = measured.model_copy(update={"completions": completions, "scores": scores})
    newest = step_tables(store, drawn)[-1]
    tags = {"table.training": f"training:{collected(store, newest).digest}"}
    made_run = replace(run("one", "a", "b"), tags=tags)
    assert trained_prompts(store, made_run) == {"0 + 1?"}, "not the whole split"
    store.path(newest).unlink()
    with pytest.raises(StoreError, match="no such step table"):
        trained_prompts(store, made_run)


def test_the_way_and_the_numerics_of_steps_are_in_their_tables(store: Store) -> None:
    made = step_tables(store, *[measure(store, "rw")] * 3)
    start = PolicyRef(name="m", digest="d" * 64)
    assert [one.step for one in policies_on_the_way(store, start, made[2])] == [0, 1, 2, 3]
    assert numerics_of_steps(store, made[2]) == {3: "thread 3", 2: "thread 2", 1: "thread 1"}
    store.path(made[1]).unlink()
    assert numerics_of_steps(store, made[2]) == {3: "thread 3"}


def test_each_step_was_computed_by_what_its_table_says(store: Store) -> None:
    rows = store.read(training_table(store, *[measure(store, "rw")] * 3))
    tables: list[TableRef] = []
    for step, config in enumerate(({}, {"numerics": "1 thread"}, {"numerics": "2 threads"})):
        parents = {"training": tables[-1].digest} if tables else {}
        written = store.write(
            "training",
            rows.slice(0, step + 1).replace_schema_metadata(None),
            producer="train-step",
            parents=parents,
            config=config,
        )
        tables.append(written)
    assert numerics_of_steps(store, tables[2]) == {3: "2 threads", 2: "1 thread", 1: ""}
    store.path(tables[1]).unlink()
    assert numerics_of_steps(store, tables[2]) == {3: "2 threads"}
