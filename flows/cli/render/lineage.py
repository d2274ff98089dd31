"""From the dataset to the decision, one line each, with whether it is still what was recorded."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from rich.console import Console
from rich.text import Text

from artifacts.text.visible import DIGEST_SHOWN, printable
from flows.cli.render.results import table
from schemas.lineage import LineageLink, LineageOutput
from schemas.loops import loop_named

STYLES = {"matches": "green", "differs": "bold red", "missing": "bold red", "not known": "yellow"}
NAME_WIDTH = 30
STEP = "step "


def print_lineage(console: Console, output: LineageOutput) -> None:
    """Print the links in their order; what does not match is named below with where it lies."""
    loop = loop_named(output.loop)
    console.print(f"Lineage of {printable(output.name)}: {loop.name}", style="bold", markup=False)
    lines = table("", "of", "what", "digest", "stored bytes")
    for group in _rows(output.links):
        first = group[0]
        lines.add_row(
            first.role if len(group) == 1 else "learned from",
            first.stage if len(group) == 1 else f"{len({one.stage for one in group})} steps",
            _end_of(printable(first.name)) if len(group) == 1 else f"{len(group)} tables",
            (first.digest or "")[:DIGEST_SHOWN] if len(group) == 1 else "",
            _states(group),
        )
    console.print(lines)
    for link in output.links:
        if link.state != "matches" or link.role == "decision":
            _print_note(console, link)
    if output.intact:
        console.print("Everything has the bytes that were recorded.", style="bold green")
    else:
        console.print("Not everything has the bytes that were recorded.", style="bold red")
        console.print("`threeloops doctor` says what to do.")


def _rows(links: Sequence[LineageLink]) -> Iterator[list[LineageLink]]:
    """Each link for itself, but what the steps learned from together."""
    for of_steps, group in groupby(links, key=lambda link: link.stage.startswith(STEP)):
        if of_steps:
            yield list(group)
        else:
            yield from ([link] for link in group)


def _states(group: Sequence[LineageLink]) -> Text:
    counted = {state: sum(link.state == state for link in group) for state in STYLES}
    parts = [(state, number) for state, number in counted.items() if number]
    text = Text()
    for state, number in parts:
        text.append(", " if text else "")
        text.append(state if len(group) == 1 else f"{number} {state}", style=STYLES[state])
    return text


def _print_note(console: Console, link: LineageLink) -> None:
    what = " ".join(part for part in (link.role, link.stage, link.name) if part)
    note = f": {link.note}" if link.note else ""
    style = "" if link.state == "matches" else STYLES[link.state]
    console.print(Text(printable(f"{what}{note}"), style=style))
    if link.state != "matches" and link.where:
        console.print(Text(f"  {link.where}", style="dim"), soft_wrap=True)


def _end_of(text: str) -> str:
    return text if len(text) <= NAME_WIDTH else "…" + text[1 - NAME_WIDTH :]
