"""The strict scorer: a table of cases, its definition against its pass over columns, contrasts."""

from __future__ import annotations

import json
import random
import re
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from scorers.final_int import FINAL_INT_1, KINDS, SPEC, score_one
from scorers.final_int_rules import RULES
from tests.scorers.verdict_rows import Row, Shown, by_columns, by_definition, storable

TABLE = Path(__file__).with_name("final_int_cases.jsonl")
CASES = [json.loads(line) for line in TABLE.read_text("ascii").splitlines()]
KEYS = ("text", "finish_reason", "expected_answer")
LONG = random.Random(0).choice("123456789") + "0123456789" * 500  # past the digits that int() takes


def score_column(rows: list[Row]) -> list[Shown]:
    return by_columns(FINAL_INT_1, rows)


def score_row(row: Row) -> Shown:
    return by_definition(score_one, row)


# ---- the table ----


def test_the_table_has_hundreds_of_cases_and_none_twice() -> None:
    assert len(CASES) >= 400
    assert len({tuple(case[key] for key in KEYS) for case in CASES}) == len(CASES)


def test_the_table_has_several_cases_of_every_code() -> None:
    count = Counter(case["code"] for case in CASES)
    assert {code for _, code in KINDS} | {"lone_surrogate"} == set(count)
    assert min(count.values()) >= 2, count.most_common()[-3:]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case['code']}: {case['why']}")
def test_each_case_of_the_table_gets_its_verdict(case: dict[str, str]) -> None:
    text, finish_reason, expected = (case[key] for key in KEYS)
    verdict = score_one(text, finish_reason, expected)
    assert (verdict.outcome, verdict.code) == (case["outcome"], case["code"])
    assert verdict.reward == (case["outcome"] == "correct")
    well_formed = case["outcome"] in ("correct", "wrong_answer")
    assert verdict.parsed_answer == (text[len("Final: ") :] if well_formed else None)


def test_one_vectorised_pass_gives_the_table_the_same_verdicts() -> None:
    rows = [tuple(case[key] for key in KEYS) for case in CASES if storable(case["text"])]
    assert score_column(rows) == [score_row(row) for row in rows]


def test_every_text_of_the_table_that_is_not_the_answer_itself_earns_nothing() -> None:
    for case in CASES:
        exact = case["text"] == "Final: " + case["expected_answer"]
        paid = score_one(*(case[key] for key in KEYS)).reward
        assert paid == float(exact and case["finish_reason"] == "stop")


# ---- properties ----

INTEGERS = st.integers(-(10**25), 10**25).map(str)
# parts of the texts that the rules tell apart, and letters that only careless case folding confuses
WORDS = ["Final: ", "final", "Final:", "or", "and", "answer", "<|im_end|>", "</s>", "apples", "12"]
MARKS = "0-+.,;_ex=*()'[]^\\`|é\u2212\u0661\uff11\U0001d7cfıİſ\u212a"
GAPS = " \n\r\t\x00\x1c\x1f\x85\xa0\u200b\u2028\ufeff"
PIECES = st.sampled_from([*WORDS, *MARKS, *GAPS])
TEXTS = st.one_of(
    st.text(), st.lists(PIECES, max_size=7).map("".join), INTEGERS.map("Final: {}".format)
)
ROWS = st.tuples(TEXTS, st.sampled_from(["stop", "stop", "stop", "length"]), INTEGERS)


@settings(max_examples=400, deadline=None)
@given(st.lists(ROWS, min_size=1, max_size=40))
@example([("Final: 1\n", "stop", "1"), ("\n", "stop", "1"), ("", "length", "1")])
def test_the_vectorised_pass_and_the_definition_agree_on_every_text(
    rows: list[tuple[str, str, str]],
) -> None:
    assert score_column(rows) == [score_row(row) for row in rows]


def test_they_agree_on_every_character_alone_before_inside_and_after() -> None:
    characters = [chr(code) for code in range(0x3100)] + [
        chr(code) for code in range(0xFE00, 65536)
    ]
    for form in ("{}", "Final: 12{}", "{}Final: 12", "Final: {}12", "Final: 1{}2", "Fi{}nal: 12"):
        rows = [(form.format(character), "stop", "12") for character in characters]
        assert score_column(rows) == [score_row(row) for row in rows]


@given(INTEGERS)
def test_exactly_the_prefix_and_the_integer_is_paid(expected: str) -> None:
    assert score_one(f"Final: {expected}", "stop", expected).reward == 1.0


@given(INTEGERS, st.integers(0, 40), st.characters())
def test_one_character_more_is_never_paid(expected: str, place: int, character: str) -> None:
    text = f"Final: {expected}"
    longer = text[:place] + character + text[place:]
    assert score_one(longer, "stop", expected).reward == 0.0


@given(INTEGERS, st.integers(0, 40))
def test_one_character_less_is_never_paid(expected: str, place: int) -> None:
    text = f"Final: {expected}"
    shorter = text[: place % len(text)] + text[place % len(text) + 1 :]
    assert score_one(shorter, "stop", expected).reward == 0.0


@given(INTEGERS, INTEGERS)
def test_another_integer_is_a_wrong_answer_with_that_integer_read(one: str, other: str) -> None:
    verdict = score_one(f"Final: {one}", "stop", other)
    assert verdict.parsed_answer == one
    assert verdict.outcome == ("correct" if one == other else "wrong_answer")


