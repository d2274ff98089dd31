"""Text of others in markdown stays text."""

from __future__ import annotations

import pytest

from artifacts.text.markdown import code, table


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Final: 7", "`Final: 7`"),
        ("<b>7</b>", "`<b>7</b>`"),
        ("**7** [a](b)", "`**7** [a](b)`"),
        ("\x1b[31m7", "`\\u001b[31m7`"),
        ("7\n8", "`7\\n8`"),
        ("a ` b", "``a ` b``"),
        ("`` a", "``` `` a ```"),
        ("", "`  `"),
        ("a | b", "`a \\| b`"),
        ("$x^2$ =1+1", "`$x^2$ =1+1`"),
    ],
)
def test_a_text_becomes_one_code_span(text: str, shown: str) -> None:
    assert code(text) == shown


def test_a_long_text_is_cut_with_a_sign_of_it() -> None:
    assert code("x" * 30, 10) == "`" + "x" * 9 + "…`"


def test_a_table_sets_numbers_flush_right() -> None:
    assert table(("name", ">n"), [("a", "1")]) == ["| name | n |", "| --- | --: |", "| a | 1 |"]
