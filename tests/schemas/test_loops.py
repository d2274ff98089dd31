"""The three loops have different letters, and each says what it changed."""

from __future__ import annotations

import pytest

from schemas.loops import DEMO, LOOPS, loop_named


def test_a_loop_is_found_by_its_letter() -> None:
    for loop in (*LOOPS, DEMO):
        assert loop_named(loop.letter) is loop
    with pytest.raises(KeyError):
        loop_named("D")


def test_the_headline_says_which_loop_it_was_and_what_it_changed() -> None:
    assert [loop.headline for loop in LOOPS] == [
        "Loop A: evaluation (changed: nothing)",
        "Loop B: selection (changed: which output is used)",
        "Loop C: learning (changed: the model)",
    ]
