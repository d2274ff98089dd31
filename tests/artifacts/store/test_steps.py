"""Step tables lead back one to the other, with the rows of all; older layouts are read as well."""

from __future__ import annotations

import math

import pyarrow as pa
import pytest

from artifacts.store.parquet_table import provenance_of
from artifacts.store.steps import Steps, learned_from, tables_of, training_table
from artifacts.store.tables import Store
from schemas.errors import StoreError
from schemas.references import TableRef
from schemas.steps import STEP, STEP_ROW, completions_in, scores_in, step_row_in
from tests.artifacts import measuring
from tests.artifacts.measuring import measure, step_table, step_tables, training_row


def test_the_newest_step_leads_to_the_rows_of_all(store: Store) -> None:
    first, second = measure(store, "rw"), measure(store, "rr")
    made = step_tables(store, first, second, first)
    rows = Steps(store).rows(made[-1])
    assert [row.step for row in rows] == [1, 2, 3]
    assert [row.step_digest for row in rows] == [one.digest for one in made]
    assert [row.reward_mean for row in rows] == [0.5, 1.0, 0.5]
    assert Steps(store).rows(made[1]) == rows[:2]
    assert Steps(store).rows(None) == ()
    assert Steps(store).tables(made[-1]) == {
        step: one.model_copy(update={"rows": 0}) for step, one in enumerate(made, start=1)
    } | {3: made[-1]}


def test_rows_that_were_read_are_added_to_and_never_mixed_up(store: Store) -> None:
    first, second = measure(store, "rw"), measure(store, "rr")
    made = step_tables(store, first, second)
    steps = Steps(store)
    assert len(steps.rows(made[0])) == 1
    store.path(made[0]).unlink()
    assert [row.step for row in steps.rows(made[1])] == [1, 2], "the first is known by now"
    with pytest.raises(StoreError, match="no such step table"):
        Steps(store).rows(made[1])
    other = step_table(store, 1, second)
    assert [row.step_digest for row in steps.rows(other)] == [other.digest]


def test_a_table_that_was_changed_ends_the_way_back(store: Store) -> None:
    made = step_tables(store, *[measure(store, "rw")] * 3)
    content = bytearray(store.path(made[1]).read_bytes())
    content[-20] ^= 1
    store.path(made[1]).write_bytes(content)
    with pytest.raises(StoreError, match="no longer have the digest"):
        Steps(store).rows(made[2])
    assert list(Steps(store).tables(made[2])) == [3]


def test_steps_may_follow_the_training_table_of_an_earlier_version(store: Store) -> None:
    measured = measure(store, "rw")
    older = measuring.training_table(store, measured, measured)
    newest = step_table(store, 3, measured, older)
    rows = Steps(store).rows(newest)
    assert [row.step for row in rows] == [1, 2, 3]
    assert [row.step_digest for row in rows] == [None, None, newest.digest]
    assert Steps(store).rows(older) == rows[:2]
    assert list(Steps(store).tables(newest)) == [3]
    kept = store.write("training", training_table(rows), producer="test")
    assert store.read(kept)["step_digest"].to_pylist() == [None, None, newest.digest]
    assert [[kind for kind, _ in tables_of(row)] for row in rows] == [
        ["completions", "scores"],
        ["completions", "scores"],
        ["step"],
    ]


def test_what_a_step_learned_from_is_the_same_in_either_layout(store: Store) -> None:
    measured = measure(store, "rw", "bc")
    older = Steps(store).rows(measuring.training_table(store, measured))[0]
    newer = Steps(store).rows(step_table(store, 1, measured))[0]
    columns = ["problem_id", "text", "reward", "code"]
    found = [learned_from(store, row, columns) for row in (older, newer)]
    assert [asked for asked, _ in found] == [measured.problems.digest] * 2
    assert found[0][1].to_pylist() == found[1][1].to_pylist()
    store.path(TableRef(kind="step", digest=newer.step_digest or "", rows=0)).unlink()
    with pytest.raises(StoreError, match="no such step table"):
        learned_from(store, newer, columns)


def test_completions_and_scores_come_out_of_a_step_as_they_went_in(store: Store) -> None:
    measured = measure(store, "rw", "bc")
    step = store.read(step_table(store, 1, measured))
    assert scores_in(step).to_pylist() == store.read(measured.scores).to_pylist()
    filled = {"shard_seed": 1, "token_ids": [5, 6, 7], "logprobs": [-0.5, -0.25, -0.25]}
    completions = store.read(measured.completions).to_pylist()
    assert completions_in(step).to_pylist() == [row | filled for row in completions]


def test_the_steps_own_row_survives_numbers_that_json_has_not(store: Store) -> None:
    measured = measure(store, "rw")
    row = training_row(1, measured).model_copy(update={"kl_nats_k3": math.inf, "loss": 0.1 + 0.2})
    table = store.read(step_table(store, 1, measured)).replace_schema_metadata(None)
    kept = Steps(store).write(table, row, before=None, parents={}, config={})
    assert step_row_in(store.read(kept)) == row


@pytest.mark.parametrize("told", [None, "{}", "no", '{"step": "x"}'])
def test_a_step_table_without_its_row_is_refused(store: Store, told: str | None) -> None:
    table = store.read(step_table(store, 1, measure(store, "rw"))).replace_schema_metadata(None)
    notes = {} if told is None else {STEP_ROW: told}
    kept = store.write("step", table, producer="test", notes=notes)
    with pytest.raises(StoreError, match="row"):
        Steps(store).rows(kept)


def test_what_made_a_step_is_in_its_provenance(store: Store) -> None:
    made = step_tables(store, *[measure(store, "rw")] * 2)
    provenance = provenance_of(store.read(made[1]))
    assert (provenance.kind, provenance.producer) == ("step", "train-step")
    assert provenance.parent("step") == made[0].digest
    assert provenance.config["numerics"] == "thread 2"


def test_a_completion_that_is_missing_or_doubled_is_refused(store: Store) -> None:
    table = store.read(step_table(store, 1, measure(store, "rw")))
    with pytest.raises(StoreError, match="step table"):
        STEP.validate(pa.concat_tables([table, table]))
    place = table.column_names.index("token_ids")
    without = table.set_column(place, "token_ids", pa.nulls(2, pa.list_(pa.int32())))
    with pytest.raises(StoreError, match="column token_ids is null"):
        STEP.validate(without)
