"""Text made safe and plain to look at: what cannot be seen is written as an escape.

It is for people's eyes alone; scorers judge the text itself.
"""

from __future__ import annotations

import unicodedata

NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
# control, format, surrogate, private use, unassigned, line and paragraph separator
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def visible(text: str, *, mark_spaces: bool = True) -> str:
    """`text` on one line, with every invisible character escaped.

    Plain spaces at either end, and each of several in a row, become `␠`; other spaces (no-break,
    ideographic, …) and combining marks without a base are written as `\\u00a0`. A backslash is
    doubled, so that the escape of a character and the characters of an escape look different.
    """
    shown = []
    for position, character in enumerate(text):
        category = unicodedata.category(character)
        if character in NAMED:
            shown.append(NAMED[character])
        elif character == " ":
            alone = 0 < position < len(text) - 1 and " " not in (
                text[position - 1],
                text[position + 1],
            )
            shown.append(" " if alone or not mark_spaces else "␠")
        elif category in UNSEEN or category == "Zs" or (category == "Mn" and position == 0):
            code = ord(character)
            shown.append(f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")
        else:
            shown.append(character)
    return "".join(shown)
