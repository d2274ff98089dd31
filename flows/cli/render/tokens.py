"""The tokens of a text as a table."""

from __future__ import annotations

from rich.console import Console

from artifacts.text.visible import visible
from flows.cli.render.results import table
from schemas.outputs import TokensOutput

UNLIKELY_NATS = -3.0  # below it a token is red


def print_tokens(console: Console, output: TokensOutput) -> None:
    """One line a token; with log-probability and rank where the tokens answer a question."""
    logprobs = [row.logprob for row in output.tokens if row.logprob is not None]
    scored = len(logprobs) > 0
    lines = table("position", "id", "piece", *(("log-probability", "rank") if scored else ()))
    for position, row in enumerate(output.tokens):
        cells, style = [str(position), str(row.id), visible(row.piece)], ""
        if row.logprob is not None:
            cells += [f"{row.logprob:.3f}", str(row.rank)]
            unlikely = "red" if row.logprob < UNLIKELY_NATS else "yellow"
            style = "green" if row.rank == 1 else unlikely
        lines.add_row(*cells, style=style)
    console.print(lines)
    if scored:
        total = sum(logprobs)
        console.print(f"whole answer {total:.3f} nats; rank 1 is the likeliest token")
