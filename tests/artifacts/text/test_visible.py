"""What cannot be seen is written out, and no two different texts look the same."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from artifacts.text.visible import short_digests, visible


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Final: 42", "Final: 42"),
        ("Final: 42\n", "Final: 42\\n"),
        (" Final: 42", "␠Final: 42"),
        ("Final:  42", "Final:␠␠42"),
        ("Final: 42 ", "Final: 42␠"),
        ("Final:\u00a042", "Final:\\u00a042"),
        ("\u200bFinal", "\\u200bFinal"),
        ("\x1b[31mred", "\\u001b[31mred"),
        ("\\n", "\\\\n"),
        ("\ud800", "\\ud800"),
        ("\U000e0041", "\\U000e0041"),
        ("é", "é"),
    ],
)
def test_each_invisible_thing_has_its_escape(text: str, shown: str) -> None:
    assert visible(text) == shown


@given(st.text())
def test_any_text_becomes_one_printable_line(text: str) -> None:
    shown = visible(text)
    assert shown.isprintable()
    assert len(shown.splitlines()) <= 1


def test_digests_are_cut_and_nothing_else() -> None:
    text = f"final_int@1:{'0f' * 32}, {'a' * 63}, {'b' * 65}"
    assert short_digests(text) == f"final_int@1:0f0f0f0f0f0f, {'a' * 63}, {'b' * 65}"
    assert short_digests("c" * 64, mark="…") == "cccccccccccc…"
