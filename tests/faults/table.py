"""The table at the end, for the terminal and for docs/reliability.md."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.faults.tracing import ROOT
from tests.faults.trials import Outcome

PAGE = ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- faults -->", "<!-- /faults -->"
HEAD = (
    "| what goes wrong | trials | recovered | lost | doubled | leftovers | other differences |\n"
    "|---|---|---|---|---|---|---|\n"
)


def table(outcomes: Sequence[Outcome]) -> str:
    """One line for each kind of fault, in the order of the alphabet; then all together."""
    kinds = sorted({outcome.kind for outcome in outcomes})
    lines = [_line(kind, [one for one in outcomes if one.kind == kind]) for kind in kinds]
    return HEAD + "\n".join([*lines, _line("all", outcomes)]) + "\n"


def write_page(text: str, page: Path = PAGE) -> None:
    """Put a text between the markers of the page, and leave the rest of it as it is."""
    whole = page.read_text(encoding="utf-8")
    before, begin, rest = whole.partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin, page
    assert end, f"{page} has no place for the table"
    page.write_text(f"{before}{BEGIN}\n{text}{END}{after}", encoding="utf-8")


def _line(kind: str, outcomes: Sequence[Outcome]) -> str:
    found = [outcome.difference for outcome in outcomes]
    cells = (
        kind,
        len(outcomes),
        sum(outcome.recovered for outcome in outcomes),
        sum(len(one.lost) for one in found),
        sum(len(one.doubled) for one in found),
        sum(len(one.leftovers) for one in found),
        sum(len(one.others) for one in found),
    )
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
