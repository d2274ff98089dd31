"""Prompts as a model gets them: each character that cannot be seen is an escape."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rich.console import Console
from rich.text import Text

from artifacts.text.visible import printable, visible
from schemas.outputs import PromptOutput, ShownPrompt

BETWEEN = " | "


def print_prompts(console: Console, output: PromptOutput) -> None:
    """The template with its digest, then the text and the tokens of each prompt."""
    head = f"{output.template}, {output.form}, digest {output.digest}"
    console.print(printable(head), markup=False, highlight=False, soft_wrap=True)
    for prompt in output.prompts:
        _print_one(console, prompt)


def _print_one(console: Console, prompt: ShownPrompt) -> None:
    """The text, a line of it on a line, and its tokens: each its id and its piece."""
    count = len(prompt.tokens)
    console.print(
        f"\nproblem {printable(prompt.problem_id)}: {count} {'token' if count == 1 else 'tokens'}",
        markup=False, highlight=False, style="bold", soft_wrap=True,
    )  # fmt: skip
    for line in prompt.text.splitlines(keepends=True):
        console.print(Text(visible(line)), soft_wrap=True)
    console.print()
    pieces = [f"{token.id} {visible(token.piece)}" for token in prompt.tokens]
    for line in _lines(pieces, console.width):
        console.print(Text(line, style="dim"), soft_wrap=True)


def _lines(pieces: Iterable[str], width: int) -> Iterator[str]:
    """As many pieces on a line as fit, none of them broken."""
    line = ""
    for piece in pieces:
        longer = f"{line}{BETWEEN}{piece}" if line else piece
        if line and len(longer) > width:
            yield line
            longer = piece
        line = longer
    if line:
        yield line
