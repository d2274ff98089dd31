"""The one table that a demo ends with: the three loops side by side."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from artifacts.text.demo_table import DEMO_COLUMNS, demo_cells, demo_notes
from flows.cli.render.results import table
from schemas.result_parts import DemoRow


def print_loops(console: Console, rows: Sequence[DemoRow]) -> None:
    """Before and after for each loop, with intervals."""
    lines = table(*DEMO_COLUMNS)
    for row in rows:
        lines.add_row(*demo_cells(row))
    widest = console.options.update(width=2 * console.width)
    if console.measure(lines, options=widest).maximum > console.width:
        lines.padding = (0, 1, 0, 0)
    console.print(lines)
    console.print("\n".join(demo_notes(rows)), style="dim", markup=False)
