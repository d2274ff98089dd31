"""The tokens of a text under a policy, and with a question their log-probability and rank.

Tiny format changes are big probability changes; this shows where.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from artifacts.registry.resolve import check_model_name, resolve_policy
from flows.cli.options import config_from
from flows.cli.render.tokens import print_tokens
from flows.cli.terminal import Terminal
from policy.model.load import load_policy, load_tokenizer
from policy.model.template import get_template
from schemas.config import EvalConfig
from schemas.outputs import TokenRow, TokensOutput


def show_tokens(given: dict[str, Any], terminal: Terminal) -> TokensOutput:
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
    pieces = [str(tokenizer.decode([token], skip_special_tokens=False)) for token in ids]
    if question is None:
        rows = [TokenRow(id=token, piece=p) for token, p in zip(ids, pieces, strict=True)]
    else:
        from policy.logprobs.ranks import token_ranks

        policy = load_policy(folder, name=reference.name, device=config.device)
        (prompt,) = template.encode([question], policy.tokenizer)
        ids.append(policy.end_token_ids[0])
        pieces.append("(the model ends its answer)")
        rows = [
            TokenRow(id=token, piece=piece, logprob=logprob, rank=rank)
            for token, piece, (logprob, rank) in zip(
                ids, pieces, token_ranks(policy.model, prompt, ids), strict=True
            )
        ]
    output = TokensOutput(text=text, model=reference, tokens=tuple(rows))
    print_tokens(terminal.out, output)
    return output
