"""A scorer's rule in words names every code and leaves the patterns out."""

from __future__ import annotations

from artifacts.text.codes import rule_in_words
from scorers.final_int import FINAL_INT_1
from scorers.final_int_rules import RULES


def test_the_rule_names_each_code_once_and_no_pattern() -> None:
    told = rule_in_words(FINAL_INT_1.spec)
    listed = told.partition("for the whole text: ")[2].partition(". parsed_answer")[0]
    assert listed.split("; ") == [rule.code for rule in RULES]
    assert "/" not in told
