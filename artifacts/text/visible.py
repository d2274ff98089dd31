"""Text made safe and plain to look at: what cannot be seen is written as an escape."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator

NAMED = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}
DIGEST_SHOWN = 12  # hexadecimal digits
SHA256 = re.compile(r"\b[0-9a-f]{64}\b")
# printable ASCII but the backslash, with single spaces inside: most text, and nothing to escape
PLAIN = re.compile(r"[!-\[\]-~]+(?: [!-\[\]-~]+)*")
# control, format, surrogate, private use, unassigned, line and paragraph separator
UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def visible(text: str, *, mark_spaces: bool = True) -> str:
    """`text` on one line, with every invisible character escaped.

    Plain spaces at either end, and each of several in a row, become `␠`; other spaces (no-break,
    ideographic, …) and combining marks without a base are written as `\\u00a0`. A backslash is
    doubled, so that the escape of a character and the characters of an escape look different.
    """
    shown: list[str] = []
    seen = 0
    for run in PLAIN.finditer(text):
        shown += _each(text, seen, run.start(), mark_spaces)
        shown.append(run[0])
        seen = run.end()
    return "".join([*shown, *_each(text, seen, len(text), mark_spaces)])


def printable(text: str, *, keep: str = "") -> str:
    """`text` with an escape for each character that a terminal would obey or not show.

    Those in `keep` stay. Unlike `visible` it leaves spaces and backslashes alone, so that what is
    printable already comes back unchanged.
    """
    if text.isprintable():
        return text
    return "".join(
        _escape(character) if character not in keep and not character.isprintable() else character
        for character in text
    )


def short_digests(text: str, mark: str = "") -> str:
    """The text with every SHA-256 in it cut to its start, and `mark` after it."""
    return SHA256.sub(lambda found: found[0][:DIGEST_SHOWN] + mark, text)


def _each(text: str, start: int, end: int, mark_spaces: bool) -> Iterator[str]:
    """What is shown of each character from `start` to before `end`."""
    for position in range(start, end):
        character = text[position]
        category = unicodedata.category(character)
        if character == " ":
            alone = 0 < position < len(text) - 1 and " " not in (
                text[position - 1],
                text[position + 1],
            )
            yield " " if alone or not mark_spaces else "␠"
        elif (
            character in NAMED
            or category in UNSEEN
            or category == "Zs"
            or (category == "Mn" and position == 0)
        ):
            yield _escape(character)
        else:
            yield character


def _escape(character: str) -> str:
    """How a character that is not shown as itself is written."""
    code = ord(character)
    return NAMED.get(character) or (f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}")
