"""The format rules of `final_int@1`: an ordered list of what can be wrong with a text, with codes.

A text earns its reward by plain equality, before any of these patterns is tried. The patterns only
name the reason why a text earned none; the first that matches gives the code.

Each pattern matches the whole text and uses only what Python's `re` and Google's RE2 read in the
same way. Every class of characters is spelled out, so that no library's Unicode tables, locale or
case folding can change a code.
"""

from __future__ import annotations

from typing import NamedTuple

PREFIX = "Final: "
INTEGER = "(?:0|-?[1-9][0-9]*)"
"""A canonical integer: plain ASCII decimal, optional leading minus, no leading zeros, no -0."""

# the places where str.splitlines breaks a line
LINE_BREAKS = "\n-\r\x1c-\x1e\x85\u2028\u2029"
# Unicode's White_Space, and the four separators that str.isspace adds to it
SPACES = "\t-\r\x1c-\x20\x85\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
# controls that are no space, and Unicode's Default_Ignorable_Code_Point with the other format marks
INVISIBLE = (
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f"
    "\u200b-\u200f\u202a-\u202e\u2060-\u206f\u2800\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb"
    "\U0001bca0-\U0001bca3\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
)
# a zero begins each of Unicode's runs of ten decimal digits
ZEROS = (
    "\u0660\u06f0\u07c0\u0966\u09e6\u0a66\u0ae6\u0b66\u0be6\u0c66\u0ce6\u0d66\u0de6\u0e50\u0ed0"
    "\u0f20\u1040\u1090\u17e0\u1810\u1946\u19d0\u1a80\u1a90\u1b50\u1bb0\u1c40\u1c50\ua620\ua8d0"
    "\ua900\ua9d0\ua9f0\uaa50\uabf0\uff10\U000104a0\U00010d30\U00011066\U000110f0\U00011136"
    "\U000111d0\U000112f0\U00011450\U000114d0\U00011650\U000116c0\U00011730\U000118e0\U00011950"
    "\U00011c50\U00011d50\U00011da0\U00016a60\U00016ac0\U00016b50\U0001d7ce\U0001d7d8\U0001d7e2"
    "\U0001d7ec\U0001d7f6\U0001e140\U0001e2f0\U0001e950\U0001fbf0"
)
DIGITS = "".join(f"{zero}-{chr(ord(zero) + 9)}" for zero in ZEROS)
# hyphens, dashes and minus signs that are not the ASCII one
MINUSES = "\u2010-\u2015\u207b\u208b\u2212\u2796\ufe58\ufe63\uff0d"

_FINAL = "[Ff][Ii][Nn][Aa][Ll]"
_GROUPED = (
    "(?:[0-9]{1,3}(?:,[0-9]{2,3})*,[0-9]{3}|[0-9]{1,3}(?: [0-9]{3})+|[0-9]{1,3}(?:'[0-9]{3})+"
    "|[0-9]{1,3}(?:[.][0-9]{3}){2,}|[0-9]+(?:_[0-9]+)+)"
)
_BETWEEN = f"(?:[{SPACES}]*[,;][{SPACES}]*|[{SPACES}]+(?:or|and)[{SPACES}]+|[{SPACES}]+)"
_SPECIAL = (
    "(?:<[|][0-9A-Za-z_ .-]+[|]>|<\uff5c[^<>]*\uff5c>|</?s>|<(?:bos|eos|pad|unk|mask)>"
    "|<(?:start|end)_of_turn>|</?think>|\\[/?INST\\])"
)


class Rule(NamedTuple):
    """A code, what it means in words, and the pattern of the whole texts that it names."""

    code: str
    words: str
    pattern: str


