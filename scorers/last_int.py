"""The lenient scorer `last_int@1`: reward 1 if the last number in the text is the expected integer.

It needs no format, and so cannot tell an answer from a number that happens to come last.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.finish_reasons import STOP
from scorers.integers_in_text import NUMBERS, integers_in, integers_in_block
from scorers.scorer import Scorer, Verdict, coded_table, in_blocks

SPEC = "\n".join(
    [
        "Reward 1 if and only if finish_reason is stop and the last number in the text is the",
        "expected integer. Outcomes, the first that holds: truncated (code cut_off): finish_reason",
        "is not stop; bad_format (no_number): the text holds no number; bad_format",
        "(not_an_integer): its last number is no integer; correct (last_integer): the reward is 1;",
        "wrong_answer (other_integer): its last number is another integer. parsed_answer is the",
        "last number where that is an integer and the text was not cut off, else null.",
        NUMBERS,
    ]
)
KINDS = (
    ("correct", "last_integer"),
    ("wrong_answer", "other_integer"),
    ("bad_format", "not_an_integer"),
    ("bad_format", "no_number"),
    ("truncated", "cut_off"),
)
LAST_INTEGER, OTHER_INTEGER, NOT_AN_INTEGER, NO_NUMBER, CUT_OFF = range(5)


def score_one(text: str, finish_reason: str, expected_answer: str) -> Verdict:
    """The verdict on one completion, for any text."""
    if finish_reason != STOP:
        return Verdict(0.0, "truncated", "cut_off", None)
    numbers = integers_in(text)
    if not numbers:
        return Verdict(0.0, "bad_format", "no_number", None)
    last = numbers[-1]
    if last is None:
        return Verdict(0.0, "bad_format", "not_an_integer", None)
    if last == expected_answer:
        return Verdict(1.0, "correct", "last_integer", last)
    return Verdict(0.0, "wrong_answer", "other_integer", last)


def _score_block(text: pa.Array, finish_reason: pa.Array, expected_answer: pa.Array) -> pa.Table:
    """The verdicts of a block: each text's last number against its row's expected one."""
    rows, numbers = integers_in_block(text)
    last = np.full(len(text), -1, dtype=np.int64)
    last[rows] = np.arange(len(rows))  # of several numbers in a row the last one stays
    some = last >= 0
    cut_off = pc.not_equal(finish_reason, STOP).to_numpy(zero_copy_only=False)
    answer = numbers.take(pa.array(last, mask=~some | cut_off))
    read = answer.is_valid().to_numpy(zero_copy_only=False)
    right = pc.fill_null(pc.equal(answer, expected_answer), False).to_numpy(zero_copy_only=False)
    kinds = np.full(len(text), NO_NUMBER, dtype=np.int8)
    kinds[some] = NOT_AN_INTEGER
    kinds[read] = OTHER_INTEGER
    kinds[right] = LAST_INTEGER
    kinds[cut_off] = CUT_OFF
    return coded_table(kinds, KINDS, answer)


LAST_INT_1 = Scorer("last_int", 1, SPEC, in_blocks(_score_block))
