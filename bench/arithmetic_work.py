"""How many floating-point operations sampling and learning need: counted, not measured.

Only matrix products count, two operations for a multiplication and an addition: the linear layers
for each token computed, queries with keys and weights with values for each pair of tokens that
attend, and the output head for each position that predicts. Norms, activations, softmax, sampling
and the optimiser count nothing, although they take time: a fraction of the peak is what is left of
the machine for these products.

Two counts, because they say different things:

- `plain`: the common prefix once, each prompt once, each generated token of each completion once
  (the last one of a completion needs no pass; nothing follows it), the head for every token drawn.
- `distinct`: as `plain`, but equal beginnings of one problem's completions once. This is what our
  sampler and our training pass compute, so it alone says how well they use the machine.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from torch import nn

from policy.attention.prefix_tree import common_prefix_length

Tokens = Sequence[int]
Count = Literal["plain", "distinct"]
COUNTS: tuple[Count, ...] = ("plain", "distinct")


@dataclass(frozen=True)
class Pass:
    """One forward pass: tokens through the layers, pairs that attend, positions that predict."""

    tokens: int
    pairs: int
    predictions: int


def forward_pass(
    prompts: Sequence[Tokens], completions: Sequence[Tokens], count: Count = "distinct"
) -> Pass:
    """The pass over B prompts and B·N completions, row-major, each with its end token."""
    samples = len(completions) // len(prompts)
    common = common_prefix_length(prompts) if len(prompts) > 1 else 0
    tokens, pairs, predictions = common, _causal_pairs(0, common), 0
    for index, prompt in enumerate(prompts):
        tokens += len(prompt) - common
        pairs += _causal_pairs(common, len(prompt))
        own = completions[index * samples : (index + 1) * samples]
        if count == "plain":
            lengths = [len(completion) - 1 for completion in own]
            predictions += sum(lengths) + samples
        else:
            nodes = {tuple(c[:end]) for c in own for end in range(1, len(c))}
            lengths = []
            tokens += len(nodes)
            pairs += sum(len(prompt) + len(node) for node in nodes)
            predictions += len(nodes) + 1
        for length in lengths:
            tokens += length
            pairs += _causal_pairs(len(prompt), len(prompt) + length)
    return Pass(tokens, pairs, predictions)


def forward_operations(model: Any, work: Pass) -> float:
    """Operations of a forward pass of a decoder-only transformer."""
    config = model.config.get_text_config()
    head = model.get_output_embeddings()
    weights = sum(
        layer.weight.numel()
        for layer in model.modules()
        if isinstance(layer, nn.Linear) and layer is not head
    )
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    per_pair = 4 * config.num_hidden_layers * config.num_attention_heads * width
    return float(
        2 * weights * work.tokens
        + per_pair * work.pairs
        + 2 * head.weight.numel() * work.predictions
    )


def step_operations(model: Any, sampling: Pass, training: Pass) -> float:
    """Operations of a whole step: sampling, the reference's pass, and ours with its gradient.

    The gradient takes two products for each one of the forward pass.
    """
    return forward_operations(model, sampling) + 4 * forward_operations(model, training)


def _causal_pairs(first: int, last: int) -> int:
    """Pairs of tokens `first` … `last` − 1 with all tokens up to themselves."""
    return (last * (last + 1) - first * (first + 1)) // 2
