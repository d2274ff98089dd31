"""The list of format rules: each has a code of its own, and some rule matches every text."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from scorers.final_int_rules import DIGITS, INTEGER, INVISIBLE, RULES, SPACES, ZEROS


def test_codes_and_words_are_different() -> None:
    assert len({rule.code for rule in RULES}) == len(RULES)
    assert len({rule.words for rule in RULES}) == len(RULES)


@given(st.text())
def test_the_last_rule_matches_every_text(text: str) -> None:
    assert re.fullmatch(RULES[-1].pattern, text, re.DOTALL)


@given(st.integers())
def test_every_integer_as_python_writes_it_is_canonical(number: int) -> None:
    assert re.fullmatch(INTEGER, str(number))


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Final: 1\n", "trailing_newline"),
        ("Final: 1,000", "digit_separator"),
        ("Final: 1 or 2", "several_answers"),
        ("Final: +1", "plus_sign"),
        ("Final: 1.5", "decimal"),
        ("Final: 0x1F", "other_base"),
        ("Final: \u22121", "non_ascii_minus"),
        ("Final: 1 apple", "trailing_text"),
        ("final: 1", "prefix_variant"),
        ("1", "bare_integer"),
        ("none", "no_prefix"),
    ],
)
def test_the_first_rule_that_matches_gives_the_code(text: str, code: str) -> None:
    matching = (rule for rule in RULES if re.fullmatch(rule.pattern, text, re.DOTALL))
    assert next(matching).code == code


@pytest.mark.parametrize("text", ["+1", "01", "-0", "-01", "1.0", "", "-", "1 ", "١"])
def test_only_plain_ascii_decimals_are_integers(text: str) -> None:
    assert not re.fullmatch(INTEGER, text)


def test_spaces_are_what_python_calls_space_and_invisible_characters_are_no_spaces() -> None:
    spaces, invisible = re.compile(f"[{SPACES}]"), re.compile(f"[{INVISIBLE}]")
    for code in range(0x11000):
        character = chr(code)
        assert bool(spaces.fullmatch(character)) == character.isspace(), hex(code)
        assert not (spaces.fullmatch(character) and invisible.fullmatch(character)), hex(code)


def test_each_zero_begins_a_run_of_ten_digits() -> None:
    digits = re.compile(f"[{DIGITS}]")
    for zero in ZEROS:
        run = [chr(ord(zero) + value) for value in range(10)]
        assert all(digits.fullmatch(digit) for digit in run)
        assert [int(digit) for digit in run] == list(range(10))
