"""The tokens of a text: ids and pieces, and with a question their log-probability and rank.

Tiny format changes are big probability changes; this shows where.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from artifacts.registry.resolve import check_model_name, resolve_policy
from artifacts.text.visible import visible
from flows.cli.options import config_from
from flows.cli.render.results import table
from flows.cli.terminal import Terminal
from policy.model.load import load_policy, load_tokenizer
from policy.model.template import get_template
from schemas.config import EvalConfig


def show_tokens(given: dict[str, Any], terminal: Terminal) -> dict[str, Any]:
    """Print one row a token; with `prompt`, as the policy saw it when answering that question."""
    text, question = given.pop("text"), given.pop("prompt")
    config = config_from(EvalConfig, given)
    check_model_name(config.model)
    template = get_template(config.template)
    terminal.note(f"loading the tokenizer of {config.model}")
    reference = resolve_policy(config.model, terminal.note)
    folder = Path(reference.folder)
    tokenizer = load_tokenizer(folder)
    ids = [int(i) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]
    rows: list[dict[str, Any]] = [
        {"id": token, "piece": tokenizer.decode([token], skip_special_tokens=False)}
        for token in ids
    ]
    if question is not None:
        from policy.logprobs.ranks import token_ranks

        policy = load_policy(folder, name=reference.name, device=config.device)
        (prompt,) = template.encode([question], policy.tokenizer)
        ids.append(policy.end_token_ids[0])
        rows.append({"id": ids[-1], "piece": "(the model ends its answer)"})
        for row, (logprob, rank) in zip(rows, token_ranks(policy.model, prompt, ids), strict=True):
            row |= {"logprob": logprob, "rank": rank}
    _draw(terminal, rows, scored=question is not None)
    return {"text": text, "model": reference.model_dump(), "tokens": rows}


def _draw(terminal: Terminal, rows: list[dict[str, Any]], *, scored: bool) -> None:
    drawn = table("position", "id", "piece", *(("log-probability", "rank") if scored else ()))
    for position, row in enumerate(rows):
        cells = [str(position), str(row["id"]), visible(row["piece"])]
        style = ""
        if scored:
            cells += [f"{row['logprob']:.3f}", str(row["rank"])]
            style = "green" if row["rank"] == 1 else "red" if row["logprob"] < -3 else "yellow"
        drawn.add_row(*cells, style=style)
    terminal.out.print(drawn)
    if scored:
        total = sum(row["logprob"] for row in rows)
        terminal.out.print(f"whole answer {total:.3f} nats; rank 1 is the likeliest token")
