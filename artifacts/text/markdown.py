"""Other people's text inside markdown, shown as it is: no markup, link or formula comes alive."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence

from artifacts.text.visible import visible

LONGEST = 80  # characters of a text that are shown


def code(text: str, longest: int = LONGEST) -> str:
    """`text` on one line as a code span, cut after `longest` characters; may stand in a table."""
    shown = visible(text)
    if len(shown) > longest:
        shown = shown[: longest - 1] + "…"
    fence = "`" * (1 + max((len(run) for run in re.findall("`+", shown)), default=0))
    pad = " " if shown.startswith("`") or shown.endswith("`") or not shown.strip() else ""
    return f"{fence}{pad}{shown}{pad}{fence}".replace("|", "\\|")


def table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """The lines of a table; a column whose name begins with `>` is set flush right."""
    rules = ["--:" if name.startswith(">") else "---" for name in columns]
    lines = [[name.lstrip(">") for name in columns], rules, *rows]
    return ["| " + " | ".join(line) + " |" for line in lines]
