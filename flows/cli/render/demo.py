"""The one table that a demo ends with: the three loops side by side.

It draws what the demo found; everything fits 80 columns.
"""

from __future__ import annotations

from typing import Any

from rich.console import Console

from flows.cli.render.results import table


def print_loops(console: Console, rows: list[dict[str, Any]]) -> None:
    """Before and after for each loop, with intervals."""
    drawn = table("loop", "what", "changed", "pass@1, %", "pass@4, %", "KL, nats")
    for row in rows:
        drawn.add_row(
            row["loop"],
            row["what"],
            row["changed"],
            *(_with_interval(row, name) for name in ("pass_at_1", "pass_at_4")),
            "" if row["kl_nats"] is None else f"{row['kl_nats']:.2f}",
        )
    console.print(drawn)
    console.print(
        f"n = {rows[0]['problems']} problems, 95 % intervals in brackets\n"
        "* knows the expected answer: what a perfect judge could pick",
        style="dim",
    )


def _with_interval(row: dict[str, Any], name: str) -> str:
    if row[name] is None:
        return ""
    low, high = row[f"{name}_interval"]
    return f"{100 * row[name]:.0f} [{100 * low:.0f}, {100 * high:.0f}]"