@given(st.text(), INTEGERS)
def test_what_was_cut_off_is_never_paid_and_its_integer_never_read(
    text: str, expected: str
) -> None:
    for cut in (text, f"Final: {expected}"):
        verdict = score_one(cut, "length", expected)
        assert (verdict.reward, verdict.outcome, verdict.parsed_answer) == (0.0, "truncated", None)


@given(st.text(st.characters(exclude_categories=[])), INTEGERS)
def test_any_string_whatever_gets_a_verdict(text: str, expected: str) -> None:
    assert score_one(text, "stop", expected).code


def test_integers_of_thousands_of_digits_are_compared_as_text() -> None:
    last = LONG[:-1] + "1"
    rows = [
        (f"Final: {LONG}", "stop", LONG),
        (f"Final: -{LONG}", "stop", f"-{LONG}"),
        (f"Final: {last}", "stop", LONG),
        (f"Final: {LONG}0", "stop", LONG),
        (f"Final: 0{LONG}", "stop", LONG),
        (f"Final: {LONG}", "length", LONG),
    ]
    codes = ["exact", "exact", "other_integer", "other_integer", "leading_zero", "cut_off_match"]
    assert [verdict[2] for verdict in score_column(rows)] == codes
    assert score_column(rows) == [score_row(row) for row in rows]


def test_no_text_makes_the_definition_slow() -> None:
    hostile = ["1", " ", "\n", "-", "(", "<|", "1,", "1 ", "1 or ", "final ", "Final: ", ".1", "_1"]
    start = time.process_time()
    for piece in hostile:
        for end in ("", "x", "\u0661"):
            score_one("Final: 1" + piece * 50_000 + end, "stop", "1")
    assert time.process_time() - start < 20  # a quadratic rule would take an hour


def test_the_codes_are_distinct_and_the_last_rule_takes_what_is_left() -> None:
    codes = [code for _, code in KINDS]
    assert len(set(codes)) == len(codes)
    assert RULES[-1].pattern == ".*"
    assert all(rule.words in SPEC and rule.pattern in SPEC for rule in RULES)


def test_verdicts_do_not_depend_on_chunks_or_string_width() -> None:
    rows = [tuple(case[key] for key in KEYS) for case in CASES if storable(case["text"])] * 3
    text, reasons, expected = (list(column) for column in zip(*rows, strict=True))
    whole = FINAL_INT_1.score(pa.array(text), pa.array(reasons), pa.array(expected))
    cut = FINAL_INT_1.score(
        pa.chunked_array([text[:7], text[7:300], [], text[300:]], pa.large_string()),
        pa.array(reasons).dictionary_encode(),
        pa.chunked_array([expected[:500], expected[500:]], pa.string()),
    )
    assert cut.combine_chunks().equals(whole.combine_chunks())


def test_more_rows_than_a_block_keep_their_order() -> None:
    count = 150_000
    numbers = [str(row % 1000) for row in range(count)]
    table = FINAL_INT_1.score(
        pa.array([f"Final: {number}" for number in numbers]),
        pa.array(["stop"] * count),
        pa.array([number if row % 3 else "-1" for row, number in enumerate(numbers)]),
    )
    assert table["reward"].to_pylist() == [float(row % 3 > 0) for row in range(count)]
    assert table["parsed_answer"].to_pylist() == numbers


@pytest.mark.slow
def test_a_million_mixed_rows_take_seconds_and_little_memory() -> None:
    rows = [tuple(case[key] for key in KEYS) for case in CASES if storable(case["text"])]
    text, reasons, expected = (pa.array(list(column)) for column in zip(*rows, strict=True))
    mixed = pa.array([place % len(rows) for place in range(1_000_000)])
    start, held = time.process_time(), pa.total_allocated_bytes()
    table = FINAL_INT_1.score(text.take(mixed), reasons.take(mixed), expected.take(mixed))
    assert time.process_time() - start < 20  # about 3 s on one slow core
    assert pa.total_allocated_bytes() - held < 2**28
    assert table.slice(0, len(rows)).to_pylist() == table.slice(len(rows), len(rows)).to_pylist()


# ---- contrast: what looser scorers would pay for ----


def strip_then_int(text: str, expected: str) -> bool:
    try:
        return int(text.strip().removeprefix("Final:")) == int(expected)
    except ValueError:
        return False


def regex_search(text: str, expected: str) -> bool:
    found = re.search(r"Final:\s*([-+]?\d+)", text)
    return found is not None and int(found[1]) == int(expected)


def contains(text: str, expected: str) -> bool:
    return expected in text


# how many texts of the table each pays for that the strict scorer does not
TRAPS_FALLEN_INTO = {strip_then_int: 91, regex_search: 189, contains: 294}


@pytest.mark.parametrize(("naive", "traps"), TRAPS_FALLEN_INTO.items())
def test_a_naive_scorer_pays_for_texts_that_the_strict_one_refuses(
    naive: Callable[[str, str], bool], traps: int
) -> None:
    strict = [score_one(*(case[key] for key in KEYS)).reward for case in CASES]
    paid = [naive(case["text"], case["expected_answer"]) for case in CASES]
    refused = strict.count(0.0)
    fallen = Counter(
        case["code"]
        for case, got, right in zip(CASES, paid, strict, strict=True)
        if got and not right
    )
    assert sum(fallen.values()) == traps > 0, f"{naive.__name__}: {fallen} of {refused} traps"
    assert all(got for got, right in zip(paid, strict, strict=True) if right)
