"""Numbers in a text: worked cases, and one text at a time against a block at once."""

from __future__ import annotations

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from scorers.integers_in_text import integers_in, integers_in_block

CASES = [
    ("", []),
    ("none", []),
    ("12", ["12"]),
    ("Final: 12", ["12"]),
    ("-7", ["-7"]),
    ("x = -7", ["-7"]),
    ("(-7)", ["-7"]),
    ("3-4", ["3", "4"]),
    ("3 - 4", ["3", "4"]),
    ("3 -4", ["3", "-4"]),
    ("x-4", ["4"]),
    ("(1)-4", ["1", "4"]),
    ("[1]-4", ["1", "4"]),
    ("5--3", ["5", "-3"]),
    ("--3", ["-3"]),
    ("1-2-3", ["1", "2", "3"]),
    ("+12", ["12"]),
    ("12.", ["12"]),
    ("12.5", [None]),
    ("12.0", [None]),
    ("1.2.3", [None]),
    (".5", ["5"]),
    ("1,000", ["1000"]),
    ("-1,234,567", ["-1234567"]),
    ("1,2", [None]),
    ("1, 2", ["1", "2"]),
    ("12,", ["12"]),
    ("1,0000", [None]),
    ("1,000.5", [None]),
    ("007", ["7"]),
    ("000", ["0"]),
    ("-0", ["0"]),
    ("-007", ["-7"]),
    ("a1b22c333", ["1", "22", "333"]),
    ("1_000", ["1", "0"]),
    ("1e3", ["1", "3"]),
    ("\u0661\u0662 12", ["12"]),
    ("\u22127", ["7"]),
    ("1\x1f2", ["1", "2"]),
    ("\x1f-2\x1f", ["-2"]),
    ("12\n13", ["12", "13"]),
    ("9" * 5000, ["9" * 5000]),
]


@pytest.mark.parametrize(("text", "numbers"), CASES, ids=lambda value: repr(value)[:30])
def test_the_numbers_of_each_case(text: str, numbers: list[str | None]) -> None:
    assert integers_in(text) == numbers


def in_block(texts: list[str]) -> list[list[str | None]]:
    rows, numbers = integers_in_block(pa.array(texts, pa.large_string()))
    found: list[list[str | None]] = [[] for _ in texts]
    for row, number in zip(rows.tolist(), numbers.to_pylist(), strict=True):
        found[row].append(number)
    return found


def test_a_block_finds_what_one_text_at_a_time_finds() -> None:
    texts = [text for text, _ in CASES]
    assert in_block(texts) == [integers_in(text) for text in texts]


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(st.text(), st.text("0123.,-+ ()]aé\x1f\n")), max_size=20))
def test_they_agree_on_every_text(texts: list[str]) -> None:
    assert in_block(texts) == [integers_in(text) for text in texts]


@given(st.lists(st.integers(-(10**20), 10**20)))
def test_integers_written_apart_are_all_found(values: list[int]) -> None:
    assert integers_in(" and ".join(map(str, values))) == [str(value) for value in values]
