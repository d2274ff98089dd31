"""What the templates of a report are filled with: counts in order, bars to scale, known words."""

from __future__ import annotations

import pytest

from artifacts.report.sections import VerdictCount, instrument_parts, verdicts
from artifacts.text.describe import OUTCOME_WORDS
from schemas.results import EvalResult

COUNTS = [
    VerdictCount("correct", "exact", 50),
    VerdictCount("bad_format", "empty", 5),
    VerdictCount("wrong_answer", "other_integer", 10),
    VerdictCount("bad_format", "<b>", 10),
]


def test_every_outcome_is_counted_even_those_that_no_answer_has() -> None:
    found = verdicts(COUNTS, "final_int@1:abc")
    assert found.completions == 75
    assert [outcome.name for outcome in found.outcomes] == list(OUTCOME_WORDS)
    assert [outcome.completions for outcome in found.outcomes] == [50, 10, 15, 0]


def test_codes_of_failures_are_ordered_with_bars_to_scale() -> None:
    found = verdicts(COUNTS, "final_int@1:abc")
    assert [(line.code, line.completions, line.pixels) for line in found.codes] == [
        ("<b>", 10, 110),
        ("other_integer", 10, 110),
        ("empty", 5, 55),
    ]


def test_only_codes_of_the_strict_scorer_have_words() -> None:
    ours = {line.code: line.words for line in verdicts(COUNTS, "final_int@1:abc").codes}
    assert ours["other_integer"] == "well formed, another integer"
    assert ours["empty"]
    assert ours["<b>"] == ""
    assert not any(line.words for line in verdicts(COUNTS, "final_int_of_mine:abc").codes)


def test_where_no_answer_failed_there_are_no_codes() -> None:
    assert verdicts(COUNTS[:1], "final_int@1:abc").codes == ()


def test_the_parts_of_the_instrument_have_words(evaluation: EvalResult) -> None:
    parts = instrument_parts(evaluation.instrument)
    assert list(parts) == ["dataset", "split", "prompt template", "scorer", "sampling"]
    assert parts["split"] == "holdout"


@pytest.mark.parametrize(
    ("recorded", "shown"),
    [
        ('{"max_new_tokens":64,"temperature":1.0,"top_p":0.9}',
         "max new tokens 64, temperature 1.0, top p 0.9"),
        ("external", "external"),
        ("{}", "{}"),
        ("[1]", "[1]"),
    ],
)  # fmt: skip
def test_sampling_is_shown_in_words(recorded: str, shown: str, evaluation: EvalResult) -> None:
    record = evaluation.instrument
    instrument = record.parts.model_copy(update={"sampling": recorded})
    assert instrument_parts(record.model_copy(update={"parts": instrument}))["sampling"] == shown
