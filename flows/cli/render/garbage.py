"""What nothing refers to, for a person: by kind, with its size, and how to drop it."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text

from artifacts.text.numbers import counted
from flows.cli.render.results import table
from schemas.garbage import GcOutput

SHOWN = 3  # names of runs in a line
MEBIBYTE = 2**20


def print_garbage(console: Console, output: GcOutput) -> None:
    """Print what was dropped or would be, what stays and why, and what to do."""
    console.print(Text(f"data folder  {output.folder}", style="bold"), soft_wrap=True)
    if output.kinds:
        lines = table("dropped" if output.deleted else "nothing refers to it", "count", "MiB")
        for kind, of in output.kinds.items():
            lines.add_row(kind, str(of.count), f"{of.bytes / MEBIBYTE:.1f}")
        console.print(lines)
    console.print(
        f"{counted(output.kept_tables, 'table')} kept: referred to, or used in the last "
        f"{counted(output.hours, 'hour')}"
    )
    if output.underway:
        more = len(output.underway) - SHOWN
        names = ", ".join(output.underway[:SHOWN]) + (f" and {more} more" if more > 0 else "")
        console.print(f"under way: {names}; what was used since the first of them began is kept")
    if output.in_use:
        console.print(f"{output.in_use} kept: another command has used it meanwhile")
    if output.store:
        console.print(
            f"{output.store} is left alone: other machines may refer to what is there",
            soft_wrap=True,
        )
    if not output.kinds:
        console.print("Nothing to drop.")
    elif not output.deleted:
        console.print("Nothing was dropped. `threeloops gc --delete` drops it.")