RULES = (
    Rule("empty", "nothing at all", ""),
    Rule("blank", "nothing but spaces and invisible characters", f"[{SPACES}{INVISIBLE}]+"),
    Rule("special_token", "a special token such as <|im_end|> in the text", f".*{_SPECIAL}.*"),
    Rule(
        "invisible_character",
        "a control, zero-width, direction, variation or byte order mark",
        f".*[{INVISIBLE}].*",
    ),
    Rule(
        "trailing_newline",
        "well formed, but for line breaks after it",
        f"{PREFIX}{INTEGER}[{LINE_BREAKS}]+",
    ),
    Rule("trailing_space", "well formed, but for spaces after it", f"{PREFIX}{INTEGER}[{SPACES}]+"),
    Rule(
        "leading_space",
        "well formed, but for spaces or line breaks before it",
        f"[{SPACES}]+{PREFIX}{INTEGER}[{SPACES}]*",
    ),
    Rule(
        "digit_separator",
        "digits grouped by a comma, full stop, apostrophe, underscore or space",
        f"{PREFIX}[+-]?{_GROUPED}(?:[.][0-9]+)?",
    ),
    Rule(
        "several_answers",
        "`Final:` more than once, or several integers after it",
        f".*{_FINAL}:.*{_FINAL}:.*|{PREFIX}[+-]?[0-9]+(?:{_BETWEEN}[+-]?[0-9]+)+",
    ),
    Rule("no_number", "nothing after the prefix", f"{PREFIX}[{SPACES}]*"),
    Rule("extra_space", "more than one space after the colon", f"{PREFIX}[{SPACES}].*"),
    Rule("plus_sign", "an integer with a plus sign", f"{PREFIX}[+][0-9]+"),
    Rule("negative_zero", "minus zero", f"{PREFIX}-0+"),
    Rule("leading_zero", "an integer with leading zeros", f"{PREFIX}-?0[0-9]+"),
    Rule("decimal", "a number with a decimal point", f"{PREFIX}[+-]?[0-9]*[.][0-9]+"),
    Rule(
        "exponent",
        "a number in exponent notation",
        f"{PREFIX}[+-]?(?:[0-9]+(?:[.][0-9]*)?|[.][0-9]+)[eE][+-]?[0-9]+",
    ),
    Rule(
        "other_base",
        "a hexadecimal, octal or binary number",
        f"{PREFIX}[+-]?0[xXoObB][0-9A-Fa-f_]+",
    ),
    Rule(
        "expression",
        "an expression of digits, spaces and + - * / = ^ ( )",
        f"{PREFIX}(?:[0-9]|[-+=(][-+*/=^() ]*[0-9])(?:[-+*/=^() 0-9]*[-+=)0-9])?",
    ),
    Rule(
        "non_ascii_minus",
        "a minus sign, hyphen or dash that is not the ASCII one",
        f"{PREFIX}[{MINUSES}][0-9].*",
    ),
    Rule(
        "non_ascii_digit",
        "a decimal digit of another script or style",
        f"{PREFIX}.*[{DIGITS}].*",
    ),
    Rule("trailing_text", "text after the integer", f"{PREFIX}{INTEGER}[^0-9].*"),
    Rule(
        "decorated",
        "marks before the number, such as $, quotes, ** or \\boxed{",
        f"{PREFIX}[!-/:-@\\[-`{{-~].*[0-9].*",
    ),
    Rule(
        "non_ascii_character",
        "another character beyond ASCII after the prefix",
        f"{PREFIX}.*[^\x00-\x7f].*",
    ),
    Rule("not_an_integer", "anything else after the prefix", f"{PREFIX}.*"),
    Rule("bare_integer", "an integer without the prefix", f"[{SPACES}]*[+-]?[0-9]+[{SPACES}]*"),
    Rule("leading_text", "something before the prefix", f".+{PREFIX}.*"),
    Rule(
        "prefix_variant",
        "begins like the prefix, with other letters' case, spacing, marks or words",
        f"[{SPACES}*_#>`\"'(\\[]*{_FINAL}(?:[{SPACES}]*[Aa][Nn][Ss][Ww][Ee][Rr])?(?:[^A-Za-z].*)?",
    ),
    Rule(
        "prefix_not_ascii",
        "a character beyond ASCII where the prefix must stand",
        ".{0,6}[^\x00-\x7f].*",
    ),
    Rule("no_prefix", "none of the above", ".*"),
)
"""In the order in which they are tried; the last matches every text, so each text has one code."""
