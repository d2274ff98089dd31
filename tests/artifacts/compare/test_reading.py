"""What a difference can mean: search, learning, the instrument, chance, or nobody knows."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from artifacts.compare.comparison import compare_measurements, how_to_read
from artifacts.runs.measured import StoredMeasurement
from artifacts.tracking.files import LocalFiles
from artifacts.tracking.history import RunRecord
from schemas.instrument import Instrument
from schemas.loops import EVALUATION, LEARNING, SELECTION, Loop

INSTRUMENT = Instrument(
    dataset="d", split="holdout", prompt_template="t", scorer="s", sampling="{}"
)
NONE = pa.table({})


def side(policy: str, loop: Loop = EVALUATION, **given: Any) -> StoredMeasurement:
    run = RunRecord(
        "id", f"{loop.verb}-1", loop, "FINISHED", 0, {}, {}, {}, lambda: LocalFiles(Path())
    )
    whole: dict[str, Any] = {"stage": "", "rule": None, "instrument": INSTRUMENT, "samples": 8}
    whole |= {"digests": {"scores": f"{policy}{loop.letter}"}}
    return StoredMeasurement(
        run, policy=policy, problems=NONE, completions=NONE, scores=NONE, **whole | given
    )


def learned(start: str, end: str) -> RunRecord:
    tags = {"model_digest_before": start, "model_digest_after": end}
    return RunRecord(
        "id", "learn-1", LEARNING, "FINISHED", 0, {}, {}, tags, lambda: LocalFiles(Path())
    )


OTHER = INSTRUMENT.model_copy(update={"sampling": "greedy"})
A, B = side("a"), side("b")


@pytest.mark.parametrize(
    ("first", "second", "said"),
    [
        (A, A, "A and B are the same measurement, read from the same tables."),
        (A, side("a", digests={}), "Both measured the same model: it did not change, and a diff"),
        (
            A,
            side("a", digests={}, instrument=OTHER),
            "a difference says how the instruments differ",
        ),
        (A, side("a", SELECTION, rule="majority"), "the difference is in how an answer was picked"),
        (A, side("external"), "Completions were made elsewhere: the model, the prompt and the"),
        (A, B, "learn-1 (loop C) made B's model from A's: a difference is by learning."),
        (B, A, "learn-1 (loop C) made A's from B's: a difference is by learning."),
        (A, side("b", instrument=OTHER), "a difference is by learning, by the instrument, or by"),
        (A, side("b", SELECTION, rule="oracle"), "so a difference is not by learning alone"),
        (A, side("c"), "A and B are different models, neither made from the other: which is"),
    ],
)
def test_the_last_sentence_says_what_made_the_difference(
    first: StoredMeasurement, second: StoredMeasurement, said: str
) -> None:
    assert said in how_to_read(first, second, [learned("x", "y"), learned("a", "b")])[-1]


def test_two_loops_are_told_apart() -> None:
    assert how_to_read(A, side("a", SELECTION), [])[0] == (
        "A is loop A (changed: nothing), B is loop B (changed: which output is used)."
    )
    assert len(how_to_read(A, B, [])) == 1


def test_a_picked_answer_is_a_gain_by_search_and_the_oracles_is_a_bound() -> None:
    oracle = how_to_read(side("a", SELECTION, rule="oracle"), A, [])
    assert oracle[1].startswith("A is what the rule oracle picked of 8 answers a problem")
    assert oracle[2].startswith("The oracle knows the expected answer")
    majority = how_to_read(A, side("a", SELECTION, rule="majority"), [])
    assert majority[1].startswith("B is what the rule majority picked")
    assert len(majority) == 3


def test_a_selection_run_alone_is_taken_before_any_was_picked() -> None:
    both = side("a", SELECTION)
    said = how_to_read(both, replace(both, digests={}), [])
    assert [line[:22] for line in said[:2]] == ["A is a selection run, ", "B is a selection run, "]


def test_the_side_after_learning_tells_its_steps_and_its_divergence() -> None:
    run = replace(learned("a", "b"), metrics={"kl_nats": 0.5}, parameters={"steps": "4"})
    problems = pa.table({"problem_id": pa.array([], pa.string())})
    after = replace(B, run=run, stage="after", problems=problems)
    before = replace(A, run=run, stage="before", problems=problems, instrument=OTHER)
    first, second = compare_measurements(before, after, [run]).runs
    assert (second.kl_nats, second.steps, second.stage) == (0.5, 4, "after")
    assert (first.kl_nats, first.steps, first.name) == (None, None, "learn-1:before")
