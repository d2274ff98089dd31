"""The one table that a demo ends with: the three loops side by side."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console

from artifacts.text.demo_table import DEMO_COLUMNS, demo_cells, demo_notes
from flows.cli.render.results import table
from schemas.results import DemoRow


def print_loops(console: Console, rows: Sequence[DemoRow]) -> None:
    """Before and after for each loop, with intervals."""
    drawn = table(*DEMO_COLUMNS)
    for row in rows:
        drawn.add_row(*demo_cells(row))
    widest = console.options.update(width=2 * console.width)
    if console.measure(drawn, options=widest).maximum > console.width:
        drawn.padding = (0, 1, 0, 0)
    console.print(drawn)
    console.print("\n".join(demo_notes(rows)), style="dim", markup=False)
