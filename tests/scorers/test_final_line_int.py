"""The scorer of a last line: a table of cases, its definition against its pass over columns."""

from __future__ import annotations

import json
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from scorers.final_int import score_one as score_whole
from scorers.final_int_rules import LINE_BREAKS, RULES
from scorers.final_line_int import (
    FINAL_LINE_INT_1,
    KINDS,
    OWN_CODES,
    SPEC,
    final_lines,
    score_one,
)
from scorers.registry import get_scorer
from tests.scorers.verdict_rows import Row, Shown, by_columns, by_definition, storable

TABLE = Path(__file__).with_name("final_line_int_cases.jsonl")
CASES = [json.loads(line) for line in TABLE.read_text("ascii").splitlines()]
KEYS = ("text", "finish_reason", "expected_answer")
INTEGERS = st.integers().map(str)
TRAPS = [case for case in CASES if case["outcome"] != "correct"]
PIECES = st.sampled_from(
    ["Final: ", "Final:", "final: ", "12", "-7", "0", "\n", "\r", "\u2028", " ", "x", "\xa0", "."]
)
BREAKS = re.findall(f"[{LINE_BREAKS}]", "".join(map(chr, range(0x3000))))


def score_column(rows: list[Row]) -> list[Shown]:
    return by_columns(FINAL_LINE_INT_1, rows)


def score_row(row: Row) -> Shown:
    return by_definition(score_one, row)


def test_the_table_has_hundreds_of_traps_and_none_twice() -> None:
    assert len(TRAPS) >= 200
    assert len({tuple(case[key] for key in KEYS) for case in CASES}) == len(CASES)


def test_the_table_has_several_cases_of_every_code() -> None:
    count = Counter(case["code"] for case in CASES)
    assert {code for _, code in KINDS} | {"lone_surrogate"} == set(count)
    assert min(count.values()) >= 2, count.most_common()[-3:]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['code']}: {case['why']}")
def test_each_case_of_the_table_gets_its_verdict(case: dict[str, str]) -> None:
    verdict = score_one(*(case[key] for key in KEYS))
    assert (verdict.outcome, verdict.code) == (case["outcome"], case["code"])
    assert verdict.reward == (case["outcome"] == "correct")
    well_formed = case["outcome"] in ("correct", "wrong_answer")
    assert verdict.parsed_answer == (case["text"].rsplit("Final: ")[-1] if well_formed else None)


def test_one_vectorised_pass_gives_the_table_the_same_verdicts() -> None:
    rows = [tuple(case[key] for key in KEYS) for case in CASES if storable(case["text"])]
    assert score_column(rows) == [score_row(row) for row in rows]


@given(
    st.lists(
        st.tuples(
            st.lists(PIECES | st.text(max_size=2), max_size=9).map("".join),
            st.sampled_from(["stop", "stop", "length"]),
            st.sampled_from(["12", "-7", "0"]),
        ),
        min_size=1,
    )
)
def test_columns_and_the_definition_never_differ(rows: list[tuple[str, str, str]]) -> None:
    assert score_column(rows) == [score_row(row) for row in rows]


@given(st.text(st.characters(exclude_categories=["Cs"])), INTEGERS)
@example("", "0")
@example("Final", "1")
def test_any_reasoning_without_a_final_line_of_its_own_is_paid(text: str, expected: str) -> None:
    paid = score_one(f"{text}\nFinal: {expected}", "stop", expected).reward
    assert paid == (final_lines(text) == 0)


@given(INTEGERS, INTEGERS, st.sampled_from(BREAKS))
def test_a_second_try_is_never_paid(one: str, expected: str, line_break: str) -> None:
    for text in (
        f"Final: {one}{line_break}Final: {expected}",
        f"Final: {one}{line_break}\nFinal: {expected}",
        f"x{line_break}Final: {one}\nFinal: {expected}",
    ):
        assert score_one(text, "stop", expected).reward == 0.0


