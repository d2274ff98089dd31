"""What the doctor found, for a person: the worst first, each with what it means and what to do."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby
from textwrap import wrap

from rich.console import Console
from rich.text import Text

from artifacts.text.numbers import counted
from artifacts.text.visible import printable, short_digests
from schemas.health import Checked, DoctorOutput, Finding

MOST_NARROW = 20  # characters of a line of text
NOT_LOOKED_INTO = (
    "It is not looked into. `threeloops runs` asks it, and `threeloops show VERSION --lineage` "
    "compares a version there with its record."
)
MOST = 4  # places that are shown of one kind
STYLES = {"damage": "bold red", "remark": "yellow"}


def print_doctor(console: Console, output: DoctorOutput) -> None:
    """Print what was looked at, what was repaired, what is left, and the verdict."""
    console.print(Text(f"data folder  {output.folder}", style="bold"), soft_wrap=True)
    if output.store is not None:
        console.print(Text(f"shared       {output.store}", style="bold"), soft_wrap=True)
    if output.mlflow is not None:
        console.print(Text(f"MLflow       {output.mlflow}", style="bold"), soft_wrap=True)
        _print_told(console, " " * 13, NOT_LOOKED_INTO, style="dim")
    if not output.exists and not output.damaged:
        console.print("It is not there yet; the first command that keeps something makes it.")
    elif output.exists:
        console.print(_checked(output.checked), style="dim")
    if output.repaired:
        console.print("\nRepaired", style="bold green")
        for group in _groups(output.repaired):
            _print_repaired(console, group)
        if output.set_aside:
            line = f"What was set aside is kept, under the same paths, in {output.set_aside}"
            console.print(Text(line, style="dim"), soft_wrap=True)
        if output.findings:
            console.print("\nLeft after the repair", style="bold")
    for group in sorted(_groups(output.findings), key=lambda group: group[0].level != "damage"):
        console.print()
        _print_group(console, group)
    console.print()
    console.print(_verdict(output))


def _groups(findings: Sequence[Finding]) -> Iterator[list[Finding]]:
    """The findings of each name together."""
    ordered = sorted(findings, key=lambda one: one.name)
    return (list(group) for _, group in groupby(ordered, key=lambda one: one.name))


def _print_group(console: Console, group: Sequence[Finding]) -> None:
    first = group[0]
    head = Text(f"{first.level}  {first.name}", style=STYLES[first.level])
    if len(group) > 1:
        head.append(f"  ({len(group)})", style="dim")
    console.print(head)
    for one in group[:MOST]:
        _print_place(console, one.where, one.what)
    if len(group) > MOST:
        console.print(f"  and {len(group) - MOST} more; --json names them all", style="dim")
    _print_told(console, "  means ", first.means)
    _print_told(console, "  do    ", first.advice)


def _print_place(console: Console, where: str, what: str) -> None:
    """Where something is, its digests cut, and below it what is said of it."""
    place = Text(f"  {short_digests(printable(where), '…')}")
    console.print(place, soft_wrap=True)  # a path that is cut in two cannot be copied
    _print_told(console, "    ", short_digests(printable(what), "…"), style="dim")


def _print_told(console: Console, begin: str, told: str, style: str = "") -> None:
    """A text in lines below each other, with nothing behind them and no word cut in two."""
    width = max(console.width - len(begin), MOST_NARROW)
    lines = wrap(printable(told), width, break_long_words=False, break_on_hyphens=False)
    for number, line in enumerate(lines):
        text = Text(begin if not number else " " * len(begin), style="dim")
        console.print(text.append(line, style=style or "none"), soft_wrap=True)


def _print_repaired(console: Console, group: Sequence[Finding]) -> None:
    console.print(Text(f"{group[0].name}", style="green"))
    for one in group[:MOST]:
        _print_place(console, one.where, str(one.repaired))
    if len(group) > MOST:
        console.print(f"  and {len(group) - MOST} more; --json names them all", style="dim")


def _checked(checked: Checked) -> str:
    parts = [
        counted(checked.tables, "table"),
        counted(checked.keys, "key"),
        counted(checked.runs, "run"),
        counted(checked.models, "model"),
        counted(checked.versions, "version"),
        counted(checked.checkpoints, "checkpoint"),
    ]
    if checked.shared or checked.leases:
        parts += [f"{checked.shared} names in the store", counted(checked.leases, "lease")]
    size = f"{checked.read_bytes / 2**20:.1f} MiB in {checked.seconds:.1f} s"
    return f"checked      {', '.join(parts)}\nread         {size}"


def _verdict(output: DoctorOutput) -> Text:
    remarks = len(output.findings) - output.damaged
    if output.damaged:
        line = f"Not well: {output.damaged} damaged, {counted(remarks, 'remark')}."
        return Text(line, style="bold red")
    if remarks:
        return Text(f"Well: no damage, {counted(remarks, 'remark')}.", style="bold green")
    return Text("Well: nothing found.", style="bold green")
