"""The lenient scorers: one definition against one pass, and what they pay for beyond the strict."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorers import contains_int, last_int
from scorers.contains_int import CONTAINS_INT_1
from scorers.final_int import FINAL_INT_1
from scorers.last_int import LAST_INT_1
from scorers.scorer import Scorer, Verdict

Row = tuple[str, str, str]
TABLE = Path(__file__).with_name("final_int_cases.jsonl").read_text("ascii")
TRAPS: list[Row] = [
    (case["text"], case["finish_reason"], case["expected_answer"])
    for case in map(json.loads, TABLE.splitlines())
    if case["code"] != "lone_surrogate" and "\ud800" not in case["text"]
]
BOTH = [(CONTAINS_INT_1, contains_int.score_one), (LAST_INT_1, last_int.score_one)]


def score(scorer: Scorer, rows: list[Row]) -> list[Verdict]:
    columns = [pa.array(list(column), pa.string()) for column in zip(*rows, strict=True)]
    return [Verdict(**row) for row in scorer.score(*columns).to_pylist()]


@pytest.mark.parametrize(
    ("text", "contains", "last"),
    [
        ("Final: 12", "contained", "last_integer"),
        ("12 apples", "contained", "last_integer"),
        ("12, not 13", "contained", "other_integer"),
        ("13, not 12", "contained", "last_integer"),
        ("112", "other_integers", "other_integer"),
        ("-12", "other_integers", "other_integer"),
        ("12.0", "no_integer", "not_an_integer"),
        ("12, that is 12.0", "contained", "not_an_integer"),
        ("twelve", "no_integer", "no_number"),
        ("", "no_integer", "no_number"),
        ("3-12", "contained", "last_integer"),
    ],
)
def test_each_text_gets_its_codes(text: str, contains: str, last: str) -> None:
    assert contains_int.score_one(text, "stop", "12").code == contains
    assert last_int.score_one(text, "stop", "12").code == last
    for scorer, _ in BOTH:
        assert score(scorer, [(text, "length", "12")])[0] == Verdict(
            0.0, "truncated", "cut_off", None
        )


def test_the_answer_read_never_depends_on_the_expected_one() -> None:
    for text in ("7 or 12", "7 7", "12", "1.5", "12 and then 1.5"):
        for _, score_one in BOTH:
            read = {score_one(text, "stop", str(n)).parsed_answer for n in (7, 12, 99)}
            assert len(read) == 1
    assert contains_int.score_one("7 and 7", "stop", "1").parsed_answer == "7"
    assert contains_int.score_one("7 or 12", "stop", "7").parsed_answer is None
    assert last_int.score_one("7 or 12", "stop", "7").parsed_answer == "12"


@pytest.mark.parametrize(("scorer", "score_one"), BOTH, ids=lambda value: getattr(value, "id", ""))
def test_the_pass_over_columns_agrees_with_the_definition_on_the_table(
    scorer: Scorer, score_one: Callable[[str, str, str], Verdict]
) -> None:
    assert score(scorer, TRAPS) == [score_one(*row) for row in TRAPS]


@settings(max_examples=200, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.one_of(st.text(), st.text("012.,- x"), st.text("12 ")),
            st.sampled_from(["stop", "stop", "length"]),
            st.sampled_from(["0", "1", "2", "12", "-1"]),
        ),
        min_size=1,
        max_size=30,
    )
)
def test_the_pass_over_columns_agrees_with_the_definition_on_every_text(rows: list[Row]) -> None:
    for scorer, score_one in BOTH:
        assert score(scorer, rows) == [score_one(*row) for row in rows]


@pytest.mark.parametrize(("scorer", "paid"), [(CONTAINS_INT_1, 275), (LAST_INT_1, 256)])
def test_they_pay_for_traps_that_the_strict_scorer_refuses(scorer: Scorer, paid: int) -> None:
    strict = [verdict.reward for verdict in score(FINAL_INT_1, TRAPS)]
    lenient = [verdict.reward for verdict in score(scorer, TRAPS)]
    assert all(ours >= theirs for ours, theirs in zip(lenient, strict, strict=True))
    assert sum(lenient) - sum(strict) == paid > 0
