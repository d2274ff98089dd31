"""Finding the integers in a text, one text at a time or a block of texts at once.

`NUMBERS` says in words what counts as a number. It is part of the specs of the scorers
`contains_int` and `last_int`.
"""

from __future__ import annotations

import re

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

NUMBERS = "\n".join(
    [
        "A number in a text is a run of ASCII digits, as long as can be, with every further run",
        "that one full stop or comma joins to it, and with a minus sign directly before it unless",
        "that minus directly follows an ASCII letter, a digit, or a closing ) or ] (so that 3-4",
        "holds 3 and 4). A number is an integer if only digits are left once the commas that set",
        "off groups of three are removed; leading zeros count for nothing, and -0 is 0. So 12.0",
        "and 1,2 are numbers but no integers, and 1,000 and 007 are integers.",
    ]
)

_BINARY_MINUS = r"([0-9A-Za-z)\]])-"
_NUMBER = r"(-?[0-9]+(?:[.,][0-9]+)*)"
_GROUPED = "-?[0-9]{1,3}(?:,[0-9]{3})+"
_ZEROS = "^(-?)0+([0-9])"
_MARK = "\x1f"  # put around numbers; it cannot be part of one

_number = re.compile(r"(?:(?<![0-9A-Za-z)\]])-)?[0-9]+(?:[.,][0-9]+)*")
_grouped = re.compile(_GROUPED)
_integer = re.compile("-?[0-9]+")


def integers_in(text: str) -> list[str | None]:
    """The numbers of a text in order: canonical decimal text, or None if one is not an integer."""
    return [_canonical(found[0]) for found in _number.finditer(text)]


def _canonical(number: str) -> str | None:
    if _grouped.fullmatch(number):
        number = number.replace(",", "")
    if not _integer.fullmatch(number):
        return None
    digits = number.lstrip("-").lstrip("0")
    if not digits:
        return "0"
    return f"-{digits}" if number.startswith("-") else digits


def integers_in_block(text: pa.Array) -> tuple[NDArray[np.int64], pa.Array]:
    """The numbers of all rows in order: the row of each, and each as in `integers_in`.

    `text` holds large_string.
    """
    # Put marks around every number and split each text at the marks: every second piece is then a
    # number. A minus that is not a sign is replaced first, and so is a mark in the text itself.
    marked = pc.replace_substring(text, _MARK, " ")
    marked = pc.replace_substring_regex(marked, _BINARY_MINUS, r"\1 ")
    marked = pc.replace_substring_regex(marked, _NUMBER, rf"{_MARK}\1{_MARK}")
    pieces = pc.split_pattern(marked, _MARK)
    lengths = pc.list_value_length(pieces).to_numpy(zero_copy_only=False).astype(np.int64)
    rows = np.repeat(np.arange(len(text)), lengths)
    place = np.arange(len(rows)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
    odd = place % 2 == 1
    numbers = pieces.flatten().filter(pa.array(odd))

    # the same as `_canonical`, for all numbers at once
    grouped = pc.match_substring_regex(numbers, f"^(?:{_GROUPED})$")
    numbers = pc.if_else(grouped, pc.replace_substring(numbers, ",", ""), numbers)
    whole = pc.match_substring_regex(numbers, "^-?[0-9]+$")
    numbers = pc.replace_substring_regex(numbers, _ZEROS, r"\1\2")
    numbers = pc.if_else(pc.equal(numbers, "-0"), "0", numbers)
    return rows[odd], pc.if_else(whole, numbers, pa.scalar(None, numbers.type))
