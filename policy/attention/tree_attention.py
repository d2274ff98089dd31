"""Attention over a packed row: each suffix sees the common prefix, what leads to it, and itself.

Only the pairs that attend are computed, as matrix products over blocks; no T × T mask exists. All
suffixes share the keys and values of the common prefix, and the N completion suffixes of a problem
share those of its prompt suffix:

    scores of a completion suffix, under one softmax =
        [ q·common prefix | q·prompt suffix, its path only | q·itself, causal ]

`policy.attention.packing` builds the row.

Axes: K groups of heads that share keys, G query heads in a group, B problems, N completions of
each, L tokens of the longest suffix, S keys, D width of a head.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import reduce
from operator import add
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention
from transformers import AttentionInterface, PreTrainedModel

from policy.attention.packing import PaddedSuffixes, PrefixKeys, Tree
from policy.attention.support import HARMLESS, UnsupportedAttentionError
from policy.model.precision import working_dtype

NAME, PREFIX = "threeloops_tree", "threeloops_prefix"


class Keys(NamedTuple):
    """Keys and values [K, b, n, S, D] that queries see, and what of them is hidden.

    b is B or 1, n is N or 1: where it is 1, all the queries along that axis share them. `bias` is 0
    or −inf and broadcasts to the scores [K, B, N, L, G, S].
    """

    keys: Tensor
    values: Tensor
    bias: Tensor | None


def tree_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    tree: Tree | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """Attention of one packed row: [1, T, heads, D] from query [1, heads, T, D].

    The signature is that of transformers' attention interface. Raises UnsupportedAttentionError for
    arguments that may change the result in a way not known here.
    """
    if tree is None:
        raise UnsupportedAttentionError(f"{type(module).__name__} does not pass the tree on")
    _refuse_unknown(attention_mask, dropout, tree.longest, others)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    groups = key.shape[1]
    dtype = working_dtype(query)

    # Split queries, keys and values [tokens, heads, D] into the three parts of the row. Queries are
    # scaled here once, before they are rounded to the working precision.
    sizes = [tree.common_prefix, tree.prompt_suffixes.tokens, tree.completion_suffixes.tokens]
    q, k, v = (
        one.squeeze(0).to(dtype).transpose(0, 1).split_with_sizes(sizes)
        for one in (query * scale, key, value)
    )

    # The common prefix sees only itself. It is one causal sequence, for which torch has a kernel.
    outputs = []
    seen: list[Keys] = []
    if tree.common_prefix:
        outputs.append(_causal(q[0], k[0], v[0]))
        seen.append(Keys(_for_all(k[0]), _for_all(v[0]), None))
    elif tree.given is not None:
        keys, values = tree.given.layers[_number(module)]
        seen.append(Keys(_for_all(keys), _for_all(values), None))

    # Prompt suffixes see the common prefix and, along their paths, themselves.
    problems, samples = tree.to_prompt_suffixes.shape[:2]
    shape = (problems, 1)
    keys = _to_block(k[1], tree.prompt_suffixes, shape)
    values = _to_block(v[1], tree.prompt_suffixes, shape)
    own = Keys(keys, values, tree.within_prompt_suffixes)
    outputs.append(_attend_suffixes(q[1], [*seen, own], tree.prompt_suffixes, shape, groups))

    # Completion suffixes see the common prefix, the path through their problem's prompt suffix, and
    # themselves. All N of a problem read the same keys of the prompt suffix.
    if tree.completion_suffixes.tokens:
        seen.append(Keys(keys, values, tree.to_prompt_suffixes))
        shape = (problems, samples)
        keys = _to_block(k[2], tree.completion_suffixes, shape)
        values = _to_block(v[2], tree.completion_suffixes, shape)
        own = Keys(keys, values, tree.within_completion_suffixes)
        seen.append(own)
        outputs.append(_attend_suffixes(q[2], seen, tree.completion_suffixes, shape, groups))
    return torch.cat(outputs)[None], None


def _refuse_unknown(
    attention_mask: Tensor | None, dropout: float, longest: int, others: dict[str, Any]
) -> None:
    window = others.get("sliding_window")
    if window is not None and window < longest:
        raise UnsupportedAttentionError(f"it attends to the last {window} tokens only")
    given = {name for name, value in others.items() if value is not None and value is not False}
    unknown = sorted(given - HARMLESS)
    if others.get("is_causal") is False:
        unknown.append("is_causal")
    if attention_mask is not None:
        unknown.append("attention_mask")
    if dropout:
        unknown.append("dropout")
    if unknown:
        raise UnsupportedAttentionError(f"attention with {', '.join(unknown)}")


def _attend_suffixes(
    query: Tensor,
    seen: Sequence[Keys],
    suffixes: PaddedSuffixes,
    shape: tuple[int, int],
    groups: int,
) -> Tensor:
    """Outputs [t, heads, D] of the suffixes' queries [t, heads, D].

    `shape` is (B, N), or (B, 1) for prompt suffixes, which a problem has only one of.
    """
    block = _to_block(query.view(len(query), groups, -1, query.shape[-1]), suffixes, shape)
    out = _attend(block, seen).permute(1, 2, 3, 0, 4, 5)  # [B, N, L, K, G, D]
    apply: Any = _ToTokens.apply
    tokens: Tensor = apply(out.reshape(-1, *query.shape[1:]), suffixes.back)
    return tokens


def _attend(query: Tensor, seen: Sequence[Keys]) -> Tensor:
    """Softmax attention of [K, B, N, L, G, D] over several sets of keys at once."""
    scores = []
    for keys, _, bias in seen:
        # one matrix product for each set of keys: queries that share it become its rows
        flat = keys.flatten(0, 2)
        score = (query.reshape(len(flat), -1, query.shape[-1]) @ flat.mT).view(
            *query.shape[:-1], -1
        )
        scores.append(score if bias is None else score + bias)
    # biases are float32, so that the softmax of coarser queries is taken in float32, too
    weights = torch.cat(scores, dim=-1).softmax(dim=-1).to(query.dtype)
    widths = [keys.shape[-2] for keys, _, _ in seen]
    outs = []
    for weight, (_, values, _) in zip(weights.split_with_sizes(widths, -1), seen, strict=True):
        flat = values.flatten(0, 2)
        outs.append((weight.reshape(len(flat), -1, flat.shape[1]) @ flat).view(query.shape))
    return reduce(add, outs)


def causal_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    prefix: PrefixKeys | None = None,
    **others: Any,
) -> tuple[Tensor, None]:
    """As `tree_attention`, of a common prefix alone, whose keys and values `prefix` takes over."""
    if prefix is None:
        raise UnsupportedAttentionError(f"{type(module).__name__} does not pass the prefix on")
    _refuse_unknown(attention_mask, dropout, key.shape[2], others)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    dtype = working_dtype(query)
    q, k, v = (one.squeeze(0).to(dtype).transpose(0, 1) for one in (query * scale, key, value))
    prefix.layers[_number(module)] = k.contiguous(), v.contiguous()
    return _causal(q, k, v)[None], None


def _number(module: nn.Module) -> int:
    """The number of an attention module's layer."""
    number = getattr(module, "layer_idx", None)
    if type(number) is not int:
        raise UnsupportedAttentionError(f"{type(module).__name__} does not know its layer")
    return number


