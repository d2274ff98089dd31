"""The tokens of a text in a terminal."""

from __future__ import annotations

from collections.abc import Callable

from flows.cli.render.tokens import print_tokens
from schemas.outputs import TokenRow, TokensModel, TokensOutput

Shown = Callable[..., str]
MODEL = TokensModel(name="default", folder="/m", digest="d")


def test_tokens_alone_have_a_position_an_id_and_a_piece(shown: Shown) -> None:
    tokens = (TokenRow(id=7, piece=" [b]\n"), TokenRow(id=8, piece="x"))
    said = shown(print_tokens, TokensOutput(text="t", model=MODEL, tokens=tokens))
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert lines == ["position id piece", "0 7 ␠[b]\\n", "1 8 x"]


def test_an_answer_has_log_probabilities_ranks_and_their_sum(shown: Shown) -> None:
    tokens = (
        TokenRow(id=7, piece="a", logprob=-0.5, rank=1),
        TokenRow(id=8, piece="b", logprob=-4.25, rank=12),
    )
    said = shown(print_tokens, TokensOutput(text="t", model=MODEL, tokens=tokens))
    lines = [" ".join(line.split()) for line in said.splitlines()]
    assert lines[0] == "position id piece log-probability rank"
    assert lines[2] == "1 8 b -4.250 12"
    assert lines[3] == "whole answer -4.750 nats; rank 1 is the likeliest token"
