"""The strict scorer `final_line_int@1`: reasoning, then a last line that is exactly `Final: <int>`.

It is as strict about the last line as `final_int@1` is about the whole text, and pays for no second
try. `score_one` is the definition, for one row; `FINAL_LINE_INT_1` gives the same verdicts for
whole Arrow columns.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from schemas.finish_reasons import STOP
from scorers.final_int import broken_rules, format_code
from scorers.final_int_rules import INTEGER, LINE_BREAKS, PREFIX, RULES, SPACES
from scorers.scorer import Scorer, Verdict, coded_table, in_blocks

MARK = PREFIX.rstrip()  # a line that begins with it is a final line
OWN_CODES = {
    "several_final_lines": "the last line is well formed, and an earlier line begins with `Final:`",
    "final_line_not_last": "a line begins with `Final:`, and other lines follow it",
}


def _escaped(characters: str) -> str:
    return characters.encode("unicode_escape").decode("ascii")


SPEC = "\n".join(
    [
        "The last line is what follows the last line feed, or the whole text where there is none.",
        "A final line is one that begins with `Final:`; here a line begins at the text's start and",
        f"after each of Unicode's line breaks: [{_escaped(LINE_BREAKS)}]. Reward 1 if and only if",
        "finish_reason is stop, the last line, unchanged, equals `Final: ` and the expected",
        "integer, and it is the only final line; reward 0 otherwise. What stands before the last",
        "line is reasoning and may be anything. An integer is plain ASCII decimal: an optional",
        "leading minus, no plus, no leading zeros, no -0, no separators. Outcomes, the first that",
        "holds:",
        "truncated: finish_reason is not stop (code cut_off_match if the text would have earned",
        "the reward, else cut_off);",
        "bad_format, code lone_surrogate: the text is not Unicode;",
        "correct: the reward is 1 (code exact);",
        "wrong_answer: the last line is `Final: ` followed by another integer, and the only final",
        "line (code other_integer);",
        "bad_format: any other text. Its code is the first of these that holds:",
        *(f"{code}: {words};" for code, words in OWN_CODES.items()),
        "trailing_newline: the last line that is not blank would earn the reward or be a wrong",
        "answer, if only blank lines did not follow it (a blank line has nothing but",
        f"[{_escaped(SPACES)}]);",
        "blank: every line is blank, and the text is not empty;",
        "the code that final_int@1 gives to the last line that is not blank, as bad_format.",
        "parsed_answer is the integer of a text that is correct or a wrong answer, else null.",
    ]
)

KINDS = (
    ("correct", "exact"),
    ("wrong_answer", "other_integer"),
    ("truncated", "cut_off_match"),
    ("truncated", "cut_off"),
    *(("bad_format", code) for code in OWN_CODES),
    *(("bad_format", rule.code) for rule in RULES),
)
EXACT, OTHER_INTEGER, CUT_OFF_MATCH, CUT_OFF, SEVERAL, NOT_LAST, FIRST_RULE = range(7)
PLACES = {code: place for place, (_, code) in enumerate(KINDS)}

_well_formed = re.compile(f"{PREFIX}({INTEGER})")
_later_mark = re.compile(f"[{LINE_BREAKS}]{MARK}")
_line_break = re.compile(f"[{LINE_BREAKS}]")
_space = re.compile(f"[{SPACES}]")
_lone_surrogate = re.compile("[\ud800-\udfff]")


def score_one(text: str, finish_reason: str, expected_answer: str) -> Verdict:
    """The verdict on one completion, for any text; it never raises.

    `expected_answer` is a canonical decimal integer; the last line is compared with it as text, so
    that integers may be of any length.
    """
    last = _last_line(text)
    alone = final_lines(text) == 1
    matches = alone and last == PREFIX + expected_answer and not _lone_surrogate.search(text)
    if finish_reason != STOP:
        return Verdict(0.0, "truncated", "cut_off_match" if matches else "cut_off", None)
    if matches:
        return Verdict(1.0, "correct", "exact", expected_answer)
    if _lone_surrogate.search(text):
        return Verdict(0.0, "bad_format", "lone_surrogate", None)
    if alone and (well_formed := _well_formed.fullmatch(last)):
        return Verdict(0.0, "wrong_answer", "other_integer", well_formed[1])
    return Verdict(0.0, "bad_format", _format_code(text), None)


def final_lines(text: str) -> int:
    """How many lines of a text begin with `Final:`."""
    return text.startswith(MARK) + len(_later_mark.findall(text))


def _format_code(text: str) -> str:
    """The code of a text whose last line is not well formed, or is not the only final line."""
    told = _without_blank_end(text)
    last = _last_line(told)
    well_formed = _well_formed.fullmatch(last)
    if final_lines(told) > final_lines(last):
        if well_formed:
            return "several_final_lines"
        if not last.startswith(MARK):
            return "final_line_not_last"
    if well_formed:
        return "trailing_newline"
    return "blank" if text and not told else format_code(last)


def _last_line(text: str) -> str:
    return text.rpartition("\n")[2]


def _without_blank_end(text: str) -> str:
    """A text without the blank lines at its end and the line break before them."""
    end = len(text)
    while end and _space.match(text, end - 1):
        end -= 1
    first = _line_break.search(text, end)
    return text[: first.start()] if first else text


def _score_block(text: pa.Array, finish_reason: pa.Array, expected_answer: pa.Array) -> pa.Table:
    """The verdicts of a block of rows: whole texts first, reasons only for the rows that failed."""
    last = _last_lines(text)
    alone = _final_lines(text) == 1
    finished = _mask(pc.equal(finish_reason, STOP))
    well_formed = alone & _mask(pc.match_substring_regex(last, f"^{PREFIX}{INTEGER}$"))
    read = pc.utf8_slice_codeunits(last, len(PREFIX))
    equal = well_formed & _mask(pc.equal(read, expected_answer))
    kinds = np.full(len(text), OTHER_INTEGER, dtype=np.int8)
    kinds[equal] = EXACT
    kinds[~finished] = CUT_OFF
    kinds[~finished & equal] = CUT_OFF_MATCH

    left = np.flatnonzero(finished & ~well_formed)
    kinds[left] = _format_kinds(text.take(pa.array(left)))
    parsed = pc.if_else(pa.array(kinds <= OTHER_INTEGER), read, pa.scalar(None, pa.large_string()))
    return coded_table(kinds, KINDS, parsed)


def _format_kinds(text: pa.Array) -> np.ndarray:
    """The places in `KINDS` of texts that are neither correct nor a wrong answer."""
    told = pc.replace_substring_regex(text, f"[{LINE_BREAKS}][{SPACES}]*$", "")
    last = _last_lines(told)
    well_formed = _mask(pc.match_substring_regex(last, f"^{PREFIX}{INTEGER}$"))
    earlier = _final_lines(told) > _final_lines(last)
    marked = _mask(pc.starts_with(last, MARK))
    kinds = FIRST_RULE + broken_rules(last)
    kinds[_mask(pc.equal(told, "")) & ~_mask(pc.equal(text, ""))] = PLACES["blank"]
    kinds[well_formed] = PLACES["trailing_newline"]
    kinds[earlier & ~marked] = NOT_LAST
    kinds[earlier & well_formed] = SEVERAL
    return kinds


def _final_lines(text: pa.Array) -> np.ndarray:
    later = pc.count_substring_regex(text, f"[{LINE_BREAKS}]{MARK}")
    count: np.ndarray = later.to_numpy() + _mask(pc.starts_with(text, MARK))
    return count


def _last_lines(text: pa.Array) -> pa.Array:
    parts = pc.split_pattern(text, "\n", max_splits=1, reverse=True)
    return parts.values.take(pa.array(parts.offsets.to_numpy()[1:] - 1))


def _mask(condition: pa.Array) -> np.ndarray:
    mask: np.ndarray = condition.to_numpy(zero_copy_only=False)
    return mask


FINAL_LINE_INT_1 = Scorer(
    name="final_line_int", version=1, spec=SPEC, score_columns=in_blocks(_score_block)
)
