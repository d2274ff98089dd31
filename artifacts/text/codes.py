"""What the codes of the strict scorers mean, in words."""

from __future__ import annotations

from collections.abc import Mapping

from scorers.final_int import FINAL_INT_1
from scorers.final_int_rules import RULES
from scorers.final_line_int import FINAL_LINE_INT_1, OWN_CODES

_WORDS = {rule.code: rule.words for rule in RULES} | {
    "exact": "exactly what is paid for",
    "other_integer": "well formed, another integer",
    "cut_off": "the answer was not at its end",
    "cut_off_match": "cut off, though it would have been right",
    "lone_surrogate": "half of a surrogate pair, which is no text",
}
_BY_SCORER = {FINAL_INT_1.name: _WORDS, FINAL_LINE_INT_1.name: _WORDS | OWN_CODES}


def rule_in_words(spec: str) -> str:
    """A scorer's rule, its codes by their names alone instead of one by one with their patterns."""
    for rule in RULES:
        spec = spec.replace(f"{rule.code}: {rule.words}: /{rule.pattern}/\n", f"{rule.code};\n")
    told = " ".join(spec.split())
    return told.replace(f"{RULES[-1].code};", f"{RULES[-1].code}.")


def code_words(scorer: str) -> Mapping[str, str]:
    """Words for each code of a scorer, NAME@VERSION; none for one whose codes are not known."""
    return _BY_SCORER.get(scorer.partition("@")[0], {})
