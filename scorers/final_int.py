"""The strict scorer `final_int@1`: reward 1 only for exactly `Final: ` and the expected integer.

Nothing is stripped, normalised, repaired or guessed. `score_one` is the definition, for one row;
`FINAL_INT_1` gives the same verdicts for whole Arrow columns.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.finish_reasons import STOP
from scorers.final_int_rules import INTEGER, PREFIX, RULES
from scorers.scorer import Scorer, Verdict, coded_table, in_blocks

SPEC = "\n".join(
    [
        "Reward 1 if and only if finish_reason is stop and the text, whole and unchanged, equals",
        "`Final: ` followed by the expected integer; reward 0 otherwise. An integer is plain ASCII",
        "decimal: an optional leading minus, no plus, no leading zeros, no -0, no separators.",
        "Nothing is stripped or normalised. Outcomes, the first that holds:",
        "truncated: finish_reason is not stop (code cut_off_match if the text would have earned",
        "the reward, else cut_off);",
        "correct: the reward is 1 (code exact);",
        "wrong_answer: the text is `Final: ` followed by another integer (code other_integer);",
        "bad_format: any other text. Its code is lone_surrogate for text that is not Unicode, else",
        "the first of these that holds for the whole text:",
        *(f"{rule.code}: {rule.words}: /{rule.pattern}/" for rule in RULES),
        "parsed_answer is the integer of a well-formed text that was not truncated, else null.",
    ]
)

WELL_FORMED = f"{PREFIX}{INTEGER}"
_well_formed = re.compile(WELL_FORMED)
_rules = [(rule.code, re.compile(rule.pattern, re.DOTALL)) for rule in RULES]
_lone_surrogate = re.compile("[\ud800-\udfff]")

KINDS = (
    ("correct", "exact"),
    ("wrong_answer", "other_integer"),
    ("truncated", "cut_off_match"),
    ("truncated", "cut_off"),
    *(("bad_format", rule.code) for rule in RULES),
)
EXACT, OTHER_INTEGER, CUT_OFF_MATCH, CUT_OFF, FIRST_RULE = range(5)


def score_one(text: str, finish_reason: str, expected_answer: str) -> Verdict:
    """The verdict on one completion, for any text; it never raises.

    `expected_answer` is a canonical decimal integer; the text is compared with it as text, so that
    integers may be of any length.
    """
    matches = text == PREFIX + expected_answer
    if finish_reason != STOP:
        return Verdict(0.0, "truncated", "cut_off_match" if matches else "cut_off", None)
    if matches:
        return Verdict(1.0, "correct", "exact", expected_answer)
    if _well_formed.fullmatch(text):
        return Verdict(0.0, "wrong_answer", "other_integer", text.removeprefix(PREFIX))
    return Verdict(0.0, "bad_format", format_code(text), None)


def format_code(text: str) -> str:
    """The code of the format rule that a text breaks which is not well formed."""
    if _lone_surrogate.search(text):
        return "lone_surrogate"
    return next(code for code, pattern in _rules if pattern.fullmatch(text))


def broken_rules(text: pa.Array) -> np.ndarray:
    """For each text the place in `RULES` of the first that matches: int8, one for each text.

    Each pattern sees only the texts that none before it matched.
    """
    places = np.zeros(len(text), dtype=np.int8)
    left = np.arange(len(text))
    for place, rule in enumerate(RULES):
        if not len(left):
            break
        hit = _fully_matched(text, rule.pattern)
        mask = hit.to_numpy(zero_copy_only=False)
        places[left[mask]] = place
        left, text = left[~mask], text.filter(pc.invert(hit))
    return places


def _fully_matched(text: pa.Array, pattern: str) -> pa.Array:
    return pc.match_substring_regex(text, f"(?s)^(?:{pattern})$")


def _score_block(text: pa.Array, finish_reason: pa.Array, expected_answer: pa.Array) -> pa.Table:
    """The verdicts of a block of rows: equality first, patterns only for the rows that failed."""
    # a reward is plain equality with the prefix and the expected integer
    prefixed = pc.binary_join_element_wise(
        pa.scalar(PREFIX, pa.large_string()), expected_answer, pa.scalar("", pa.large_string())
    )
    matches = pc.equal(text, prefixed).to_numpy(zero_copy_only=False)
    finished = pc.equal(finish_reason, STOP).to_numpy(zero_copy_only=False)
    kinds = np.full(len(text), EXACT, dtype=np.int8)
    kinds[~finished] = CUT_OFF
    kinds[~finished & matches] = CUT_OFF_MATCH

    # the others are well formed, or get the code of a rule
    left = np.flatnonzero(finished & ~matches)
    failed = text.take(pa.array(left))
    hit = _fully_matched(failed, WELL_FORMED)
    mask = hit.to_numpy(zero_copy_only=False)
    kinds[left[mask]] = OTHER_INTEGER
    kinds[left[~mask]] = FIRST_RULE + broken_rules(failed.filter(pc.invert(hit)))

    # parsed_answer is what follows the prefix of a well-formed text
    read = pc.if_else(pa.array(kinds <= OTHER_INTEGER), text, pa.scalar(None, pa.large_string()))
    return coded_table(kinds, KINDS, pc.utf8_slice_codeunits(read, len(PREFIX)))


FINAL_INT_1 = Scorer(name="final_int", version=1, spec=SPEC, score_columns=in_blocks(_score_block))
