"""The tokens of a text under a policy, and with a question their log-probability and rank."""

from __future__ import annotations

from argparse import Namespace
from pathlib import Path
from typing import Any

from artifacts.prompts.template_file import template_of
from artifacts.registry.resolve import check_model_name, resolve_policy
from artifacts.tracking.archive import Archive
from flows.cli.options import config_from
from flows.cli.render.tokens import print_tokens
from flows.cli.terminal import Terminal
from policy.limited.tokenizer_trial import explaining_tokenizer, try_texts
from policy.model.load import load_policy, load_tokenizer
from policy.model.plain_tokenizer import plain_tokenizer
from schemas.config import EvalConfig
from schemas.outputs import TokenRow, TokensModel, TokensOutput


def show_tokens(archive: Archive, options: Namespace, terminal: Terminal) -> TokensOutput:
    """Print one row a token; with `prompt`, as the policy saw it when answering that question."""
    text, question = options.text, options.prompt
    config = config_from(EvalConfig, vars(options))
    check_model_name(archive, config.model)
    template = template_of(config.template)
    terminal.note(f"loading the tokenizer of {config.model}")
    reference = resolve_policy(archive, config.model, terminal.note)
    folder = archive.folders.find(reference)
    ids, pieces = _cut(folder, text)
    if question is None:
        rows = [TokenRow(id=token, piece=p) for token, p in zip(ids, pieces, strict=True)]
    else:
        from policy.logprobs.ranks import token_ranks

        policy = load_policy(
            folder,
            name=reference.name,
            device=config.device,
            precision=config.precision,
            digest=reference.digest,
        )
        (prompt,) = template.encode([question], policy.tokenizer)
        ids.append(policy.end_token_ids[0])
        pieces.append("(the model ends its answer)")
        rows = [
            TokenRow(id=token, piece=piece, logprob=logprob, rank=rank)
            for token, piece, (logprob, rank) in zip(
                ids, pieces, token_ranks(policy.model, prompt, ids), strict=True
            )
        ]
    model = TokensModel(
        name=reference.name, folder=str(folder), digest=reference.digest, step=reference.step
    )
    output = TokensOutput(text=text, model=model, tokens=tuple(rows))
    print_tokens(terminal.out, output)
    return output


def _cut(folder: Path, text: str) -> tuple[list[int], list[str]]:
    """The tokens of a text, and each as text; without transformers where that is the same."""
    plain: Any = plain_tokenizer(folder)
    tokenizer = plain or load_tokenizer(folder)
    try_texts(tokenizer, [text])
    with explaining_tokenizer(str(folder)):
        if plain is not None:
            ids = plain.ids(text)
            return ids, [plain.piece(token) for token in ids]
        ids = [int(i) for i in tokenizer(text, add_special_tokens=False)["input_ids"]]
        return ids, [str(tokenizer.decode([one], skip_special_tokens=False)) for one in ids]