def _for_all(tensor: Tensor) -> Tensor:
    """The common prefix's keys [S, K, D] as [K, 1, 1, S, D]."""
    return tensor.transpose(0, 1)[:, None, None]


def _causal(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """The common prefix's attention to itself: [S, heads, D]; the query is already scaled."""
    q, k, v = (one.transpose(0, 1)[None] for one in (query, key, value))
    out = scaled_dot_product_attention(q, k, v, is_causal=True, scale=1.0, enable_gqa=True)
    return out[0].transpose(0, 1)


def _to_block(tokens: Tensor, suffixes: PaddedSuffixes, shape: tuple[int, int]) -> Tensor:
    """[K, B, N, L, …] contiguous, from the suffixes' tokens [t, K, …]; `shape` is [B, N]."""
    apply: Any = _ToBlock.apply
    padded: Tensor = apply(tokens, suffixes.block.flatten(), suffixes.back)
    block = padded.view(*shape, suffixes.block.shape[1], *tokens.shape[1:])
    return block.movedim(3, 0).contiguous()


class _ToBlock(torch.autograd.Function):
    """Rows of tokens into a padded block; each token lands once, so the gradient is a gather."""

    @staticmethod
    def forward(ctx: Any, tokens: Tensor, block: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        return tokens.index_select(0, block)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:
        (back,) = ctx.saved_tensors
        return gradients[0].index_select(0, back), None, None


class _ToTokens(torch.autograd.Function):
    """The rows of a padded block that are tokens; padding gets no gradient."""

    @staticmethod
    def forward(ctx: Any, padded: Tensor, back: Tensor) -> Tensor:
        ctx.save_for_backward(back)
        ctx.rows = len(padded)
        return padded.index_select(0, back)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:
        (back,) = ctx.saved_tensors
        padded = gradients[0].new_zeros(ctx.rows, *gradients[0].shape[1:])
        return padded.index_copy(0, back, gradients[0]), None


@contextmanager
def attending_as(model: PreTrainedModel, name: str) -> Iterator[None]:
    """Use this attention within the block and the model's former implementation after it."""
    former = model.config._attn_implementation
    model.config._attn_implementation = name
    try:
        yield
    finally:
        model.config._attn_implementation = former


AttentionInterface.register(NAME, tree_attention)
AttentionInterface.register(PREFIX, causal_attention)
