"""The lenient scorer `contains_int@1`: reward 1 if the expected integer is anywhere in the text.

It shows what a lenient scorer rewards: a text that lists every integer is always right. The program
never trains on it unless the user asks for it.
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
        "Reward 1 if and only if finish_reason is stop and one of the integers in the text is the",
        "expected one. Outcomes, the first that holds: truncated (code cut_off): finish_reason is",
        "not stop; correct (contained): the reward is 1; bad_format (no_integer): there is no",
        "integer in the text; wrong_answer (other_integers): any other text. parsed_answer is the",
        "integer of a text that holds no other, however often; else, or if cut off, it is null.",
        NUMBERS,
    ]
)
KINDS = (
    ("correct", "contained"),
    ("wrong_answer", "other_integers"),
    ("bad_format", "no_integer"),
    ("truncated", "cut_off"),
)
CONTAINED, OTHER_INTEGERS, NO_INTEGER, CUT_OFF = range(4)


def score_one(text: str, finish_reason: str, expected_answer: str) -> Verdict:
    """The verdict on one completion, for any text."""
    if finish_reason != STOP:
        return Verdict(0.0, "truncated", "cut_off", None)
    found = {number for number in integers_in(text) if number is not None}
    parsed = next(iter(found)) if len(found) == 1 else None
    if expected_answer in found:
        return Verdict(1.0, "correct", "contained", parsed)
    if not found:
        return Verdict(0.0, "bad_format", "no_integer", None)
    return Verdict(0.0, "wrong_answer", "other_integers", parsed)


def _score_block(text: pa.Array, finish_reason: pa.Array, expected_answer: pa.Array) -> pa.Table:
    """The verdicts of a block: all integers of all texts, each against its row's expected one."""
    # every integer of the block with its row, and whether it is the expected one of that row
    rows, numbers = integers_in_block(text)
    known = numbers.is_valid().to_numpy(zero_copy_only=False)
    rows, numbers = rows[known], numbers.drop_null()
    equal = pc.equal(numbers, expected_answer.take(pa.array(rows))).to_numpy(zero_copy_only=False)

    # a later line overwrites an earlier one: no integer, others, the expected one, cut off
    kinds = np.full(len(text), NO_INTEGER, dtype=np.int8)
    kinds[rows] = OTHER_INTEGERS
    kinds[rows[equal]] = CONTAINED
    cut_off = pc.not_equal(finish_reason, STOP).to_numpy(zero_copy_only=False)
    kinds[cut_off] = CUT_OFF

    # parsed_answer is the first integer of a row, where all others of the row equal it
    first = np.full(len(text), -1, dtype=np.int64)
    first[rows[::-1]] = np.arange(len(rows))[::-1]
    leader = numbers.take(pa.array(first[rows]))
    alone = ~cut_off & (first >= 0)
    alone[rows[pc.not_equal(numbers, leader).to_numpy(zero_copy_only=False)]] = False
    return coded_table(kinds, KINDS, numbers.take(pa.array(first, mask=~alone)))


CONTAINS_INT_1 = Scorer("contains_int", 1, SPEC, in_blocks(_score_block))