@given(INTEGERS, st.integers(0, 40), st.characters())
def test_one_character_more_in_the_last_line_is_never_paid(
    expected: str, place: int, character: str
) -> None:
    line = f"Final: {expected}"
    at = place % (len(line) + 1)
    longer = f"so\n{line[:at]}{character}{line[at:]}"
    if (at, character) == (0, "\n"):
        assert score_one(longer, "stop", expected).reward == 1.0, "an empty line of reasoning"
        return
    assert score_one(longer, "stop", expected).reward == 0.0


@given(st.text(st.characters(exclude_characters=BREAKS, exclude_categories=["Cs"])), INTEGERS)
def test_on_one_line_it_agrees_with_the_scorer_of_whole_texts(text: str, expected: str) -> None:
    for one in (text, f"Final: {expected}", f"Final: {text}", f"{text}Final: {expected}"):
        assert score_one(one, "stop", expected) == score_whole(one, "stop", expected)


@given(st.text(st.characters(exclude_categories=[])), INTEGERS)
def test_any_string_whatever_gets_a_verdict(text: str, expected: str) -> None:
    assert score_one(text, "stop", expected).code


def test_no_text_makes_the_definition_slow() -> None:
    hostile = [
        "1",
        " ",
        "\n",
        " \n",
        "\r\n",
        "-",
        "<|",
        "1 ",
        "final ",
        "Final: ",
        "\nFinal:",
        ".1",
    ]
    start = time.process_time()
    for piece in hostile:
        for end in ("", "x", "\u0661", "\nFinal: 1", "\nFinal: 1\n"):
            score_one("Final: 1" + piece * 50_000 + end, "stop", "1")
    assert time.process_time() - start < 20  # a quadratic rule would take an hour


@pytest.mark.slow
def test_a_million_rows_of_reasoning_take_seconds() -> None:
    rows = [tuple(case[key] for key in KEYS) for case in CASES if storable(case["text"])]
    rows = [row for row in rows if len(row[0]) < 1000]
    text, reasons, expected = (pa.array(list(column)) for column in zip(*rows, strict=True))
    mixed = pa.array([place % len(rows) for place in range(1_000_000)])
    start, held = time.process_time(), pa.total_allocated_bytes()
    table = FINAL_LINE_INT_1.score(text.take(mixed), reasons.take(mixed), expected.take(mixed))
    assert time.process_time() - start < 20
    assert pa.total_allocated_bytes() - held < 2**28
    assert table.slice(0, len(rows)).to_pylist() == table.slice(len(rows), len(rows)).to_pylist()


def test_it_is_found_by_name_and_its_spec_says_all_of_it() -> None:
    assert get_scorer("final_line_int@1") is get_scorer("final_line_int") is FINAL_LINE_INT_1
    assert get_scorer("final_int").id == "final_int@1"
    codes = [code for _, code in KINDS]
    assert len(set(codes)) == len(codes)
    assert all(code in SPEC and words in SPEC for code, words in OWN_CODES.items())
    assert {rule.code for rule in RULES} <= set(codes)


def last_number(text: str, expected: str) -> bool:
    found = re.findall(r"-?\d+", text)
    return bool(found) and found[-1] == expected


def last_mark(text: str, expected: str) -> bool:
    return text.rpartition("Final:")[2].strip() == expected


def multiline(text: str, expected: str) -> bool:
    return re.search(rf"^Final: {expected}$", text, re.MULTILINE) is not None


@pytest.mark.parametrize("naive", [last_number, last_mark, multiline])
def test_a_naive_scorer_pays_for_traps_that_this_one_refuses(
    naive: Callable[[str, str], bool],
) -> None:
    fallen = [case for case in TRAPS if naive(case["text"], case["expected_answer"])]
    print(f"{naive.__name__} falls into {len(fallen)} of {len(TRAPS)} traps")
    assert len(fallen) > 20
