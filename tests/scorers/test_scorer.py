"""What every scorer checks before it scores: whatever cannot be scored raises and names the row."""

from __future__ import annotations

import pyarrow as pa
import pytest

from schemas.errors import InputError
from scorers.final_int import FINAL_INT_1
from scorers.scorer import VERDICT_SCHEMA, Scorer

TEXT, STOP, EXPECTED = pa.array(["Final: 1"] * 3), pa.array(["stop"] * 3), pa.array(["1"] * 3)


def test_no_rows_give_an_empty_table_of_the_same_columns() -> None:
    assert FINAL_INT_1.score(pa.array([]), pa.array([]), pa.array([])).schema == VERDICT_SCHEMA


@pytest.mark.parametrize("place", [0, 1, 2])
def test_a_null_is_refused_and_its_row_named(place: int) -> None:
    columns = [TEXT, STOP, EXPECTED]
    columns[place] = pa.array([*columns[place].to_pylist()[:2], None])
    with pytest.raises(InputError, match="row 2 has none"):
        FINAL_INT_1.score(*columns)


def test_columns_of_different_lengths_are_refused() -> None:
    with pytest.raises(InputError, match=r"differ in length \(3, 2, 3\)"):
        FINAL_INT_1.score(TEXT, STOP[:2], EXPECTED)


def test_an_unknown_finish_reason_is_refused_and_its_row_named() -> None:
    with pytest.raises(InputError, match="finish_reason: row 1 is 'eos'; it must be stop or"):
        FINAL_INT_1.score(TEXT, pa.array(["stop", "eos", "stop"]), EXPECTED)


@pytest.mark.parametrize("bad", ["", "+1", "01", "-0", "1.0", "1e3", "1\n", " 1", "١", "1_0", "x"])
def test_an_expected_answer_that_no_text_can_match_is_refused(bad: str) -> None:
    with pytest.raises(InputError, match="expected_answer: row 2 is"):
        FINAL_INT_1.score(TEXT, STOP, pa.array(["1", "-2", bad]))


def test_a_column_that_is_not_text_is_refused() -> None:
    with pytest.raises(InputError, match="expected_answer: it holds int64, not text"):
        FINAL_INT_1.score(TEXT, STOP, pa.array([1, 2, 3]))


def test_a_scorer_that_loses_rows_is_refused() -> None:
    short = Scorer("short", 1, "loses rows", lambda *_: VERDICT_SCHEMA.empty_table())
    with pytest.raises(InputError, match="short@1: its score_columns returned no table of VERDICT"):
        short.score(TEXT, STOP, EXPECTED)


def test_name_version_and_spec_all_change_the_digest() -> None:
    scorers = [
        Scorer(name, version, spec, FINAL_INT_1.score_columns)
        for name in ("a", "b")
        for version in (1, 2)
        for spec in ("x", "y")
    ]
    assert len({scorer.spec_digest for scorer in scorers}) == 8
    assert all(len(scorer.spec_digest) == 64 for scorer in scorers)


def test_the_strict_scorers_digest_is_pinned() -> None:
    # a changed digest is a changed rule: it needs a new version, not a new number here
    assert FINAL_INT_1.id == "final_int@1"
    assert (
        FINAL_INT_1.spec_digest
        == "2303b1683f63d79fb60f22af29547c8fee9b1e062b731fb0d72c686e958076dd"
    )
